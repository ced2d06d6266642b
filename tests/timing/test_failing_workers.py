"""Workers that go down, come back, join late or are lost: timelines drawn by hand, and what always holds."""

from __future__ import annotations

from itertools import pairwise
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from timing_cases import (
    REGULAR,
    ROUND,
    Books,
    by,
    chain,
    expulsions,
    interlude,
    joins,
    on,
    seconds,
    simulate,
    stretches,
    workers,
)

from fedsim.messages import JobCost
from fedsim.schedule import Adapt
from fedsim.timing.activities import Activity
from fedsim.timing.attacks.flapping import Flapping
from fedsim.timing.availability import Availability
from fedsim.timing.availability.diurnal import Diurnal
from fedsim.timing.availability.lifetime import Lifetime
from fedsim.timing.availability.on_off import OnOff
from fedsim.timing.delays import Delay
from fedsim.timing.delays.constant import Constant
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.delays.uniform import Uniform
from fedsim.timing.loop import Ending
from fedsim.timing.settings import ServerSettings
from fedsim.timing.worker import WorkerGroup

CALL = JobCost(calls=1, tokens_in=0, tokens_out=0, bytes_up=3, bytes_down=7)
ONE, TWO, THREE = (Constant(value_s=value_s) for value_s in (1.0, 2.0, 3.0))


def legs(**settings: Any) -> WorkerGroup:
    """Return a worker whose job is 1 s of download, 2 s of computing, 3 s of calls, 1 s of upload."""
    return workers(TWO, download=ONE, upload=ONE, **settings)


# Job 0 needs no download: 6 s. Job 1 would take 6 to 7 to 9 to 12 to 13. The worker goes down in it, is back
# after 4 s and begins at the beginning: it takes 7 s from there.
@pytest.mark.parametrize("on_return", ["restart", "rejoin"])
@pytest.mark.parametrize(
    ("down_s", "before"),
    [
        (6.5, [("downloading", 6.5)]),
        (8.0, [("downloading", 7), ("computing", 8)]),
        (11.0, [("downloading", 7), ("computing", 9), ("calling", 11)]),
        (12.5, [("downloading", 7), ("computing", 9), ("calling", 12), ("uploading", 12.5)]),
    ],
)
def test_a_job_that_is_interrupted_begins_again(
    down_s: float, before: list[tuple[str, float]], on_return: str
) -> None:
    back_s = down_s + 4
    group = legs(availability=on((0.0, down_s), (back_s,)), on_return=on_return)
    ending, books = simulate([group], wait_for=1, cost=CALL, latency=THREE, max_steps=2, keep_spans=True)
    assert books.times_s == [6, back_s + 7]
    first = ("computing", 2), ("calling", 5), ("uploading", 6)
    phases = zip(("downloading", "computing", "calling", "uploading"), (1, 3, 6, 7), strict=True)
    again = [(phase, back_s + after_s) for phase, after_s in phases]
    assert stretches(ending, 0) == chain(*first, *before, ("down", back_s), *again)
    assert (ending.jobs, ending.times_down, ending.jobs_lost) == ([2], [1], [1])
    # the calls of a job that is lost are in no ticket, and so not in these books
    assert [report.llm_calls for report in books.reports] == [1, 2]
    if on_return == "restart":  # the same job, handed out at 6 s
        assert books.forgotten == []
        assert [(ticket.job, ticket.start_s) for [ticket] in books.tickets] == [(0, 0), (1, 6)]
        assert [report.bytes_down for report in books.reports] == [0, 7]
    else:  # job 1 is withdrawn, and job 2 handed out when the worker is back
        assert books.forgotten == [(0, 1)]
        assert [(ticket.job, ticket.start_s) for [ticket] in books.tickets] == [(0, 0), (2, back_s)]
        assert [report.bytes_down for report in books.reports] == [0, 14]


# Worker 0 takes 1 s per job: steps at 1, 2, 3, ... Worker 1, 4 s, is down from 2 to 5.5 s: its ticket comes
# at 9.5 s, after 9 steps.
@pytest.mark.parametrize(("on_return", "read"), [("restart", 0), ("rejoin", 5)])
def test_who_restarts_has_read_long_ago_and_who_rejoins_reads_anew(on_return: str, read: int) -> None:
    groups = [workers(1.0), workers(4.0, availability=on((0.0, 2.0), (5.5,)), on_return=on_return)]
    _, books = simulate(groups, wait_for=1, max_steps=10)
    assert (books.active[-1], books.times_s[-1]) == ([1], 9.5)
    assert books.staleness[-1] == [9 - read]
    assert books.handed[1] == [(REGULAR, 0), (REGULAR, 5)][: 1 + (read > 0)]


# Worker 1's draws of job 0 and job 1 are used up by two beginnings of job 0: its third begin is job 1's.
def test_a_job_that_begins_again_draws_again() -> None:
    lengths_s = [
        ticket.finish_s - ticket.start_s
        for [ticket] in simulate([workers(Exponential(mean_s=1.0))], wait_for=1, max_steps=3)[1].tickets
    ]
    half_s = lengths_s[0] / 2
    group = workers(Exponential(mean_s=1.0), availability=on((0.0, half_s), (half_s,)))
    _, books = simulate([group], wait_for=1, max_steps=2)
    assert books.times_s == pytest.approx([half_s + lengths_s[1], half_s + lengths_s[1] + lengths_s[2]])


# S = 2: worker 0 takes 3 s, worker 1 takes 1 s and waits from 1 s on. Step 1 at 3 s.
@pytest.mark.parametrize("on_return", ["restart", "rejoin"])
def test_down_while_waiting_and_back_before_the_reply(on_return: str) -> None:
    groups = [workers(3.0), workers(1.0, availability=on((0.0, 2.0), (2.5,)), on_return=on_return)]
    ending, books = simulate(groups, wait_for=2, max_steps=2, keep_spans=True)
    assert (books.times_s, books.active) == ([3, 6], [[1, 0], [1, 0]])
    assert stretches(ending, 1) == chain(
        ("computing", 1), ("waiting", 2), ("down", 2.5), ("waiting", 3), ("computing", 4), ("waiting", 6)
    )
    # the ticket is that of a worker with its old state: forgotten when step 1 has been taken
    assert books.forgotten == ([(1, 1)] if on_return == "rejoin" else [])
    assert books.handed[1] == [(REGULAR, 0), (REGULAR, 1)]
    assert (ending.times_down, ending.jobs_lost) == ([0, 1], [0, 0])


# The reply comes at 3 s, while worker 1 is down.
@pytest.mark.parametrize("on_return", ["restart", "rejoin"])
def test_down_while_waiting_and_back_after_the_reply(on_return: str) -> None:
    groups = [workers(3.0), workers(1.0, availability=on((0.0, 2.0), (4.5,)), on_return=on_return)]
    ending, books = simulate(groups, wait_for=2, max_steps=2, keep_spans=True)
    assert books.times_s == [3, 6]
    assert stretches(ending, 1) == chain(
        ("computing", 1), ("waiting", 2), ("down", 4.5), ("computing", 5.5), ("waiting", 6)
    )
    ticket = books.tickets[1][0]
    assert (ending.times_down, ending.jobs_lost) == ([0, 1], [0, 0])
    if on_return == "restart":
        assert (ticket.worker, ticket.job, ticket.start_s, books.forgotten) == (1, 1, 3, [])
    else:
        assert (ticket.worker, ticket.job, ticket.start_s, books.forgotten) == (1, 2, 4.5, [(1, 1)])
        assert books.handed[1] == [(REGULAR, 0), (REGULAR, 1), (REGULAR, 1)]


def test_a_ticket_in_the_inbox_counts_even_if_its_worker_is_down_and_back() -> None:
    # the server thinks about worker 0's ticket from 1 to 5 s; worker 1's comes at 2 s, it is down from 3 to 4
    groups = [workers(1.0), workers(2.0, availability=on((0.0, 3.0), (4.0,)), on_return="rejoin")]
    ending, books = simulate(groups, wait_for=1, step_s=4.0, max_steps=2, keep_spans=True)
    assert (books.times_s, books.active) == ([5, 9], [[0], [1]])
    assert (books.forgotten, ending.jobs_lost) == ([], [0, 0])  # the run ends before its next job
    assert stretches(ending, 1) == chain(("computing", 2), ("waiting", 3), ("down", 4), ("waiting", 9))


# Both take 1 s. Step 1 at 1 s, round 1 from there; worker 1 is down from 1.5 to 4 s, so the round ends
# at 5 s, round 2 at 6 s; step 2 at 7 s.
@pytest.mark.parametrize("on_return", ["restart", "rejoin"])
@pytest.mark.parametrize("participation", ["all", "active"])
def test_down_in_a_round(on_return: str, participation: Any) -> None:
    groups = [workers(1.0), workers(1.0, availability=on((0.0, 1.5), (4.0,)), on_return=on_return)]
    plan = interlude(every=100, rounds=2, participation=participation)
    ending, books = simulate(
        groups, wait_for=2, interlude=plan, cost=CALL, leaves_bytes=11, max_steps=2, keep_spans=True
    )
    assert (books.times_s, books.rounds, books.ended_interludes) == ([1, 7], [[0, 1], [0, 1]], 1)
    assert stretches(ending, 1) == chain(
        ("computing", 1),
        ("interlude", 1.5),
        ("down", 4),
        ("interlude", 5),
        ("interlude", 6),
        ("computing", 7),
    )
    again = [(ROUND, 1)] if on_return == "rejoin" else []
    assert books.handed[1] == [(REGULAR, 0), (ROUND, 1), *again, (ROUND, 1), (REGULAR, 1)]
    assert books.forgotten == [(1, 1)] * len(again)
    # four jobs of rounds, two regular ones with what they leave; and the order of round 1 once more
    assert ending.report.bytes_down == 4 * 7 + 2 * 18 + 7 * len(again)


# S = 1: step 1 at 1 s with worker 0. The drain waits for worker 1, 4 s per job, down from 2 to 3 s.
@pytest.mark.parametrize(("on_return", "version"), [("restart", 0), ("rejoin", 1)])
def test_down_at_the_barrier(on_return: str, version: int) -> None:
    groups = [workers(1.0), workers(4.0, availability=on((0.0, 2.0), (3.0,)), on_return=on_return)]
    ending, books = simulate(groups, wait_for=1, interlude=interlude(every=100, rounds=1), max_steps=2)
    # drained at 7 s; the round ends at 11 s; step 2 at 12 s
    assert (books.drained, books.rounds, books.times_s) == ([[1]], [[0, 1]], [1, 12])
    assert books.handed[1][-3] == (REGULAR, version)
    assert ending.jobs_lost == [0, 1]


# Worker 1 waits at the barrier from 2 s on and is down from 3 to 4; the last one comes at 6 s. Round 1 is its
# next job.
def test_down_while_it_waits_at_the_barrier() -> None:
    slow = workers(2.0, availability=on((0.0, 3.0), (4.0,)), on_return="rejoin")
    _, books = simulate(
        [workers(1.0), slow, workers(6.0)], wait_for=1, interlude=interlude(every=100, rounds=1), max_steps=2
    )
    assert (books.drained, books.times_s, books.forgotten) == ([[1, 2]], [1, 13], [(1, 1)])
    assert books.handed[1][:2] == [(REGULAR, 0), (ROUND, 1)]


def test_at_one_instant_going_down_comes_first() -> None:
    # the first job would end at 2 s, when the worker goes down; it is back at once, and again at 3 s
    group = workers(2.0, availability=on((0.0, 2.0), (2.0, 3.0), (3.0,)))
    ending, books = simulate([group], wait_for=1, max_steps=1, keep_spans=True)
    assert books.times_s == [5]
    assert (ending.times_down, ending.jobs_lost) == ([2], [2])
    assert seconds(ending, 0) == {"computing": 5}


@pytest.mark.parametrize(("on_return", "read"), [("restart", 0), ("rejoin", 3)])
def test_a_member_may_be_down_at_the_start(on_return: str, read: int) -> None:
    # S = 1, tau = 4: steps at 1, 2, 3; at 4 s worker 1, of age 4, is waited for, who comes at 5 + 2 s
    groups = [workers(1.0), workers(2.0, availability=on((5.0,)), on_return=on_return)]
    ending, books = simulate(groups, wait_for=1, tau=4, max_steps=4, keep_spans=True)
    assert books.times_s == [1, 2, 3, 7]
    assert books.staleness[-1] == [0, 3 - read]
    assert stretches(ending, 1) == chain(("down", 5), ("computing", 7))
    assert (ending.times_down, ending.jobs_lost) == ([0, 0], [0, 0])


def test_a_run_may_end_while_a_worker_is_down() -> None:
    ending, _ = simulate([workers(3.0, availability=on((0.0, 1.0), (9.0,)))], wait_for=1, horizon_s=5.0)
    assert (ending.time_s, ending.stalled) == (5, False)
    assert seconds(ending, 0) == {"computing": 1, "down": 4}
    assert seconds(ending, 1) == {"waiting": 5}


# Patience 3 s, S = 1. Worker 1 takes 5.5 s: given up at 3 s. Its late ticket of 5.5 s is paid for and not
# used;
# it gets job 1, version 5, at once, is given up again at 8.5 s, and so on. Worker 0: steps at 1, 2, 3, ...
def test_an_evicted_worker_is_taken_in_again_when_its_message_arrives() -> None:
    groups = [workers(1.0), workers(5.5)]
    ending, books = simulate(
        groups, wait_for=1, evict_after_s=3.0, readmit=True, cost=CALL, max_steps=10, keep_spans=True
    )
    assert books.times_s == [float(second) for second in range(1, 11)]
    assert books.active == [[0]] * 10
    assert books.handed[1] == [(REGULAR, 0), (REGULAR, 5)]
    assert (books.evicted, books.admitted, ending.readmitted) == ([1, 1], [1], [0, 1])
    assert ending.evicted == {1: 8.5}
    # given up at 3 s, after step 3 of the same instant
    assert [report.members for report in books.reports] == [2, 2, 2, 1, 1, 2, 2, 2, 1, 1]
    assert [report.llm_calls for report in books.reports] == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    assert [report.worker_updates for report in books.reports] == list(range(1, 11))
    assert stretches(ending, 1) == chain(("computing", 5.5), ("computing", 10))


# As before, but worker 1 (2 s per job) is down from 1 to 4 s, given up at 3 s in its first job.
@pytest.mark.parametrize("on_return", ["restart", "rejoin"])
@pytest.mark.parametrize("readmit", [False, True])
def test_eviction_while_down(on_return: str, readmit: bool) -> None:
    away = workers(2.0, availability=on((0.0, 1.5), (4.5,)), on_return=on_return)
    ending, books = simulate(
        [workers(1.0), away], wait_for=1, evict_after_s=3.0, readmit=readmit, max_steps=9, keep_spans=True
    )
    own = stretches(ending, 1)
    assert own[0] == ("computing", 0, 1.5)
    assert ending.jobs_lost == [0, 1]
    if on_return == "restart":  # it does not know, and hands job 0 in at 6.5 s
        assert own[:3] == chain(("computing", 1.5), ("down", 4.5), ("computing", 6.5))
        assert own[3][0] == ("computing" if readmit else "down")
        assert books.handed[1] == [(REGULAR, 0), *[(REGULAR, 6)] * readmit]
        assert books.forgotten == []
    elif readmit:  # taken in at 4.5 s with a new job; its ticket of 6.5 s counts
        assert books.active[6:8] == [[1], [0]]
        assert books.handed[1][:2] == [(REGULAR, 0), (REGULAR, 4)]
        assert books.forgotten == [(1, 4)]
    else:  # turned away
        assert own[1:] == [("down", 1.5, 9)]
        assert books.handed[1] == [(REGULAR, 0)]
    assert ending.readmitted == [0, int(readmit)]
    assert (1 in ending.evicted) is not readmit


# Everybody is given up at 3 s, and back at 5 s: with `readmit` the server waits for them.
@pytest.mark.parametrize("participants", [None, 2])
def test_a_server_without_members_waits_for_those_who_may_come_back(participants: int | None) -> None:
    group = workers(2.0, count=2, availability=on((0.0, 1.0), (5.0,)), on_return="rejoin")

    def run(readmit: bool) -> tuple[Ending, Books]:
        return simulate(
            [group],
            wait_for=2,
            evict_after_s=3.0,
            readmit=readmit,
            participants=participants,
            max_steps=2,
        )

    ending, books = run(readmit=True)
    assert (books.times_s, ending.deserted, ending.evicted) == ([7, 9], False, {})
    ending, books = run(readmit=False)
    assert (ending.time_s, ending.deserted, books.times_s) == (3, True, [])


# Round 1 from 1 s on; worker 1 is down from 1.5 s, given up at 1 + 4 = 5 s: the round ends with worker
# 0 alone, round 2 at 6 s. Worker 1 is back at 5.5 s: taken in with a regular job of version 1, no part of the
# interlude. Its ticket of 6.5 s waits for worker 0's of 7 s (S = 2), which reads what the interlude has made.
def test_taken_in_again_during_an_interlude() -> None:
    groups = [workers(1.0), workers(1.0, availability=on((0.0, 1.5), (5.5,)), on_return="rejoin")]
    plan = interlude(every=100, rounds=2)
    _, books = simulate(groups, wait_for=2, interlude=plan, evict_after_s=4.0, readmit=True, max_steps=2)
    assert (books.rounds, books.participants, books.times_s) == ([[0], [0]], [[0, 1]], [1, 7])
    assert books.handed[1][:3] == [(REGULAR, 0), (ROUND, 1), (REGULAR, 1)]
    assert books.active == [[0, 1], [1, 0]]


# Jobs take 1, 1 and 4 s, S = 3: step 1 at 4 s, round 1 from there, patience 4.5 s. Worker 1 is down
# from 4.5 to 9 s and given up at 8.5 s. Worker 2 is down from 5 to 6 s and gets the round's order again: the
# round ends at 10 s, and at 9 s worker 1 is taken in with a regular job. Round 2 is without it, 10 to 14 s;
# its ticket of 10 s waits for the others, step 2 is at 18 s.
def test_taken_in_again_in_the_round_in_which_it_was_given_up() -> None:
    groups = [
        workers(1.0),
        workers(1.0, availability=on((0.0, 4.5), (9.0,)), on_return="rejoin"),
        workers(4.0, availability=on((0.0, 5.0), (6.0,)), on_return="rejoin"),
    ]
    plan = interlude(every=100, rounds=2)
    ending, books = simulate(groups, wait_for=3, interlude=plan, evict_after_s=4.5, readmit=True, max_steps=2)
    assert (books.rounds, books.times_s, books.active[1]) == ([[0, 2], [0, 2]], [4, 18], [1, 0, 2])
    assert books.handed[1] == [(REGULAR, 0), (ROUND, 1), (REGULAR, 1)]
    assert books.handed[2] == [(REGULAR, 0), (ROUND, 1), (ROUND, 1), (ROUND, 1), (REGULAR, 1)]
    assert (books.evicted, ending.readmitted) == ([1], [0, 1, 0])


# S = 2, tau = 2. Workers 0 and 1 take 1 s; worker 2, 3 s per job, joins at 2.5 s, with version 2 and age 1.
# Step 3 at 3 s; at 4 s worker 2 is of age 2: the server waits until 5.5 s.
def test_who_joins_late_is_not_waited_for_before() -> None:
    groups = [workers(1.0, count=2), workers(3.0, availability=joins((2.5,)))]
    ending, books = simulate(groups, wait_for=2, tau=2, cost=CALL, max_steps=4, keep_spans=True)
    assert books.times_s == [1, 2, 3, 5.5]
    assert [report.members for report in books.reports] == [2, 2, 3, 3]
    assert (books.evicted, books.admitted, ending.evicted) == ([2], [2], {})
    assert (books.handed[2], books.staleness[-1]) == ([(REGULAR, 2)], [0, 0, 1])
    assert stretches(ending, 2) == chain(("down", 2.5), ("computing", 5.5))
    # two replies after each step, and the late one
    assert [report.bytes_down for report in books.reports] == [0, 14, 35, 49]


def test_who_joins_when_there_are_cuts_downloads_them() -> None:
    # step 1 at 1 s, the interlude until 2 s; joined at 2.5 s; step 2 at 3 s
    groups = [workers(1.0), workers(9.0, availability=joins((2.5,)))]
    plan = interlude(every=100, rounds=1)
    _, books = simulate(groups, wait_for=1, interlude=plan, cost=CALL, leaves_bytes=11, max_steps=2)
    assert books.times_s == [1, 3]
    assert books.reports[-1].bytes_down == 7 + 18 + 18


# S = 3 with two there: both are waited for. From 2.5 s on there are three.
def test_fewer_than_s_are_there() -> None:
    groups = [workers(1.0), workers(2.0), workers(1.0, availability=joins((2.5,)))]
    _, books = simulate(groups, wait_for=3, max_steps=3)
    assert (books.times_s, books.active) == ([2, 4, 6], [[0, 1], [0, 2, 1], [0, 2, 1]])


# Joining just when there were enough: the server, not yet awake, has to wait for one more.
def test_who_joins_before_the_server_wakes_up_is_waited_for() -> None:
    groups = [workers(1.0, availability=joins((1.0,))), workers(1.0)]
    _, books = simulate(groups, wait_for=2, max_steps=1)
    assert (books.times_s, books.active) == ([2], [[1, 0]])


@pytest.mark.parametrize("participants", [None, 2])
def test_all_may_join_late(participants: int | None) -> None:
    groups = [workers(1.0, availability=joins((2.0,))), workers(1.0, availability=joins((3.5,)))]
    ending, books = simulate(
        groups, wait_for=2, participants=participants, max_steps=3, horizon_s=9.0, keep_spans=True
    )
    assert books.admitted == [0, 1]
    # S = 2: a step of worker 0 alone at 3 s; then worker 1 is waited for, from 3.5 to 4.5 s. In sampled
    # rounds worker 1 has to wait for the next round, from 4 s on.
    assert books.times_s == ([3, 4.5, 5.5] if participants is None else [3, 4, 5])
    assert books.active == [[0], [0, 1], [0, 1]] if participants is None else [[0], [0], [0, 1]]
    assert stretches(ending, 0)[:2] == chain(("down", 2), ("computing", 3))


# A server whose members are all gone sleeps without an alarm; who joins then and never reports is given up.
def test_the_server_loses_patience_with_who_joins_while_it_sleeps() -> None:
    group = workers(9.0, availability=joins((2.0, 3.0)))
    ending, books = simulate([group], wait_for=1, evict_after_s=5.0)
    assert (ending.evicted, ending.time_s, ending.deserted) == ({0: 7.0}, 7, True)
    assert (books.reports, ending.stalled) == ([], False)


# A barrier from 1 to 4 s waits for worker 1. Worker 2 joins at 1.5 s with a regular job (version 1) of 9 s:
# nobody waits for it, and it has no part in the round until 7 s. Worker 3 joins at 2 s; its ticket of 3 s is
# drained, and it takes part.
def test_a_barrier_does_not_wait_for_who_joins_during_it() -> None:
    late = [workers(9.0, availability=joins((1.5,))), workers(1.0, availability=joins((2.0,)))]
    groups = [workers(1.0), workers(4.0), *late]
    _, books = simulate(groups, wait_for=1, interlude=interlude(every=100, rounds=1), max_steps=3)
    assert (books.drained, books.participants, books.rounds) == ([[3, 1]], [[0, 1, 3]], [[0, 3, 1]])
    assert books.handed[2] == [(REGULAR, 1)]
    assert books.times_s == [1, 9, 9]


# Worker 1 is lost for good at 2 s: the server (S = 2) waits for ever, though worker 0 comes and goes.
@pytest.mark.parametrize("horizon_s", [None, 30.0])
def test_a_permanent_loss_stalls_the_server(horizon_s: float | None) -> None:
    comes_and_goes = OnOff(on=THREE, off=ONE, starts="on")
    groups = [workers(1.0, availability=comes_and_goes), workers(3.0, availability=Lifetime(life=TWO))]
    ending, books = simulate(groups, wait_for=2, horizon_s=horizon_s)
    assert (ending.stalled, ending.waiting_for, books.times_s) == (True, [1], [])
    assert ending.time_s == (horizon_s or 2)
    assert seconds(ending, 1) == {"computing": 2, **({"down": 28} if horizon_s else {})}


def test_a_worker_that_will_be_back_does_not_count_as_lost() -> None:
    group = workers(3.0, availability=on((0.0, 1.0), (100.0,)))
    assert not simulate([group], wait_for=1, horizon_s=50.0)[0].stalled
    assert simulate([group], wait_for=1, max_steps=1)[0].time_s == 103


def test_a_lost_worker_may_be_given_up() -> None:
    groups = [workers(1.0), workers(3.0, availability=Lifetime(life=TWO))]
    ending, books = simulate(groups, wait_for=2, evict_after_s=4.0, readmit=True, max_steps=2)
    assert (ending.evicted, books.times_s, ending.jobs_lost) == ({1: 4.0}, [4, 5], [0, 1])


@pytest.mark.parametrize("on_return", ["restart", "rejoin"])
def test_who_is_never_on_for_long_enough_is_lost_in_the_end(on_return: str) -> None:
    never = OnOff(on=ONE, off=ONE, starts="on")
    with patch("fedsim.timing.worker.HOPELESS", 50):
        ending, _ = simulate([workers(2.0, availability=never, on_return=on_return)], wait_for=1)
    assert (ending.stalled, ending.waiting_for, ending.jobs_lost) == (True, [0], [50])
    assert ending.time_s == 99  # 50 stretches of 1 s, 49 of them followed by 1 s


def test_a_server_that_never_has_the_patience_for_a_job_gives_up() -> None:
    with patch("fedsim.timing.members.HOPELESS", 20):
        ending, books = simulate([workers(3.0, count=2)], wait_for=1, evict_after_s=1.0, readmit=True)
    assert (ending.deserted, sum(ending.readmitted), books.reports) == (True, 20, [])


def test_always_on_by_availability_is_always_on() -> None:
    """Bit for bit, ties, barriers, evictions and late tickets included."""

    def run(participants: int | None, **availability: Any) -> tuple[Any, ...]:
        groups = [
            workers(Exponential(mean_s=1.0), count=4, upload=Exponential(mean_s=0.5), **availability),
            workers(1.0, count=3, download=Constant(value_s=0.25), **availability),
        ]
        ending, books = simulate(
            groups,
            wait_for=3,
            tau=4,
            step_s=0.01,
            participants=participants,
            evict_after_s=4.0,
            interlude=interlude(every=5, rounds=2),
            cost=CALL,
            latency=Exponential(mean_s=0.5),
            max_steps=40,
            keep_spans=True,
        )
        return books.reports, books.tickets, books.handed, ending.clock.spans, ending.evicted, ending.jobs

    for participants in (None, 4):
        today = run(participants)
        for availability in (Lifetime(), on((0.0,))):
            for on_return in ("restart", "rejoin"):
                assert run(participants, availability=availability, on_return=on_return) == today
    assert today[4]  # some are given up


# Few values, so that many things happen at one instant; and draws, so that nothing does.
SHORT: st.SearchStrategy[Delay] = st.sampled_from([0.25, 0.5, 1.0, 2.75]).map(
    lambda value_s: Constant(value_s=value_s)
) | st.sampled_from([0.3, 2.0]).map(lambda mean_s: Exponential(mean_s=mean_s))
LEG = SHORT | st.just(Constant(value_s=0.0))
STRETCH: st.SearchStrategy[Delay] = st.sampled_from([1.0, 4.0]).map(
    lambda value_s: Constant(value_s=value_s)
) | st.sampled_from([2.0, 9.0]).map(lambda mean_s: Exponential(mean_s=mean_s))
AVAILABILITY: st.SearchStrategy[Availability] = st.one_of(
    st.builds(OnOff, on=STRETCH, off=STRETCH | LEG, starts=st.sampled_from(["on", "off", "stationary"])),
    st.builds(
        Diurnal,
        period_s=st.just(8.0),
        from_s=st.sampled_from([0.0, 6.0]),
        to_s=st.sampled_from([3.0, 7.0]),
        phase=st.sampled_from([Constant(value_s=0.0), Uniform(low_s=0.0, high_s=8.0)]),
        jitter_s=st.sampled_from([0.0, 0.25]),
    ),
    st.builds(Lifetime, joins=LEG, life=st.none() | STRETCH),
    st.sampled_from(
        [on((0.0, 1.0), (1.0, 3.5), (6.0,)), on((2.0, 4.0), (5.0, 9.0)), joins((0.5, 3.0), (4.0,))]
    ),
)
GROUP: st.SearchStrategy[WorkerGroup] = st.builds(
    workers,
    SHORT,
    count=st.integers(1, 3),
    upload=LEG,
    download=LEG,
    availability=AVAILABILITY,
    on_return=st.sampled_from(["restart", "rejoin"]),
) | st.builds(workers, SHORT, count=st.integers(1, 3), upload=LEG)
INTERLUDES = st.none() | st.builds(
    interlude,
    every=st.integers(1, 4),
    rounds=st.integers(1, 3),
    participation=st.sampled_from(["all", "active"]),
    restart=st.sampled_from(["after", "before"]),
)


OPENINGS = st.none() | st.integers(0, 3).map(
    lambda calls: JobCost(calls, tokens_in=5, tokens_out=2, bytes_up=2, bytes_down=8)
)


@st.composite
def runs(draw: st.DrawFn) -> dict[str, Any]:
    groups = draw(st.lists(GROUP, min_size=1, max_size=4))
    n_workers = sum(group.count for group in groups)
    always_on = [
        worker
        for worker, group in enumerate(group for group in groups for _ in range(group.count))
        if group.availability is None
    ]
    malicious = draw(st.sets(st.sampled_from(always_on))) if always_on else set()
    return {
        "groups": groups,
        "wait_for": draw(st.integers(1, n_workers)),
        "tau": draw(st.integers(1, 5)),
        "adapt": draw(st.sampled_from([None, Adapt(every_steps=1, gain=0.0), Adapt(2, 4, every_steps=3)])),
        "seed": draw(st.integers(0, 3)),
        "step_s": draw(st.sampled_from([0.0, 0.001, 0.5])),
        "evict_after_s": (evict_after_s := draw(st.none() | st.sampled_from([0.5, 2.0, 9.0]))),
        "readmit": evict_after_s is not None and draw(st.booleans()),
        "interlude": draw(INTERLUDES),
        "cost": JobCost(calls=draw(st.integers(0, 2)), tokens_in=3, tokens_out=1, bytes_up=9, bytes_down=4),
        "opening": draw(OPENINGS),
        "latency": draw(LEG),
        "leaves_bytes": 6,
        "max_steps": draw(st.integers(1, 20)),
        "horizon_s": draw(st.none() | st.sampled_from([0.5, 7.0, 40.0])),
        "participants": draw(st.none() | st.integers(1, n_workers + 1)),
        "attacks": [by(Flapping(on_s=1.0, off_s=1.5), *sorted(malicious))] if malicious else [],
        "expels": draw(expulsions(n_workers)),
    }


@settings(deadline=None, max_examples=500)
@given(runs())
def test_what_always_holds(setting: dict[str, Any]) -> None:
    with patch("fedsim.timing.worker.HOPELESS", 60), patch("fedsim.timing.members.HOPELESS", 200):
        ending, books = simulate(**setting, keep_spans=True)
    check_seconds(ending)
    check_tickets(books, setting)
    check_jobs(ending, books)
    check_end(ending, books, setting)


def check_seconds(ending: Ending) -> None:
    """Seconds add up to the clock, and the stretches of everybody follow each other without a gap."""
    for entity in range(len(ending.jobs) + 1):
        booked = [of_all[entity] for of_all in ending.clock.seconds]
        assert sum(booked) == pytest.approx(ending.time_s, rel=1e-12, abs=1e-12)
        own = [span for span in ending.clock.spans if span.entity == entity]
        joints = [0.0, *(span.end_s for span in own)]
        assert [span.start_s for span in own] == joints[:-1]
        assert joints[-1] == ending.time_s
        assert all(span.end_s > span.start_s for span in own)


def check_tickets(books: Books, setting: dict[str, Any]) -> None:
    """Each job's ticket is used at most once, never too stale, and enough of them in each step."""
    used = [(ticket.worker, ticket.job) for tickets in books.tickets for ticket in tickets]
    assert len(set(used)) == len(used)
    sampled = setting["participants"] is not None
    for report, tickets, stale in zip(books.reports, books.tickets, books.staleness, strict=True):
        assert min(stale) >= 0
        assert max(stale) < (1 if sampled else setting["tau"])
        assert len({ticket.worker for ticket in tickets}) == len(tickets)
        if not sampled:
            assert len(tickets) >= min(report.wait_for, report.members)
    assert books.counted == [(row.worker_updates, row.drained, row.openings) for row in books.reports]
    for before, after in pairwise(books.reports):
        for counter in ("time_s", "drained", "interludes", "llm_calls", "bytes_up", "bytes_down"):
            assert getattr(after, counter) >= getattr(before, counter)


def check_jobs(ending: Ending, books: Books) -> None:
    """Each job handed out is finished, withdrawn, or in flight at the end; versions never fall."""
    for worker, finished in enumerate(ending.jobs):
        history = books.handed.get(worker, [])
        versions = [version for _, version in history]
        assert versions == sorted(versions)
        # a worker loses its state with a job in flight, and with a finished one at most as often
        rejoined = sum(forgotten == worker for forgotten, _ in books.forgotten)
        assert finished <= len(history) <= finished + rejoined + 1
        assert ending.jobs_lost[worker] <= ending.times_down[worker]


def check_end(ending: Ending, books: Books, setting: dict[str, Any]) -> None:
    """The budget or the horizon was reached, nobody was left, or somebody was waited for in vain."""
    horizon_s = setting["horizon_s"]
    if ending.report.step == setting["max_steps"]:
        assert ending.time_s == books.times_s[-1]
        assert not ending.stalled
    elif ending.deserted:
        out = ending.evicted.keys() | ending.expelled.keys()
        assert len(out) == len(ending.jobs) or not setting["evict_after_s"]
    elif ending.stalled:
        assert ending.waiting_for
        assert not setting["evict_after_s"]
        assert all(ending.clock._doing[worker] is Activity.DOWN for worker in ending.waiting_for)
    else:
        assert ending.time_s == horizon_s
    if horizon_s is not None:
        assert ending.time_s <= horizon_s


def test_nobody_is_readmitted_where_nobody_is_evicted() -> None:
    with pytest.raises(ValidationError, match="expected evict_after_s as well"):
        ServerSettings(readmit=True)
