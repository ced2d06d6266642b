"""The tables of docs/calibration.md are those of the files beside the calibrated tasks."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import fedsim
from fedsim.icl.tasks.calibrated import NAMES
from fedsim.icl.tasks.calibrated.part import FOLDER
from fedsim_analysis.studies import leave_one_task_out
from fedsim_analysis.style import task_name
from fedsim_analysis.tables import published

DOCUMENT = Path(fedsim.__file__).parents[1] / "docs" / "calibration.md"


def fitted() -> list[str]:
    rows = pd.read_csv(FOLDER / "residuals.csv").query("status == 'fitted'")
    lines = []
    for name, group in rows.groupby("name", sort=False):
        of_target = group.set_index("target")
        cells = [
            f"{of_target.loc[target, 'published']:.1f} / {of_target.loc[target, 'closed_form']:.1f}"
            for target in ("plain", "random_icl", "demonstrations_only", "bdpl")
        ]
        lines.append(f"| {task_name(str(name))} | " + " | ".join(cells) + " |")
    return lines


def words() -> list[str]:
    def cell(row: pd.Series, name: str, digits: int = 1) -> str:
        low, high = row[f"{name}_low"], row[f"{name}_high"]
        return f"{row[name]:.{digits}f} ({low:.{digits}f}, {high:.{digits}f})"

    lines = []
    for _, row in pd.read_csv(FOLDER / "word_values.csv").iterrows():
        cells = [
            task_name(row["task"]),
            f"{row['paper_gain']:.1f}",
            cell(row, "learned_gain"),
            cell(row, "random_gain"),
            cell(row, "least_likely_gain"),
            cell(row, "rank_correlation", 2),
            f"{row['loss_saved_test'] / row['loss_saved_train']:.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def tokens() -> list[str]:
    table = pd.read_csv(FOLDER / "tokens.csv").set_index(["tokenizer", "name"])
    lines = []
    for name in NAMES:
        row = table.loc["qwen", name]
        cells = [
            task_name(name),
            f"{row['mean']:.1f}",
            f"{row['deviation']:.1f}",
            f"{row['p5']} to {row['p95']}",
            f"{row['tokens_per_word']:.2f}",
            f"{row['question_tokens']:.1f}",
            f"{table.loc['smollm2', name]['mean']:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def held_out() -> list[str]:
    residuals = pd.read_csv(FOLDER / "residuals.csv").pivot(
        index="name", columns="target", values="closed_form"
    )
    grid = pd.read_csv(FOLDER / "leave_one_task_out.csv")
    first = grid[
        (grid[["word_noise", "demo_noise"]] == grid[["word_noise", "demo_noise"]].iloc[0]).all(axis=1)
    ]
    together = first.pivot(index="task", columns="row", values="closed_form")
    paper = published.accuracies().pivot(index="task", columns="method", values="paper_percent")
    parts = ["demonstrations_only", "bdpl"]
    # Under Adam the two estimators of fragment only and BDPL are one, so without cuts the rows are one too.
    rows = {
        "cenDBT, without cuts": (paper["cendbt"], together["cendbt"], paper["demonstrations_only"]),
        "AsynDBT, without exchange": (paper["asyndbt"], together["asyndbt"], paper["demonstrations_only"]),
        "gain of both": (
            paper["cendbt"] - paper[parts].max(axis=1),
            together["cendbt"] - residuals[parts].max(axis=1),
            0.0 * paper["cendbt"],
        ),
        "fragment only": (paper["fragment_only"], residuals["bdpl"], paper["bdpl"]),
        "KATE-like": (paper["kate"], residuals["kate"], paper["random_icl"]),
    }
    lines = []
    for label, (theirs, ours, trivial) in rows.items():
        cells = [f"{theirs[task]:.1f} / {ours[task]:.1f}" for task in NAMES]
        errors = [f"{(found - theirs).abs().mean():.2f}" for found in (ours, trivial)]
        lines.append(f"| {label} | " + " | ".join([*cells, *errors]) + " |")
    return lines


def left_out() -> list[str]:
    rows = leave_one_task_out.left_out(pd.read_csv(FOLDER / "leave_one_task_out.csv"))
    return [
        f"| {task_name(row['task'])} | {row['word_noise']:g}, {row['demo_noise']:g} | {row['error']:.2f} | "
        f"{row['error_committed']:.2f} | {row['error_trivial']:.2f} |"
        for _, row in rows.iterrows()
    ]


@pytest.mark.parametrize("lines", [fitted, words, tokens, held_out, left_out])
def test_a_table_is_that_of_its_file(lines):
    found = lines()
    assert len(found) >= 5
    assert "\n".join(found) in DOCUMENT.read_text()
