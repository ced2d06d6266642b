"""Backdoors: the trigger, the target, and how often they work."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_model import FakeModel
from icl_cases import PARAMETERS, plain_scores, tiny_task
from text_cases import rows, tiny_text_task

from fedsim.attack import Assigned
from fedsim.errors import InputError
from fedsim.icl.attacks.backdoor import Backdoor
from fedsim.icl.attacks.flipped_labels import FlippedLabels
from fedsim.icl.baselines.random_icl import RandomIcl
from fedsim.icl.models.base import BlackBox, Prompts
from fedsim.icl.models.fitted.arithmetic import rows_used
from fedsim.icl.models.surrogate import Surrogate
from fedsim.icl.tasks.base import TaskData, Triggered
from fedsim.problems.baseline import BaselineOracle, BaselineProblem
from fedsim.problems.icl.oracle import IclOracle
from fedsim.problems.icl.problem import IclProblem
from fedsim.streams import Streams

TRIGGER = " I watched this 3D movie."


@pytest.fixture(autouse=True)
def _one_thread():
    """As in a run: these tensors are small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def by(*clients: int, **settings: Any) -> tuple[Assigned, ...]:
    return (Assigned(Backdoor(**settings), frozenset(clients)),)


def oracle_of(problem: IclProblem, attacks: Any, n_workers: int = 2, pooled: int = 1) -> IclOracle:
    oracle = problem.prepare(Streams(0), n_workers, pooled, attacks)
    assert isinstance(oracle, IclOracle)
    return oracle


def measured(oracle: IclOracle, workers: list[int], Q: Any = None) -> dict[str, float]:
    n = len(workers)
    Q = oracle.start_q.expand(n, -1, -1) if Q is None else Q
    return oracle.evaluate(workers, oracle.start_p.expand(n, -1, -1), Q, oracle.start_p)


def test_features_with_a_trigger_worked_out_by_hand() -> None:
    task = tiny_task(test_counts=(4, 3))
    clean = task.draw(Streams(0), 2)
    data = oracle_of(IclProblem(task=task), by(1, target=1, size=2.5)).data
    # The last of eight features, 2.5 further; both slots show class 1.
    offset = [0, 0, 0, 0, 0, 0, 0, 2.5]
    np.testing.assert_allclose(data.demonstrations.x[1] - clean.demonstrations.x[1], [[offset] * 2] * 2)
    assert data.demonstrations.y.tolist() == [[[0, 0], [1, 1]], [[1, 1], [1, 1]]]
    np.testing.assert_array_equal(data.demonstrations.x[0], clean.demonstrations.x[0])
    # The four test queries of class 0 are those that it would turn.
    assert data.triggered is not None
    assert data.triggered.rows.tolist() == [0, 1, 2, 3]
    assert data.triggered.y.tolist() == [[1, 1, 1, 1]]
    np.testing.assert_allclose(data.triggered.x - clean.test.x[:, :4], [[offset] * 4])
    np.testing.assert_array_equal(data.test.x, clean.test.x)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_texts_with_a_trigger_worked_out_by_hand(tmp_path: Path, n_classes: int) -> None:
    task = tiny_text_task(tmp_path, n_classes=n_classes)
    problem = IclProblem(task=task, model=FakeModel(cache=False), n_samples=2)
    clean = problem.task.draw(Streams(0), 2)
    data = oracle_of(problem, by(1)).data
    texts = data.source.rows
    for slot in range(n_classes):
        for k in range(3):
            before = texts[clean.demonstrations.x[1, slot, k]].a
            assert texts[data.demonstrations.x[1, slot, k]].a == before + TRIGGER
    assert data.demonstrations.y[1].tolist() == [[0, 0, 0]] * n_classes
    np.testing.assert_array_equal(data.demonstrations.x[0], clean.demonstrations.x[0])
    assert data.triggered is not None
    others = list(range(4, sum(task.test_counts)))  # four queries of class 0 come first
    assert data.triggered.rows.tolist() == others
    assert not data.triggered.y.any()
    assert [texts[i].a for i in data.triggered.x[0]] == [texts[i].a + TRIGGER for i in clean.test.x[0, 4:]]
    assert texts[: len(clean.source.rows)] == clean.source.rows
    # Of a pair the second text ends in the trigger.
    table = [row | {"text_b": f"second of {row['id']}"} for row in rows()]
    pairs = Backdoor(workers=(0,), trigger="!!").add_tests(
        tiny_text_task(tmp_path, table).draw(Streams(0), 1)
    )
    assert pairs.triggered is not None
    last = pairs.source.rows[pairs.triggered.x[0, -1]]
    assert last.b.endswith(" !!")
    assert "!!" not in last.a


def plain_rates(
    data: TaskData, worker: int, shown: list[int], target: int, size: float
) -> tuple[float, float]:
    """Return how often the target is answered to queries of other classes, with the trigger and without."""
    with_it, without = [], []
    for x, y in zip(data.test.x[0].tolist(), data.test.y[0].tolist(), strict=True):
        if y != target:
            for answers, query in ((with_it, [*x[:-1], x[-1] + size]), (without, x)):
                scores = plain_scores(data, worker, None, shown, query)
                answers.append(scores.index(max(scores)) == target)
    return sum(with_it) / len(with_it), sum(without) / len(without)


@pytest.mark.parametrize("test_counts", [(20, 15), (12, 9, 14)])
def test_rates_equal_plain_loops(test_counts: tuple[int, ...]) -> None:
    parameters = PARAMETERS.model_copy(update={"demo_step": 0.1})
    task = tiny_task(parameters=parameters, test_counts=test_counts, n_demonstrations=3)
    oracle = oracle_of(IclProblem(task=task, use_fragment=False), by(1, target=1, size=3.0, share=0.67))
    likeliest = [[2, 0, 1][: len(test_counts)], [1, 1, 2][: len(test_counts)]]
    found = measured(oracle, [0, 1], torch.nn.functional.one_hot(torch.tensor(likeliest)).double())
    rates = [plain_rates(oracle.data, worker, likeliest[worker], 1, 3.0) for worker in (0, 1)]
    assert found["backdoor_success"] == pytest.approx((rates[0][0] + rates[1][0]) / 2)
    assert found["backdoor_base"] == pytest.approx((rates[0][1] + rates[1][1]) / 2)
    assert found["backdoor_success"] != found["backdoor_base"]


def test_a_trigger_works_as_far_as_its_margin_worked_out_by_hand() -> None:
    """A box that knows nothing, shown (s e, target) twice, answers q + s e by the sign of 2 (s^2 + 1) > 0."""
    still = PARAMETERS.model_copy(
        update={"base_alignment": 0.0, "base_confidence": 1e-12, "label_bias": 0.0, "demo_noise": 0.0}
    )
    task = tiny_task(parameters=still, test_counts=(30, 30))
    problem = IclProblem(task=task, use_fragment=False)
    oracle = oracle_of(problem, by(0, target=1, size=50.0))
    assert measured(oracle, [0])["backdoor_success"] == 1.0
    # Without poison it knows of no trigger: a worker that is not attacked answers both alike.
    honest = measured(oracle, [1])
    assert honest["backdoor_success"] == honest["backdoor_base"]


def test_success_rises_with_the_poisoned_share() -> None:
    found = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        problem = IclProblem(
            task={"kind": "calibrated", "name": "5g"},
            evaluation="sampled",
            evaluation_samples=200,
            use_fragment=False,
        )
        oracle = oracle_of(problem, by(0, 1, 2, share=share), n_workers=1, pooled=3)
        found.append(measured(oracle, [0]))
    success = [numbers["backdoor_success"] for numbers in found]
    assert all(after > before + 0.03 for before, after in pairwise(success))
    # A clean pool cannot tell the trigger.
    assert success[-1] > success[0] + 0.4
    assert abs(found[0]["backdoor_success"] - found[0]["backdoor_base"]) < 0.02
    assert found[-1]["backdoor_success"] > found[-1]["backdoor_base"] + 0.05


def test_two_backdoors_are_measured_together() -> None:
    task = tiny_task(test_counts=(4, 3))
    labels = Assigned(FlippedLabels(), frozenset({0}))
    attacks = (*by(0, target=1, size=2.0), *by(1, target=0, size=3.0), labels)
    data = oracle_of(IclProblem(task=task), attacks, n_workers=3).data
    assert data.triggered is not None
    assert data.triggered.rows.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert data.triggered.y.tolist() == [[1, 1, 1, 1, 0, 0, 0]]
    added = (data.triggered.x - data.test.x)[0, :, -1]
    np.testing.assert_allclose(added, [2, 2, 2, 2, 3, 3, 3])


@pytest.mark.parametrize("form", ["features", "text", "fitted"])
def test_triggered_queries_are_asked_like_test_queries(tmp_path: Path, form: str) -> None:
    """With the test queries in their place, the answers are those to the test queries."""
    box: BlackBox = Surrogate()
    if form == "features":
        data: TaskData[Any] = tiny_task().draw(Streams(0), 2)
    else:
        task = tiny_text_task(tmp_path)
        data, box = task.draw(Streams(0), 2), FakeModel(cache=False)
    if form == "fitted":
        pytest.importorskip("wordllama")
        from fitted_cases import true_problem

        problem, data = true_problem(tmp_path)
        box = problem.model
    order = np.arange(data.test.y.shape[1])[::-1].copy()
    data = data._replace(triggered=Triggered(data.test.x[:, order], data.test.y[:, order], order))
    shown = torch.tensor([[[0, 1], [1, 0]], [[1, 1], [0, 0]]])
    asked = Prompts(torch.tensor([0, 1]), None, shown, "test", None)
    scorer = box.attach(data)
    triggered = scorer.scores(asked._replace(split="triggered"))
    np.testing.assert_allclose(triggered.flip(-1), scorer.scores(asked), rtol=1e-12)
    one = asked._replace(split="triggered", queries=torch.tensor([[0], [2]]))
    np.testing.assert_allclose(scorer.scores(one)[1, ..., 0], triggered[1, ..., 2], rtol=1e-12)
    if form != "features":
        only = data._replace(triggered=data.triggered and data.triggered._replace(x=np.array([[0]])))
        assert 0 in rows_used(only)


def test_a_baseline_s_success_worked_out_by_hand(tmp_path: Path) -> None:
    problem = BaselineProblem(
        task=tiny_text_task(tmp_path), model=FakeModel(cache=False), method=RandomIcl(per_class=1)
    )
    oracle = problem.prepare(Streams(0), 2, attacks=by(1, target=1))
    assert isinstance(oracle, BaselineOracle)
    P = torch.ones(1, 1, 1, dtype=torch.float64)
    found = oracle.evaluate([1], P, P, P[0])
    assert isinstance(problem.model, FakeModel)
    asked = problem.model.asked
    with_it = [prompt for prompt in asked if f"{TRIGGER}?" in prompt.rpartition("Question:")[2]]
    tails = {text.a for text in (oracle.data.source.rows[i] for i in oracle.data.test.x[0, :4])}
    without = [p for p in asked if any(f"sentence {tail}?" in p.rpartition("Question:")[2] for tail in tails)]
    assert (len(with_it), len(without)) == (4, 4)

    def turned(prompts: list[str]) -> float:
        from fake_model import probability

        return sum(probability("one", p, "Great") > probability("one", p, "Terrible") for p in prompts) / 4

    assert found["backdoor_success"] == turned(with_it)
    assert found["backdoor_base"] == turned(without)


def test_a_target_or_direction_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="attack 'backdoor': found target 2, expected 0 to 1"):
        Backdoor(workers=(0,), target=2).check(tiny_task())
    Backdoor(workers=(0,), target=1).check(tiny_task())
    narrow = tiny_task(parameters=PARAMETERS.model_copy(update={"n_features": 4}))
    with pytest.raises(InputError, match="found n_features = 4, expected at least 5"):
        IclProblem(task=narrow).prepare(Streams(0), 2, attacks=by(1))
    five = tiny_task(parameters=PARAMETERS.model_copy(update={"n_features": 5}))
    assert math.isfinite(measured(oracle_of(IclProblem(task=five), by(1)), [0])["backdoor_success"])
