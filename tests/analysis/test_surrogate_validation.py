"""A surrogate beside the real model: agreement by hand, the figure's numbers, and the whole study, small."""

import json
import math
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from tiny_tables import assert_inside

from fedsim.errors import InputError
from fedsim.icl.models.base import BlackBox
from fedsim.results import load_results
from fedsim_analysis import agreement
from fedsim_analysis.figures import surrogate_validation as drawing
from fedsim_analysis.fitting.surrogate import Fit, HeldOut
from fedsim_analysis.studies import surrogate_validation as study


@pytest.fixture
def few_resamples(monkeypatch):
    monkeypatch.setattr(agreement, "RESAMPLES", 20)


def answers(*positive):
    """Return label probabilities of two classes, (P, 2, b), from rows of those of class 1."""
    table = torch.tensor(positive, dtype=torch.float64)
    return torch.stack([1 - table, table], dim=1)


def held(split="train", **predicted):
    """Return four prompts of two workers about two queries each; right are classes 1 and 0."""
    real = answers([0.9, 0.2], [0.8, 0.4], [0.6, 0.4], [0.4, 0.7])
    return HeldOut(
        split,
        torch.tensor([0, 0, 1, 1]),
        torch.tensor([[1, 0]] * 4),
        real,
        {"fitted": real} | predicted,
    )


REVERSED = answers([0.4, 0.7], [0.6, 0.4], [0.8, 0.4], [0.9, 0.2])
FLAT = answers(*[[0.6, 0.3]] * 4)
ROUGH = answers([0.6, 0.3], [0.6, 0.6], [0.6, 0.3], [0.6, 0.3])


def row(table, **keys):
    chosen = np.logical_and.reduce([table[key] == value for key, value in keys.items()])
    (found,) = table[chosen].to_dict("records")
    return found


def test_losses_and_margins_by_hand():
    labels = np.array([[1, 0]])
    probabilities = answers([0.5, 0.999]).numpy()
    # -log 0.5 and -log 0.01, since the right label's 0.001 is under the floor
    found = agreement.losses(probabilities, labels, 0.01)
    assert found.tolist() == pytest.approx([(math.log(2) + math.log(100)) / 2])
    assert agreement.margins(probabilities).tolist() == [pytest.approx([0, math.log(999)])]
    three = torch.tensor([[[0.2], [0.4], [0.4]]]).numpy()
    assert agreement.margins(three).tolist() == [pytest.approx([math.log(2), math.log(2)], abs=1e-6)]


def test_rank_correlations_by_hand():
    a, b = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 4.0])
    # one neighbouring pair is swapped: 1 - 6 * 2 / (4 * 15), and (5 - 1) / 6 of the pairs
    assert agreement.spearman(a, b) == pytest.approx(0.8)
    assert agreement.kendall(a, b) == pytest.approx(4 / 6)
    assert math.isnan(agreement.spearman(a, np.full(4, 0.1 + 0.2)))
    assert math.isnan(agreement.kendall(np.array([0.3, 0.1 + 0.2, 0.3, 0.3]), a))


def test_within_takes_the_groups_mean_away():
    found = agreement.within(np.array([1.0, 3.0, 10.0, 20.0]), np.array([5, 5, 2, 2]))
    assert found.tolist() == [-1, 1, -5, 5]


def test_ranks(few_resamples):
    table = agreement.ranks([held(reverse=REVERSED, flat=FLAT)], 0.01)
    assert len(table) == 3 * 3 * 2
    perfect = table[table["predictor"] == "fitted"]
    assert perfect["value"].tolist() == pytest.approx([1] * 6)
    assert perfect["low"].tolist() == pytest.approx([1] * 6)
    reverse = row(table, predictor="reverse", quantity="loss", measure="spearman")
    assert reverse["value"] == pytest.approx(-1)
    assert reverse["prompts"] == 4
    flat = row(table, predictor="flat", quantity="loss", measure="kendall")
    assert math.isnan(flat["value"])
    assert math.isnan(flat["low"])
    # the flat predictor tells queries apart, though not prompts
    assert row(table, predictor="flat", quantity="margin", measure="spearman")["value"] > 0.5


def test_within_workers_a_predictor_of_workers_alone_ranks_nothing():
    by_worker = answers([0.9, 0.2], [0.9, 0.2], [0.5, 0.5], [0.5, 0.5])
    table = agreement.ranks([held(by_worker=by_worker)], 0.01)
    assert row(table, predictor="by_worker", quantity="loss", measure="spearman")["value"] > 0.8
    found = row(table, predictor="by_worker", quantity="loss_within_workers", measure="spearman")
    assert math.isnan(found["value"])


def test_the_interval_is_that_of_a_plain_bootstrap(monkeypatch):
    monkeypatch.setattr(agreement, "RESAMPLES", 2_000)
    generator = np.random.default_rng(3)
    losses = generator.normal(size=(40, 2))
    losses[:, 1] += losses[:, 0]
    sample = agreement.Sample(losses, losses[:, None], np.zeros(40, dtype=int))
    found = agreement.bootstrapped(sample, "loss", "spearman")
    plain = []
    for _ in range(2_000):
        chosen = generator.integers(40, size=40)
        plain.append(agreement.spearman(*losses[chosen].T))
    assert found["value"] == agreement.spearman(*losses.T)
    # the ends of both are quantiles of random draws
    assert found["low"] == pytest.approx(np.quantile(plain, 0.025), abs=0.015)
    assert found["high"] == pytest.approx(np.quantile(plain, 0.975), abs=0.015)


def test_calibration_by_hand():
    found = agreement.calibration([held(flat=FLAT)])
    perfect = row(found, predictor="fitted")
    assert (perfect["brier"], perfect["ece"], perfect["agreement"]) == (0, 0, 1)
    flat = row(found, predictor="flat")
    # query 0: 0.6 against 0.9, 0.8, 0.6, 0.4; query 1: 0.3 against 0.2, 0.4, 0.4, 0.7; both labels count
    squares = [0.09, 0.04, 0, 0.04, 0.01, 0.01, 0.01, 0.16]
    assert flat["brier"] == pytest.approx(2 * sum(squares) / 8)
    # in its two bins the real means are 0.675 and 0.425
    assert flat["ece"] == pytest.approx((0.075 + 0.125) / 2)
    uneven = row(agreement.calibration([held(flat=ROUGH)]), predictor="flat")
    # five answers at 0.6 with mean 0.62, three at 0.3 with mean 1.3 / 3
    assert uneven["ece"] == pytest.approx((5 * 0.02 + 3 * (1.3 / 3 - 0.3)) / 8)
    # the same likeliest label but for query 0 and query 1 of the last prompt
    assert flat["agreement"] == pytest.approx(6 / 8)


def test_reliability_by_hand():
    found = agreement.reliability([held(flat=answers([0.61, 1.0], [0.68, 1.0], [0.1, 1.0], [0.1, 1.0]))])
    flat = found[found["predictor"] == "flat"].set_index("bin")
    assert flat["answers"].to_dict() == {1: 2, 6: 2, 9: 4}
    assert flat.loc[6, "predicted"] == pytest.approx(0.645)
    assert flat.loc[6, "real"] == pytest.approx(0.85)
    assert (flat.loc[9, "low"], flat.loc[9, "high"]) == (0.9, 1.0)


def test_prompts():
    found = agreement.prompts([held(), held("test", flat=FLAT)], 0.01)
    assert found["split"].tolist() == ["train"] * 4 + ["test"] * 4
    assert found["loss_real"].tolist() == found["loss_fitted"].tolist()
    first = -(math.log(0.9) + math.log(0.8)) / 2
    assert found["loss_real"][0] == pytest.approx(first)
    assert found["loss_flat"].isna().tolist() == [True] * 4 + [False] * 4


def test_seeds_are_merged_without_mixing_their_workers():
    parts = dict.fromkeys(study.PREDICTORS[1:], FLAT)
    (found,) = study.merged([Fit(None, (held(**parts),)), Fit(None, (held(**parts),))])
    assert found.workers.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert found.real.shape == (8, 2, 2)
    assert set(found.predicted) == set(study.PREDICTORS)


def test_curves_by_hand():
    runs = pd.DataFrame({"run_id": ["a", "b"], "seed": [4, 4], "answered": ["real", "fitted"]})
    steps = pd.DataFrame(
        {
            "run_id": ["a"] * 4 + ["b"] * 4,
            "seed": 4,
            "answered": ["real"] * 4 + ["fitted"] * 4,
            "step": [0, 5, 10, 11, 0, 5, 10, 11],
            "loss": [0.9, 0.7, 0.6, math.nan, 1.0, 0.5, 0.6, 0.1],
        }
    )
    (found,) = study.curves(runs, steps).to_dict("records")
    assert (found["start_real"], found["end_real"]) == (0.9, 0.6)
    assert (found["start_fitted"], found["end_fitted"]) == (1.0, 0.6)
    assert found["distance"] == pytest.approx((0.1 + 0.2 + 0) / 3)
    assert found["spearman"] == pytest.approx(0.5)


def tables(n_seeds=2):
    both = [held(fitted=ROUGH), held("test", fitted=REVERSED)]
    runs, steps = [], []
    for answered, drop in (("real", 0.1), ("fitted", 0.2)):
        for seed in range(n_seeds):
            name = f"{answered}-{seed}"
            runs.append({"run_id": name, "answered": answered})
            steps += [{"run_id": name, "step": s, "loss": 0.7 + 0.02 * seed - drop * s} for s in (0, 1, 2)]
            steps.append({"run_id": name, "step": 3, "loss": math.nan})
    return study.compared(both, 0.01) | {"runs": pd.DataFrame(runs), "steps": pd.DataFrame(steps)}


def needed(n_seeds=2):
    return {name: table for name, table in tables(n_seeds).items() if name in drawing.NEEDS}


def test_the_figures_table_by_hand(few_resamples):
    rows = drawing.table(**needed())
    assert list(rows.columns) == ["panel", "series", "x", "y", "low", "high", "count"]
    assert rows.groupby("panel").size().to_dict() == {
        "prompts": 8, "ranks": 2, "reliability": 8, "curves": 6
    }  # fmt: skip
    start = row(rows, panel="curves", series="real", x=0)
    # 0.70 and 0.72: deviation 0.02 / sqrt(2), standard error 0.01, t(0.975, 1) = 12.7062
    assert start["y"] == pytest.approx(0.71)
    assert start["low"] == pytest.approx(0.71 - 0.127062, abs=1e-6)
    assert start["count"] == 2
    assert row(rows, panel="curves", series="fitted", x=2)["y"] == pytest.approx(0.31)
    rank = row(rows, panel="ranks", series="test")
    assert (rank["y"], rank["low"], rank["high"], rank["count"]) == pytest.approx((-1, -1, -1, 4))
    # the fitted losses rank 2, 4, 2, 2 (less their mean), the real ones 1, 2, 3, 4: -1 / sqrt(3 * 5)
    assert row(rows, panel="ranks", series="train")["y"] == pytest.approx(-1 / math.sqrt(15))
    (low, high) = rows[(rows["panel"] == "reliability") & (rows["series"] == "train")].to_dict("records")
    assert (low["x"], low["y"], low["count"]) == pytest.approx((0.3, 1.3 / 3, 3))
    assert (high["x"], high["y"], high["count"]) == pytest.approx((0.6, 0.62, 5))
    drawn = rows[(rows["panel"] == "prompts") & (rows["series"] == "test")]
    assert drawn["x"].tolist() == pytest.approx(drawn["y"].tolist()[::-1])


@pytest.mark.parametrize("n_seeds", [1, 2])
def test_the_figure_has_three_panels(n_seeds, few_resamples):
    picture = drawing.figure(**needed(n_seeds))
    left, middle, right = picture.axes
    texts = [text.get_text() for text in left.get_legend().get_texts()]
    assert texts == [
        "training queries: $\\rho$ = -0.26 (-0.94 to 1.00)",
        "test queries: $\\rho$ = -1.00 (-1.00 to -1.00)",
    ]
    assert len(left.collections) == 2
    assert len(middle.collections) == 2
    real, fitted = right.lines
    assert real.get_ydata().tolist() == pytest.approx(
        [0.7 + 0.01 * (n_seeds - 1) - 0.1 * s for s in (0, 1, 2)]
    )
    assert to_hex(real.get_color()) == "#000000"
    assert real.get_linestyle() != fitted.get_linestyle()
    assert_inside(picture)


def test_tables_of_other_studies_are_refused(few_resamples):
    given = needed()
    given["runs"] = given["runs"].drop(columns="answered")
    with pytest.raises(InputError, match="'runs' of these results has no column 'answered'"):
        drawing.table(**given)


class Formula(BlackBox):
    """Answers by the numbers of the words and demonstrations alone.

    Source: no paper; a stand-in for tests.
    """

    kind: Literal["test_surrogate_validation:Formula"] = "test_surrogate_validation:Formula"
    reads: ClassVar[Literal["text"]] = "text"

    def attach(self, data):
        return FormulaScorer(data)


class FormulaScorer:
    questions = None

    def __init__(self, data):
        self._data = data

    def scores(self, prompts):
        x = getattr(self._data, prompts.split).x
        rows = torch.from_numpy(x if prompts.split == "test" else x[prompts.workers.numpy()])
        if prompts.queries is not None:
            rows = rows.expand(len(prompts.workers), -1).gather(1, prompts.queries)
        odds = torch.sin(rows.double())[:, None]
        if prompts.words is not None:
            odds = odds + (prompts.words.double().mean(1) - 1)[:, :, None]
        if prompts.demonstrations is not None:
            odds = odds + torch.cos(prompts.demonstrations.double()).sum(1)[:, :, None]
        odds = odds.expand(len(prompts.workers), *odds.shape[1:])
        return torch.stack([-odds / 2, odds / 2], dim=2).softmax(2)


SCENARIO = """
name = "tiny"
algorithm = { kind = "asyndbt", wait_for = 1 }
workers = [{ count = 2, compute = { kind = "constant", value_s = 1.0 } }]
llm = { kind = "independent", latency = { kind = "constant", value_s = 0.5 } }
budget = { server_steps = 4 }
evaluation = { every_steps = 2 }
[problem]
kind = "icl"
n_samples = 4
model = { kind = "test_surrogate_validation:Formula" }
[problem.task]
kind = "text"
file = "rows.jsonl"
prompt = "sst2"
words = ["good", "bad", "film"]
n_words = 2
n_candidates = 3
n_demonstrations = 2
train_per_class = 2
validation_per_class = 1
test_counts = [3, 3]
"""


@pytest.fixture
def scenario(tmp_path):
    kinds = (("train", 10), ("test", 3))
    rows = [
        {"id": f"{split}{n}-{label}", "split": split, "text_a": f"{word} film {n} {split}", "label": label}
        for split, count in kinds
        for n in range(count)
        for label, word in enumerate(("dull", "fine"))
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    file = tmp_path / "tiny.toml"
    file.write_text(SCENARIO)
    return file


SIZES = ["--prompts", "40", "--held-out", "20", "--queries", "2", "--replicates", "2"]


def test_the_study_from_end_to_end(scenario, tmp_path, capsys, few_resamples):
    pytest.importorskip("wordllama")
    out, picture = tmp_path / "results", tmp_path / "figures" / "validation.pdf"
    study.main([str(scenario), *SIZES, "--out", str(out), "--figure", str(picture)])
    said = capsys.readouterr().out
    assert str(picture) in said
    assert "seed 1: test loss" in said
    ranks = pd.read_csv(out / "ranks.csv")
    # the formula is a sum of effects of words and demonstrations: within the surrogate's reach
    fitted = row(ranks, split="train", predictor="fitted", quantity="loss_within_workers", measure="spearman")
    assert fitted["value"] > 0.9
    assert fitted["prompts"] == 40
    runs = load_results(out)
    assert sorted(runs["problem.model.kind"]) == ["fitted"] * 2 + ["test_surrogate_validation:Formula"] * 2
    curves = pd.read_csv(out / "curves.csv")
    assert curves["seed"].tolist() == [0, 1]
    for name in ("calibration", "reliability", "prompts"):
        assert len(pd.read_csv(out / f"{name}.csv"))
    assert {file.suffix for file in picture.parent.iterdir()} == {".pdf", ".png", ".csv"}


def test_a_scenario_without_texts_is_a_sentence(tmp_path, small, capsys):
    with pytest.raises(SystemExit) as stop:
        study.main([str(small), "--out", str(tmp_path)])
    assert stop.value.code == 2
    assert "the study needs a problem of kind 'icl'" in capsys.readouterr().err
