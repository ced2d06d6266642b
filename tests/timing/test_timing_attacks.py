"""Attacks on timing: timelines drawn by hand, and what they share of the active sets against theory."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from timing_cases import Books, by, chain, interlude, seconds, simulate, stretches, workers

from fedsim.messages import JobCost
from fedsim.timing.attacks import TIMING_ATTACKS, TimingAttack
from fedsim.timing.attacks.base import HONEST, Conduct, conduct_of
from fedsim.timing.attacks.flapping import Flapping
from fedsim.timing.attacks.rushing import Rushing
from fedsim.timing.attacks.sleeper import Sleeper
from fedsim.timing.attacks.slow_rolling import SlowRolling
from fedsim.timing.delays.constant import Constant
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.loop import Ending

COST = JobCost(calls=10, tokens_in=100, tokens_out=5, bytes_up=3, bytes_down=7)
NEVER = 10**9


def upload(seconds: float) -> dict[str, Any]:
    return {"upload": Constant(value_s=seconds)}


# Workers 0 and 1 take 4 s and 6 s, the rushing worker 2 only its upload of 1 s. S = 2.
# 2 at 1, 0 at 4: step 1. 2 at 5, 1 at 6: step 2. 2 at 7, 0 at 4 + 4 = 8: step 3.
# 2 at 9, 1 at 6 + 6 = 12 (scheduled before 0's ticket of 8 + 4 = 12): step 4.
def test_who_rushes_sits_in_every_active_set() -> None:
    groups = [workers(4.0), workers(6.0), workers(5.0, **upload(1.0))]
    ending, books = simulate(
        groups, wait_for=2, cost=COST, max_steps=4, attacks=[by(Rushing(), 2)], keep_spans=True
    )
    assert books.active == [[2, 0], [2, 1], [2, 0], [2, 1]]
    assert books.times_s == [4, 6, 8, 12]
    # 0 has read version 1 for step 3 (index 2), 1 version 0 for step 2 and version 2 for step 4
    assert books.staleness == [[0, 0], [0, 1], [0, 1], [0, 1]]
    # each step has used one honest job of 10 calls, and two uploads
    assert [report.llm_calls for report in books.reports] == [10, 20, 30, 40]
    assert [report.tokens_in for report in books.reports] == [100, 200, 300, 400]
    assert [report.tokens_out for report in books.reports] == [5, 10, 15, 20]
    assert [report.bytes_up for report in books.reports] == [6, 12, 18, 24]
    assert [report.worker_updates for report in books.reports] == [2, 4, 6, 8]
    assert books.skipped == [(2, 0), (2, 1), (2, 2), (2, 3)]
    assert stretches(ending, 2) == chain(
        *(("uploading", 1), ("waiting", 4), ("uploading", 5), ("waiting", 6)),
        *(("uploading", 7), ("waiting", 8), ("uploading", 9), ("waiting", 12)),
    )


def test_who_rushes_and_makes_its_calls_is_no_faster_than_they_are() -> None:
    # 5 s of arithmetic, 10 calls of 1 s on 5 lanes, 1 s of upload
    attacks = {8: (), 3: (by(Rushing(skip_calls=False), 0),), 1: (by(Rushing(), 0),)}
    for length_s, given in attacks.items():
        group = workers(5.0, **upload(1.0))
        latency = Constant(value_s=1.0)
        ending, books = simulate([group], wait_for=1, cost=COST, latency=latency, max_steps=2, attacks=given)
        assert books.times_s == [length_s, 2 * length_s]
        assert ending.report.llm_calls == (0 if length_s == 1 else 20)
        assert books.skipped == ([(0, 0), (0, 1)] if length_s == 1 else [])


# Attacked are the jobs that start in [3, 6): honest 0-2 and 2-4; at 4 it rushes, 4.5 and 5, 5.5; honest at 6.
def test_an_attack_lasts_as_long_as_it_is_on() -> None:
    attack = Rushing(start_s=3.0, stop_s=6.0)
    groups = [workers(1.5, **upload(0.5))]
    _, books = simulate(groups, wait_for=1, cost=COST, max_steps=7, attacks=[by(attack, 0)])
    assert books.times_s == [2, 4, 4.5, 5, 5.5, 6, 8]
    assert books.skipped == [(0, 2), (0, 3), (0, 4), (0, 5)]
    assert [report.llm_calls for report in books.reports] == [10, 20, 20, 20, 20, 20, 30]


# Step 1 at 2 s with the rushing worker 1; worker 0's round takes 2 s, worker 1's none; step 2 at 6 s.
def test_rounds_are_skipped_too() -> None:
    plan = interlude(every=100, rounds=1)
    groups = [workers(2.0), workers(2.0)]
    ending, books = simulate(
        groups, wait_for=2, cost=COST, interlude=plan, max_steps=2, attacks=[by(Rushing(), 1)]
    )
    assert books.times_s == [2, 6]
    assert books.rounds == [[1, 0]]
    assert books.skipped == [(1, 0), (1, 1), (1, 2)]
    assert ending.report.llm_calls == 30  # worker 0: two regular jobs and a round
    assert ending.report.bytes_up == 18  # six uploads
    assert seconds(ending, 1) == {"waiting": 6}


@pytest.mark.parametrize("n_rushing", [1, 3, 5, 6])
def test_the_share_of_places_that_rushing_workers_take(n_rushing: int) -> None:
    """b workers that report right after each step hold min(b, S) of its places, neither more nor less."""
    wait_for, n_workers = 5, 12
    _, books = simulate(
        [workers(Exponential(mean_s=1.0), count=n_workers)],
        wait_for=wait_for,
        tau=NEVER,
        max_steps=60,
        attacks=[by(Rushing(), *range(n_rushing))],
    )
    held = [sum(worker < n_rushing for worker in active) for active in books.active]
    assert held == [min(n_rushing, wait_for)] * 60
    assert all(len(active) == wait_for == len(set(active)) for active in books.active)


# Worker 0 takes 2 s, the slow-rolling worker 1 1 s and 0.5 s of upload. S = 1, tau = 4, margin 1.
# 1 is ready at 1 with version 0: due when 0 + 4 - 1 - 1 = 2 steps have been taken. Steps 1 and 2 at 2 and 4 s
# with worker 0; 1 uploads until 4.5: step 3 with it, staleness 2 - 0 = 2. It reads version 3, is ready at
# 5.5, due after step 5. Worker 0, at work since 4 with version 2: step 4 at 6 (staleness 3 - 2 = 1), step 5
# at 8; worker 1 at 8.5: step 6, staleness 5 - 3 = 2.
def test_slow_rolling_reports_just_before_the_staleness_bound() -> None:
    groups = [workers(2.0), workers(1.0, **upload(0.5))]
    attacks = [by(SlowRolling(), 1)]
    ending, books = simulate(groups, wait_for=1, tau=4, max_steps=6, attacks=attacks, keep_spans=True)
    assert books.times_s == [2, 4, 4.5, 6, 8, 8.5]
    assert books.active == [[0], [0], [1], [0], [0], [1]]
    assert books.staleness == [[0], [0], [2], [1], [0], [2]]
    assert stretches(ending, 1) == chain(
        *(("computing", 1), ("holding", 4), ("uploading", 4.5)),
        *(("computing", 5.5), ("holding", 8), ("uploading", 8.5)),
    )


# The same with an upload of 3 s. Margin 0: let go after step 3 at 6 s, there at 9 s; step 4 needs it, so
# worker 0's ticket of 8 s waits until 9 s. Margin 1: let go after step 2 at 4 s, there at 7 s, before it is
# needed, with the greatest staleness that there is.
@pytest.mark.parametrize(
    ("margin_steps", "times_s", "active"),
    [(0, [2, 4, 6, 9], [[0], [0], [0], [0, 1]]), (1, [2, 4, 6, 7], [[0], [0], [0], [1]])],
)
def test_with_a_margin_the_server_does_not_wait(
    margin_steps: int, times_s: list[float], active: list[list[int]]
) -> None:
    groups = [workers(2.0), workers(1.0, **upload(3.0))]
    attacks = [by(SlowRolling(margin_steps=margin_steps), 1)]
    ending, books = simulate(groups, wait_for=1, tau=4, max_steps=4, attacks=attacks)
    assert books.times_s == times_s
    assert books.active == active
    assert books.staleness[-1][-1] == 3
    assert seconds(ending, 1)["holding"] == (5 if margin_steps == 0 else 3)


@pytest.mark.parametrize(("tau", "compute_s"), [(1, 1.0), (2, 1.0), (6, 30.0)])
def test_slow_rolling_changes_nothing_where_there_is_no_time_to_lose(tau: int, compute_s: float) -> None:
    groups = [workers(Exponential(mean_s=2.0), count=3), workers(compute_s)]

    def run(*attacks: Any) -> tuple[Any, ...]:
        ending, books = simulate(groups, wait_for=1, tau=tau, max_steps=30, attacks=attacks, keep_spans=True)
        return books.reports, books.active, ending.clock.spans

    assert run(by(SlowRolling(), 3)) == run()
    assert run(by(SlowRolling(), 3)) != run(by(Rushing(), 3))


def test_slow_rolling_without_work() -> None:
    attacks = [by(SlowRolling(skip_calls=True), 1)]
    groups = [workers(2.0), workers(1.0)]
    ending, books = simulate(groups, wait_for=1, tau=4, cost=COST, max_steps=3, attacks=attacks)
    # ready at 0, let go at 4: staleness 2; two honest jobs are paid for
    assert (books.times_s, books.active[2], books.staleness[2]) == ([2, 4, 4], [1], [2])
    assert seconds(ending, 1) == {"holding": 4}
    assert ending.report.llm_calls == 20


# Worker 0 takes 2 s, the slow-rolling workers 1 and 2 take 1 s; tau is far away. With S = 3 both are asked at
# 2 s. With S = 2 one is enough: worker 1, who has waited as long as worker 2 and came first. It reads version
# 1 at 2 s, is ready at 3; at 4 worker 2 has waited longest, with version 0.
def test_who_withholds_reports_when_the_server_waits_for_nobody_else() -> None:
    groups = [workers(2.0), workers(1.0, count=2)]
    attacks = [by(SlowRolling(), 1, 2)]
    ending, books = simulate(groups, wait_for=3, max_steps=2, attacks=attacks)
    assert (books.times_s, books.active) == ([2, 4], [[0, 1, 2], [0, 1, 2]])
    ending, books = simulate(groups, wait_for=2, max_steps=3, attacks=attacks)
    assert (books.times_s, books.active) == ([2, 4, 6], [[0, 1], [0, 2], [0, 1]])
    assert books.staleness == [[0, 0], [0, 1], [0, 1]]
    assert seconds(ending, 2) == {"computing": 2, "holding": 4}  # 1-4 and 5-6


def test_nobody_is_left_but_those_who_hold_back() -> None:
    # both ready at 1 s, and nobody else: the first is asked at once, and again at 2 s, when it is ready anew:
    # then worker 1 has waited longer
    ending, books = simulate(
        [workers(1.0, count=2)], wait_for=1, max_steps=4, attacks=[by(SlowRolling(), 0, 1)]
    )
    assert books.active == [[0], [1], [0], [1]]
    assert books.times_s == [1, 2, 3, 4]
    assert not ending.stalled


# Step 1 at 2 s with worker 0. Worker 1 withholds since 1 s, and is let go for the barrier: drained at 2.5 s.
# The round lasts 2 s for worker 0; worker 1 reports it after 1 + 0.5 s and withholds nothing.
def test_nobody_holds_back_at_a_barrier() -> None:
    plan = interlude(every=100, rounds=1)
    groups = [workers(2.0), workers(1.0, **upload(0.5))]
    attacks = [by(SlowRolling(), 1)]
    ending, books = simulate(
        groups, wait_for=1, tau=50, interlude=plan, max_steps=2, attacks=attacks, keep_spans=True
    )
    assert books.drained == [[1]]
    assert books.rounds == [[1, 0]]
    assert books.times_s == [2, 6.5]
    assert stretches(ending, 1) == chain(
        *(("computing", 1), ("holding", 2), ("uploading", 2.5), ("interlude", 4), ("waiting", 4.5)),
        *(("computing", 5.5), ("holding", 6.5)),
    )


# The same with a worker 2 of 9 s: worker 1 does not wait until nobody else is waited for.
def test_all_who_hold_back_are_let_go_when_a_barrier_begins() -> None:
    plan = interlude(every=100, rounds=1)
    groups = [workers(2.0), workers(1.0), workers(9.0)]
    ending, books = simulate(
        groups, wait_for=1, tau=50, interlude=plan, attacks=[by(SlowRolling(), 1)], horizon_s=8.0
    )
    assert books.times_s == [2]
    assert seconds(ending, 1) == {"computing": 1, "holding": 1, "waiting": 6}


# Worker 1 becomes ready while the barrier waits for worker 2 (9 s): it reports at 4 s, at once.
def test_who_is_ready_during_a_barrier_reports_at_once() -> None:
    plan = interlude(every=100, rounds=1)
    groups = [workers(2.0), workers(4.0), workers(9.0)]
    ending, books = simulate(
        groups, wait_for=1, tau=50, interlude=plan, max_steps=2, attacks=[by(SlowRolling(), 1)]
    )
    assert books.drained == [[1, 2]]
    assert "holding" not in seconds(ending, 1)


def test_a_report_let_go_early_does_not_make_the_next_one_due_early() -> None:
    # Due after step 4 with tau = 5 and margin 0 - but asked for at the barrier after step 1. The next report
    # has read version 1 and is due after step 1 + 4 = 5.
    plan = interlude(every=100, rounds=1)
    groups = [workers(2.0), workers(1.0)]
    attacks = [by(SlowRolling(margin_steps=0), 1)]
    _, books = simulate(groups, wait_for=1, tau=5, interlude=plan, max_steps=6, attacks=attacks)
    assert books.drained == [[1]]
    assert books.active == [[0], [0], [0], [0], [0], [1]]
    assert books.staleness[-1] == [4]


@pytest.mark.parametrize(("stops_at_s", "first_s"), [(0.5, 2), (3.0, 3)])
def test_who_holds_back_does_not_wait_for_the_dead(stops_at_s: float, first_s: float) -> None:
    # S = 2: worker 0's ticket of 2 s needs another; worker 2 will never report, from `stops_at_s` on
    groups = [workers(2.0), workers(1.0), workers(100.0, stops_at_s=stops_at_s)]
    ending, books = simulate(groups, wait_for=2, max_steps=3, attacks=[by(SlowRolling(), 1)])
    assert books.active == [[0, 1]] * 3
    assert books.times_s == [first_s, first_s + 2, first_s + 4]
    assert not ending.stalled


# Worker 0 hands in at 2 s and is dead when the server, which thinks until 2.5 s, gives it a job.
def test_who_holds_back_does_not_wait_for_who_dies_while_the_server_thinks() -> None:
    groups = [workers(2.0, stops_at_s=2.25), workers(1.0)]
    attacks = [by(SlowRolling(), 1)]
    _, books = simulate(groups, wait_for=1, step_s=0.5, max_steps=2, attacks=attacks)
    assert books.active == [[0], [1]]
    assert books.times_s == [2.5, 3]


def test_who_holds_back_does_not_wait_for_a_dead_accomplice() -> None:
    groups = [workers(2.0), workers(1.0, stops_at_s=1.5), workers(1.0)]
    _, books = simulate(groups, wait_for=2, max_steps=1, attacks=[by(SlowRolling(), 1, 2)])
    assert (books.active, books.times_s) == ([[0, 2]], [2])


# S = 1, tau = 4, margin 0; worker 2 is dead since 0.5 s. Worker 0 takes 2 s, worker 1 takes 3 s and holds
# back in the jobs that it starts after 1 s. Steps at 2, 3 (with worker 1), 4 s; a fourth would need worker 2.
# Worker 0 hands in at 6 s; worker 1, ready at 6 s and due after step 2 + 3 = 5, withholds nothing: the
# server waits for worker 2 alone.
def test_a_server_that_waits_for_the_dead_waits_for_nobody_else() -> None:
    groups = [workers(2.0), workers(3.0), workers(100.0, stops_at_s=0.5)]
    attacks = [by(SlowRolling(margin_steps=0, start_s=1.0), 1)]
    ending, books = simulate(groups, wait_for=1, tau=4, attacks=attacks, horizon_s=50.0)
    assert books.times_s == [2, 3, 4]
    assert (ending.stalled, ending.waiting_for) == (True, [2])


# S = 2, patience 3 s: worker 1 withholds its report from 1 s until it is given up at 3 s. It then sends; the
# ticket of 3.5 s is paid for and not used.
def test_who_withholds_for_too_long_is_evicted() -> None:
    groups = [workers(2.0), workers(1.0, **upload(0.5)), workers(2.0)]
    ending, books = simulate(
        groups,
        wait_for=2,
        evict_after_s=3.0,
        cost=COST,
        max_steps=3,
        attacks=[by(SlowRolling(), 1)],
        keep_spans=True,
    )
    assert ending.evicted == {1: 3.0}
    assert books.active == [[0, 2]] * 3
    assert [report.llm_calls for report in books.reports] == [20, 50, 70]
    assert stretches(ending, 1) == chain(("computing", 1), ("holding", 3), ("uploading", 3.5), ("down", 6))


def test_who_has_been_evicted_does_not_hold_back() -> None:
    groups = [workers(2.0), workers(4.5), workers(2.0)]
    ending, _ = simulate(
        groups, wait_for=2, evict_after_s=3.0, max_steps=3, attacks=[by(SlowRolling(), 1)], keep_spans=True
    )
    assert ending.evicted == {1: 3.0}
    assert stretches(ending, 1) == chain(("computing", 4.5), ("down", 6))


def test_a_worker_may_stop_while_it_holds_back() -> None:
    groups = [workers(2.0), workers(1.0, stops_at_s=1.5)]
    ending, books = simulate(
        groups, wait_for=1, tau=4, attacks=[by(SlowRolling(), 1)], keep_spans=True, horizon_s=20.0
    )
    assert stretches(ending, 1) == chain(("computing", 1), ("holding", 1.5), ("down", 20))
    assert books.times_s == [2, 4, 6]
    assert (ending.stalled, ending.waiting_for) == (True, [1])


def test_what_is_withheld_at_the_horizon_is_in_the_books() -> None:
    groups = [workers(2.0), workers(1.0)]
    ending, _ = simulate(groups, wait_for=1, attacks=[by(SlowRolling(), 1)], horizon_s=1.5)
    assert seconds(ending, 1) == {"computing": 1, "holding": 0.5}
    assert (ending.stalled, ending.jobs) == (False, [0, 0])


# Worker 1 starts jobs at 0, 1, 2 s and wakes at 2.5 s: the job started at 2 s is reported at 3 s, the next is
# not begun. S = 2; worker 0 hands in at 4 s, and the server waits for ever.
def test_a_sleeper_falls_silent() -> None:
    groups = [workers(1.0, count=2)]
    ending, books = simulate(
        groups, wait_for=2, cost=COST, attacks=[by(Sleeper(wakes_at_s=2.5), 1)], keep_spans=True
    )
    assert books.times_s == [1, 2, 3]
    assert (ending.stalled, ending.waiting_for, ending.time_s) == (True, [1], 4)
    assert stretches(ending, 1) == chain(("computing", 1), ("computing", 2), ("computing", 3), ("down", 4))
    assert books.skipped == [(1, 3)]
    assert ending.jobs == [4, 3]


def test_a_server_with_patience_goes_on_without_a_silent_sleeper() -> None:
    attacks = [by(Sleeper(wakes_at_s=2.5), 1)]
    ending, books = simulate(
        [workers(1.0, count=2)], wait_for=2, evict_after_s=5.0, max_steps=5, attacks=attacks
    )
    assert (ending.stalled, ending.evicted) == (False, {1: 8.0})
    assert books.times_s == [1, 2, 3, 8, 9]


def test_a_silent_sleeper_may_also_stop() -> None:
    groups = [workers(1.0), workers(1.0, stops_at_s=6.0)]
    ending, _ = simulate(groups, wait_for=2, attacks=[by(Sleeper(wakes_at_s=2.5), 1)], horizon_s=9.0)
    assert seconds(ending, 1) == {"computing": 3, "down": 6}


def test_a_sleeper_wakes_to_another_attack() -> None:
    """Sleeping until t is starting at t."""

    def run(attack: Any) -> tuple[Any, ...]:
        ending, books = simulate(
            [workers(Exponential(mean_s=1.0), count=4)],
            wait_for=2,
            tau=6,
            cost=COST,
            max_steps=40,
            attacks=[by(attack, 1, 2)],
            keep_spans=True,
        )
        return books.reports, books.skipped, ending.clock.spans

    rushing = run(Sleeper(wakes_at_s=5.0, then=Rushing()))
    assert rushing == run(Rushing(start_s=5.0)) != run(Rushing())
    rolling = run(Sleeper(wakes_at_s=5.0, then=SlowRolling(), skip_calls=True))
    assert rolling == run(SlowRolling(start_s=5.0, skip_calls=True)) != rushing


# Reports in [0, 3), [5, 8), [10, 13); jobs of 2 s. Reports at 2; ready at 4: sent at 5; at 7; ready at 9:
# sent at 10; at 12. With phase 4 s the cycle began at -4: reports in [1, 4), [6, 9), [11, 14). The first at
# 2; ready at 4: sent at 6; at 8; ready at 10: sent at 11.
@pytest.mark.parametrize(
    ("phase_s", "times_s", "down_s"), [(0.0, [2, 5, 7, 10, 12], 2), (4.0, [2, 6, 8, 11], 3)]
)
def test_flapping(phase_s: float, times_s: list[float], down_s: float) -> None:
    attack = Flapping(on_s=3.0, off_s=2.0, phase_s=phase_s)
    ending, books = simulate(
        [workers(2.0)], wait_for=1, max_steps=len(times_s), attacks=[by(attack, 0)], keep_spans=True
    )
    assert books.times_s == times_s
    assert seconds(ending, 0) == {"computing": 2 * len(times_s), "down": down_s}


def test_when_a_flapping_worker_is_back() -> None:
    attack = Flapping(on_s=3.0, off_s=2.0, start_s=10.0)
    sent = {10.0: 10.0, 12.5: 12.5, 13.0: 15.0, 14.5: 15.0, 15.0: 15.0, 18.0: 20.0, 22.0: 22.0}
    assert {ready_s: attack.sends_s(ready_s) for ready_s in sent} == sent


def test_an_upload_that_has_begun_is_finished() -> None:
    # ready at 2 s, reports until 3 s, uploads until 4 s; the next is ready at 6 s, in [5, 8)
    attack = Flapping(on_s=3.0, off_s=2.0)
    _, books = simulate([workers(2.0, **upload(2.0))], wait_for=1, max_steps=2, attacks=[by(attack, 0)])
    assert books.times_s == [4, 8]


def test_a_flapping_worker_that_will_come_back_is_not_stalled() -> None:
    attacks = [by(Flapping(on_s=1.0, off_s=10.0), 1)]
    for horizon_s, times_s in ((10.0, []), (12.0, [11])):
        ending, books = simulate([workers(2.0, count=2)], wait_for=2, attacks=attacks, horizon_s=horizon_s)
        assert (ending.stalled, ending.waiting_for, books.times_s) == (False, [], times_s)
    assert seconds(ending, 1) == {"computing": 3, "down": 9}


# Given up at 3 s; back at 11 s, when its ticket is paid for and not used.
def test_a_flapping_worker_may_come_back_too_late() -> None:
    attacks = [by(Flapping(on_s=1.0, off_s=10.0), 1)]
    ending, books = simulate(
        [workers(2.0, count=2)],
        wait_for=2,
        evict_after_s=3.0,
        cost=COST,
        max_steps=6,
        attacks=attacks,
        keep_spans=True,
    )
    assert ending.evicted == {1: 3.0}
    assert books.times_s == [3, 5, 7, 9, 11, 13]
    assert [report.llm_calls for report in books.reports] == [10, 20, 30, 40, 60, 70]
    assert sum(end - start for name, start, end in stretches(ending, 1) if name == "down") == 11
    assert ending.jobs[1] == 1


# Step 1 at 2 s; worker 1 is silent from 3 to 5 s, when its round is ready.
def test_a_barrier_waits_for_a_flapping_worker() -> None:
    plan = interlude(every=100, rounds=1)
    attacks = [by(Flapping(on_s=3.0, off_s=2.0), 1)]
    groups = [workers(2.0), workers(2.0, **upload(0.5))]
    ending, books = simulate(
        groups, wait_for=1, interlude=plan, max_steps=2, attacks=attacks, keep_spans=True
    )
    # worker 1's first ticket is drained at 2.5 s; its round is ready at 4.5 s, sent at 5 s, there at 5.5 s
    assert books.times_s == [2, 7.5]
    assert stretches(ending, 1) == chain(
        *(("computing", 2), ("uploading", 2.5), ("interlude", 4.5), ("down", 5), ("interlude", 5.5)),
        ("computing", 7.5),
    )


def test_several_attacks_of_one_worker() -> None:
    # no work, and reports in [0, 3), [5, 8): with 2 s of upload at 2, 4; ready at 4, sent at 5, there at 7
    flapping = Flapping(on_s=3.0, off_s=2.0)
    ending, books = simulate(
        [workers(9.0, **upload(2.0))],
        wait_for=1,
        max_steps=3,
        attacks=[by(Rushing(), 0), by(flapping, 0)],
        cost=COST,
    )
    assert books.times_s == [2, 4, 7]
    assert seconds(ending, 0) == {"uploading": 6, "down": 1}
    assert ending.report.llm_calls == 0


def test_how_two_kinds_of_conduct_combine() -> None:
    one = Conduct(computes=False, margin_steps=1, sends_s=lambda ready_s: ready_s + 1)
    two = Conduct(calls=False, margin_steps=3, sends_s=lambda ready_s: 2 * ready_s)
    both = one.then(two)
    assert both[:3] == (False, False, 3)
    assert both.sends_s is not None
    assert both.sends_s(5.0) == 12  # (5 + 1) x 2: the later sees what the earlier made
    assert one.then(HONEST) == HONEST.then(one) == one
    assert not HONEST.then(HONEST._replace(reports=False)).reports
    assert conduct_of([Rushing(start_s=2.0)], 1.0) == HONEST != conduct_of([Rushing(start_s=2.0)], 2.0)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "slow_rolling", "margin_steps": -1}, "greater than or equal to 0"),
        ({"kind": "flapping", "on_s": 1.0}, "off_s"),
        ({"kind": "flapping", "on_s": 1.0, "off_s": 0.0}, "greater than or equal to 0.000001"),
        ({"kind": "sleeper"}, "wakes_at_s"),
        ({"kind": "sleeper", "wakes_at_s": 1.0, "then": {"kind": "rushing", "fraction": 0.1}}, "its own"),
        ({"kind": "sleeper", "wakes_at_s": 1.0, "then": {"kind": "flipping"}}, "flapping"),
    ],
)
def test_wrong_settings(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TIMING_ATTACKS[table["kind"]].model_validate(table)


# What every kind keeps to. A new kind needs settings here.
CASES: dict[str, list[dict[str, Any]]] = {
    "rushing": [{}, {"skip_calls": False}],
    "slow_rolling": [{}, {"margin_steps": 0}, {"skip_calls": True}],
    "sleeper": [
        {"wakes_at_s": 9.0},
        {"wakes_at_s": 9.0, "then": {"kind": "rushing"}},
        {"wakes_at_s": 0.0, "then": {"kind": "flapping", "on_s": 2.0, "off_s": 3.0}, "skip_calls": True},
    ],
    "flapping": [{"on_s": 2.0, "off_s": 3.0}, {"on_s": 4.0, "off_s": 2.5, "phase_s": 1.0}],
}
EVERY = [(kind, settings) for kind, cases in CASES.items() for settings in cases]
INSTANTS_S = [0.0, 0.5, 2.0, 4.9, 5.0, 7.0, 9.0, 100.0]


def attack(kind: str, settings: dict[str, Any], **more: Any) -> TimingAttack:
    found = TIMING_ATTACKS[kind].model_validate({**settings, **more})
    assert isinstance(found, TimingAttack)
    return found


def attacked(*attacks: TimingAttack) -> tuple[Ending, Books]:
    """Run three workers, the first of which attacks: 5 s of arithmetic, 2 s of calls, 1 s of upload."""
    return simulate(
        [workers(5.0, 3, **upload(1.0))],
        wait_for=2,
        tau=4,
        step_s=0.1,
        evict_after_s=60.0,
        cost=COST,
        latency=Constant(value_s=1.0),
        max_steps=12,
        attacks=[by(one, 0) for one in attacks],
        keep_spans=True,
    )


def test_every_kind_has_a_case() -> None:
    assert set(CASES) == set(TIMING_ATTACKS.builtin)


@pytest.mark.parametrize(("kind", "settings"), EVERY)
def test_an_answer_is_never_sent_before_it_is_ready(kind: str, settings: dict[str, Any]) -> None:
    it = attack(kind, settings)
    for start_s in INSTANTS_S:
        first, again = it.conduct(start_s), it.conduct(start_s)
        assert first._replace(sends_s=None) == again._replace(sends_s=None)
        sends_s, same_s = first.sends_s or float, again.sends_s or float
        sent_s = [sends_s(ready_s) for ready_s in INSTANTS_S]
        assert sent_s == [same_s(ready_s) for ready_s in INSTANTS_S]
        assert all(ready_s <= at_s for ready_s, at_s in zip(INSTANTS_S, sent_s, strict=True))
        assert sent_s == sorted(sent_s)  # what is ready first is sent first
        if it.skip_calls and kind != "sleeper":  # which is honest before it wakes
            assert not first.calls
        assert first.margin_steps is None or first.margin_steps >= 0


@pytest.mark.parametrize(("kind", "settings"), EVERY)
def test_no_job_is_done_faster_than_what_is_done_of_it(kind: str, settings: dict[str, Any]) -> None:
    it = attack(kind, settings)
    _, books = attacked(it)
    mine = [ticket for step in books.tickets for ticket in step if ticket.worker == 0]
    for ticket in mine:
        how = it.conduct(ticket.start_s)
        least_s = 5.0 * how.computes + 2.0 * how.calls + 1.0
        assert ticket.finish_s - ticket.start_s >= least_s - 1e-9
        assert ticket.skipped is not how.calls
    others = [ticket for step in books.tickets for ticket in step if ticket.worker != 0]
    assert others
    assert all(ticket.finish_s - ticket.start_s == pytest.approx(8.0) for ticket in others)


@pytest.mark.parametrize(("kind", "settings"), EVERY)
def test_an_attack_that_is_off_changes_nothing(kind: str, settings: dict[str, Any]) -> None:
    plain, plain_books = attacked()
    for window in ({"start_s": 1e6}, {"stop_s": 1e-9, "start_s": 0.5e-9}):
        ending, books = attacked(attack(kind, settings, **window))
        assert ending.clock.spans == plain.clock.spans
        assert books.tickets == plain_books.tickets
    assert attacked(attack(kind, settings))[0].clock.spans != plain.clock.spans


@pytest.mark.parametrize(("kind", "settings"), EVERY)
def test_no_second_of_an_attacker_is_lost(kind: str, settings: dict[str, Any]) -> None:
    ending, _ = attacked(attack(kind, settings))
    assert sum(seconds(ending, 0).values()) == pytest.approx(ending.time_s)
    again, _ = attacked(attack(kind, settings))
    assert ending.clock.spans == again.clock.spans
