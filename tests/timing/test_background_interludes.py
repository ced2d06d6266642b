"""Interludes in the background: rounds are jobs among others, steps go on, and nobody is stopped."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from timing_cases import (
    OPENING,
    REGULAR,
    ROUND,
    chain,
    interlude,
    joins,
    on,
    schedule_of,
    seconds,
    simulate,
    stretches,
    workers,
)

from fedsim.messages import JobCost
from fedsim.schedule import Interlude
from fedsim.timing.delays.exponential import Exponential

COST = JobCost(calls=1, tokens_in=1, tokens_out=1, bytes_up=1, bytes_down=7)


def rolling(every: int = 100, rounds: int = 2, **settings: Any) -> Interlude:
    return interlude(every, rounds, participation="rolling", **settings)


# A takes 2 s for a job, B 3 s and C 4 s; S = 2, an interlude of 2 rounds after step 0, in the background. The
# server's arithmetic takes no time. A letter is work on a regular job, = a round, . waiting.
#
#            0         10
#   A        aa.==aa.==aaaa.aa
#   B        bbb===bbbbbbbbbbbb
#   C        cccccccc====ccccc
#   server   ..................
#   steps       12   34  5  6 7
#
# Step 1 at 3 with A, B. Both go to the first round: A until 5, B until 6. Only C is left for steps.
# C 4: step 2 at 4 with C alone, staleness 1. The round has its two workers, so C goes on: 4-8.
# A 5: back at once with version 2, until 7. B 6: the round is over; B goes on with version 2, until 9.
# A 7, C 8: all three are back, and S = 2 again: step 3 at 8. Both go to the second round: A until 10, C until
# 12. B 9: step 4 at 9 with B alone, staleness 1; B goes on until 12. A 10: back, until 12.
# At 12 C, B, A report, in the order in which their jobs began. C ends the interlude, but has its next job
# already: 12-16, without what the interlude leaves. Step 5 at 12 with B, A, who get it. A 14, B 15: step 6.
# C 16, A 17: step 7 at 17; C is told now. B 18, A 19: step 8.
THREE = [workers(2.0), workers(3.0), workers(4.0)]


def three_workers(**settings: Any) -> Any:
    settings = {"wait_for": 2, "interlude": rolling(), "max_steps": 8, "keep_spans": True} | settings
    return simulate(THREE, cost=COST, leaves_bytes=11, **settings)


def test_steps_go_on_while_two_rounds_are_held() -> None:
    ending, books = three_workers()
    assert books.times_s == [3, 4, 8, 9, 12, 15, 17, 19]
    assert books.active == [[0, 1], [2], [0, 2], [1], [1, 0], [0, 1], [2, 0], [1, 0]]
    assert books.staleness == [[0, 0], [1], [0, 0], [1], [0, 0], [0, 0], [2, 0], [1, 0]]
    assert books.rounds == [[0, 1], [0, 2]]
    assert (books.participants, books.drained) == ([[0, 1, 2]], [[]])
    assert books.handed[0][:5] == [(REGULAR, 0), (ROUND, 1), (REGULAR, 2), (ROUND, 2), (REGULAR, 4)]
    assert books.read[2] == ["first", "step 2", "round 1", "step 4", "step 7"]
    assert [report.interludes for report in books.reports] == [0, *[1] * 7]
    assert ending.by_kind[ROUND].jobs == 2 * 2


def test_nobody_is_stopped() -> None:
    """A worker waits for the S-th report as ever, and nobody for a round."""
    ending, _ = three_workers()
    assert stretches(ending, 0)[:8] == chain(
        *(("computing", 2), ("waiting", 3), ("interlude", 5), ("computing", 7), ("waiting", 8)),
        *(("interlude", 10), ("computing", 12), ("computing", 14)),
    )
    assert stretches(ending, 1)[:5] == chain(
        *(("computing", 3), ("interlude", 6), ("computing", 9), ("computing", 12), ("computing", 15))
    )
    assert stretches(ending, 2)[:4] == chain(
        *(("computing", 4), ("computing", 8), ("interlude", 12), ("computing", 16))
    )
    assert seconds(ending, 3) == {"waiting": 19}


def test_everybody_is_told_what_an_interlude_leaves_with_the_next_job() -> None:
    _, books = three_workers()
    # Jobs of 7 bytes: 2 of the round; C's, A's, B's; 2 of a round; B's, A's, C's; 2 with the 11 bytes; 2;
    # then C's with them and A's.
    assert [report.bytes_down for report in books.reports] == [0, 14, 35, 49, 70, 106, 120, 145]


# Half a second for each step and round. Step 1 at 3.5; A 5.5, B 6.5. C 4: step 2 at 4.5, C until 8.5. B ends
# the round: the server cuts from 6.5 to 7. A, back at 5.5, has reported at 7.5. C 8.5: step 3 at 9.
def test_what_the_server_does_for_a_round_is_booked() -> None:
    ending, books = three_workers(step_s=0.5, max_steps=3)
    assert books.times_s == [3.5, 4.5, 9]
    assert stretches(ending, 3) == chain(
        *(("waiting", 3), ("stepping", 3.5), ("waiting", 4), ("stepping", 4.5), ("waiting", 6.5)),
        *(("interlude", 7), ("waiting", 8.5), ("stepping", 9)),
    )


@pytest.mark.parametrize("step_s", [0.0, 0.3])
@pytest.mark.parametrize("opening", [None, COST])
def test_rounds_of_everybody_are_behind_a_barrier(step_s: float, opening: JobCost | None) -> None:
    """With S = R nobody is left to take a step with: an interlude in the background is one like any other."""

    def tables(participation: Any) -> tuple[Any, ...]:
        ending, books = simulate(
            [workers(Exponential(mean_s=1.0), count=4, upload=Exponential(mean_s=0.2))],
            wait_for=4,
            step_s=step_s,
            interlude=interlude(every=3, rounds=2, participation=participation),
            cost=COST,
            leaves_bytes=11,
            opening=opening,
            max_steps=12,
        )
        return books.reports, books.active, books.rounds, books.read, ending.jobs

    assert tables("rolling") == tables("all")


# Ten alike workers of 1 s, S = 2: an interlude is due after every second step, so more often than five rounds
# end. One waits for the end of another, and the others are counted.
def test_an_interlude_that_is_due_during_another_follows_it() -> None:
    _, books = simulate(
        [workers(Exponential(mean_s=1.0), count=10)], wait_for=2, interlude=rolling(2, 5), max_steps=60
    )
    last = books.reports[-1]
    assert books.ended_interludes in (last.interludes - 1, last.interludes)
    assert last.skipped_interludes > 0
    assert last.interludes + last.skipped_interludes in (29, 30)  # of 30 due ones, the last may still wait
    assert [len(members) for members in books.rounds] == [2] * len(books.rounds)
    assert len(books.rounds) >= 5 * books.ended_interludes


def test_a_straggler_is_not_in_every_round() -> None:
    """Who has done a round does a regular job before the next."""
    _, books = simulate(
        [workers(1.0, count=4), workers(8.0)], wait_for=2, tau=9, interlude=rolling(), max_steps=40
    )
    for history in books.handed.values():
        kinds = [kind for kind, _ in history]
        assert (ROUND, ROUND) not in pairwise(kinds)


# Step 1 at 1 with 0 and 1, who go to the round; 0 stops at 1.5. 1 reports at 2 and goes on until 3. 2 and 3:
# step 2 at 2.5; the round has its two, so they go on until 4.75 and 5. At 4 worker 0 is given up. 1 and 2:
# step 3 at 4.75; 1 has done its part, so 2 goes to the round, until 7, and 1 goes on until 5.75. 3 and 1:
# step 4 at 5.75; they go on until 8.25 and 6.75. Step 5 at 8.25.
def test_a_worker_that_is_evicted_in_a_round_is_replaced() -> None:
    groups = [workers(1.0, stops_at_s=1.5), workers(1.0), workers(2.25), workers(2.5)]
    _, books = simulate(
        groups, wait_for=2, interlude=rolling(rounds=1), evict_after_s=3.0, max_steps=8, cost=COST
    )
    assert books.times_s[:5] == [1, 2.5, 4.75, 5.75, 8.25]
    assert books.active[:5] == [[0, 1], [2, 3], [1, 2], [3, 1], [1, 3]]
    assert (books.rounds, books.evicted, books.ended_interludes) == ([[1, 2]], [0], 1)


def test_where_nobody_is_left_an_interlude_is_closed() -> None:
    """Both members of the round stop; a third worker joins later and has no part in it."""
    groups = [workers(1.0, count=2, stops_at_s=1.5), workers(1.0, availability=joins((3.0,)))]
    _, books = simulate(groups, wait_for=2, interlude=rolling(), evict_after_s=4.0, max_steps=9, cost=COST)
    assert books.active == [[0, 1], *[[2]] * 8]
    assert (books.ended_interludes, books.abandoned_interludes) == (0, 1)


# A worker that has lost its state in a round does the round once more, then opens.
def test_who_loses_its_state_in_a_round_does_it_again() -> None:
    groups = [workers(1.0, availability=on((0.0, 1.5), (2.0,)), on_return="rejoin"), workers(1.0, count=3)]
    _, books = simulate(groups, wait_for=2, interlude=rolling(rounds=1), max_steps=9, opening=COST, cost=COST)
    assert [kind for kind, _ in books.handed[0]][:4] == [OPENING, ROUND, ROUND, OPENING]
    assert books.rounds == [[1, 0]]


def test_sampled_rounds_leave_nobody_for_the_background() -> None:
    schedule = schedule_of(wait_for=1, participants=2, interlude=rolling())
    with pytest.raises(ValueError, match=r'schedule.interlude.participation: found "rolling" with Rounds'):
        schedule.check()
