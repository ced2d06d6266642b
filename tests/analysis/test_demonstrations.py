"""Changes of demonstrations: by hand, the table beside published figures, and the whole study, small."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from fake_model import FakeModel, probability
from scipy.stats import norm
from text_cases import tiny_text_task
from tiny_tables import assert_inside

from fedsim.icl.models.surrogate import Surrogate
from fedsim.icl.tasks.base import Text
from fedsim.icl.tasks.calibrated.part import NAMES, parameters, published
from fedsim.icl.tasks.gaussian import class_means
from fedsim.streams import Streams
from fedsim_analysis import demonstration_changes, simulated_changes
from fedsim_analysis.demonstration_changes import CHANGES, TRIGGER, Amounts, Measuring, PromptKind
from fedsim_analysis.figures import demonstrations as drawing
from fedsim_analysis.fitting.calibrated import as_task
from fedsim_analysis.studies import demonstrations as study
from fedsim_analysis.tables import demonstrations as side_by_side

AMOUNTS = Amounts(draws=2, queries_per_class=1, ranked_per_class=2, held_per_class=4)
FEW = (
    PromptKind("none", 0),
    PromptKind("right", 1),
    PromptKind("right", 2),
    PromptKind("backdoor", 1),
    PromptKind("other_words", 1),
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDSIM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def measuring(tmp_path, request):
    task = tiny_text_task(tmp_path, n_classes=getattr(request, "param", 2))
    return Measuring(task, FakeModel(cache=False), 3, AMOUNTS)


def test_changes_by_hand():
    shown = [(Text("dull"), 0), (Text("fine"), 1)]
    triggered = [Text(f"{word} {TRIGGER}") for word in ("dull", "fine")]
    generator = np.random.default_rng(0)
    found = {name: change(shown, generator, 2) for name, change in CHANGES.items()}
    assert found["right"] == found["other_words"] == shown
    assert found["flipped_labels"] == [(Text("dull"), 1), (Text("fine"), 0)]
    assert found["backdoor"] == [(triggered[0], 1), (triggered[1], 1)]
    assert found["backdoor_right_labels"] == [shown[0], (triggered[1], 1)]
    assert [label for _, label in found["off_topic"]] == [0, 1]
    assert {text for text, _ in found["off_topic"]}.isdisjoint({Text("dull"), Text("fine")})
    drawn = [CHANGES["random_labels"](shown, generator, 2) for _ in range(40)]
    assert {tuple(label for _, label in one) for one in drawn} == {(0, 0), (0, 1), (1, 0), (1, 1)}


@pytest.mark.parametrize("measuring", [2, 4], indirect=True)
def test_what_is_measured_equals_plain_loops(measuring):
    rows = measuring.answers(FEW).to_dict("records")
    measuring.asking.close()
    model = measuring._model
    by_kind = {(row["change"], row["per_class"], row["draw"]): row for row in rows}
    assert len(by_kind) == len(rows) == 2 * (len(FEW) + 2)
    template = measuring._data.source.template
    alone = [prompt for prompt in model.asked if prompt.count("Question:") == 1]
    texts = {row.a: row for row in measuring._data.source.rows}
    named = {text: next(row for row in texts if f" {row}?" in text) for text in alone}
    y = dict(zip(measuring._data.test.x[0].tolist(), measuring._data.test.y[0].tolist(), strict=True))
    number = {row.a: i for i, row in enumerate(measuring._data.source.rows)}
    for draw in range(2):
        generator = measuring._streams.generator(demonstration_changes.Stream.PROMPTS, 0, draw)
        queries = measuring._queries(generator)
        margins = []
        for query, label in queries:
            asked = template.tail(query, "")
            assert named[asked] == query.a
            assert y[number[query.a]] == label
            scores = [probability("one", asked, name) for name in template.labels]
            right = scores.pop(label)
            margins.append(math.log(right / max(scores)))
        row = by_kind["none", 0, draw]
        assert row["margin"] == pytest.approx(sum(margins) / len(margins))
        assert row["accuracy"] == pytest.approx(sum(margin > 0 for margin in margins) / len(margins))
        assert row["classes"] == len(template.labels)


def test_more_demonstrations_hold_those_of_fewer(measuring):
    measuring.answers(FEW)
    measuring.asking.close()
    heads = [prompt.rpartition("\n")[0] for prompt in measuring._model.asked]
    lines = {n: [set(head.split("\n")) for head in heads if head.count("\n") == n - 1] for n in (2, 4)}
    assert lines[4]
    assert all(any(few < more for few in lines[2]) for more in lines[4])


def test_off_topic_texts_say_nothing_about_a_class():
    task = as_task("5g", parameters()["5g"])
    clean = task.draw(Streams(0), 3)
    means = class_means(task.parameters, 2)
    off = simulated_changes.changed(clean, "off_topic", Surrogate()).demonstrations
    np.testing.assert_allclose(off.x + means[:, None], clean.demonstrations.x)
    right = simulated_changes.changed(clean, "backdoor_right_labels", Surrogate()).demonstrations
    np.testing.assert_allclose(right.x[:, 0], clean.demonstrations.x[:, 0])
    assert (right.x[:, 1] != clean.demonstrations.x[:, 1]).any(axis=(0, 1)).tolist() == [False] * 7 + [True]


def test_a_backdoor_leads_queries_by_hand():
    """A classifier of class 0 queries: half a unit for the target, one for a trigger of two."""
    latent = as_task("5g", parameters()["5g"]).draw(Streams(0), 1).source
    classifier = np.zeros((2, 9))
    classifier[1, [0, 7, 8]] = 1.0, 0.5, 0.3
    first = class_means(latent.parameters, 2)[0, 0]
    found = [simulated_changes._led(classifier, latent, size) for size in (0.0, 2.0)]
    length = math.hypot(1, 0.5)
    np.testing.assert_allclose(found, 100 * norm.cdf([(first + 0.3) / length, (first + 1.3) / length]))


def test_simulated_answers_are_those_of_the_calibration(monkeypatch):
    monkeypatch.setattr(simulated_changes, "HELD_PER_CLASS", 50)
    found = simulated_changes.answers((PromptKind("none", 0), PromptKind("right", 1)))
    assert len(found) == len(NAMES) * 3 * 2
    for row in found.to_dict("records"):
        if row["change"] == "none":
            assert row["accuracy"] == pytest.approx(published()[row["task"]]["plain"], abs=0.1)
        else:  # one demonstration of each class with right labels is Random ICL, whoever reads
            assert row["accuracy"] == pytest.approx(published()[row["task"]]["random_icl"], abs=2.5)


def test_the_table_by_hand():
    kinds = [("right", 1, "shuffled"), ("flipped_labels", 1, "shuffled"), ("backdoor", 4, "shuffled")]
    kinds += [("right", 4, "shuffled"), ("right", 4, "by_class"), ("flipped_labels", 4, "by_class")]
    of_draws = {"right": (0.75, 0.85), "flipped_labels": (0.65, 0.85), "backdoor": (0.9, 0.8)}
    measured = pd.DataFrame(
        [
            {"change": kind, "per_class": s, "order": order, "draw": draw, "accuracy": of_draws[kind][draw]}
            | ({"base": 0.5} if kind == "backdoor" else {})
            for kind, s, order in kinds
            for draw in (0, 1)
        ]
    )
    simulated = pd.DataFrame(
        [
            {"task": task, "reader": reader, "change": kind, "per_class": 1, "order": "shuffled"}
            | {"accuracy": 70.0 + number - (10 * number + 4 if kind != "right" else 0)}
            for number, task in enumerate(("5g", "cola"))
            for reader in ("small", "large")
            for kind in ("right", "flipped_labels")
        ]
    )
    rows = side_by_side.table(measured, simulated)
    by_kind = {(row["change"], row["per_class"], row["order"]): row for row in rows.to_dict("records")}
    flipped = by_kind["flipped_labels", 1, "shuffled"]
    # Two draws with -10 and 0 points: deviation 10 / sqrt(2), standard error 5, t(0.975, 1) = 12.7062.
    assert flipped["measured"] == pytest.approx(-5)
    assert flipped["measured_low"] == pytest.approx(-5 - 5 * 12.7062, abs=1e-3)
    assert (flipped["small"], flipped["small_low"], flipped["small_high"]) == pytest.approx((-9, -14, -4))
    assert math.isnan(flipped["very_large"])
    assert by_kind["backdoor", 4, "shuffled"]["measured"] == pytest.approx(35)
    assert by_kind["right", 4, "by_class"]["measured"] == pytest.approx(0)
    assert by_kind["flipped_labels", 4, "by_class"]["measured"] == pytest.approx(-5)
    assert ("right", 1, "shuffled") not in by_kind


def test_published_figures_in_words():
    assert side_by_side._said("random_labels", 8, "shuffled").startswith(
        "0 to -5 (12 models of 774M to 175B); -2.6"
    )
    assert side_by_side._said("flipped_labels", 8, "shuffled").startswith("-10 (GPT-J, classification)")
    assert "-3 to -16 beyond random labels" in side_by_side._said("off_topic", 8, "shuffled")
    assert side_by_side._said("adversarial", 1, "shuffled") == ""
    for row in side_by_side.published():
        assert row["known"] in ("read", "recalled")
        assert all(row[name] for name in ("change", "source", "place", "model", "quantity"))
        assert not row["low"] or float(row["low"]) <= float(row["high"] or row["low"])


SCENARIO = """
name = "tiny"
algorithm = { kind = "sdbt" }
workers = [{ count = 1, compute = { kind = "constant", value_s = 1.0 } }]
llm = { kind = "independent", latency = { kind = "constant", value_s = 0.5 } }
budget = { server_steps = 4 }
[problem]
kind = "icl"
[problem.task]
kind = "text"
file = "rows.jsonl"
prompt = "sst2"
words = ["good", "bad", "film"]
n_words = 2
n_candidates = 3
test_counts = [4, 4]
"""


@pytest.fixture
def scenario(tmp_path):
    counts = {"train": 80, "test": 4}
    rows = [
        {"id": f"{split}{n}-{label}", "split": split, "text_a": f"{word} film {n} {split}", "label": label}
        for split, count in counts.items()
        for n in range(count)
        for label, word in enumerate(("dull", "fine"))
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    file = tmp_path / "tiny.toml"
    file.write_text(SCENARIO + '[problem.model]\nkind = "fake_model:FakeModel"\ncache = false\n')
    return file


def test_the_study_from_end_to_end(scenario, tmp_path, capsys, monkeypatch):
    few = simulated_changes.answers
    monkeypatch.setattr(
        simulated_changes, "answers", lambda: few((PromptKind("right", 1), PromptKind("random_labels", 1)))
    )
    monkeypatch.setattr(simulated_changes, "NAMES", ("5g",))
    out, picture = str(tmp_path / "out"), tmp_path / "figures" / "demonstrations.pdf"
    size = ["--draws", "2", "--queries", "1"]
    study.main([str(scenario), *size, "--out", out, "--figure", str(picture)])
    assert all(picture.with_suffix(suffix).exists() for suffix in (".pdf", ".png", ".csv"))
    said = capsys.readouterr().out
    assert "random_labels" in said
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        "measured.csv",
        "simulated.csv",
        "table.csv",
    }
    rows = pd.read_csv(tmp_path / "out" / "table.csv")
    assert len(rows[rows["change"] == "random_labels"]) == 5
    assert rows["large"].notna().sum() == 1


def test_a_scenario_without_texts_is_refused(scenario, capsys):
    scenario.write_text(
        SCENARIO.partition("[problem.task]")[0] + '[problem.task]\nkind = "calibrated"\nname = "sst2"\n'
    )
    with pytest.raises(SystemExit) as stopped:
        study.main([str(scenario)])
    assert stopped.value.code == 2
    assert "with a task of texts" in capsys.readouterr().err


def test_the_figure_shows_what_was_measured_and_simulated():
    kinds = [("none", 0), ("right", 1), ("flipped_labels", 1), ("random_labels", 1)]
    measured = pd.DataFrame(
        [
            {
                "change": change,
                "per_class": s,
                "order": "shuffled",
                "draw": draw,
                "accuracy": 0.8 + 0.02 * draw,
                "classes": 4,
            }
            for change, s in kinds
            for draw in (0, 1)
        ]
    )
    simulated = pd.DataFrame(
        [
            {"task": task, "reader": reader, "change": change, "per_class": s, "order": "shuffled"}
            | {"accuracy": 70.0 + number}
            for number, task in enumerate(NAMES)
            for reader in ("small", "large", "very_large")
            for change, s in kinds
        ]
    )
    rows = drawing.table(measured, simulated)
    assert len(rows) == 4 * len(kinds)
    first = rows[(rows["panel"] == "measured") & (rows["change"] == "right")].iloc[0]
    # 80 and 82 %: standard error 1, t(0.975, 1) = 12.7062.
    assert (first["percent"], first["low"]) == pytest.approx((81, 81 - 12.7062), abs=1e-4)
    reader = rows[(rows["panel"] == "small") & (rows["change"] == "right")].iloc[0]
    assert (reader["percent"], reader["low"], reader["high"]) == (72.5, 70, 75)
    picture = drawing.figure(measured, simulated)
    assert picture.axes[0].get_title() == "real model"
    chance = [axes.get_lines()[0].get_ydata()[0] for axes in picture.axes[:4]]
    assert chance == [25, 50, 50, 50]
    assert_inside(picture)
