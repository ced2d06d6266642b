"""Tables 3 and 4: who answered, means over seeds, ranks, the paper's numbers, LaTeX."""

import io
import math
import re
import shutil
import subprocess

import pandas as pd
import pytest
from rich.console import Console
from tiny_tables import run
from waiting import LIMIT_S

from fedsim.errors import InputError
from fedsim_analysis import tables
from fedsim_analysis.tables import accuracy, answering, booktabs, published, table3, table4

SMALL = {"problem.model.kind": "local", "problem.model.weights": "smollm2-135m-instruct"}
SURROGATE = {"problem.model.kind": "surrogate"}


def baseline(task, method, seed, accuracy, algorithm="sdbt", **others):
    settings = {"problem.kind": "baseline", "problem.method.kind": method} | SMALL
    return run(task, "", seed, 1.0, **settings, accuracy=accuracy) | {"algorithm": algorithm} | others


def tuned(task, method, seed, accuracy, model=SMALL):
    return run(task, method, seed, 1.0, accuracy=accuracy, **model)


def runs():
    """Return two tasks and two seeds: KATE both ways, AsynDBT; Random ICL on one task only."""
    accuracies = {"kate": (0.60, 0.62), "asyndbt": (0.80, 0.84)}
    return pd.DataFrame(
        [
            row
            for seed in (0, 1)
            for task in ("sst2", "movies")
            for row in (
                baseline(task, "kate", seed, accuracies["kate"][seed]),
                baseline(task, "kate", seed, accuracies["kate"][seed] + 0.1, "cendbt"),
                tuned(task, "asyndbt", seed, accuracies["asyndbt"][seed]),
            )
        ]
        + [baseline("sst2", "random_icl", 0, 0.9)]
    )


def made(table, rows=None):
    return table.table(runs() if rows is None else pd.DataFrame(rows))


def line(rows, method, task="sst2", model="local smollm2-135m-instruct"):
    found = rows.query("method == @method and task == @task and model == @model")
    assert len(found) == 1
    return found.iloc[0]


def printed(renderable, width=80):
    console = Console(width=width, file=io.StringIO())
    console.print(renderable)
    return console.file.getvalue()


def test_the_papers_ranks_recomputed_from_its_accuracies():
    wide = accuracy.numbers(published.TABLE_3).pivot(index="in_paper", columns="task", values="paper_percent")
    ranks = accuracy.average_ranks(wide)
    expected = (8.67, 6.17, 6.33, 5.00, 6.83, 3.67, 4.00, 1.50, 2.83)
    assert {name: round(rank, 2) for name, rank in ranks.items()} == dict(
        zip(published.TABLE_3, expected, strict=True)
    )


def test_a_line_by_hand():
    kate = line(made(table3), "kate")
    assert kate["accuracy_percent"] == pytest.approx(61.0)
    assert kate["accuracy_deviation_percent"] == pytest.approx(math.sqrt(2))
    assert (kate["paper_percent"], kate["paper_deviation_percent"]) == (69.50, 1.54)
    assert kate["difference_points"] == pytest.approx(-8.5)
    assert (kate["seeds"], kate["status"]) == (2, "measured")


def test_a_centralised_baseline_is_a_line_of_its_own_beside_the_same_number_of_the_paper():
    central = line(made(table3), "kate centralised")
    assert central["accuracy_percent"] == pytest.approx(71.0)
    assert central["paper_percent"] == 69.50


def test_a_task_that_the_paper_does_not_have_has_no_number_of_it():
    assert math.isnan(line(made(table3), "asyndbt", "movies")["paper_percent"])


def test_ranks_are_over_the_tasks_that_all_methods_have():
    rows = made(table3)
    # Random ICL has SST-2 alone, where it is first.
    ranks = {name: line(rows, name)["average_rank"] for name in ("random_icl", "asyndbt", "kate")}
    assert ranks == {"random_icl": 1, "asyndbt": 2, "kate": 4}
    without = table3.table(runs().query("`problem.method.kind` != 'random_icl'"))
    assert line(without, "asyndbt")["average_rank"] == 1
    assert line(rows, "asyndbt")["paper_average_rank"] == pytest.approx(17 / 6)


def test_no_common_task_no_rank():
    rows = made(table3, [baseline("sst2", "kate", 0, 0.5), baseline("cola", "manual", 0, 0.5)])
    assert rows["average_rank"].isna().all()


def test_what_was_not_run_still_shows_the_papers_number():
    rows = made(table3)
    adaicl = line(rows, "adaicl", model="")
    assert (adaicl["status"], adaicl["seeds"], adaicl["paper_percent"]) == ("not run", 0, 91.53)
    assert math.isnan(adaicl["accuracy_percent"])
    assert rows.query("method == 'adaicl' and task == 'movies'").empty


def test_lines_in_the_papers_order():
    methods = list(dict.fromkeys(made(table3)["method"]))
    assert methods[:7] == [
        "roberta", "manual", "zero_shot_cot", "random_icl", "kate", "kate centralised", "bdpl"
    ]  # fmt: skip


def test_the_ablations_are_table_4():
    names = ("plain", "asyndbt", "cendbt", "fragment_only")
    rows = [tuned("sst2", name, 0, 0.9, SURROGATE) for name in names]
    four = made(table4, rows)
    assert set(four.query("seeds > 0")["method"]) == {"plain", "cendbt", "fragment_only"}
    assert line(four, "cendbt", model="surrogate")["paper_percent"] == 95.5  # not Table 3's 94.40
    assert set(made(table3, rows).query("seeds > 0")["method"]) == {"asyndbt", "cendbt"}


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (SMALL, "local smollm2-135m-instruct"),
        (
            {"problem.model.kind": "local", "problem.model.weights": "/home/x/Qwen2.5-7B.gguf"},
            "local Qwen2.5-7B",
        ),
        ({"problem.model.kind": "endpoint", "problem.model.model": "qwen-max"}, "endpoint qwen-max"),
        (SURROGATE, "surrogate"),
        ({}, "not stated"),
        ({"problem.model.kind": math.nan}, "not stated"),
    ],
)
def test_who_answered(settings, name):
    table = answering.described(pd.DataFrame([run("sst2", "asyndbt", 0, 1.0, **settings)]))
    assert list(table["model"]) == [name]


@pytest.mark.parametrize(
    ("settings", "method", "in_paper"),
    [
        ({"encoder.kind": "wordllama"}, "encoder_mlp (wordllama)", "encoder_mlp (wordllama)"),
        ({"encoder.kind": "sentence_transformers", "encoder.model": "all-x"}, "encoder_mlp (all-x)", None),
    ],
)
def test_an_encoders_network_is_never_called_roberta(settings, method, in_paper):
    settings = {f"problem.method.{key}": value for key, value in settings.items()}
    table = answering.described(pd.DataFrame([baseline("sst2", "encoder_mlp", 0, 0.7, **settings)]))
    assert list(table["method"]) == [method]
    assert list(table["in_paper"]) == [in_paper or method]
    assert list(table["model"]) == ["no language model"]


@pytest.mark.parametrize(
    ("model", "method", "status"),
    [
        (SURROGATE, "random_icl", "fitted"),
        (SURROGATE, "asyndbt", "held out"),
        (SMALL, "random_icl", "measured"),
        ({"problem.model.kind": "fitted", "problem.model.file": "a/b.json"}, "asyndbt", "simulated"),
        ({}, "asyndbt", "not stated"),
    ],
)
def test_status_says_how_a_number_came_about(model, method, status):
    rows = made(table3, [tuned("sst2", method, 0, 0.7, model)])
    assert list(rows.query("seeds > 0")["status"]) == [status]


def test_two_models_are_two_lines():
    rows = made(table3, [tuned("sst2", "asyndbt", 0, 0.7), tuned("sst2", "asyndbt", 0, 0.9, SURROGATE)])
    assert line(rows, "asyndbt")["accuracy_percent"] == pytest.approx(70.0)
    assert line(rows, "asyndbt", model="surrogate")["accuracy_percent"] == pytest.approx(90.0)


def test_two_runs_of_one_seed_are_refused():
    with pytest.raises(
        InputError, match="model local smollm2-135m-instruct, scenario sst2, seed 0: there are 2"
    ):
        made(table3, [baseline("sst2", "kate", 0, 0.5), baseline("sst2", "kate", 0, 0.6)])


def test_no_run_of_the_table_is_refused():
    with pytest.raises(InputError, match="none of these runs is of a method of this table"):
        made(table4, [tuned("sst2", "asyndbt", 0, 0.5)])


def test_on_the_terminal():
    rows, rendered = tables.make("table3", runs())
    text = printed(rendered)
    lines = [line.split() for line in text.splitlines()]
    assert ["method", "by", "SST-2", "movies", "rank"] in lines
    at = lines.index(["KATE", "a", "61.0±1.4", "61.0±1.4", "4.00"])
    assert lines[at + 1] == ["paper", "69.5±1.5", "-", "6.83"]
    assert lines[at + 2] == ["KATE", "a", "71.0±1.4", "71.0±1.4", "3.00"]
    assert lines[at + 3] == ["centralised", "paper", "69.5±1.5", "-", "6.83"]
    assert ["AdaICL", "paper", "91.5±0.2", "-", "4.00"] in lines
    assert "a: local smollm2-135m-instruct" in text
    assert "Seeds: 1 to 2; rank" in text
    assert len(rows) == 3 * 2 + 1 + 6


def test_six_tasks_fit_a_terminal_of_80_columns():
    rows = [tuned(task, "asyndbt", seed, 0.8 + seed / 10) for task in published.TASKS for seed in (0, 1)]
    text = printed(tables.make("table3", pd.DataFrame(rows))[1])
    assert "85.0±7.1 85.0±7.1 85.0±7.1 85.0±7.1 85.0±7.1 85.0±7.1 1.00" in re.sub(" +", " ", text)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80


def test_a_small_model_is_warned_of_and_a_fitted_number_marked():
    small = printed(tables.make("table3", runs())[1])
    assert "Warning: local smollm2-135m-instruct: a model this small is near chance" in " ".join(
        small.split()
    )
    surrogate = printed(tables.make("table4", pd.DataFrame([tuned("sst2", "plain", 0, 0.93, SURROGATE)]))[1])
    assert "Warning" not in surrogate
    assert "93.0*" in surrogate
    assert "*: the surrogate was fitted" in surrogate
    assert "*" not in small


def test_latex_of_table_3_line_by_line():
    text = tables.latex("table3", made(table3))
    lines = text.splitlines()
    assert r"KATE & a & 61.00 (1.41) & 61.00 (1.41) & 4.00 \\" in lines
    assert r" & paper & 69.50 (1.54) & - & 6.83 \\" in lines
    assert r"\begin{tabular}{llrrr}" in lines
    rules = [line for line in lines if line.endswith("rule")]
    assert rules == [r"\toprule", r"\midrule", r"\bottomrule"]
    cells = [line for line in lines if line.endswith(r"\\") and "multicolumn" not in line]
    assert {line.count("&") for line in cells} == {4}
    assert r"\multicolumn{5}{l}{\footnotesize a: local smollm2-135m-instruct} \\" in lines


def test_latex_escapes_what_latex_reads():
    assert booktabs.tabular(["a_b"], [["5 % & {x}"]], 1).splitlines()[3:6] == [
        r"a\_b \\",
        r"\midrule",
        r"5 \% \& \{x\} \\",
    ]


def test_latex_of_any_other_table():
    rows = pd.DataFrame({"task": ["5g"], "time_h": [1.23456], "seeds": [3], "low": [math.nan]})
    assert r"5g & 1.235 & 3 & - \\" in tables.latex("figure1", rows).splitlines()
    assert r"\begin{tabular}{lrrr}" in tables.latex("figure1", rows)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(tmp_path):
    body = tables.latex("table3", made(table3))
    page = r"\documentclass{article}\usepackage{booktabs}\begin{document}" + body + r"\end{document}"
    (tmp_path / "t.tex").write_text(page)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=LIMIT_S)
