"""What the server holds of each worker: copied and weighed together, it is what copying one by one gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from learning_cases import Drive, GivenBench, ToyOracle, toy_settings

from fedsim.algorithms.dbt.tuner import Tuner
from fedsim.learning.batching import Job
from fedsim.learning.door import Door

R = 4
CUTS = {"z_rate": 0.05, "polyhedron": {"drop": "twice", "drop_below": 0.02}}
MOVES: dict[str, Callable[[Drive, list[int]], Any]] = {
    "step": lambda drive, workers: drive.step(workers),
    "cut": lambda drive, workers: drive.step(workers, 2),
    "look": lambda drive, workers: drive.tuner.evaluate(workers),
    "forget": lambda drive, workers: drive.tuner.reset(workers[0]),
}


def skip(drive: Drive, workers: list[int]) -> None:
    """Let workers report without having done the work, as rushing ones do."""
    for worker in workers:
        content = drive.read[worker].content
        drive.tuner.hand_out(Job(worker, drive.jobs[worker], "outer", content, skipped=True))
    drive.step(workers)


MOVES["skip"] = skip
WORKERS = st.lists(st.integers(0, R - 1), min_size=1, unique=True)


def toy_tuner(**changes: Any) -> Tuner:
    return Tuner(GivenBench(ToyOracle(R), R), toy_settings(**changes))


def one_by_one(**changes: Any) -> Tuner:
    """Return a tuner whose messages all go through the door at once, as forged ones do."""
    tuner = toy_tuner(**changes)
    tuner.reports._as_they_are = False
    return tuner


@settings(max_examples=60, deadline=None)
@example([("step", [0]), ("forget", [0])], {})
@example([("cut", [0, 1]), ("step", [0, 1]), ("skip", [0]), ("step", [1])], {})
@example([("cut", [0, 1]), ("step", [1]), ("forget", [0]), ("skip", [0]), ("step", [1])], {})
@example([("cut", [0, 1]), ("step", [0, 2]), ("forget", [0]), ("cut", [1]), ("step", [0, 1, 2])], {})
@example(
    [("cut", [0]), ("cut", [1]), ("step", [0]), ("look", [0]), ("step", [0, 3])], {"robust": {"psi": 0.1}}
)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(MOVES)), WORKERS), min_size=1, max_size=12),
    st.sampled_from([{}, {"robust": {"psi": 0.1}}, {"aggregation": {"outer": {"kind": "mean"}}}]),
)
def test_together_is_one_by_one(moves: list[tuple[str, list[int]]], more: dict[str, Any]) -> None:
    changes = CUTS | {"polyhedron": {**CUTS["polyhedron"], "only_if_violated": False}} | more
    drives = [Drive(make(**changes), R) for make in (toy_tuner, one_by_one)]
    for name, workers in moves:
        for drive in drives:
            MOVES[name](drive, sorted(workers))
    together, singly = (drive.tuner for drive in drives)
    for name in ("received", "p", "q"):
        assert torch.equal(getattr(together.reports, name), getattr(singly.reports, name))
    assert torch.equal(together.tables.P, singly.tables.P)
    torch.testing.assert_close(together.state.z, singly.state.z, rtol=0, atol=1e-12)
    for ours, theirs in zip(together.state.multipliers, singly.state.multipliers, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cuts", [False, True])
def test_a_message_that_is_no_number_is_turned_away_and_a_later_one_comes_in(cuts: bool) -> None:
    tuner = toy_tuner(**(CUTS if cuts else {}))
    oracle = tuner._oracle
    tuner.tables._project = lambda values: values  # such a p comes up where there is no simplex alone
    drive = Drive(tuner, R)
    drive.step(list(range(R)), 2 if cuts else 0)
    before = tuner.received.clone()
    senseless = oracle.upper
    oracle.upper = lambda workers, *more: tuple(  # type: ignore[method-assign]
        gradient.index_fill(0, torch.tensor([workers.index(1)]), torch.nan) if 1 in workers else gradient
        for gradient in senseless(workers, *more)
    )
    drive.step([0, 1])
    drive.step([2, 3])
    assert tuner.counts()["rejected"] == 1
    assert torch.equal(tuner.received[1], before[1])
    assert not torch.equal(tuner.received[0], before[0])
    assert tuner.state.multipliers.weighed.isfinite().all()
    oracle.upper = senseless  # type: ignore[method-assign]
    tuner.reset(1)
    drive.step([1])
    assert tuner.received[1].isfinite().all()
    assert tuner.counts()["rejected"] == 1


def test_a_step_asks_the_door_nothing_where_all_are_honest(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    take = Door.take

    def counted(door: Door, tickets: Any, *more: Any) -> Any:
        asked.append(len(tickets))
        return take(door, tickets, *more)

    monkeypatch.setattr(Door, "take", counted)
    Drive(toy_tuner(), R).step([0, 1])
    assert asked == []
    Drive(one_by_one(), R).step([0, 1])
    assert asked == [2]
