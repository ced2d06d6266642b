"""Workers that the learning half wants out for good: no job, no vote on when to step, no way back."""

from __future__ import annotations

from typing import Any

import pytest
from timing_cases import REGULAR, by, chain, interlude, joins, on, simulate, stretches, workers

from fedsim.messages import JobCost
from fedsim.timing.attacks.slow_rolling import SlowRolling
from fedsim.timing.loop import Ending

CALL = JobCost(calls=1, tokens_in=0, tokens_out=0, bytes_up=3, bytes_down=7)


def own(ending: Ending) -> list[tuple[str, float, float]]:
    """What worker 1 did."""
    return stretches(ending, 1)


def test_who_waits_gets_no_job_and_is_waited_for_no_more() -> None:
    ending, books = simulate(
        [workers(1.0, count=2)], wait_for=2, tau=2, expels={1: [1]}, max_steps=3, keep_spans=True
    )
    assert books.active == [[0, 1], [0], [0]]
    assert books.times_s == [1, 2, 3]
    assert [report.members for report in books.reports] == [2, 1, 1]
    assert (ending.expelled, ending.evicted, books.evicted) == ({1: 1.0}, {}, [1])
    assert own(ending) == chain(("computing", 1), ("down", 3))


# S = 1: worker 0 steps at 1, 2, 3, ... s; worker 1, 4.5 s a job, is expelled at 2 s. tau = 4 would have the
# server wait for it at 4 s.
def test_what_is_under_way_is_paid_for_and_not_used() -> None:
    ending, books = simulate(
        [workers(1.0), workers(4.5)],
        wait_for=1,
        tau=4,
        cost=CALL,
        expels={2: [1]},
        max_steps=6,
        keep_spans=True,
    )
    assert books.times_s == [1, 2, 3, 4, 5, 6]
    assert books.active == [[0]] * 6
    assert [report.llm_calls for report in books.reports] == [1, 2, 3, 4, 6, 7]
    assert [report.bytes_up for report in books.reports] == [3, 6, 9, 12, 18, 21]
    assert [report.worker_updates for report in books.reports] == [1, 2, 3, 4, 5, 6]
    assert own(ending) == chain(("computing", 4.5), ("down", 6))
    assert ending.jobs == [6, 1]


# The server thinks for 0.5 s: worker 1's ticket of 1.25 s lies in the inbox when it is expelled at 1.5 s.
def test_a_ticket_that_nobody_has_read_is_not_used() -> None:
    ending, books = simulate(
        [workers(1.0), workers(1.25)],
        wait_for=1,
        step_s=0.5,
        expels={1: [1]},
        max_steps=2,
        keep_spans=True,
    )
    assert (books.active, books.times_s, ending.expelled) == ([[0], [0]], [1.5, 3], {1: 1.5})
    assert own(ending) == chain(("computing", 1.25), ("waiting", 1.5), ("down", 3))


# Patience 3 s: worker 1, 5.5 s a job, is given up at 3 s, and would be taken in again at 5.5 s.
@pytest.mark.parametrize("after", [2, 4], ids=["before it is evicted", "after"])
def test_nobody_is_readmitted_that_was_expelled(after: int) -> None:
    ending, books = simulate(
        [workers(1.0), workers(5.5)],
        wait_for=1,
        evict_after_s=3.0,
        readmit=True,
        expels={after: [1]},
        max_steps=8,
        keep_spans=True,
    )
    assert (books.evicted, books.admitted, ending.readmitted) == ([1], [], [0, 0])
    assert (ending.evicted, ending.expelled) == ({1: 3.0} if after == 4 else {}, {1: after})
    assert own(ending) == chain(("computing", 5.5), ("down", 8))


def test_a_server_does_not_wait_for_the_return_of_who_was_expelled() -> None:
    """Worker 1 is given up at 3 s and expelled with worker 0 at 4 s: nobody may come back any more."""
    ending, books = simulate(
        [workers(1.0), workers(9.0)], wait_for=1, evict_after_s=3.0, readmit=True, expels={4: [1, 0]}
    )
    assert (ending.time_s, ending.deserted, books.times_s) == (4, True, [1, 2, 3, 4])
    assert (ending.evicted, ending.expelled) == ({1: 3.0}, {0: 4.0, 1: 4.0})


# Steps of 1 s and 0.5 s of thinking end at 1.5, 3 s. Worker 1, 3 s a job, is down from 0.5 s on.
@pytest.mark.parametrize(
    ("on_return", "back_s", "expected"),
    [
        ("rejoin", 1.25, [("computing", 0.5), ("down", 1.25), ("waiting", 1.5), ("down", 6)]),  # it has asked
        ("rejoin", 2.25, [("computing", 0.5), ("down", 6)]),
        ("restart", 1.25, [("computing", 0.5), ("down", 1.25), ("computing", 4.25), ("down", 6)]),
        ("restart", 2.25, [("computing", 0.5), ("down", 2.25), ("computing", 5.25), ("down", 6)]),
    ],
)
def test_who_comes_back_is_refused(on_return: Any, back_s: float, expected: list[tuple[str, float]]) -> None:
    away = workers(3.0, availability=on((0.0, 0.5), (back_s,)), on_return=on_return)
    ending, books = simulate(
        [workers(1.0), away],
        wait_for=1,
        step_s=0.5,
        expels={1: [1]},
        max_steps=4,
        keep_spans=True,
    )
    found = own(ending)
    if on_return == "restart":  # a ticket that comes while the server thinks waits until it is read
        found = [span for span in found if span[0] != "waiting"]
        assert [span[0] for span in found] == [activity for activity, _ in expected]
        assert found[2][1:] == (back_s, back_s + 3)
    else:
        assert found == chain(*expected)
    assert books.handed[1] == [(REGULAR, 0)]
    assert (books.forgotten, books.active) == ([], [[0]] * 4)


@pytest.mark.parametrize("joins_s", [1.25, 2.25], ids=["it has asked", "it has not"])
def test_who_has_yet_to_join_never_does(joins_s: float) -> None:
    ending, books = simulate(
        [workers(1.0), workers(1.0, availability=joins((joins_s,)))],
        wait_for=1,
        step_s=0.5,
        expels={1: [1]},
        max_steps=3,
        keep_spans=True,
    )
    assert (ending.jobs, books.admitted, ending.expelled) == ([3, 0], [], {1: 1.5})
    waited = [("waiting", 1.5)] if joins_s == 1.25 else []
    assert own(ending) == chain(*[("down", joins_s)] * len(waited), *waited, ("down", 4.5))


# With seed 0 rounds of two among four ask {0, 1}, {1, 2}, ...: worker 1 has reported, worker 3 was not asked.
def test_rounds_never_ask_who_was_expelled() -> None:
    group = [workers(1.0, count=4)]
    _, before = simulate(group, wait_for=4, participants=2, max_steps=2)
    assert [sorted(active) for active in before.active] == [[0, 1], [1, 2]]
    ending, books = simulate(
        group, wait_for=4, participants=2, expels={1: [1, 3]}, max_steps=9, keep_spans=True
    )
    assert [sorted(active) for active in books.active] == [[0, 1], *[[0, 2]] * 8]
    assert own(ending) == chain(("computing", 1), ("down", 9))
    assert stretches(ending, 3) == chain(("waiting", 1), ("down", 9))


def test_the_barrier_of_an_interlude_waits_for_nobody_who_was_expelled() -> None:
    ending, books = simulate(
        [workers(1.0), workers(9.0)],
        wait_for=1,
        interlude=interlude(every=100, rounds=2),
        expels={1: [1]},
        max_steps=2,
    )
    assert (books.times_s, books.drained, books.participants) == ([1, 4], [[]], [[0]])
    assert ending.expelled == {1: 1.0}


# An interlude of the active worker 0 alone, from 1 to 3 s. Worker 1's ticket of 1.5 s has come in meanwhile
# and would have made step 2 at 3 s.
def test_after_an_interlude_what_is_in_hand_is_dropped() -> None:
    plan = interlude(every=100, rounds=2, participation="active")
    ending, books = simulate(
        [workers(1.0), workers(1.5)],
        wait_for=1,
        interlude=plan,
        cost=CALL,
        expels={1.5: [1]},
        max_steps=2,
        keep_spans=True,
    )
    assert (books.active, books.times_s, ending.expelled) == ([[0], [0]], [1, 4], {1: 3.0})
    assert own(ending) == chain(("computing", 1.5), ("waiting", 3), ("down", 4))
    assert ending.report.llm_calls == 5  # paid for all the same


def test_an_interlude_whose_participants_were_expelled_is_given_up() -> None:
    plan = interlude(every=100, rounds=2, participation="active")
    _, books = simulate(
        [workers(1.0), workers(1.5)], wait_for=1, interlude=plan, expels={1: [0]}, max_steps=2
    )
    assert (books.active, books.times_s) == ([[0], [1]], [1, 1.5])
    assert (books.participants, books.abandoned_interludes) == ([[]], 1)


@pytest.mark.parametrize("participants", [None, 2])
@pytest.mark.parametrize("plan", [None, interlude(every=1, rounds=2)])
def test_a_run_ends_when_everybody_was_expelled(participants: int | None, plan: Any) -> None:
    ending, books = simulate(
        [workers(1.0, count=2), workers(3.0)],
        wait_for=2,
        tau=9,
        participants=participants,
        interlude=plan,
        expels={1: [0, 1, 2]},
    )
    assert (ending.deserted, ending.stalled, len(books.reports)) == (True, False, 1)
    assert ending.time_s == books.times_s[0]
    assert ending.expelled == dict.fromkeys([0, 1, 2], ending.time_s)


def test_who_withholds_a_report_lets_go() -> None:
    ending, books = simulate(
        [workers(1.0), workers(1.5), workers(1.0)],
        wait_for=2,
        tau=100,
        attacks=[by(SlowRolling(), 1)],
        expels={3: [1]},
        max_steps=5,
        keep_spans=True,
    )
    assert own(ending) == chain(("computing", 1.5), ("holding", 3), ("down", 5))
    assert books.active == [[0, 2]] * 5
