"""Shared pools: what is offered, where it stands, and the mass that q puts on poisoned candidates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_model import FakeModel
from icl_cases import tiny_task
from pydantic import ValidationError
from text_cases import tiny_text_task

from fedsim.attack import Assigned
from fedsim.icl.attacks.flipped_labels import FlippedLabels
from fedsim.icl.pools import Pool
from fedsim.icl.tasks.base import Demonstrations, Queries, TaskData
from fedsim.problems.icl.problem import IclProblem
from fedsim.scenario import Scenario
from fedsim.simulation import Run, run
from fedsim.streams import Streams


@pytest.fixture(autouse=True)
def _one_thread():
    """As in a run: these tensors are small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def numbered(n_workers: int, n_classes: int, n_candidates: int, poisoned: Any = None) -> TaskData[None]:
    """Return pools of texts in which candidate k of class u at worker w is text number 100 w + 10 u + k."""
    w, u, k = np.ogrid[:n_workers, :n_classes, :n_candidates]
    queries = Queries(np.zeros((n_workers, 1), dtype=int), np.zeros((n_workers, 1), dtype=int))
    pools = Demonstrations(
        100 * w + 10 * u + k, np.broadcast_to(u, (n_workers, n_classes, n_candidates)).copy()
    )
    return TaskData(queries, queries, queries, pools, None, poisoned)


def test_pools_worked_out_by_hand() -> None:
    data = Pool(sharing="shared", offered_per_class=1).joined(numbered(3, 2, 2))
    assert data.demonstrations.x.tolist() == [
        [[0, 1, 100, 200], [10, 11, 110, 210]],
        [[100, 101, 0, 200], [110, 111, 10, 210]],
        [[200, 201, 0, 100], [210, 211, 10, 110]],
    ]
    assert data.demonstrations.y.tolist() == [[[0] * 4, [1] * 4]] * 3
    assert data.demonstrations.bias is None
    assert data.poisoned is None


def test_poisoned_candidates_are_offered_first() -> None:
    poisoned = np.zeros((2, 1, 4), dtype=bool)
    poisoned[1, 0, [1, 3]] = True
    data = Pool(sharing="shared", offered_per_class=3).joined(numbered(2, 1, 4, poisoned))
    # Worker 1 offers 1 and 3, then the first of the others; worker 0 its first three.
    assert data.demonstrations.x.tolist() == [[[0, 1, 2, 3, 101, 103, 100]], [[100, 101, 102, 103, 0, 1, 2]]]
    assert data.poisoned is not None
    assert data.poisoned.astype(int).tolist() == [[[0, 0, 0, 0, 1, 1, 0]], [[0, 1, 0, 1, 0, 0, 0]]]


def plain_pool(data: TaskData[Any], worker: int, slot: int, k: int) -> list[tuple[int, int]]:
    """Return who holds each candidate of a shared pool, and its number there."""
    found = [(worker, number) for number in range(data.demonstrations.y.shape[2])]
    for other in range(len(data.demonstrations.y)):
        if other != worker:
            mask = data.poisoned[other, slot].tolist()
            first = [i for i, bad in enumerate(mask) if bad] + [i for i, bad in enumerate(mask) if not bad]
            found += [(other, number) for number in first[:k]]
    return found


@pytest.mark.parametrize(("k", "n_classes"), [(1, 2), (3, 4), (5, 3)])
def test_pools_equal_plain_loops(k: int, n_classes: int) -> None:
    data = tiny_task(n_demonstrations=5, test_counts=(2,) * n_classes).draw(Streams(0), 4)
    data = FlippedLabels(share=0.4).apply(data, {1, 3}, Streams(0))
    joined = Pool(sharing="shared", offered_per_class=k).joined(data)
    assert joined.demonstrations.y.shape == (4, n_classes, 5 + 3 * k)
    tables = (*data.demonstrations, data.poisoned)
    for mine, theirs in zip((*joined.demonstrations, joined.poisoned), tables, strict=True):
        for worker in range(4):
            for slot in range(n_classes):
                expected = [theirs[w, slot, i] for w, i in plain_pool(data, worker, slot, k)]
                np.testing.assert_array_equal(mine[worker, slot], expected)


def test_private_and_merged_pools_stay_as_they_are() -> None:
    for pool, n in ((Pool(), 3), (Pool(sharing="shared"), 1)):
        data = numbered(n, 2, 6)
        assert pool.joined(data) is data
    merged = [
        IclProblem(task=tiny_task(), pool=Pool(sharing=sharing, offered_per_class=2)).prepare(
            Streams(0), 1, 3
        )
        for sharing in ("private", "shared")
    ]
    assert torch.equal(merged[0].start_q, merged[1].start_q)


def test_the_starting_q_is_uniform_over_all_candidates() -> None:
    # No words: at the start each worker has drawn its own.
    shared = IclProblem(
        task=tiny_task(), use_fragment=False, pool=Pool(sharing="shared", offered_per_class=2)
    )
    oracle = shared.prepare(Streams(0), 4)
    assert oracle.start_q.shape == (2, 2 + 3 * 2)
    np.testing.assert_allclose(oracle.start_q, 1 / 8)

    # The black box looks them up like own ones: candidate 2 of worker 1 is candidate 0 of worker 0.
    def loss(worker: int, shown: int) -> float:
        Q = torch.zeros(1, 2, 8, dtype=torch.float64)
        Q[:, :, shown] = 1
        return oracle.evaluate([worker], oracle.start_p[None], Q, oracle.start_p)["loss"]

    assert loss(0, 0) == pytest.approx(loss(1, 2), rel=1e-12)
    assert loss(0, 0) != pytest.approx(loss(1, 3), rel=1e-3)
    assert shared.cost() == IclProblem(task=tiny_task(), use_fragment=False).cost()


def test_bad_settings_of_a_pool() -> None:
    with pytest.raises(
        ValidationError, match=r"offered_per_class: found 3, expected at most 2, the demonstr"
    ):
        IclProblem(task=tiny_task(), pool=Pool(sharing="shared", offered_per_class=3))
    IclProblem(task=tiny_task(), pool=Pool(offered_per_class=3))
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        Pool(sharing="shared", offered_per_class=0)


def test_mass_worked_out_by_hand() -> None:
    """Worker 1 of two offers one flipped candidate per class: the third and last column of worker 0."""
    problem = IclProblem(task=tiny_task(), pool=Pool(sharing="shared", offered_per_class=1))
    oracle = problem.prepare(Streams(0), 2, attacks=(Assigned(FlippedLabels(), frozenset({1})),))
    Q = torch.tensor([[[0.5, 0.3, 0.2], [0.3, 0.1, 0.6]]], dtype=torch.float64)
    found = oracle.evaluate([0], oracle.start_p[None], Q, oracle.start_p)
    assert found["poison_mass"] == pytest.approx((0.2 + 0.6) / 2)
    assert found["poison_share"] == pytest.approx(1 / 3)
    uniform = oracle.evaluate([0], oracle.start_p[None], oracle.start_q[None], oracle.start_p)
    assert uniform["poison_mass"] == pytest.approx(uniform["poison_share"])
    # Worker 1 holds two flipped ones per class and is offered a clean one.
    both = oracle.evaluate([0, 1], oracle.start_p.expand(2, -1, -1), Q.expand(2, -1, -1), oracle.start_p)
    assert both["poison_mass"] == pytest.approx((0.4 + (0.8 + 0.4) / 2) / 2)
    assert both["poison_share"] == pytest.approx((1 / 3 + 2 / 3) / 2)


def test_mass_is_told_where_others_may_show_the_poison() -> None:
    attacks = (Assigned(FlippedLabels(share=0.5), frozenset({1})),)

    def told(n_workers: int, pooled: int, attacks: Any = attacks, **settings: Any) -> set[str]:
        oracle = IclProblem(task=tiny_task(), **settings).prepare(Streams(0), n_workers, pooled, attacks)
        start = oracle.start_p[None], oracle.start_q[None]
        return {name for name in oracle.evaluate([0], *start, oracle.start_p) if name.startswith("poison")}

    shared = Pool(sharing="shared", offered_per_class=1)
    everything = {"poison_mass", "poison_share"}
    assert told(2, 1, pool=shared) == told(1, 2) == everything
    assert told(2, 1) == set()
    assert told(2, 1, (), pool=shared) == told(1, 2, ()) == set()
    assert told(2, 1, pool=shared, use_demonstrations=False) == set()


def learned(seed: int, **settings: Any) -> Run:
    table: dict[str, Any] = {
        "name": "shared-pools",
        "seed": seed,
        "algorithm": {"kind": "asyndbt", "wait_for": 2, "tau": 10},
        "problem": {
            "kind": "icl",
            "task": {"kind": "calibrated", "name": "sst2"},
            "use_fragment": False,
            "model": {"kind": "surrogate", "demonstrations": {"reader": "very_large"}},
            "pool": {"sharing": "shared", "offered_per_class": 10},
        },
        "workers": [{"count": 4}],
        "llm": {"kind": "independent", "latency": {"kind": "constant", "value_s": 0.1}},
        "budget": {"epochs": 150},
        "evaluation": {"every_steps": 50},
        "attacks": [{"kind": "flipped_labels", "workers": [3]}],
    }
    return run(Scenario.model_validate(table | settings))


def test_the_honest_learn_to_avoid_poison() -> None:
    """Ten of the eighty candidates of a class are flipped, and q finds out which."""
    for seed in (0, 1):
        found = learned(seed).steps.dropna(subset=["loss"])
        assert found.poison_share.unique().tolist() == pytest.approx([10 / 80])
        assert found.poison_mass.iloc[0] == pytest.approx(10 / 80)
        assert found.poison_mass.iloc[-1] < 0.2 * 10 / 80
        assert found.accuracy.iloc[-1] > 0.88


def test_texts_are_shared_too(tmp_path: Path) -> None:
    model = FakeModel(cache=False)
    pool = Pool(sharing="shared", offered_per_class=2)
    problem = IclProblem(task=tiny_text_task(tmp_path), model=model, n_samples=6, pool=pool)
    clean = problem.task.draw(Streams(0), 3).demonstrations.x
    found = learned(0, problem=problem, workers=[{"count": 3}], budget={"epochs": 2}, attacks=[])
    assert found.summary["ended"] == "budget"
    rows = problem.task.draw(Streams(0), 3).source.rows
    # Nobody else asks with the queries of worker 0, whose prompts show candidates of worker 2.
    own_queries = {rows[i].a for i in problem.task.draw(Streams(0), 3).train.x[0]}
    mine = [
        p for p in model.asked if any(f"sentence {a}?" in p.rpartition("Question:")[2] for a in own_queries)
    ]
    offered = [rows[i].a for i in clean[2, :, :2].ravel()]
    kept = [rows[i].a for i in clean[2, :, 2]]
    assert any(text in prompt for text in offered for prompt in mine)
    assert not any(f"sentence {text}?" in prompt for text in kept for prompt in mine)
