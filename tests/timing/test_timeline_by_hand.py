"""Timelines drawn by hand: when the server steps, with whom, how stale, and what everybody does meanwhile."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from timing_cases import REGULAR, ROUND, Books, chain, interlude, seconds, simulate, stretches, workers

from fedsim.messages import JobCost
from fedsim.schedule import Interlude
from fedsim.timing.delays.constant import Constant
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.loop import Ending

# Four workers, S = 2, tau = 3, an interlude of 2 rounds after steps 0, 4, 8, ...
# A job, of a round or regular, takes A 2 s, B 3 s, C 3 s and 1 s of upload, D 8 s. The server's arithmetic
# takes no time. One column is one second: a letter is work on a regular job, u an upload, = a round, # the
# server in an interlude, . waiting.
#
#            0         10        20        30        40        50
#   A        aa......==......==......aa.aaaa.aa......==......==......aa.
#   B        bbb.....===.....===.....bbbbbb..bbb.....===.....===.....bbb
#   C        cccu....====....====....cccu.cccu.......====....====....ccc
#   D        dddddddd================dddddddddddddddd================ddd
#   server   ...#####################..........######################...
#   steps       1                       2 3  4 5                        6
#
# Start. A 2, B 3: two tickets, ages of C and D are 1 < 3. Step 1 at 3 with A, B; all read version 0.
# Interlude 1 follows step 0. Drained: C at 4, D at 8. Rounds last as long as D: 8-16 and 16-24. All read
# version 1 at 24 and have age 1 again.
# A 26, B 27: step 2 at 27 with A, B, staleness 0. They read version 2.
# C 28 (version 1), A 27 + 2 = 29 (version 2): step 3 at 29, staleness 2 - 1 = 1 and 0. They read version 3.
# B 27 + 3 = 30, A 29 + 2 = 31: two tickets, but D had no part in steps 2 and 3 and is now of age 3:
# the tau wait. D 32 (version 1): step 4 at 32 with B, A, D, staleness 3 - 2 = 1, 0, 3 - 1 = 2.
# C 29 + 4 = 33 (version 3), A 32 + 2 = 34 (version 4): step 5 at 34, staleness 4 - 3 = 1 and 0.
# Interlude 2 follows step 4. Drained: B 35, D 40. Rounds 40-48, 48-56. All read version 5 at 56.
# A 58, B 59: step 6 at 59, the last.
# Tickets: A 2 10 18 26 29 31 34 42 50 58, B 3 11 19 27 30 35 43 51 59, C 4 12 20 28 33 44 52, D every 8 s.
FOUR = [workers(2.0), workers(3.0), workers(3.0, upload=Constant(value_s=1.0)), workers(8.0)]
PLAN = interlude(every=4, rounds=2)
COST = JobCost(calls=10, tokens_in=100, tokens_out=5, bytes_up=30, bytes_down=7)

ACTIVE = [[0, 1], [0, 1], [2, 0], [1, 0, 3], [2, 0], [0, 1]]
STALENESS = [[0, 0], [0, 0], [1, 0], [1, 0, 2], [1, 0], [0, 0]]
# all tickets the server has taken by each step: active ones 2 4 6 9 11 13, drained ones 0 2 2 2 2 4
WORKER_UPDATES = [2, 6, 8, 11, 13, 17]
DRAINED = [0, 2, 2, 2, 2, 4]
INTERLUDES = [0, 1, 1, 1, 1, 2]
# each interlude adds 4 workers x 2 rounds = 8 jobs
JOBS_TAKEN = [2, 6 + 8, 8 + 8, 11 + 8, 13 + 8, 17 + 16]
# jobs handed out before each step: none; 8 of rounds and 4 with the 11 bytes that they leave; then those of
# the active sets of steps 2, 3 and 4, with 2, 2 and 3 workers; step 5's get their next in interlude 2 only,
# which adds another 8 and 4
BYTES_DOWN = [0, 128, 142, 156, 177, 305]


def four_workers(step_s: float) -> tuple[Ending, Books]:
    return simulate(
        FOUR,
        wait_for=2,
        tau=3,
        step_s=step_s,
        interlude=PLAN,
        cost=COST,
        leaves_bytes=11,
        max_steps=6,
        keep_spans=True,
    )


@pytest.mark.parametrize("step_s", [0.0, 0.25])
def test_whom_the_server_steps_with(step_s: float) -> None:
    _, books = four_workers(step_s)
    assert books.active == ACTIVE
    assert books.staleness == STALENESS
    assert [report.active for report in books.reports] == [2, 2, 2, 3, 2, 2]
    assert [report.staleness_max for report in books.reports] == [0, 0, 1, 2, 1, 0]
    assert [report.staleness_mean for report in books.reports] == [0, 0, 0.5, 1, 0.5, 0]
    assert [report.step for report in books.reports] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("step_s", [0.0, 0.25])
def test_what_the_counters_say(step_s: float) -> None:
    _, books = four_workers(step_s)
    assert [report.worker_updates for report in books.reports] == WORKER_UPDATES
    assert [report.drained for report in books.reports] == DRAINED
    assert [report.interludes for report in books.reports] == INTERLUDES
    assert [report.llm_calls for report in books.reports] == [10 * jobs for jobs in JOBS_TAKEN]
    assert [report.tokens_in for report in books.reports] == [100 * jobs for jobs in JOBS_TAKEN]
    assert [report.tokens_out for report in books.reports] == [5 * jobs for jobs in JOBS_TAKEN]
    assert [report.bytes_up for report in books.reports] == [30 * jobs for jobs in JOBS_TAKEN]
    assert [report.bytes_down for report in books.reports] == BYTES_DOWN


@pytest.mark.parametrize("step_s", [0.0, 0.25])
def test_what_the_interludes_hold(step_s: float) -> None:
    _, books = four_workers(step_s)
    assert books.drained == [[2, 3], [1, 3]]
    assert books.participants == [[0, 1, 2, 3], [0, 1, 2, 3]]
    assert books.rounds == [[0, 1, 2, 3]] * 4
    assert books.ended_interludes == 2


def test_four_workers_and_a_server_that_takes_no_time() -> None:
    ending, books = four_workers(0.0)
    assert books.times_s == [3, 27, 29, 32, 34, 59]
    assert ending.time_s == 59
    assert not ending.stalled
    assert ending.jobs == [10, 9, 7, 7]


def test_what_four_workers_do_at_every_instant() -> None:
    ending, _ = four_workers(0.0)
    round_a = ("waiting", 8), ("interlude", 10), ("waiting", 16), ("interlude", 18), ("waiting", 24)
    round_b = ("waiting", 8), ("interlude", 11), ("waiting", 16), ("interlude", 19), ("waiting", 24)
    round_c = ("waiting", 8), ("interlude", 12), ("waiting", 16), ("interlude", 20), ("waiting", 24)
    again_a = ("waiting", 40), ("interlude", 42), ("waiting", 48), ("interlude", 50), ("waiting", 56)
    again_b = ("waiting", 40), ("interlude", 43), ("waiting", 48), ("interlude", 51), ("waiting", 56)
    again_c = ("waiting", 40), ("interlude", 44), ("waiting", 48), ("interlude", 52), ("waiting", 56)
    assert stretches(ending, 0) == chain(
        *(("computing", 2), *round_a, ("computing", 26), ("waiting", 27), ("computing", 29)),
        *(("computing", 31), ("waiting", 32), ("computing", 34), *again_a),
        *(("computing", 58), ("waiting", 59)),
    )
    assert stretches(ending, 1) == chain(
        *(("computing", 3), *round_b, ("computing", 27), ("computing", 30), ("waiting", 32)),
        *(("computing", 35), *again_b, ("computing", 59)),
    )
    assert stretches(ending, 2) == chain(
        *(("computing", 3), ("uploading", 4), *round_c, ("computing", 27), ("uploading", 28)),
        *(("waiting", 29), ("computing", 32), ("uploading", 33), *again_c, ("computing", 59)),
    )
    assert stretches(ending, 3) == chain(
        *(("computing", 8), ("interlude", 16), ("interlude", 24), ("computing", 32), ("computing", 40)),
        *(("interlude", 48), ("interlude", 56), ("computing", 59)),
    )
    assert stretches(ending, 4) == chain(
        ("waiting", 3), ("interlude", 24), ("waiting", 34), ("interlude", 56), ("waiting", 59)
    )


# The same with 0.25 s of server arithmetic per step and round. Draining costs none.
#
# A 2, B 3: step 1 at 3.25. C 4, D 8; rounds 8-16.25, 16.25-24.5 (D's 8 s and the server's 0.25 s each).
# A 26.5, B 27.5: step 2 at 27.75.     C 28.5, A 27.75 + 2 = 29.75: step 3 at 30.
# B 30.75, A 32, tau wait, D 24.5 + 8 = 32.5: step 4 at 32.75.
# C 30 + 4 = 34, A 34.75: step 5 at 35. B 32.75 + 3 = 35.75, D 40.75; rounds 40.75-49, 49-57.25.
# A 59.25, B 60.25: step 6 at 60.5.
def test_four_workers_and_a_server_that_thinks() -> None:
    ending, books = four_workers(0.25)
    assert books.times_s == [3.25, 27.75, 30, 32.75, 35, 60.5]
    assert ending.time_s == 60.5
    steps = [("waiting", 27.5), ("stepping", 27.75), ("waiting", 29.75), ("stepping", 30)]
    steps += [("waiting", 32.5), ("stepping", 32.75), ("waiting", 34.75), ("stepping", 35)]
    assert stretches(ending, 4) == chain(
        *(("waiting", 3), ("stepping", 3.25), ("interlude", 24.5)),
        *(*steps, ("interlude", 57.25), ("waiting", 60.25), ("stepping", 60.5)),
    )
    assert stretches(ending, 2) == chain(
        *(("computing", 3), ("uploading", 4), ("waiting", 8), ("interlude", 12), ("waiting", 16.25)),
        *(("interlude", 20.25), ("waiting", 24.5), ("computing", 27.5), ("uploading", 28.5)),
        *(("waiting", 30), ("computing", 33), ("uploading", 34), ("waiting", 40.75)),
        *(("interlude", 44.75), ("waiting", 49), ("interlude", 53), ("waiting", 57.25)),
        *(("computing", 60.25), ("uploading", 60.5)),
    )
    assert stretches(ending, 3) == chain(
        *(("computing", 8), ("interlude", 16), ("waiting", 16.25), ("interlude", 24.25), ("waiting", 24.5)),
        *(("computing", 32.5), ("waiting", 32.75), ("computing", 40.75), ("interlude", 48.75)),
        *(("waiting", 49), ("interlude", 57), ("waiting", 57.25), ("computing", 60.5)),
    )
    # A waits 6 + 6.25 + 6.25 for the first interlude, 6 + 6.25 + 6.25 for the second, and for steps 2 to 6
    # 1.25 + 0.25 + 0.75 + 0 + 1.25; it computes 6 jobs and has 4 rounds of 2 s
    assert seconds(ending, 0) == {"computing": 12, "waiting": 40.5, "interlude": 8}


# Only the active set takes part in the rounds: nobody is drained, and who is busy stays busy.
# Step 1 at 3 with A, B; round 1: A 5, B 6; round 2: A 8, B 9. Meanwhile C 4 and D 8 (both version 0) hand in,
# which is enough for step 2 at 9: the one case in which tickets pile up beyond a step. A, B read version 1
# at 9, C, D version 2: A 11, B 12: step 3.
def test_an_interlude_of_the_active_set_alone() -> None:
    plan = interlude(every=100, rounds=2, participation="active")
    ending, books = simulate(FOUR, wait_for=2, tau=3, interlude=plan, max_steps=3, keep_spans=True)
    assert books.active == [[0, 1], [2, 3], [0, 1]]
    assert books.times_s == [3, 9, 12]
    assert books.staleness == [[0, 0], [1, 1], [1, 1]]
    assert books.drained == [[]]
    assert books.participants == [[0, 1]]
    assert books.rounds == [[0, 1], [0, 1]]
    assert stretches(ending, 4) == chain(("waiting", 3), ("interlude", 9), ("waiting", 12))
    assert stretches(ending, 3) == chain(("computing", 8), ("waiting", 9), ("computing", 12))


# Two workers of 1 s and a server that thinks for 2 s, S = 1. Both report at 1; the server takes A, thinks,
# steps at 3; B's ticket has waited in the inbox: step at 5. A's next is there since 4: step at 7, B's: 9.
def test_messages_queue_while_the_server_thinks() -> None:
    ending, books = simulate([workers(1.0, count=2)], wait_for=1, step_s=2.0, max_steps=4, keep_spans=True)
    assert books.times_s == [3, 5, 7, 9]
    assert books.active == [[0], [1], [0], [1]]
    assert books.staleness == [[0], [1], [1], [1]]
    assert stretches(ending, 2) == chain(
        ("waiting", 1), ("stepping", 3), ("stepping", 5), ("stepping", 7), ("stepping", 9)
    )


# Jobs of 1 s, 2 s and 4 s: every step waits for the slowest.
def test_synchronous_steps_come_when_the_slowest_has_reported() -> None:
    groups = [workers(1.0), workers(2.0), workers(4.0)]
    ending, books = simulate(groups, wait_for=3, step_s=0.5, max_steps=3)
    assert books.times_s == [4.5, 9, 13.5]
    assert books.active == [[0, 1, 2]] * 3
    assert books.staleness == [[0, 0, 0]] * 3
    assert seconds(ending, 1) == {"computing": 6, "waiting": 7.5}
    assert seconds(ending, 3) == {"waiting": 12, "stepping": 1.5}


@pytest.mark.parametrize("plan", [None, interlude(every=3, rounds=2)])
def test_tau_1_is_the_synchronous_form(plan: Interlude | None) -> None:
    """With tau = 1 nobody may miss a step, so S does not matter."""
    groups = [workers(Exponential(mean_s=1.0), count=4, upload=Exponential(mean_s=0.2))]

    def tables(wait_for: int, tau: int) -> tuple[Any, ...]:
        ending, books = simulate(
            groups, wait_for=wait_for, tau=tau, step_s=0.01, interlude=plan, max_steps=20, keep_spans=True
        )
        reports = [report._replace(wait_for=0) for report in books.reports]
        return reports, books.active, ending.clock.spans, ending.jobs

    synchronous = tables(wait_for=4, tau=1000)
    assert synchronous == tables(wait_for=1, tau=1) == tables(wait_for=4, tau=1)
    assert synchronous != tables(wait_for=1, tau=2)


# Both hand in at 1 s. The server takes 0 first, steps, and gives it a job; only then does it take 1, whose
# ticket has read version 0 and is one step old. From then on 0 reads every odd version and 1 every even one.
def test_two_tickets_at_one_instant_are_taken_in_the_order_they_came() -> None:
    _, books = simulate([workers(1.0, count=2)], wait_for=1, max_steps=6)
    assert books.times_s == [1, 1, 2, 2, 3, 3]
    assert books.active == [[0], [1], [0], [1], [0], [1]]
    assert books.staleness == [[0], [1], [1], [1], [1], [1]]


def test_order_at_one_instant_is_that_of_scheduling() -> None:
    # Worker 0 starts its second job at 2 s and is due at 4 s; worker 1's only job so far, also due at 4 s,
    # was scheduled at 0 s and comes first.
    _, books = simulate([workers(2.0), workers(4.0)], wait_for=1, max_steps=3)
    assert books.times_s == [2, 4, 4]
    assert books.active == [[0], [1], [0]]


def test_the_next_job_reflects_the_ticket_before_it() -> None:
    """Nobody ever reads a version that does not hold its own last ticket."""
    ending, books = simulate([workers(1.0, count=3)], wait_for=1, max_steps=9)
    # worker 0 is in steps 1, 4, 7, so it reads versions 0, 1, 4, and 7 at the end
    assert [version for _, version in books.handed[0]] == [0, 1, 4, 7]
    assert [version for _, version in books.handed[1]] == [0, 2, 5, 8]
    # the run ends in step 9: worker 2 gets no job
    assert [version for _, version in books.handed[2]] == [0, 3, 6]
    assert ending.jobs[2] == 3


@pytest.mark.parametrize("n_workers", [1, 2, 5, 12])
def test_equal_asynchronous_workers_are_n_minus_1_steps_stale(n_workers: int) -> None:
    """Exactly, from the second round on: between two tickets of a worker come those of all the others."""
    _, books = simulate([workers(1.0, count=n_workers)], wait_for=1, max_steps=5 * n_workers)
    assert [stale for stale, *_ in books.staleness[:n_workers]] == list(range(n_workers))
    assert books.staleness[n_workers:] == [[n_workers - 1]] * (4 * n_workers)


def test_a_round_reads_the_version_of_the_step_before_it() -> None:
    _, books = four_workers(0.0)
    assert books.handed[3] == [
        *((REGULAR, 0), (ROUND, 1), (ROUND, 1), (REGULAR, 1), (REGULAR, 4)),
        *((ROUND, 5), (ROUND, 5), (REGULAR, 5)),
    ]


def test_interludes_are_due_by_step() -> None:
    plan = interlude(every=4, stop_after=9)
    assert [step for step in range(20) if plan.due(step)] == [0, 4, 8]
    assert [step for step in range(20) if interlude(every=7).due(step)] == [0, 7, 14]
    assert not interlude(every=1, stop_after=0).due(0)


# Jobs of 1, 2 and 5 s. All wait for step 0 at 5 s. Restarted before the barrier, all do a second job until
# 10 s, whose results are drained, and two rounds of 5 s follow: a third job each, and step 1 at 25 s.
# With S = 2, step 0 is at 2 s: workers 0 and 1 are back at 3 and 4 s, and the barrier is at 5 s all the same.
@pytest.mark.parametrize(
    ("wait_for", "restart", "times_s", "drained"),
    [
        (3, "after", [5, 20], []),
        (3, "before", [5, 25], [0, 1, 2]),
        (2, "after", [2, 17], [2]),
        (2, "before", [2, 17], [0, 1, 2]),
    ],
)
def test_active_workers_get_their_next_job_after_or_before_the_barrier(
    wait_for: int, restart: Literal["after", "before"], times_s: list[float], drained: list[int]
) -> None:
    plan = interlude(rounds=2, restart=restart)
    _, books = simulate([workers(each) for each in (1, 2, 5)], wait_for=wait_for, interlude=plan, max_steps=2)
    assert books.times_s == times_s
    assert books.drained == [drained]
    assert books.participants == [[0, 1, 2]]
    # a restarted worker reads what the step has made, and after the interlude what that has made of it
    again = ["step 1"] if restart == "before" else []
    expected = ["first", *again, "round 0", "round 1", "interlude 1"]
    assert all(books.read[worker][: len(expected)] == expected for worker in range(wait_for))
    assert books.reports[-1].drained == len(drained)


# Step 0 takes 2 updates, which do not count; then the counts since are 2, 4, 6, ... by twos, and 2 more for
# each interlude, whose barrier drains the two others. Multiples of 7: step 0; then 4 after step 1, 6 after
# step 2, 8 after step 3: due; 12, then 14: due after step 5; 18, 20, 22: due after step 8.
def test_interludes_are_due_by_worker_updates() -> None:
    plan = interlude(rounds=1)._replace(every_updates=7)
    _, books = simulate([workers(1.0, count=4)], wait_for=2, interlude=plan, max_steps=10)
    assert [report.interludes for report in books.reports] == [0, 1, 1, 1, 2, 2, 3, 3, 3, 4]
    assert [report.worker_updates for report in books.reports] == [2, 6, 8, 10, 14, 16, 20, 22, 24, 28]


# Multiples of 3, and each step takes 4: none is passed twice, and stop_after counts steps as ever.
def test_a_step_that_passes_several_multiples_has_one_interlude() -> None:
    plan = interlude(rounds=1, stop_after=3)._replace(every_updates=3)
    _, books = simulate([workers(1.0, count=4)], wait_for=4, interlude=plan, max_steps=6)
    assert [report.interludes for report in books.reports] == [0, 1, 2, 3, 3, 3]


@pytest.mark.parametrize("stop_after", [None, 9])
def test_synchronous_steps_have_interludes_by_steps_or_by_updates(stop_after: int | None) -> None:
    """Every R updates is every step."""
    plan = interlude(every=4, rounds=2, stop_after=stop_after)
    groups = [workers(Exponential(mean_s=1.0), count=3)]

    def reports(plan: Interlude) -> list[Any]:
        return simulate(groups, wait_for=3, interlude=plan, max_steps=20)[1].reports

    by_steps = reports(plan)
    assert reports(plan._replace(every_updates=4 * 3)) == by_steps
    assert reports(plan._replace(every_updates=4 * 3 + 1)) != by_steps
