"""How runs end, and what becomes of workers that do not report: horizons, stalls, evictions."""

from __future__ import annotations

import gc

import pytest
from timing_cases import chain, seconds, simulate, stretches, workers

from fedsim.errors import StalledError
from fedsim.learning.algorithms.asyndbt import Asyndbt
from fedsim.learning.quadratic import Quadratic
from fedsim.messages import JobCost
from fedsim.scenario import Scenario
from fedsim.scenario.model import Budget
from fedsim.simulation import raise_if_failed, run
from fedsim.timing.delays.constant import Constant
from fedsim.timing.llm_service.independent import Independent
from fedsim.timing.settings import CutPlan, ServerSettings

CALLS = JobCost(calls=10, tokens_in=0, tokens_out=0, bytes_up=3, bytes_down=0)


@pytest.mark.parametrize(("horizon_s", "times_s"), [(2.0, [1]), (2.001, [1, 2]), (1.0, []), (0.5, [])])
def test_what_would_happen_at_the_horizon_does_not(horizon_s: float, times_s: list[float]) -> None:
    ending, books = simulate([workers(1.0)], wait_for=1, horizon_s=horizon_s)
    assert books.times_s == times_s
    assert ending.time_s == horizon_s
    assert ending.jobs == [len(times_s)]
    assert seconds(ending, 0) == {"computing": horizon_s}
    assert not ending.stalled


def test_a_run_of_so_many_steps_ends_with_the_last_one() -> None:
    ending, books = simulate([workers(1.0), workers(5.0)], wait_for=1, step_s=0.5, max_steps=2)
    # 1 + 0.5, and from there 1 + 0.5 again
    assert books.times_s == [1.5, 3]
    assert ending.time_s == 3
    assert ending.report.step == 2


@pytest.mark.parametrize(("max_updates", "n_steps"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_a_run_of_so_many_updates_ends_at_the_first_step_that_has_them(
    max_updates: int, n_steps: int
) -> None:
    ending, books = simulate([workers(1.0, count=2)], wait_for=2, max_updates=max_updates)
    assert len(books.reports) == n_steps
    assert ending.report.worker_updates == 2 * n_steps


def test_drained_tickets_count_as_updates() -> None:
    # step 1 at 1 s with worker 0; worker 1 is drained at 2 s; inner round till 4 s; step 2 at 5 s makes 3
    ending, _ = simulate([workers(1.0), workers(2.0)], wait_for=1, cuts=CutPlan(rounds=1), max_updates=3)
    assert (ending.time_s, ending.report.worker_updates, ending.report.drained) == (5, 3, 1)


def test_the_learning_half_may_end_a_run() -> None:
    ending, books = simulate([workers(1.0)], wait_for=1, finish_at=3)
    assert (ending.time_s, len(books.reports)) == (3, 3)


def test_the_earliest_limit_ends_a_run() -> None:
    limits = {"max_steps": 5, "max_updates": 8, "horizon_s": 3.5}
    ending, _ = simulate([workers(1.0, count=2)], wait_for=2, **limits)
    assert (ending.time_s, ending.report.step) == (3.5, 3)
    ending, _ = simulate([workers(1.0, count=2)], wait_for=2, **(limits | {"horizon_s": 9.0}))
    assert (ending.time_s, ending.report.step) == (4, 4)


# Worker 1 reports at 3 s and 6 s and stops at 7 s, in a job that would take until 9 s. Worker 0, 1 s per
# job, S = 1, tau = 4: steps at 1, 2, 3, 3, 4, 5, 6 with worker 1's last ticket, and then three more, at 6, 7,
# 8: in the fourth, with the ticket of 9 s, worker 1 would be of age 4.
def test_a_worker_that_never_reports_stalls_the_server() -> None:
    groups = [workers(1.0), workers(3.0, stops_at_s=7.0)]
    ending, books = simulate(groups, wait_for=1, tau=4, keep_spans=True)
    assert ending.stalled
    assert ending.waiting_for == [1]
    assert books.times_s == [1, 2, 3, 3, 4, 5, 6, 6, 7, 8]
    assert ending.time_s == 9
    assert ending.report.step == 10
    assert stretches(ending, 1) == chain(("computing", 3), ("computing", 6), ("computing", 7), ("down", 9))
    assert stretches(ending, 0)[-1] == ("computing", 8, 9)


def test_a_stalled_run_with_a_horizon_lasts_until_then() -> None:
    # worker 1 stops in a job that would take until 103 s
    groups = [workers(1.0), workers(Constant(value_s=100.0), stops_at_s=7.0)]
    ending, _ = simulate(groups, wait_for=1, tau=4, horizon_s=25.0)
    assert (ending.stalled, ending.waiting_for, ending.time_s) == (True, [1], 25)
    # steps at 1, 2, 3 s and a ticket at 4 s
    assert seconds(ending, 0) == {"computing": 4, "waiting": 21}
    assert seconds(ending, 1) == {"computing": 7, "down": 18}


def test_a_stalled_run_ends_with_the_last_thing_done() -> None:
    # nothing happens after worker 0's ticket of 2 s; worker 1's job, for ever undone, is no event
    groups = [workers(1.0), workers(100.0, stops_at_s=1.5)]
    ending, _ = simulate(groups, wait_for=1, tau=2)
    assert (ending.stalled, ending.time_s) == (True, 2)


def test_who_is_still_busy_or_patient_is_not_stalled() -> None:
    groups = [workers(1.0), workers(100.0)]
    assert not simulate(groups, wait_for=2, horizon_s=25.0)[0].stalled
    # in a barrier between two rounds, workers wait and the server thinks, from 31 s on
    cuts = CutPlan(rounds=2)
    assert not simulate([workers(1.0)], wait_for=1, step_s=29.0, cuts=cuts, horizon_s=31.5)[0].stalled
    stops = [workers(1.0), workers(100.0, stops_at_s=7.0)]
    ending, _ = simulate(stops, wait_for=2, evict_after_s=30.0, horizon_s=25.0)
    assert (ending.stalled, ending.waiting_for) == (False, [])


def test_a_run_cut_off_before_it_stalls_is_not_stalled() -> None:
    groups = [workers(1.0), workers(3.0, stops_at_s=7.0)]
    for horizon_s, stalled in ((8.5, False), (9.5, True)):
        ending, _ = simulate(groups, wait_for=1, tau=4, horizon_s=horizon_s)
        assert (ending.stalled, ending.time_s) == (stalled, horizon_s)


def test_a_barrier_stalls_for_whom_it_waits() -> None:
    # step 1 at 1 s; the drain waits for workers 1 and 2, who have stopped at 0.5 s
    groups = [workers(1.0), workers(2.0, count=2, stops_at_s=0.5)]
    ending, books = simulate(groups, wait_for=1, cuts=CutPlan())
    assert (ending.stalled, ending.waiting_for, books.times_s) == (True, [1, 2], [1])
    assert seconds(ending, 3) == {"waiting": 1}
    assert ending.time_s == 1


def test_a_job_that_would_end_when_the_worker_stops_does_not() -> None:
    for upload_s in (0.0, 0.25):
        group = workers(1.0 - upload_s, upload=Constant(value_s=upload_s), stops_at_s=1.0)
        ending, _ = simulate([group], wait_for=1)
        assert (ending.jobs, ending.stalled, ending.time_s) == ([0], True, 1)
    ending, _ = simulate([workers(1.0, stops_at_s=2.0)], wait_for=1)
    assert (ending.jobs, ending.stalled, ending.time_s) == ([1], True, 2)


def test_a_worker_may_stop_while_it_waits_for_the_server() -> None:
    # its ticket of 1 s is used at 3 s, but it never takes up the reply
    groups = [workers(1.0, stops_at_s=2.0), workers(3.0)]
    ending, books = simulate(groups, wait_for=2, keep_spans=True)
    assert books.active == [[0, 1]]
    assert ending.waiting_for == [0]
    assert stretches(ending, 0) == chain(("computing", 1), ("waiting", 2), ("down", 6))


# Worker 1 stops at 2 s in its first job, handed out at 0 s. S = 2: the server gives it up at 0 + 5 s, and
# worker 0's ticket of 1 s makes the first step at once. From then on S is 1: steps at 5, 6, 7.
def test_the_server_gives_up_who_has_been_silent_for_too_long() -> None:
    groups = [workers(1.0), workers(3.0, stops_at_s=2.0)]
    ending, books = simulate(groups, wait_for=2, evict_after_s=5.0, max_steps=3, keep_spans=True)
    assert ending.evicted == {1: 5.0}
    assert books.evicted == [1]
    assert books.times_s == [5, 6, 7]
    assert books.active == [[0]] * 3
    assert not ending.stalled
    assert stretches(ending, 0) == chain(("computing", 1), ("waiting", 5), ("computing", 6), ("computing", 7))
    assert stretches(ending, 1) == chain(("computing", 2), ("down", 7))


def test_patience_counts_from_when_the_job_was_handed_out() -> None:
    # worker 1 gets its second job at 2 s, stops at 3 s and is given up at 2 + 5 s
    groups = [workers(1.0), workers(2.0, stops_at_s=3.0)]
    ending, books = simulate(groups, wait_for=2, evict_after_s=5.0, max_steps=2)
    assert ending.evicted == {1: 7.0}
    assert books.times_s == [2, 7]


def test_a_report_at_the_last_moment_counts() -> None:
    for silence_s, evicted in ((4.0, {}), (4.5, {1: 4.0})):
        groups = [workers(1.0), workers(silence_s)]
        ending, _ = simulate(groups, wait_for=2, evict_after_s=4.0, max_steps=1)
        assert ending.evicted == evicted


# S = 1, patience 3 s. Worker 1's first job takes 4 s: given up at 3 s (worker 0 reports at 2, 4, 6). Its
# ticket of 4 s has been paid for, so its calls and bytes count, but it is no update and gets no reply.
def test_a_late_ticket_of_an_evicted_worker_is_paid_for_and_not_used() -> None:
    groups = [workers(2.0), workers(4.0)]
    ending, books = simulate(groups, wait_for=1, evict_after_s=3.0, cost=CALLS, max_steps=3, keep_spans=True)
    assert ending.evicted == {1: 3.0}
    assert books.times_s == [2, 4, 6]
    assert books.active == [[0]] * 3
    # at 4 s worker 1's ticket, handed out at 0 s, comes before worker 0's, handed out at 2 s
    assert [report.llm_calls for report in books.reports] == [10, 30, 40]
    assert [report.bytes_up for report in books.reports] == [3, 9, 12]
    assert [report.worker_updates for report in books.reports] == [1, 2, 3]
    assert ending.jobs == [3, 1]
    assert stretches(ending, 1) == chain(("computing", 4), ("down", 6))


# Step 1 at 1 s with both (S = 2), inner round 1 until 2 s. Worker 1 stops at 2.5 s in round 2, handed out at
# 2 s: given up at 2 + 4 = 6 s. The update goes on with worker 0: round 3 until 7 s, and step 2 at 8 s.
def test_eviction_inside_an_inner_round() -> None:
    groups = [workers(1.0), workers(1.0, stops_at_s=2.5)]
    cuts = CutPlan(every=100, rounds=3)
    ending, books = simulate(groups, wait_for=2, evict_after_s=4.0, cuts=cuts, max_steps=2)
    assert ending.evicted == {1: 6.0}
    assert books.inner == [[0, 1], [0], [0]]
    assert books.ended_cuts == 1
    assert books.times_s == [1, 8]
    assert books.active == [[0, 1], [0]]


# As before, but worker 1 is only slow (transiently, as it were): its jobs take 5 s, patience is 4 s. Given up
# at 4 s in its first job; its ticket comes at 5 s.
def test_a_late_ticket_during_an_update() -> None:
    groups = [workers(1.0), workers(5.0)]
    cuts = CutPlan(every=100, rounds=3)
    ending, books = simulate(groups, wait_for=1, evict_after_s=4.0, cuts=cuts, cost=CALLS, max_steps=2)
    # step 1 at 1 s; drain until 4 s; rounds until 5, 6, 7; step 2 at 8 s with 1 + 3 + 1 jobs and the late one
    assert ending.evicted == {1: 4.0}
    assert books.drained == [[]]
    assert books.participants == [[0]]
    assert books.times_s == [1, 8]
    assert ending.report.llm_calls == 60


def test_the_run_ends_when_nobody_is_left() -> None:
    ending, books = simulate([workers(9.0, count=3)], wait_for=2, evict_after_s=4.0)
    assert ending.evicted == {0: 4.0, 1: 4.0, 2: 4.0}
    assert (ending.time_s, ending.stalled, books.reports) == (4, False, [])


@pytest.mark.parametrize("participation", ["all", "active"])
def test_an_update_that_loses_its_last_worker_is_given_up(participation: str) -> None:
    # step 1 at 1.25 s, round 1 until 2.5 s; both stop in round 2 and are given up at 2.5 + 4 s
    cuts = CutPlan(every=100, rounds=3, participation=participation)  # type: ignore[arg-type]  # one of two
    groups = [workers(1.0, count=2, stops_at_s=2.75)]
    ending, books = simulate(groups, wait_for=2, step_s=0.25, evict_after_s=4.0, cuts=cuts)
    assert ending.evicted == {0: 6.5, 1: 6.5}
    assert books.inner == [[0, 1]]
    assert books.ended_cuts == 0
    assert (ending.time_s, ending.stalled) == (6.5, False)


# S = 1: worker 0 is the active set of step 1 at 1 s and stops at 1.5 s in round 1: given up at 1 + 4 = 5 s.
# Worker 1, 3 s per job, was not asked to take part; its ticket of 3 s makes step 2 once the update is off.
def test_the_server_goes_on_after_an_update_without_participants() -> None:
    cuts = CutPlan(every=100, rounds=3, participation="active")
    groups = [workers(1.0, stops_at_s=1.5), workers(3.0)]
    ending, books = simulate(groups, wait_for=1, evict_after_s=4.0, cuts=cuts, max_steps=3, keep_spans=True)
    assert ending.evicted == {0: 5.0}
    assert books.active == [[0], [1], [1]]
    assert books.times_s == [1, 5, 8]
    assert (books.inner, books.ended_cuts) == ([], 0)
    assert stretches(ending, 2) == chain(("waiting", 1), ("cutting", 5), ("waiting", 8))


def test_the_garbage_collector_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def state() -> tuple[bool, int, tuple[int, int, int]]:
        return gc.isenabled(), gc.get_freeze_count(), gc.get_threshold()

    def fail(*arguments: object) -> None:
        raise KeyboardInterrupt

    before = state()
    simulate([workers(1.0)], wait_for=1, max_steps=1)
    assert state() == before
    monkeypatch.setattr("timing_cases.Books.take_step", fail)
    with pytest.raises(KeyboardInterrupt):
        simulate([workers(1.0)], wait_for=1, max_steps=1)
    assert state() == before


def losing_everybody(participation: str) -> Scenario:
    return Scenario(
        name="losing",
        algorithm=Asyndbt(wait_for=2, tau=5),
        cuts=CutPlan(every=1, rounds=3, participation=participation),  # type: ignore[arg-type]  # one of two
        problem=Quadratic(dimension=2, calls=0),
        workers=(workers(Constant(value_s=1.0), count=2, stops_at_s=6.5), workers(1.5)),
        llm=Independent(latency=Constant(value_s=0.0)),
        server=ServerSettings(evict_after_s=4.0),
        budget=Budget(server_steps=8),
    )


@pytest.mark.parametrize("participation", ["all", "active"])
def test_learning_survives_evictions(participation: str) -> None:
    finished = run(losing_everybody(participation))
    assert set(finished.summary["evicted"]) == {"0", "1"}
    assert finished.summary["ended"] == "budget"
    assert finished.summary["server_steps"] == 8


def test_what_a_stalled_run_tells_a_person() -> None:
    scenario = losing_everybody("all").model_copy(update={"server": ServerSettings()})
    finished = run(scenario, timing_only=True)
    assert finished.summary["ended"] == "stalled"
    with pytest.raises(StalledError, match=r"worker 0, 1 will never answer; server\.evict_after_s"):
        raise_if_failed(finished.summary)
