"""Times depend on addresses alone: not on other workers, on what is recorded, or on what is learned."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from timing_cases import simulate, workers

from fedsim.algorithms.dbt.asyndbt import Asyndbt
from fedsim.algorithms.dbt.cendbt import Cendbt
from fedsim.algorithms.dbt.sdbt import Sdbt
from fedsim.algorithms.dbt.settings import Cuts, RobustSettings
from fedsim.messages import JobCost
from fedsim.problems.quadratic import Quadratic
from fedsim.scenario import Scenario
from fedsim.scenario.model import Budget, Evaluation, Record
from fedsim.schedule import Steps
from fedsim.simulation import run, timeline
from fedsim.streams import Stream, Streams
from fedsim.timing.delays.constant import Constant
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.delays.lognormal import Lognormal
from fedsim.timing.llm_service.independent import Independent
from fedsim.timing.worker import Transient, WorkerGroup

RANDOM_LEGS: dict[str, Any] = {
    "upload": Lognormal(median_s=0.03, sigma=1.0),
    "download": Exponential(mean_s=0.1),
    "transient": Transient(probability=0.3, factor=4.0),
}
GROUP = WorkerGroup(count=3, lanes=2, compute=Exponential(mean_s=0.5), **RANDOM_LEGS)
ALGORITHM = Asyndbt(wait_for=2, tau=4, cuts=Cuts(every=10, rounds=2))
SCENARIO = Scenario(
    name="small",
    algorithm=ALGORITHM,
    problem=Quadratic(dimension=3, calls=4, bytes_up=30, bytes_down=20),
    workers=(GROUP,),
    llm=Independent(latency=Exponential(mean_s=0.2)),
    budget=Budget(server_steps=30),
)
CLOCK = [
    *("step", "time_s", "active", "staleness_mean", "staleness_max", "worker_updates", "drained"),
    *("cut_updates", "llm_calls", "tokens_in", "tokens_out", "bytes_up", "bytes_down"),
]


def changed(**settings: Any) -> Scenario:
    return SCENARIO.model_copy(update=settings)


def job_lengths(count: int, seed: int = 0) -> list[list[float]]:
    """Return how long the jobs of each worker take from start to hand-in; synchronous, ten steps."""
    _, books = simulate(
        [GROUP.model_copy(update={"count": count})],
        wait_for=count,
        seed=seed,
        cost=JobCost(4, 0, 0, 0, 0),
        latency=Exponential(mean_s=0.2),
        max_steps=10,
    )
    by_worker: list[list[float]] = [[] for _ in range(count)]
    for tickets in books.tickets:
        for ticket in tickets:
            by_worker[ticket.worker].append(ticket.finish_s - ticket.start_s)
    return by_worker


def test_a_worker_more_changes_no_other_workers_delays() -> None:
    three, four = job_lengths(3), job_lengths(4)
    for before, after in zip(three, four, strict=False):
        assert after == pytest.approx(before, rel=1e-9)  # starts differ, and with them the last digits


def test_workers_and_jobs_draw_their_own() -> None:
    lengths = [length for worker in job_lengths(3) for length in worker]
    assert len(set(lengths)) == len(lengths)


def test_the_seed_matters() -> None:
    assert job_lengths(3, seed=0) != job_lengths(3, seed=1)


@pytest.mark.parametrize(
    "other",
    [
        changed(record=Record(spans=True)),
        changed(evaluation=Evaluation(every_steps=1)),
        changed(problem=Quadratic(dimension=3, calls=4, bytes_up=30, bytes_down=20, heterogeneity=9.0)),
        changed(algorithm=ALGORITHM.model_copy(update={"z_rate": 0.3})),
    ],
    ids=["spans", "evaluation", "problem", "algorithm"],
)
def test_what_is_learned_and_recorded_does_not_change_times(other: Scenario) -> None:
    here, there = run(SCENARIO).steps, run(other).steps
    pd.testing.assert_frame_equal(here[CLOCK], there[CLOCK], check_exact=True)
    assert here.time_s.is_monotonic_increasing


def test_the_timing_half_alone_keeps_the_same_clock() -> None:
    whole, alone = (
        run(changed(record=Record(spans=True))),
        run(changed(record=Record(spans=True)), timing_only=True),
    )
    pd.testing.assert_frame_equal(whole.steps[CLOCK], alone.steps[CLOCK], check_exact=True)
    pd.testing.assert_frame_equal(whole.workers, alone.workers, check_exact=True)
    assert whole.spans is not None
    assert alone.spans is not None
    pd.testing.assert_frame_equal(whole.spans, alone.spans, check_exact=True)
    assert whole.steps.loss.notna().any()
    assert alone.steps.loss.isna().all()


def test_the_same_scenario_gives_the_same_tables() -> None:
    first, second = run(SCENARIO), run(SCENARIO)
    pd.testing.assert_frame_equal(first.steps, second.steps, check_exact=True)
    pd.testing.assert_frame_equal(first.workers, second.workers, check_exact=True)
    assert first.summary == second.summary


def test_the_draws_of_one_purpose_do_not_move_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads from another seed leave arithmetic, calls and straggling as they were."""
    seat, elsewhere = Streams.seat, Streams(99)

    def spans() -> dict[str, list[float]]:
        ending, _ = simulate(
            [GROUP], wait_for=3, cost=JobCost(4, 0, 0, 0, 0), latency=Exponential(mean_s=0.2),
            max_steps=10, keep_spans=True,
        )  # fmt: skip
        lengths: dict[str, list[float]] = {}
        for span in sorted(ending.clock.spans, key=lambda span: (span.entity, span.start_s)):
            lengths.setdefault(span.activity.label, []).append(span.end_s - span.start_s)
        return lengths

    def moved(streams: Streams, purpose: Stream, worker: int = 0, job: int = 0) -> Any:
        return seat(elsewhere if purpose is Stream.UPLOAD else streams, purpose, worker, job)

    before = spans()
    monkeypatch.setattr(Streams, "seat", moved)
    after = spans()
    assert after["uploading"] != pytest.approx(before["uploading"])
    for label in ("computing", "calling", "downloading"):
        assert after[label] == pytest.approx(before[label])


def test_the_synchronous_form_is_s_equal_r() -> None:
    by_name, by_number = (
        run(changed(algorithm=algorithm)) for algorithm in (Sdbt(), Asyndbt(wait_for=3, tau=99))
    )
    pd.testing.assert_frame_equal(by_name.steps, by_number.steps, check_exact=True)
    assert set(by_name.steps.active[1:]) == {3}


def test_one_worker_keeps_the_clock_of_the_centralised_form() -> None:
    """But for the network, which the centralised worker does not use."""
    beside = workers(1.0, lanes=2, transient=GROUP.transient)
    alone = changed(workers=(beside,), problem=Quadratic(dimension=3, calls=4), algorithm=Asyndbt(wait_for=1))
    central = alone.model_copy(update={"algorithm": Cendbt(machine="workers")})
    pd.testing.assert_frame_equal(run(alone).steps[CLOCK], run(central).steps[CLOCK], check_exact=True)


def test_what_the_clock_needs_to_know_of_a_scenario() -> None:
    found = timeline(changed(budget=Budget(epochs=7, horizon_s=90.0)))
    cost = JobCost(calls=4, tokens_in=0, tokens_out=0, bytes_up=30, bytes_down=20)
    plan = found.schedule.interlude
    assert plan is not None
    assert found.schedule.rule == Steps(wait_for=2, tau=4)
    assert (plan.every, plan.rounds, plan.leaves_bytes) == (10, 2, 30)
    assert [work.cost for work in found.schedule.work.values()] == [cost, cost]
    assert (found.horizon_s, found.max_steps, found.max_updates) == (90.0, None, 21)
    assert found.groups == (GROUP,)


def test_a_robust_outer_step_sends_z_as_well() -> None:
    robust = RobustSettings(outer="R1")
    found = timeline(changed(algorithm=ALGORITHM.model_copy(update={"robust": robust})))
    schedule = found.schedule
    assert schedule.interlude is not None
    assert schedule.work[schedule.regular].cost.bytes_down == 40
    assert schedule.work[schedule.interlude.work].cost.bytes_down == 20


def test_the_centralised_worker_pools_the_calls_and_sends_nothing() -> None:
    slow = WorkerGroup(name="slow", count=2, compute=Constant(value_s=9.0))
    found = timeline(
        changed(
            algorithm=Cendbt(machine=GROUP.name),
            problem=Quadratic(dimension=3, calls=4),
            workers=(GROUP, slow),
            budget=Budget(epochs=7),
        )
    )
    assert found.schedule.work[found.schedule.regular].cost == JobCost(
        calls=20, tokens_in=0, tokens_out=0, bytes_up=0, bytes_down=0
    )
    (worker,) = found.groups
    assert (worker.count, worker.lanes, worker.compute) == (1, 2, GROUP.compute)
    assert (worker.upload, worker.download) == (Constant(value_s=0.0), Constant(value_s=0.0))
    assert (worker.upload_mbps, worker.download_mbps) == (None, None)
