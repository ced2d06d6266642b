"""Workers without a process against those with one: the same run, with ties of jobs, steps and the horizon.

One tie is left out: where the server's patience ends at the very instant of another event, the two sorts may
differ in who comes first (docs/timing-model.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timing_cases import FREE, Books, by, expulsions, interlude, on, simulate, workers

from fedsim.messages import JobCost
from fedsim.schedule import Interlude
from fedsim.timing import loop
from fedsim.timing.attacks.rushing import Rushing
from fedsim.timing.delays.constant import Constant
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.exchange import StepReport
from fedsim.timing.groups import OwnModel
from fedsim.timing.loop import Ending
from fedsim.timing.steady import SteadyWorker
from fedsim.timing.worker import Transient, Worker, WorkerGroup

DELAYS = st.sampled_from([Constant(value_s=1.0), Constant(value_s=0.0), Exponential(mean_s=1.0)])
BYTES = JobCost(0, 0, 0, 7, 5, own_tokens=4)

GROUPS = st.lists(
    st.builds(
        workers,
        DELAYS,
        count=st.integers(1, 4),
        slow_down=st.sampled_from([1.0, 2.0, 3.0]),
        compute_speed=st.sampled_from([1.0, 2.0]),
        own_model=st.sampled_from([OwnModel(token_s=1e-9), OwnModel(token_s=0.25)]),
        transient=st.none() | st.just(Transient(probability=0.3, factor=2.0)),
    ),
    min_size=1,
    max_size=3,
)

PLANS = st.none() | st.builds(
    interlude,
    every=st.integers(1, 4),
    rounds=st.integers(1, 3),
    participation=st.sampled_from(["all", "active", "rolling"]),
)


def told(ending: Ending, books: Books) -> Mapping[str, Any]:
    """Return all that a run has shown of itself."""
    shown = ("tickets", "reports", "drained", "rounds", "handed", "evicted", "admitted", "gone_by", "skipped")
    return {name: getattr(books, name) for name in shown} | {
        "ending": (ending.time_s, ending.report, ending.jobs, ending.evicted, ending.expelled, ending.halt),
        "books": (ending.stalled, ending.waiting_for, ending.readmitted, ending.by_kind, ending.deserted),
        "seconds": ending.clock.seconds,
        "spans": sorted(ending.clock.spans),
    }


@pytest.fixture(scope="module")
def with_processes() -> Any:
    """Run once more, with a process for each worker."""

    def run(groups: Sequence[WorkerGroup], **settings: Any) -> Mapping[str, Any]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "all_steady", lambda *_: False)
            return told(*simulate(groups, **settings))

    return run


@settings(deadline=None, max_examples=100)
@given(
    groups=GROUPS,
    wait_for=st.integers(1, 5),
    tau=st.integers(2, 8),
    participants=st.none() | st.integers(1, 5),
    step_s=st.sampled_from([0.0, 0.3, 1.0]),
    plan=PLANS,
    opening=st.none() | st.just(BYTES),
    activity=st.none() | st.just("studying"),
    patience=st.none() | st.tuples(st.sampled_from([1.07, 1.53, 4.03]), st.booleans()),
    expels=expulsions(4),
    horizon_s=st.none() | st.sampled_from([3.0, 4.5]),
    seed=st.integers(0, 99),
)
def test_a_worker_without_a_process_does_what_one_with_a_process_does(
    with_processes: Any,
    groups: list[WorkerGroup],
    wait_for: int,
    tau: int,
    participants: int | None,
    step_s: float,
    plan: Interlude | None,
    opening: JobCost | None,
    activity: str | None,
    patience: tuple[float, bool] | None,
    expels: dict[float, list[int]],
    horizon_s: float | None,
    seed: int,
) -> None:
    n_workers = sum(group.count for group in groups)
    rolling = plan is not None and plan.participation == "rolling"
    evict_after_s, readmit = patience or (None, False)
    run = {
        "wait_for": min(wait_for, n_workers),
        "tau": tau,
        "participants": None if rolling or participants is None else min(participants, n_workers),
        "step_s": step_s,
        "interlude": plan,
        "cost": BYTES,
        "opening": opening,
        "activity": activity,
        "evict_after_s": evict_after_s,
        "readmit": readmit,
        "expels": {step: [who for who in whom if who < n_workers] for step, whom in expels.items()},
        "horizon_s": horizon_s,
        "seed": seed,
        "max_steps": 15,
        "keep_spans": True,
    }
    assert told(*simulate(groups, **run)) == with_processes(groups, **run)


@pytest.mark.parametrize(
    ("group", "attacked", "sort"),
    [
        (workers(1.0), False, SteadyWorker),
        (workers(1.0), True, Worker),
        (workers(1.0, upload=Constant(value_s=1.0)), False, Worker),
        (workers(1.0, download_mbps=1.0), False, Worker),
        (workers(1.0, stops_at_s=9.0), False, Worker),
        (workers(1.0, availability=on((0.0,))), False, Worker),
    ],
)
def test_only_workers_that_nothing_disturbs_have_no_process(
    monkeypatch: pytest.MonkeyPatch, group: WorkerGroup, attacked: bool, sort: type
) -> None:
    made: list[object] = []
    for each in (Worker, SteadyWorker):
        monkeypatch.setattr(each, "start", lambda self, start=each.start: (made.append(self), start(self)))
    attacks = [by(Rushing(), 0)] if attacked else []
    simulate([group, workers(1.0)], wait_for=1, max_steps=3, attacks=attacks)
    assert [type(worker) for worker in made] == [sort, sort]


def test_jobs_that_make_calls_need_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SteadyWorker, "start", lambda self: pytest.fail("no process"))
    simulate([workers(1.0)], wait_for=1, max_steps=3, cost=FREE._replace(calls=1))


def test_a_report_has_all_its_fields() -> None:
    ending, _ = simulate([workers(1.0)], wait_for=1, max_steps=3)
    report = ending.report
    assert type(report) is StepReport
    assert report == StepReport(**report._asdict())
    assert (report.step, report.time_s, report.worker_updates, report.wait_for) == (3, 3.0, 3, 1)
    assert report.skipped_interludes == 0
