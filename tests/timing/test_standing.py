"""What workers keep from job to job, by hand: who is sent it, when, and how long that takes."""

from __future__ import annotations

from typing import Any

import pytest
from timing_cases import FREE, OPENING, REGULAR, ROUND, interlude, joins, on, simulate, workers

from fedsim.messages import JobCost
from fedsim.schedule import Standing
from fedsim.timing.groups import WorkerGroup

SIZES: dict[str, Any] = {
    "opening": JobCost(calls=0, tokens_in=0, tokens_out=0, bytes_up=5, bytes_down=0),
    "cost": JobCost(calls=0, tokens_in=0, tokens_out=0, bytes_up=2, bytes_down=7),
}
MADE = Standing(100, renewed_by=OPENING)
THERE = Standing(100)


def worker(**settings: Any) -> WorkerGroup:
    return workers(1.0, **settings)


# S = 2 of 2, steps at 1, 2, 3 s. The first makes the standing message, sent once, with the next job.
def test_what_openings_make_is_sent_once() -> None:
    ending, books = simulate([worker(), worker()], wait_for=2, standing=MADE, max_steps=3, **SIZES)
    assert [row.bytes_down for row in books.reports] == [0, 2 * 107, 2 * 107 + 2 * 7]
    assert {kind: count.cost.bytes_down for kind, count in ending.by_kind.items()} == {
        OPENING: 0,
        REGULAR: 2 * 107 + 2 * 7,
        ROUND: 0,
    }
    assert {kind: (count.jobs, count.cost.bytes_up) for kind, count in ending.by_kind.items()} == {
        OPENING: (2, 10),
        REGULAR: (4, 8),
        ROUND: (0, 0),
    }


# S = 1. Worker 1 joins at 2.5 s and opens until 3.5 s: that step makes a new one, which worker 0 is sent with
# its job of 4 s, and worker 1 with that of 3.5 s. With its opening it is sent the old one: it may need it.
def test_a_late_joiner_renews_it_for_everybody() -> None:
    late = worker(availability=joins((2.5,)))
    _, books = simulate([worker(), late], wait_for=1, standing=MADE, max_steps=7, **SIZES)
    assert books.times_s == [1, 2, 3, 3.5, 4, 4.5, 5]
    assert [row.bytes_down for row in books.reports] == [0, 107, 214, 221, 328, 435, 442]


# From the start on everybody needs it: 100 bytes at 8e-4 megabits per second are 1 s, and before any job.
def test_what_is_there_from_the_start_takes_its_time() -> None:
    _, books = simulate(
        [worker(download_mbps=8e-4)],
        wait_for=1,
        standing=THERE,
        max_steps=2,
        cost=FREE._replace(bytes_down=50),
    )
    assert books.times_s == [2, 3.5]
    assert [row.bytes_down for row in books.reports] == [100, 150]


# Worker 1 is down from 1.5 to 2.25 s, in its second job. Where it has lost its state it is sent all again.
@pytest.mark.parametrize(("on_return", "again"), [("restart", 0), ("rejoin", 107)])
def test_who_loses_its_state_is_sent_it_again(on_return: Any, again: int) -> None:
    back = worker(availability=on((0.0, 1.5), (2.25,)), on_return=on_return)
    sizes = {"cost": SIZES["cost"]}
    _, books = simulate([worker(), back], wait_for=1, standing=THERE, horizon_s=2.75, **sizes)
    # two first jobs with it; a job each at 1 s; worker 0 at 2 s; what worker 1 asks for at 2.25 s
    assert books.reports[-1].bytes_down == 200 + 2 * 7
    _, books = simulate([worker(), back], wait_for=1, standing=THERE, horizon_s=3.1, **sizes)
    assert books.reports[-1].bytes_down == 200 + 3 * 7 + again


# As in the test of openings, a round that is interrupted is done once more, and brings it once more.
def test_a_round_brings_it_too() -> None:
    blank = worker(availability=on((0.0, 1.5), (2.0,)), on_return="rejoin")
    plan = interlude(every=100, rounds=1)
    sizes = {"cost": SIZES["cost"]}
    _, books = simulate([worker(), blank], wait_for=2, standing=THERE, interlude=plan, max_steps=2, **sizes)
    assert books.times_s == [1, 4]
    # two first jobs; two rounds; worker 1's round again, with it; two regular jobs
    assert books.reports[-1].bytes_down == 200 + 2 * 7 + 107 + 2 * 7
