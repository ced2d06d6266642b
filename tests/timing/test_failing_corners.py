"""Rare moments of workers that come and go, by hand: while the server thinks, at the ends of a life."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal
from unittest.mock import patch

import pytest
from timing_cases import by, chain, interlude, joins, on, seconds, simulate, stretches, workers

from fedsim.messages import JobCost
from fedsim.streams import Streams
from fedsim.timing.attacks.sleeper import Sleeper
from fedsim.timing.availability import Availability, Stretch
from fedsim.timing.availability.lifetime import Lifetime
from fedsim.timing.availability.trace import AvailabilityTrace, Trace
from fedsim.timing.delays.constant import Constant

CALL = JobCost(calls=1, tokens_in=0, tokens_out=0, bytes_up=3, bytes_down=7)


# Given up at 3 s, worker 1 reports at 5 s and is refused. That it is on from 7 s on changes nothing.
def test_who_was_refused_stays_down() -> None:
    refused = workers(5.0, availability=on((0.0, 6.0), (7.0,)))
    ending, _ = simulate([workers(1.0), refused], wait_for=1, evict_after_s=3.0, max_steps=9, keep_spans=True)
    assert stretches(ending, 1) == chain(("computing", 5), ("down", 6), ("down", 9))


def test_a_stretch_of_no_length_at_the_start_is_none() -> None:
    groups = [workers(1.0, availability=Lifetime(life=Constant(value_s=0.0)))]
    groups += [workers(1.0, availability=on((0.0, 0.0), (2.0,)))]
    ending, books = simulate(groups, wait_for=1, max_steps=1)
    assert (books.times_s, books.active) == ([3], [[1]])
    assert (ending.times_down, ending.jobs_lost) == ([0, 0], [0, 0])
    assert seconds(ending, 0) == {"down": 3}


def test_devices_in_order_are_counted_within_their_group() -> None:
    seen = AvailabilityTrace(csv="device_id,t_on_s,t_off_s\na,0,9\nb,2,9\n")
    phones = workers(1.0, count=2, availability=Trace(trace=seen, assignment="in order"))
    ending, _ = simulate([workers(1.0), phones], wait_for=3, max_steps=1, keep_spans=True)
    assert stretches(ending, 1)[0] == ("computing", 0, 1)
    assert stretches(ending, 2) == chain(("down", 2), ("computing", 3))


# A job takes 2 s; each second stretch is long enough for one.
def test_who_finishes_a_job_now_and_then_is_not_lost() -> None:
    turns = on((0.0, 0.5), (1.0, 3.5), (4.0, 4.5), (5.0, 7.5), (8.0, 8.5), (9.0,))
    with patch("fedsim.timing.worker.HOPELESS", 2):
        ending, books = simulate([workers(2.0, availability=turns)], wait_for=1, max_steps=3)
    assert (books.times_s, ending.jobs_lost) == ([3, 7, 11], [5])


# Taken in again at 5.5, 11, 16.5, 22 and 27.5 s, and never in vain twice in a row: there are steps between.
def test_a_server_that_goes_on_takes_in_again_and_again() -> None:
    with patch("fedsim.timing.members.HOPELESS", 2):
        ending, _ = simulate(
            [workers(1.0), workers(5.5)], wait_for=1, evict_after_s=3.0, readmit=True, max_steps=30
        )
    assert ending.readmitted == [0, 5]


def test_a_malicious_worker_that_has_fallen_silent_may_stop_as_well() -> None:
    attacks = [by(Sleeper(wakes_at_s=0.5), 1)]
    groups = [workers(1.0), workers(1.0, stops_at_s=3.0)]
    ending, _ = simulate(groups, wait_for=1, max_steps=5, attacks=attacks)
    assert seconds(ending, 1)["down"] == 3  # from 1 s on, when it begins its second job


# Worker 0 is lost at 2 s, and worker 1 has yet to come: the server has somebody to wait for.
def test_a_server_that_waits_for_the_lost_alone_is_not_stalled_while_somebody_is_to_join() -> None:
    groups = [
        workers(3.0, availability=Lifetime(life=Constant(value_s=2.0))),
        workers(1.0, availability=joins((5.0,))),
    ]
    ending, books = simulate(groups, wait_for=1, max_steps=2)
    assert (books.times_s, ending.stalled) == ([6, 7], False)


class NeverThere(Availability):
    """Said to join, and never does."""

    kind: Literal["never_there"] = "never_there"

    def stretches(self, streams: Streams, worker: int, place: int) -> Iterator[Stretch]:
        return iter(())

    def joins_s(self, streams: Streams, worker: int) -> float:
        return 5.0


def test_who_is_lost_before_it_joins_is_not_waited_for() -> None:
    groups = [
        workers(1.0, availability=NeverThere()),
        workers(1.0, availability=Lifetime(life=Constant(value_s=0.5))),
    ]
    ending, _ = simulate(groups, wait_for=1, horizon_s=9.0)
    assert (ending.stalled, ending.waiting_for) == (True, [1])


# Rounds of one worker: with seed 0 the first asks worker 0, the second worker 1. The server thinks from 1 to
# 2 s, and worker 1 is lost meanwhile, while it waits: it is given a job that it will never do, and the server
# knows as soon as it falls asleep. Nothing else would end the run: worker 0 comes and goes.
def test_a_loss_while_the_server_thinks_stalls_it() -> None:
    groups = [
        workers(1.0, availability=on((0.0, 3.0), (4.0, 7.0))),
        workers(1.0, availability=on((0.0, 1.5))),
    ]
    ending, books = simulate(groups, wait_for=1, participants=1, step_s=1.0, seed=0)
    assert (ending.stalled, ending.waiting_for, books.active) == (True, [1], [[0]])
    assert (books.times_s, ending.time_s) == ([2], 2)


# The server thinks from 1 to 3 s. Worker 1 asks for other work at 1.4 s, goes down at 1.6 s and is back at
# 1.8 s, before the server has read that: its state is lost once. It gets version 1 at 3 s, reports at 5.5 s,
# and its ticket makes step 3, from 6 to 8 s.
def test_down_again_before_the_server_has_read_its_request() -> None:
    crashes = workers(2.5, availability=on((0.0, 1.2), (1.4, 1.6), (1.8,)), on_return="rejoin")
    ending, books = simulate([workers(1.0), crashes], wait_for=1, step_s=2.0, max_steps=4, keep_spans=True)
    assert (books.times_s, books.active) == ([3, 6, 8, 10], [[0], [0], [1], [0]])
    assert books.forgotten == [(1, 1)]
    assert (ending.times_down, ending.jobs_lost) == ([0, 2], [0, 1])
    assert stretches(ending, 1)[:6] == chain(
        *(("computing", 1.2), ("down", 1.4), ("waiting", 1.6), ("down", 1.8), ("waiting", 3)),
        ("computing", 5.5),
    )


# The same of a request to join: whoever is back before it has been read begins with its first job.
@pytest.mark.parametrize("on_return", ["restart", "rejoin"])
def test_down_again_before_the_server_has_let_it_join(on_return: str) -> None:
    late = workers(2.5, availability=joins((1.4, 1.6), (1.8,)), on_return=on_return)
    ending, books = simulate([workers(1.0), late], wait_for=1, step_s=2.0, max_steps=3)
    assert (books.active, books.admitted) == ([[0], [0], [1]], [1])
    assert [job for _, job in books.handed[1]] == [1]
    assert (ending.times_down, ending.jobs_lost) == ([0, 1], [0, 0])


# Step 1 at 2 s, a round to 4 s, then jobs with what it leaves. Worker 1 waits from 5 s on and loses its
# state: at 6 s it gets that once more, worker 0 the snapshot alone.
def test_who_has_lost_its_state_while_it_waited_downloads_all_cuts() -> None:
    blank = workers(1.0, availability=on((0.0, 5.25), (5.5,)), on_return="rejoin")
    plan = interlude(every=100, rounds=1)
    _, books = simulate(
        [workers(2.0), blank], wait_for=2, interlude=plan, cost=CALL, leaves_bytes=11, max_steps=3
    )
    assert (books.times_s, books.forgotten) == ([2, 6, 8], [(1, 2)])
    assert [report.bytes_down for report in books.reports] == [0, 2 * 7 + 2 * 18, 2 * 7 + 2 * 18 + 7 + 18]


def test_who_joins_before_there_are_cuts_downloads_none() -> None:
    groups = [workers(1.0), workers(1.0, availability=joins((0.5,)))]
    _, books = simulate(groups, wait_for=1, cost=CALL, leaves_bytes=11, max_steps=2)
    assert [report.bytes_down for report in books.reports] == [0, 7]
