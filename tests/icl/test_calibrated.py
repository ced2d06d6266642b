"""The six calibrated tasks: the fitted accuracies, and the files that document them."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from icl_cases import PARAMETERS, plain_loss, plain_scores, tiny_task

import fedsim
from fedsim.icl.models.base import Prompts
from fedsim.icl.tasks.calibrated import NAMES, Calibrated
from fedsim.icl.tasks.calibrated.part import FOLDER, parameters, published
from fedsim.icl.tasks.gaussian import SurrogateParameters, class_means
from fedsim.problems.icl.oracle import IclOracle
from fedsim.problems.icl.problem import IclProblem
from fedsim.streams import Streams
from fedsim_analysis.fitting import calibrated as fit
from fedsim_analysis.fitting import targets
from fedsim_analysis.fitting.training import train
from fedsim_analysis.studies import word_values

DRAWS = 10
READ = {
    "bdpl": ("n_words", "n_candidates", "train_per_class"),
    "demonstrations_only": ("n_demonstrations", "train_per_class"),
}
ABLATIONS = Path(fedsim.__file__).parents[1] / "scenarios" / "ablations"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads cost more than they bring at these sizes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def residuals() -> dict[tuple[str, str], dict[str, str]]:
    with (FOLDER / "residuals.csv").open(newline="") as file:
        return {(row["name"], row["target"]): row for row in csv.DictReader(file)}


def test_published_numbers_are_those_of_tables_3_and_4() -> None:
    columns = [[published()[name][target] for name in NAMES] for target in fit.TARGETS]
    assert columns == [
        [58, 83, 93.5, 77, 81, 84],
        [69.7, 71, 72.8, 78.5, 82.3, 87.8],
        [84, 86.5, 94.5, 80.5, 82, 88],
        [67.2, 86.7, 94.3, 80.4, 83.2, 85.8],
    ]
    # "Manual" of Table 3 and "plain" of Table 4 are the same prompt.
    assert all(row["manual"] == row["plain"] for row in published().values())


@pytest.mark.parametrize("name", NAMES)
def test_residuals_are_about_the_committed_parameters(name: str) -> None:
    for target in fit.TARGETS:
        row = residuals()[name, target]
        assert row["parameters"] == fit.digest(parameters()[name])
        assert float(row["published"]) == published()[name][target]
        difference = float(row["closed_form"]) - float(row["published"])
        assert float(row["difference"]) == pytest.approx(difference, abs=0.0101)
        assert abs(float(row["difference"])) <= 1


@pytest.fixture(scope="module", params=NAMES)
def of_words(request: pytest.FixtureRequest) -> pd.DataFrame:
    """What words are worth on a task, for machines that neither the fit nor its check has seen."""
    return word_values.measure(request.param, DRAWS, seed=7)


def test_fitted_accuracies_are_found_again(of_words: pd.DataFrame) -> None:
    """On a few draws of training data that neither the fit nor its check has seen."""
    name = str(of_words["task"].iloc[0])
    task = fit.as_task(name, parameters()[name])
    draws = dict.fromkeys(fit.DRAWS, DRAWS)
    found = {target: fit.measured(task, target, 7, draws) for target in fit.TARGETS if target != "bdpl"}
    found["bdpl"] = targets.estimate(of_words["learned"].to_numpy())
    for target, accuracy in found.items():
        row = residuals()[name, target]
        error = np.hypot(accuracy.standard_error, float(row["standard_error"]))
        # The two decimals of the file add up to 0.005.
        assert abs(accuracy.mean - float(row["closed_form"])) < 4 * error + 0.005, target


def test_words_are_worth_what_the_paper_gains_by_them(of_words: pd.DataFrame) -> None:
    paper = published()[str(of_words["task"].iloc[0])]
    found = word_values.summary(of_words).iloc[0]
    assert found["paper_gain"] == paper["bdpl"] - paper["plain"]
    half_width = found["learned_gain_high"] - found["learned_gain"]
    # The fit itself is exact to about half a point.
    assert abs(found["learned_gain"] - found["paper_gain"]) < half_width + 0.5
    assert found["learned_less_random_low"] > 0
    assert found["learned_gain_low"] > 0 or found["paper_gain"] < 1
    assert abs(found["random_gain"]) < found["paper_gain"] / 2
    assert found["least_likely_gain_high"] < 0
    assert found["rank_correlation_low"] > 0.2


def test_a_calibrated_task_is_the_synthetic_one_with_its_parameters() -> None:
    calibrated = Calibrated(name="qqp").draw(Streams(1), 1)
    synthetic = fit.as_task("qqp", parameters()["qqp"]).draw(Streams(1), 1)
    assert calibrated.source.parameters == synthetic.source.parameters
    np.testing.assert_array_equal(calibrated.source.words, synthetic.source.words)
    np.testing.assert_array_equal(calibrated.test.y, synthetic.test.y)


def test_expected_accuracy_by_hand() -> None:
    # Means +-sqrt(2) (1, -1): the best classifier has margins +-4 at unit scale 2, so Phi(2) = 97.725 %.
    # A bias of a quarter of the distance: Phi(3) = 99.865 % and Phi(1) = 84.134 %; with counts 1 : 3,
    # (99.865 + 3 * 84.134) / 4 = 88.067 %.
    pars = SurrogateParameters(base_alignment=1, demo_step=0, label_bias=0, word_gain=0)
    means = class_means(pars, 2)
    classifiers = np.zeros((2, 2, 9))
    classifiers[:, :, :-1] = means / 2
    classifiers[1, 0, -1] = 2
    accuracies = targets.expected_accuracy(classifiers, pars, (1, 3))
    np.testing.assert_allclose(accuracies, [97.725, 88.067], atol=1e-3)


def test_expected_accuracy_is_the_mean_over_test_sets() -> None:
    task = tiny_task(test_counts=(30_000, 10_000))
    data = task.draw(Streams(0), 1)
    classifier = data.source.base + np.random.default_rng(0).normal(0, 0.3, data.source.base.shape)
    x = np.append(data.test.x[0], np.ones((40_000, 1)), axis=-1)
    right = (x @ classifier.T).argmax(-1) == data.test.y[0]
    expected = targets.expected_accuracy(classifier, PARAMETERS, task.class_counts)
    assert abs(100 * right.mean() - expected) < 4 * 100 * right.std() / 200


def test_alignment_gives_the_plain_accuracy_back() -> None:
    alignment = targets.base_alignment(81, PARAMETERS.separation)
    aligned = PARAMETERS.model_copy(update={"base_alignment": alignment})
    assert targets.plain(aligned) == pytest.approx(81)
    base = tiny_task(parameters=aligned).draw(Streams(0), 1).source.base
    assert targets.expected_accuracy(base, aligned, (1, 7)) == pytest.approx(81)


def test_the_best_pair_is_found_among_all() -> None:
    task = tiny_task(n_demonstrations=3, train_per_class=4)
    oracle = IclOracle(IclProblem(task=task, use_fragment=False), Streams(3), 2, 1)
    best, everything = [], []
    for worker in range(2):
        losses, right = {}, {}
        for pair in itertools.product(range(3), range(3)):
            losses[pair] = plain_loss(oracle.data, worker, None, list(pair))
            shown = Prompts(torch.tensor([worker]), None, torch.tensor(pair)[None, :, None], "test", None)
            right[pair] = targets.accuracies(oracle, shown).item()
        everything += right.values()
        best.append(right[min(losses, key=lambda pair: losses[pair])])
    random_found, best_found = targets.pairs(task, 2, seed=3, pooled=1)
    assert random_found.mean == pytest.approx(np.mean(everything))
    assert best_found.mean == pytest.approx(np.mean(best))


def test_the_nearest_demonstrations_of_each_query_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "MANY", 1)
    task = tiny_task(n_demonstrations=4)
    data = IclOracle(IclProblem(task=task, use_fragment=False), Streams(5), 3, 1).data
    right = []
    for worker in range(3):
        for x, y in zip(data.test.x[0].tolist(), data.test.y[0].tolist(), strict=True):
            shown = [
                min(range(4), key=lambda k: math.dist(x, data.demonstrations.x[worker, u, k]))
                for u in range(2)
            ]
            scores = plain_scores(data, worker, None, shown, x)
            right.append(scores.index(max(scores)) == y)
    assert targets.nearest(task, 3, seed=5, pooled=1).mean == pytest.approx(100 * np.mean(right))


@pytest.mark.parametrize("variant", list(fit.ROWS))
def test_a_row_is_trained_as_the_runs_of_the_ablations_are(variant: str) -> None:
    """The same numbers: same draws, same updates, the same modal prompt at the end."""
    small = {"n_words": 3, "n_candidates": 5, "n_demonstrations": 6, "train_per_class": 2}
    sizes = [f"problem.task.{key}={value}" for key, value in small.items() if key in READ[variant]]
    scenario = fedsim.load_scenario(
        ABLATIONS / "mrpc.toml", variant, [*sizes, "budget.epochs=7", "seed=3", "evaluation.every_steps=7"]
    )
    task = fit.as_task("mrpc", parameters()["mrpc"]).model_copy(update=small)
    oracle, P, Q = targets.trained(task, fit.ROWS[variant], 1, seed=3, updates=7)
    ours = oracle.evaluate([0], P, Q, oracle.start_p)
    run = fedsim.run(scenario).steps.iloc[-1]
    for column in ("loss", "p_max" if variant == "bdpl" else "q_max"):
        assert ours[column] == pytest.approx(run[column], rel=1e-12)


class Slope:
    """An oracle whose gradients are constant: p by (3, 0, 0), q by (0, -1)."""

    problem = SimpleNamespace(tunes_p=True, tunes_q=True)
    start_p = torch.full((1, 3), 1 / 3, dtype=torch.float64)
    start_q = torch.full((1, 2), 1 / 2, dtype=torch.float64)

    def upper(self, workers: list[int], jobs: list[int], P: Any, Q: Any, starts_s: Any = ()) -> Any:
        p, q = torch.tensor([[[3.0, 0, 0]]]), torch.tensor([[[0.0, -1]]])
        return p.expand_as(P).double(), q.expand_as(Q).double()


def test_recipe_by_hand() -> None:
    # Adam's first steps with a constant gradient have the size of the learning rate whatever its scale; the
    # projection spreads what a row lost or won evenly.
    P, Q = train(Slope(), [0], learning_rate=0.03, updates=2)
    np.testing.assert_allclose(P, [[[1 / 3 - 0.04, 1 / 3 + 0.02, 1 / 3 + 0.02]]], atol=1e-7)
    np.testing.assert_allclose(Q, [[[0.5 - 0.03, 0.5 + 0.03]]], atol=1e-7)


def test_a_gain_of_words_is_found_where_the_accuracy_is_the_papers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The few machines of the search have half a point more by chance than many have."""

    def measured(task: Any, target: str, seed: int, draws: dict[str, int]) -> targets.MeanOfDraws:
        luck = 0.5 if draws[target] < fit.MORE_DRAWS else 0
        return targets.MeanOfDraws(58 + 460 * task.parameters.word_gain + luck, 0)

    monkeypatch.setattr(fit, "measured", measured)
    found = fit.fit_word_gain("5g", PARAMETERS)
    assert found == pytest.approx((67.2 - 58 - 0.5) / 460)
    assert fit.corrected_word_gain("5g", PARAMETERS, found) == pytest.approx((67.2 - 58) / 460)


def test_demonstrations_are_fitted_to_what_training_reaches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the best pair has half a point more than training finds, it has to reach that much more."""

    def pairs(task: Any, *others: Any) -> tuple[targets.MeanOfDraws, targets.MeanOfDraws]:
        step, bias = np.log(task.parameters.demo_step), task.parameters.label_bias
        return targets.MeanOfDraws(90 - 10 * bias, 0), targets.MeanOfDraws(94 + 4 * step + bias, 0)

    def measured(task: Any, *others: Any) -> targets.MeanOfDraws:
        return targets.MeanOfDraws(pairs(task)[1].mean - 0.5, 0)

    monkeypatch.setattr(targets, "pairs", pairs)
    monkeypatch.setattr(fit, "measured", measured)
    found = fit.fit_demonstrations("5g", PARAMETERS)
    # 90 - 10 bias = 69.7, and 94 + 4 log(step) + bias - 0.5 = 84.
    assert found.label_bias == pytest.approx(2.03, abs=1e-3)
    assert np.log(found.demo_step) == pytest.approx((84 - 93.5 - 2.03) / 4, abs=1e-3)
