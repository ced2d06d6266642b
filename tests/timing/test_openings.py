"""Jobs with which a worker opens its work, by hand: at the start, after it joined late or lost its state."""

from __future__ import annotations

from typing import Any

import pytest
from timing_cases import (
    OPENING,
    REGULAR,
    ROUND,
    by,
    chain,
    interlude,
    joins,
    on,
    simulate,
    stretches,
    workers,
)

from fedsim.messages import JobCost
from fedsim.timing.attacks.slow_rolling import SlowRolling
from fedsim.timing.delays.constant import Constant
from fedsim.timing.groups import WorkerGroup

# Calls take 1 s, one after the other: an opening job is 3 s, a regular one 1 s, times the worker's slow-down.
SIZES: dict[str, Any] = {
    "opening": JobCost(calls=3, tokens_in=30, tokens_out=3, bytes_up=5, bytes_down=9),
    "cost": JobCost(calls=1, tokens_in=10, tokens_out=1, bytes_up=2, bytes_down=7),
    "latency": Constant(value_s=1.0),
}


def worker(slow_down: float = 1.0, **settings: Any) -> WorkerGroup:
    return workers(0.0, lanes=1, slow_down=slow_down, **settings)


# S = 1. Worker 0 opens until 3 s, then takes 1 s per job. Worker 1 is 2.5 times slower: it opens until 7.5 s,
# step 6, and reports its first regular job at 10 s.
def test_openings_of_another_size_by_hand() -> None:
    ending, books = simulate([worker(), worker(2.5)], wait_for=1, max_steps=8, keep_spans=True, **SIZES)
    assert books.times_s == [3, 4, 5, 6, 7, 7.5, 8, 9]
    assert books.active == [[0], [0], [0], [0], [0], [1], [0], [0]]
    assert books.staleness == [[0], [0], [0], [0], [0], [5], [1], [0]]
    assert books.handed[0][:3] == [(OPENING, 0), (REGULAR, 1), (REGULAR, 2)]
    assert books.handed[1] == [(OPENING, 0), (REGULAR, 6)]
    rows = books.reports
    assert [row.openings for row in rows] == [1, 1, 1, 1, 1, 2, 2, 2]
    assert [row.worker_updates for row in rows] == [0, 1, 2, 3, 4, 4, 5, 6]
    assert [row.llm_calls for row in rows] == [3, 4, 5, 6, 7, 10, 11, 12]
    assert [row.tokens_in for row in rows] == [30, 40, 50, 60, 70, 100, 110, 120]
    assert [row.bytes_up for row in rows] == [5, 7, 9, 11, 13, 18, 20, 22]
    # version 0 is not sent, and so no worker of the start pays for an opening's download
    assert [row.bytes_down for row in rows] == [0, 7, 14, 21, 28, 35, 42, 49]
    assert stretches(ending, 1) == chain(("calling", 7.5), ("calling", 9))


def test_a_budget_of_updates_counts_no_openings() -> None:
    ending, _ = simulate([worker(), worker(2.5)], wait_for=1, max_updates=5, **SIZES)
    assert (ending.time_s, ending.report.step) == (8, 7)
    assert (ending.report.worker_updates, ending.report.openings) == (5, 2)


# S = 2, tau = 2: step 1 at 7.5 s with both openings. Worker 0 reports at 8.5 s, worker 1 at 10 s.
def test_the_step_rule_counts_an_opening_like_any_other_report() -> None:
    _, books = simulate([worker(), worker(2.5)], wait_for=2, tau=2, max_steps=2, **SIZES)
    assert (books.times_s, books.active) == ([7.5, 10], [[0, 1], [0, 1]])
    assert [[ticket.kind for ticket in tickets] for tickets in books.tickets] == [
        [OPENING, OPENING],
        [REGULAR, REGULAR],
    ]


# Step 1 at 3 s, a round until 4 s that leaves 11 bytes. Worker 1 joins at 4.5 s, with the content of the
# interlude, and opens until 7.5 s.
def test_a_late_joiner_opens_and_gets_what_interludes_have_left() -> None:
    late = worker(availability=joins((4.5,)))
    plan = interlude(every=100, rounds=1)
    _, books = simulate([worker(), late], wait_for=1, interlude=plan, leaves_bytes=11, max_steps=6, **SIZES)
    assert books.times_s == [3, 5, 6, 7, 7.5, 8]
    assert books.handed[0][:3] == [(OPENING, 0), (ROUND, 1), (REGULAR, 1)]
    assert books.handed[1] == [(OPENING, 1), (REGULAR, 5)]
    assert books.read[1] == ["interlude 1", "step 5"]
    # by step 2 the round, a regular job with what it leaves, and the newcomer's opening with that
    assert [row.bytes_down for row in books.reports] == [0, 7 + 18 + 20, 52, 59, 66, 73]


# Before any interlude has ended, a newcomer is sent nothing but the job: version 0 not even that.
@pytest.mark.parametrize(("joined_s", "bytes_down"), [(2.5, 0), (3.5, 9)])
def test_what_a_newcomer_is_sent_before_the_first_interlude(joined_s: float, bytes_down: int) -> None:
    groups = [worker(), worker(availability=joins((joined_s,)))]
    plan = interlude(every=100, rounds=1, stop_after=0)
    _, books = simulate(groups, wait_for=1, interlude=plan, leaves_bytes=11, max_steps=2, **SIZES)
    assert books.reports[-1].bytes_down == 7 + bytes_down


# Worker 1 opens until 3 s and is down from 3.5 s, in its first regular job (S = 1, versions 2 and 3), or from
# 2.5 s, in its opening job. It is back at 5.25 s, when worker 0 has made its steps of 3, 4 and 5 s.
@pytest.mark.parametrize("on_return", ["restart", "rejoin"])
@pytest.mark.parametrize("down_s", [3.5, 2.5])
def test_who_loses_its_state_opens_again(on_return: Any, down_s: float) -> None:
    back = worker(availability=on((0.0, down_s), (5.25,)), on_return=on_return)
    _, books = simulate([worker(), back], wait_for=1, horizon_s=9.75, **SIZES)
    if down_s == 3.5:
        again = [(OPENING, 4), (REGULAR, 8)] if on_return == "rejoin" else [(REGULAR, 6), (REGULAR, 8)]
        assert books.handed[1][:4] == [(OPENING, 0), (REGULAR, 2), *again]
        assert books.reports[-1].openings == (3 if on_return == "rejoin" else 2)
    else:
        # what it does again lasts until 8.25 s; it was handed out once, or another was in its place
        opening = [(OPENING, 0), (OPENING, 3)] if on_return == "rejoin" else [(OPENING, 0)]
        assert books.handed[1] == [*opening, (REGULAR, 7), (REGULAR, 9)]
        assert books.reports[-1].openings == 2


# Worker 1 hands its opening in at 3 s and waits for worker 0 (6 s, S = 2). It loses its state while it waits:
# the opening counts, and it opens once more.
def test_who_loses_its_state_while_it_waits_opens_with_its_next_job() -> None:
    waits = worker(availability=on((0.0, 4.0), (5.0,)), on_return="rejoin")
    _, books = simulate([worker(2.0), waits], wait_for=2, max_steps=2, **SIZES)
    assert (books.times_s, books.active) == ([6, 9], [[1, 0], [0, 1]])
    assert books.handed[1] == [(OPENING, 0), (OPENING, 1)]
    assert [row.openings for row in books.reports] == [2, 3]
    assert [row.worker_updates for row in books.reports] == [0, 1]
    assert books.reports[-1].bytes_down == 7 + 9


# Patience 4 s. Worker 1 opens for 6.75 s: given up at 4 s, its late report is not used. It is taken in again
# and opens anew, in vain: given up at 10.75 s, taken in at 13.5 s, and so on.
def test_who_is_readmitted_opens_again() -> None:
    ending, books = simulate(
        [worker(), worker(2.25)], wait_for=1, evict_after_s=4.0, readmit=True, max_steps=14, **SIZES
    )
    assert books.handed[1] == [(OPENING, 0), (OPENING, 4), (OPENING, 11)]
    assert (ending.report.openings, ending.report.worker_updates) == (1, 13)
    assert ending.report.llm_calls == 3 + 13 + 6  # the late ones are paid for
    assert ending.readmitted == [0, 2]


# Step 1 at 3 s with worker 0. Worker 1, which opens until 7.5 s, is waited for and drained: no update of the
# books. The round lasts until 10 s, and worker 0 makes step 2 at 11 s.
def test_an_opening_that_is_drained_is_no_update() -> None:
    plan = interlude(every=100, rounds=1)
    ending, books = simulate([worker(), worker(2.5)], wait_for=1, interlude=plan, max_steps=2, **SIZES)
    assert (books.times_s, books.drained, books.rounds) == ([3, 11], [[1]], [[0, 1]])
    assert (ending.report.openings, ending.report.drained, ending.report.worker_updates) == (2, 0, 1)
    assert books.handed[1] == [(OPENING, 0), (ROUND, 1), (REGULAR, 1)]


# Both open until 3 s (S = 2), a round from there. Worker 1 is down from 3.5 to 5 s and has lost its state: it
# does the round once more, until 6 s, and opens after the interlude, until 9 s.
def test_a_round_comes_before_an_opening() -> None:
    blank = worker(availability=on((0.0, 3.5), (5.0,)), on_return="rejoin")
    plan = interlude(every=100, rounds=1)
    _, books = simulate([worker(), blank], wait_for=2, interlude=plan, leaves_bytes=11, max_steps=2, **SIZES)
    assert books.times_s == [3, 9]
    assert books.handed[1] == [(OPENING, 0), (ROUND, 1), (ROUND, 1), (OPENING, 1)]
    assert books.reports[-1].bytes_down == 3 * 7 + (7 + 11) + (9 + 11)


# One worker per round, drawn anew: whoever it is, it opens when it is first asked, 3 s in place of 1.
def test_in_sampled_rounds_a_worker_opens_when_it_is_first_asked() -> None:
    _, books = simulate([worker(), worker()], wait_for=1, participants=1, max_steps=6, seed=1, **SIZES)
    asked = [tickets[0].worker for tickets in books.tickets]
    assert set(asked) == {0, 1}
    time_s, seen = 0.0, set()
    for step, (number, tickets) in enumerate(zip(asked, books.tickets, strict=True)):
        time_s += 1 if number in seen else 3
        assert tickets[0].kind == (REGULAR if number in seen else OPENING)
        assert tickets[0].snapshot.version == step
        assert books.times_s[step] == time_s
        seen.add(number)
    # all but the first round's job are downloaded: openings of 9 bytes, regular jobs of 7
    assert books.reports[-1].bytes_down == 9 + 4 * 7


# All three are asked in each round. Worker 2 joins at 3.5 s and waits for the round of 4 s.
def test_in_sampled_rounds_a_late_joiner_opens_when_it_is_first_asked() -> None:
    groups = [worker(), worker(), worker(availability=joins((3.5,)))]
    _, books = simulate(groups, wait_for=1, participants=3, max_steps=4, **SIZES)
    assert (books.times_s, books.active) == ([3, 4, 7, 8], [[0, 1], [0, 1], [0, 1, 2], [0, 1, 2]])
    assert books.handed[2] == [(OPENING, 2), (REGULAR, 3)]
    assert [row.openings for row in books.reports] == [2, 2, 3, 3]


# tau = 3: worker 1 opens until 3 s and withholds its report until step 1 has been taken, one step before the
# server would wait for it. That is worker 0's opening of 6 s.
def test_a_malicious_worker_may_withhold_its_opening() -> None:
    _, books = simulate(
        [worker(2.0), worker()], wait_for=1, tau=3, max_steps=3, attacks=[by(SlowRolling(), 1)], **SIZES
    )
    assert books.active == [[0], [1], [0]]
    assert [ticket.kind for tickets in books.tickets for ticket in tickets] == [OPENING, OPENING, REGULAR]
    assert books.times_s == [6, 6, 8]
