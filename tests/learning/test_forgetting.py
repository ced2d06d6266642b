"""Workers that lose their state, are taken in again, or begin a job again: what becomes of what they know."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from learning_cases import GivenBench, ToyOracle, toy_settings

from fedsim.algorithms.averaging.averager import Averager
from fedsim.algorithms.dbt.asyndbt import Asyndbt
from fedsim.algorithms.dbt.settings import Cuts
from fedsim.algorithms.dbt.tuner import Tuner
from fedsim.learning.batching import Job
from fedsim.learning.optimizers.adam import Adam
from fedsim.messages import Snapshot, Ticket
from fedsim.problems.quadratic import Quadratic
from fedsim.scenario import Scenario
from fedsim.scenario.model import Budget, Evaluation
from fedsim.simulation import run
from fedsim.timing.availability.lifetime import Lifetime
from fedsim.timing.availability.on_off import OnOff
from fedsim.timing.delays.constant import Constant
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.groups import WorkerGroup
from fedsim.timing.llm_service.independent import Independent
from fedsim.timing.settings import ServerSettings

ADAM = {"kind": "adam", "learning_rate": 0.05}
KINDS = pytest.mark.parametrize("kind", [Tuner, Averager])


def learner(kind: type[Tuner] | type[Averager], n_workers: int = 3) -> Any:
    oracle = ToyOracle(n_workers)
    oracle.L -= 0.5  # else Adam's first steps are all equal, and the projection takes them away
    rules = toy_settings(optimizer=ADAM)
    if kind is Averager:
        return Averager(GivenBench(oracle, n_workers), rules.optimizer)
    return Tuner(GivenBench(oracle, n_workers), rules)


def hand_out(half: Any, worker: int, job: int, version: int = 0) -> Ticket:
    kind = "local" if isinstance(half, Averager) else "outer"
    half.hand_out(Job(worker, job, kind, half.state))
    return Ticket(worker, job, kind, Snapshot(version, half.state), 0.0, 0.0)


def state(half: Any, worker: int) -> list[torch.Tensor]:
    tables = half.tables
    return [
        table[worker] for table in (tables.P, tables.Q, *tables._p_moments, *tables._q_moments, tables._count)
    ]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(left, right) for left, right in zip(one, other, strict=True))


@KINDS
def test_who_forgets_steps_as_a_fresh_worker_does(kind: Any) -> None:
    half, fresh = learner(kind), learner(kind)
    start = [table.clone() for table in state(half, 1)]
    for job in range(3):
        half.take_step([hand_out(half, worker, job) for worker in range(3)])
    assert not same(state(half, 1), start)
    held = half.received.clone()
    others = [state(half, worker) for worker in (0, 2)]
    half.forget(1)
    assert same(state(half, 1), start)
    # what the server holds of it stays, and so do the others
    assert torch.equal(half.received, held)
    assert all(same(state(half, worker), other) for worker, other in zip((0, 2), others, strict=True))
    # its next step is that of a fresh worker that reads the same and draws at the same address
    fresh.state = half.state
    for one in (half, fresh):
        one.take_step([hand_out(one, 1, 7)])
    assert same(state(half, 1), state(fresh, 1))
    assert torch.equal(half.received[1], fresh.received[1])


@KINDS
def test_a_job_that_is_forgotten_leaves_no_trace(kind: Any) -> None:
    """Whether it had been evaluated ahead of its turn, in a batch with others, or not."""
    found = []
    for ahead in (False, True):
        half = learner(kind)
        ticket = hand_out(half, 0, 0)
        if ahead:
            hand_out(half, 1, 0)
            half.take_step([ticket])
            half.forget(1)
        else:
            half.take_step([ticket])
            hand_out(half, 1, 0)
            half.forget(1)
        half.take_step([hand_out(half, 1, 1, 1)])
        found.append([*state(half, 1), half.received, half.state.z])
    assert same(*found)


@KINDS
def test_the_last_job_of_an_evicted_worker_is_done_when_it_is_taken_in_again(kind: Any) -> None:
    """Whether it had been evaluated ahead of its turn or not, and though its result is not used."""
    found = []
    for ahead in (False, True):
        half = learner(kind)
        late = hand_out(half, 1, 0)
        first = hand_out(half, 0, 0)
        if ahead:
            half.take_step([first])
            half.evict(1)
        else:
            half.evict(1)
            half.take_step([first])
        assert list(half.alive) == [0, 2]
        half.admit(1)
        assert list(half.alive) == [0, 1, 2]
        assert torch.equal(half.received[1], half.tables._oracle.start_p)
        assert state(half, 1)[-1] == 1  # one step
        half.take_step([hand_out(half, 1, late.job + 1, 1)])
        assert state(half, 1)[-1] == 2
        found.append([*state(half, 1), half.received[1]])
    assert same(*found)


@KINDS
def test_who_was_evicted_and_forgets_has_not_done_its_job(kind: Any) -> None:
    half = learner(kind)
    start = [table.clone() for table in state(half, 1)]
    hand_out(half, 1, 0)
    half.evict(1)
    half.forget(1)
    half.admit(1)
    assert same(state(half, 1), start)


@KINDS
def test_who_joins_late_is_out_before_it_has_a_job(kind: Any) -> None:
    half = learner(kind)
    half.evict(2)
    half.take_step([hand_out(half, 0, 0)])
    half.admit(2)
    half.take_step([hand_out(half, 2, 0, 1)])
    assert list(half.alive) == [0, 1, 2]
    assert state(half, 2)[-1] == 1


def scenario(group: WorkerGroup, **settings: Any) -> Scenario:
    table: dict[str, Any] = {
        "name": "forgetting",
        "algorithm": Asyndbt(
            wait_for=3, tau=1, cuts=Cuts(every=5, rounds=2), optimizer=Adam(learning_rate=0.05)
        ),
        "problem": Quadratic(dimension=3, noise_std=0.1),
        "workers": (group,),
        "llm": Independent(latency=Constant(value_s=0.0)),
        "server": ServerSettings(step_s=0.0),
        "budget": Budget(server_steps=20),
        "evaluation": Evaluation(every_steps=1),
    }
    return Scenario(**{**table, **settings})


TURNS = OnOff(on=Exponential(mean_s=3.0), off=Exponential(mean_s=2.0))
SECOND = Constant(value_s=1.0)


def test_who_keeps_its_state_learns_what_it_would_have_learnt() -> None:
    """Synchronous, so that the same tickets come in another order at most, and at other times."""
    steady = run(scenario(WorkerGroup(count=3, compute=SECOND)))
    losses = {}
    for on_return in ("restart", "rejoin"):
        finished = run(
            scenario(WorkerGroup(count=3, compute=SECOND, availability=TURNS, on_return=on_return))
        )
        assert finished.workers.jobs_lost.sum() > 5
        assert finished.summary["simulated_time_s"] > 1.5 * steady.summary["simulated_time_s"]
        losses[on_return] = finished.steps.loss.to_numpy()
    np.testing.assert_allclose(losses["restart"], steady.steps.loss, rtol=1e-12)
    assert abs(losses["rejoin"] / steady.steps.loss.to_numpy() - 1).max() > 0.1


@pytest.mark.parametrize("averages", [False, True])
def test_learning_survives_everything_at_once(averages: bool) -> None:
    groups = (
        WorkerGroup(count=2, compute=Exponential(mean_s=1.0), availability=TURNS, on_return="rejoin"),
        WorkerGroup(count=2, compute=Exponential(mean_s=1.0), availability=TURNS),
        WorkerGroup(count=2, compute=SECOND, availability=Lifetime(joins=Exponential(mean_s=20.0))),
        WorkerGroup(count=1, compute=SECOND, availability=Lifetime(life=Constant(value_s=9.0))),
    )
    algorithm: Any = {"kind": "fedbdpl", "participants": 4} if averages else Asyndbt(wait_for=2, tau=3)
    finished = run(
        scenario(
            groups[0],
            workers=groups,
            algorithm=algorithm,
            server=ServerSettings(evict_after_s=4.0, readmit=True),
            budget=Budget(server_steps=60),
        )
    )
    assert finished.summary["ended"] == "budget"
    assert finished.workers.readmitted.sum() > 3
    assert finished.workers.jobs_lost.sum() > 10
    assert set(finished.summary["evicted"]) >= {"6"}
    assert finished.steps.members.nunique() > 2
    assert finished.steps.loss.iloc[-1] < finished.steps.loss.iloc[0]


def test_before_anybody_has_joined_nothing_is_measured() -> None:
    late = WorkerGroup(count=3, compute=SECOND, availability=Lifetime(joins=Constant(value_s=4.0)))
    steps = run(scenario(late)).steps
    assert np.isnan(steps.loss[0])
    assert steps.loss[1:].notna().all()
    assert steps.time_s[1] == 5


def test_the_clock_does_not_depend_on_what_is_forgotten() -> None:
    group = WorkerGroup(count=3, compute=SECOND, availability=TURNS, on_return="rejoin")
    failing = scenario(group, server=ServerSettings(evict_after_s=2.0, readmit=True))
    full, clock = run(failing), run(failing, timing_only=True)
    assert full.workers.readmitted.sum() > 0
    assert full.steps[clock.steps.columns].time_s.tolist() == clock.steps.time_s.tolist()
    assert full.workers.equals(clock.workers)
