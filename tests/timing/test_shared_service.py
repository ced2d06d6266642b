"""The shared LLM service call by call: timelines worked out by hand, a slow twin, and what always holds."""

from __future__ import annotations

from collections.abc import Generator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import simpy
from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st
from simpy.exceptions import Interrupt

from fedsim.messages import JobCost
from fedsim.scenario import Scenario
from fedsim.scenario.files import parse
from fedsim.simulation import run
from fedsim.streams import Stream, Streams
from fedsim.timing.activities import Activity, ActivityClock
from fedsim.timing.delays.constant import Constant
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.delays.lognormal import Lognormal
from fedsim.timing.llm_service import Calls, Served
from fedsim.timing.llm_service.background import DRAWN_AT_ONCE, requests_of_others
from fedsim.timing.llm_service.desks import Desks
from fedsim.timing.llm_service.draws import CallDraws
from fedsim.timing.llm_service.shared import Shared

STEADY = {"jitter": 0.0}
"""Back-off at exact instants: 0.5 s, 1 s, 2 s, 4 s, 8 s, 8 s, ..."""


def shared(ttft_s: float = 0.0, **settings: Any) -> Shared:
    """Return a service whose answers all take as long, and whose clients' back-off is steady unless told."""
    return Shared.model_validate({"ttft": Constant(value_s=ttft_s), "backoff": STEADY} | settings)


class World:
    """A service and the workers that a test sends to it.

    Args:
        settings: the service.
        workers: how many, or the number of each worker's group.
    """

    def __init__(self, settings: Shared, workers: int | list[int] = 3, seed: int = 0) -> None:
        groups = [0] * workers if isinstance(workers, int) else workers
        self.env = simpy.Environment()
        self.clock = ActivityClock(len(groups), keep_spans=True)
        self.streams = Streams(seed)
        self.service = Desks(settings, self.env, self.streams, self.clock, groups, keep_levels=True)
        self.finished_s: dict[tuple[int, int], float] = {}
        self._processes: dict[int, simpy.Process] = {}

    def job(self, worker: int, n: int = 1, at_s: float = 0.0, **settings: Any) -> None:
        """Have a worker begin a job of n calls at some time."""
        defaults = {"job": 0, "lanes": 1, "scale": 1.0, "booked": True, "tokens_in": 0, "tokens_out": 0}
        self._processes[worker] = self.env.process(self._work(worker, n, at_s, **(defaults | settings)))

    def _work(
        self, worker: int, n: int, at_s: float, tokens_in: int, tokens_out: int, **settings: Any
    ) -> Generator[simpy.Event, object, None]:
        try:
            yield self.env.timeout(at_s)
            calls = Calls(worker=worker, cost=JobCost(n, tokens_in, tokens_out, 0, 0), **settings)
            yield from self.service.serve(calls)
        except Interrupt:
            self.clock.switch(worker, Activity.DOWN, self.env.now)
        else:
            self.clock.switch(worker, Activity.WAITING, self.env.now)
            self.finished_s[worker, calls.job] = self.env.now

    def stop(self, worker: int, at_s: float) -> None:
        """Have a worker go down at some time, if it is still at work."""

        def stopping() -> Generator[simpy.Event, object, None]:
            yield self.env.timeout(at_s)
            if self._processes[worker].is_alive:
                self._processes[worker].interrupt()

        self.env.process(stopping())

    def run(self, until_s: float | None = None) -> Served:
        """Run to the end and return what the service has counted."""
        self.env.run(until_s)
        served = self.service.served()
        self.clock.close(self.env.now)
        return served

    def spans(self, worker: int) -> list[tuple[str, float, float]]:
        """Return what a worker did, waiting and being down left out."""
        return [
            (span.activity.label, *span[2:])
            for span in self.clock.spans
            if span.entity == worker and span.activity not in (Activity.WAITING, Activity.DOWN)
        ]


def levels(served: Served, service: int = 0) -> list[tuple[float, int, int]]:
    return [tuple(row[1:]) for row in served.levels if row.service == service]


def test_two_workers_and_one_place() -> None:
    """What follows in worker 0's lane comes after the two calls that wait already."""
    world = World(shared(2.0, concurrency=1))
    world.job(0, 2)
    world.job(1, 2, at_s=0.5, lanes=2)
    served = world.run()
    assert world.spans(0) == [("calling", 0, 2), ("queueing", 2, 6), ("calling", 6, 8)]
    assert world.spans(1) == [("queueing", 0.5, 2), ("calling", 2, 6)]
    assert served[:4] == (4, 0, 0, 0)
    # at 2 s one call leaves the queue and another one joins it: nothing has changed
    assert levels(served) == [(0, 0, 1), (0.5, 2, 1), (4, 1, 1), (6, 0, 1), (8, 0, 0)]


def test_a_slower_job_takes_its_place_longer() -> None:
    world = World(shared(2.0, concurrency=1))
    world.job(0, 1, scale=3.0)
    world.job(1, 1, at_s=1)
    world.run()
    assert world.finished_s == {(0, 0): 6, (1, 0): 8}


def test_a_job_that_is_one_activity_is_served_but_not_booked() -> None:
    world = World(shared(2.0, concurrency=1))
    world.job(0, 2, booked=False, lanes=2)
    assert world.run()[:4] == (2, 0, 0, 0)
    assert world.spans(0) == []
    assert world.finished_s == {(0, 0): 4}


def test_calls_wait_for_the_bucket_in_turn() -> None:
    """It holds two requests and gets one per second."""
    world = World(shared(0.25, requests_per_minute=60, burst_s=2, over_limit="queue"))
    world.job(0, 4, lanes=4)
    served = world.run()
    pieces = [("calling", 0, 0.25), ("queueing", 0.25, 1), ("calling", 1, 1.25), ("queueing", 1.25, 2)]
    assert world.spans(0) == [*pieces, ("calling", 2, 2.25)]
    assert served[:4] == (4, 0, 0, 0)
    rows = [(0, 2, 2), (0.25, 2, 0), (1, 1, 1), (1.25, 1, 0), (2, 0, 1), (2.25, 0, 0)]
    assert levels(served) == rows


def test_a_call_that_is_held_blocks_those_behind_it() -> None:
    """The second call lacks 50 tokens until 5 s; the small third one, of another job, waits behind it."""
    world = World(shared(1.0, tokens_per_minute=600, burst_s=15, over_limit="queue"))
    world.job(0, 2, lanes=2, tokens_in=160, tokens_out=40)
    world.job(1, 1, at_s=1, tokens_in=10)
    world.run()
    # 150 at first, 50 left, ten per second: 100 at 5 s, and the next 10 at 6 s
    assert world.finished_s == {(0, 0): 6, (1, 0): 7}


def test_a_refused_client_backs_off_and_comes_again() -> None:
    """One request per second and none to spare: 429 at 0 s and at 0.5 s, in at 1.5 s."""
    world = World(shared(0.25, requests_per_minute=60, burst_s=1))
    world.job(0, 2, lanes=2)
    served = world.run()
    assert world.spans(0) == [("calling", 0, 0.25), ("queueing", 0.25, 1.5), ("calling", 1.5, 1.75)]
    assert served[:4] == (4, 2, 0, 0)
    assert levels(served) == [(0, 0, 1), (0.25, 0, 0), (1.5, 0, 1), (1.75, 0, 0)]


def test_what_is_refused_takes_nothing_from_any_bucket() -> None:
    """Of 5 calls, 4 lack tokens; the 4 requests at hand are then worker 0's first and worker 1's three."""
    world = World(shared(1.0, requests_per_minute=60, tokens_per_minute=1500, burst_s=4))
    world.job(0, 5, lanes=5, tokens_in=500)
    world.job(1, 3, lanes=3)
    served = world.run(until_s=0.4)
    assert served[:4] == (8, 4, 0, 0)
    assert levels(served) == [(0, 0, 4)]


def test_what_waits_for_a_place_has_passed_the_buckets_on_arrival() -> None:
    """With `reject` both calls take a request at 0 s, though one waits: none is left for the third."""
    world = World(shared(2.0, concurrency=1, requests_per_minute=1, burst_s=120))
    world.job(0, 2, lanes=2)
    world.job(1, 1, at_s=1)
    served = world.run(until_s=1.2)
    assert served[:2] == (3, 1)
    assert levels(served) == [(0, 1, 1)]


def test_a_full_queue_answers_429() -> None:
    world = World(shared(2.0, concurrency=1, queue_limit=1))
    world.job(0, 3, lanes=3)
    served = world.run()
    # the third call is refused at 0, 0.5 and 1.5 s, and waits from 3.5 s on
    assert served[:4] == (6, 3, 0, 0)
    assert world.spans(0) == [("calling", 0, 6)]
    assert levels(served) == [(0, 1, 1), (2, 0, 1), (3.5, 1, 1), (4, 0, 1), (6, 0, 0)]


def test_no_queue_at_all_still_has_places() -> None:
    world = World(shared(1.0, concurrency=1, queue_limit=0))
    world.job(0, 2, lanes=2)
    assert world.run()[:4] == (4, 2, 0, 0)  # refused at 0 s and 0.5 s, in at 1.5 s
    assert world.finished_s == {(0, 0): 2.5}


def test_an_outage_cuts_off_what_is_answered_and_what_waits() -> None:
    world = World(
        shared(2.0, concurrency=1, outages=[{"start_s": 3, "stop_s": 5}], backoff={"jitter": 0, "first_s": 1})
    )
    world.job(0, 3, lanes=2)
    served = world.run()
    # the second and third call: 503 at 3 s, again at 4 s, back at 6 s
    assert served[:4] == (7, 0, 4, 0)
    assert world.spans(0) == [("calling", 0, 3), ("queueing", 3, 6), ("calling", 6, 10)]
    assert levels(served) == [(0, 1, 1), (3, 0, 0), (6, 1, 1), (8, 0, 1), (10, 0, 0)]


def test_an_outage_cuts_off_all_calls_of_a_job() -> None:
    """Both are being answered at 1 s; cut off, they come again at 1.5 s, and the worker queues meanwhile."""
    world = World(shared(2.0, outages=[{"start_s": 1, "stop_s": 1.25}]))
    world.job(0, 2, lanes=2)
    assert world.run()[:4] == (4, 0, 2, 0)
    assert world.spans(0) == [("calling", 0, 1), ("queueing", 1, 1.5), ("calling", 1.5, 3.5)]


def test_an_answer_due_as_an_outage_begins_is_cut_off() -> None:
    world = World(shared(2.0, outages=[{"start_s": 2, "stop_s": 2.25}]))
    world.job(0, 1)
    assert world.run()[:4] == (2, 0, 1, 0)
    assert world.finished_s == {(0, 0): 4.5}


def test_who_comes_as_a_place_becomes_free_finds_it_free() -> None:
    """Both are due at 2 s, and nobody may wait: the service goes on before it hears of the new job."""
    world = World(shared(2.0, concurrency=1, queue_limit=0))
    world.job(0, 1)
    world.job(1, 1, at_s=2)
    assert world.run()[:4] == (2, 0, 0, 0)
    assert world.finished_s == {(0, 0): 2, (1, 0): 4}


def test_a_service_is_back_at_the_very_end_of_an_outage() -> None:
    world = World(shared(2.0, outages=[{"start_s": 1, "stop_s": 1.5}]))
    world.job(0, 1, at_s=1)
    assert world.run()[:4] == (2, 0, 1, 0)
    assert world.finished_s == {(0, 0): 3.5}


def test_a_worker_that_goes_down_leaves_its_place_taken() -> None:
    """Its second call waits and is gone; the place is free at 4 s, for all that the service knows."""
    world = World(shared(4.0, concurrency=1))
    world.job(0, 2, lanes=2)
    world.job(1, 1, at_s=0.5)
    world.stop(0, at_s=1)
    served = world.run()
    assert served[:4] == (3, 0, 0, 1)
    assert world.spans(0) == [("calling", 0, 1)]
    assert world.finished_s == {(1, 0): 8}
    assert levels(served) == [(0, 1, 1), (0.5, 2, 1), (1, 1, 1), (4, 0, 1), (8, 0, 0)]


def test_a_worker_that_goes_down_while_it_backs_off_is_not_heard_of_again() -> None:
    world = World(shared(1.0, requests_per_minute=60, burst_s=1))
    world.job(0, 3, lanes=3)
    world.stop(0, at_s=1.25)
    world.job(1, 1, at_s=3)
    served = world.run()
    # 3 at 0 s, of which one is let in; the other two are refused again at 0.5 s and would be back at 1.5 s
    assert served[:4] == (6, 4, 0, 0)
    assert world.spans(0) == [("calling", 0, 1), ("queueing", 1, 1.25)]
    assert levels(served) == [(0, 0, 1), (1, 0, 0), (3, 0, 1), (4, 0, 0)]


def test_the_held_head_of_the_queue_goes_and_the_next_moves_up() -> None:
    """Worker 0's call waits for tokens until 50 s and goes down at 2 s; worker 1's needs none."""
    world = World(shared(1.0, tokens_per_minute=60, burst_s=50, over_limit="queue"))
    world.job(0, 2, lanes=2, tokens_in=100)
    world.job(1, 1, at_s=1)
    world.stop(0, at_s=2)
    served = world.run()
    assert served[:4] == (3, 0, 0, 0)
    assert world.finished_s == {(1, 0): 3}


def test_a_worker_goes_down_a_rounding_after_something_was_due() -> None:
    """From 0.3 s to 0.9 s a timer takes until 0.9000000000000001 s: so late does the service wake."""
    late_s = 0.3 + (0.9 - 0.3)
    assert late_s > 0.9
    world = World(shared(4.0, outages=[{"start_s": 0.9, "stop_s": 1.0}]))
    world.job(0, 1, at_s=0.3)
    world.job(1, 1, at_s=0.3)
    world.stop(0, late_s)
    assert world.run()[:4] == (3, 0, 2, 0)
    assert world.finished_s == {(1, 0): pytest.approx(0.9 + 0.5 + 4)}


def test_an_outage_after_a_worker_went_down_does_not_touch_it() -> None:
    world = World(shared(4.0, outages=[{"start_s": 2, "stop_s": 3}]))
    world.job(0, 2, lanes=2)
    world.stop(0, at_s=1)
    world.job(1, 1, at_s=2)
    assert world.run()[:4] == (5, 0, 2, 2)  # worker 1: 503 at 2 s and 2.5 s, in at 3.5 s
    assert world.spans(0) == [("calling", 0, 1)]
    assert world.finished_s == {(1, 0): 7.5}


ARRIVALS = "time_s,tokens_in,tokens_out\n1,0,0\n50,0,0\n"


def test_a_request_of_others_comes_in_between() -> None:
    world = World(shared(2.0, concurrency=1, background={"arrivals": {"csv": ARRIVALS}}))
    world.job(0, 2)
    served = world.run()
    assert world.spans(0) == [("calling", 0, 2), ("queueing", 2, 4), ("calling", 4, 6)]
    assert served[:4] == (2, 0, 0, 0)
    # at 2 s and at 4 s one goes and another one comes
    assert levels(served) == [(0, 0, 1), (1, 1, 1), (4, 0, 1), (6, 0, 0)]


def test_requests_of_others_need_no_tokens_and_are_lost_when_refused() -> None:
    """Worker 0's call holds the only place from 0 s to 2 s; at 1 s nobody may wait, and nobody comes back."""
    limits = {"requests_per_minute": 1, "burst_s": 60, "queue_limit": 0}
    world = World(shared(2.0, concurrency=1, background={"arrivals": {"csv": ARRIVALS}}, **limits))
    world.job(0, 1)
    world.job(1, 1, at_s=52)
    served = world.run(until_s=54)
    # the second one of others is answered from 50 s to 52 s, when a worker has been refused
    assert served[:4] == (4, 3, 0, 0)
    assert levels(served) == [(0, 0, 1), (2, 0, 0), (50, 0, 1), (52, 0, 0)]


def test_a_trace_of_arrivals_begins_again_after_the_mean_gap() -> None:
    settings = shared(background={"arrivals": {"csv": "time_s,tokens_in,tokens_out\n1,5,0\n3,5,0\n"}})
    assert settings.background is not None
    others = requests_of_others(settings.background, CallDraws(settings), Streams(0), 0)
    assert [next(others)[0] for _ in range(5)] == [1, 3, 6, 8, 11]


def test_no_two_blocks_of_others_are_alike() -> None:
    settings = shared(background={"requests_per_minute": 60})
    assert settings.background is not None
    others = requests_of_others(settings.background, CallDraws(settings), Streams(0), 0)
    times_s = np.array([next(others)[0] for _ in range(2 * DRAWN_AT_ONCE)])
    gaps_s = np.diff(times_s, prepend=0.0).reshape(2, -1)
    assert (gaps_s >= 0).all()
    assert not np.isclose(*gaps_s).any()


def test_services_have_others_of_their_own() -> None:
    settings = shared(background={"requests_per_minute": 60})
    assert settings.background is not None
    streams, draws = Streams(0), CallDraws(settings)
    first_s = [next(requests_of_others(settings.background, draws, streams, number))[0] for number in (0, 1)]
    assert first_s[0] != first_s[1]


def test_each_group_has_a_service_of_its_own() -> None:
    world = World(shared(2.0, concurrency=1, shared_by="group"), workers=[0, 1, 1])
    for worker in range(3):
        world.job(worker, 1)
    served = world.run()
    assert world.finished_s == {(0, 0): 2, (1, 0): 2, (2, 0): 4}
    assert levels(served, 0) == [(0, 0, 1), (2, 0, 0)]
    assert levels(served, 1) == [(0, 1, 1), (2, 0, 1), (4, 0, 0)]
    assert [row.time_s for row in served.levels] == [0, 0, 2, 2, 4]


def test_neither_others_nor_an_outage_to_come_keep_a_run_going() -> None:
    busy = {"requests_per_minute": 6000}
    world = World(shared(1.0, concurrency=1, background=busy, outages=[{"start_s": 1e6, "stop_s": 2e6}]))
    world.job(0, 1)
    world.run()
    assert world.env.now == world.finished_s[0, 0] < 60


MEASURED = """ttft_s,end_to_end_s,tokens_in,tokens_out,error_code
1,3,10,4,
,,,,429
0.5,,,,503
2,3,10,0,
"""


def test_rows_of_a_trace_are_drawn_whole() -> None:
    """One row: 1 s and 0.5 s per token; the other: 2 s, and nothing is known of its tokens."""
    draws = CallDraws(shared(requests={"csv": MEASURED}))
    calls = Calls(0, 0, JobCost(400, 0, 4000, 0, 0), 1, 1.0, True)
    assert set(draws.answers_s(Streams(0), calls)) == {1 + 10 * 0.5, 2.0}
    assert draws.failure_probability == 0.5
    found = draws.failures(Streams(0), calls)
    assert set(zip(found.seconds, found.code, strict=True)) == {(0.0, 429), (0.5, 503)}


def test_a_row_that_did_not_fail_may_be_an_error_of_the_service() -> None:
    """Two of four rows fail, and a fifth of the others: 0.5 + 0.5 / 5 in all, after that row's own time."""
    draws = CallDraws(shared(requests={"csv": MEASURED}, server_error_probability=0.2))
    assert draws.failure_probability == pytest.approx(0.6)
    found = draws.failures(Streams(0), Calls(0, 0, JobCost(400, 0, 0, 0, 0), 1, 1.0, True))
    assert {(1.0, 500), (2.0, 500)} < set(zip(found.seconds, found.code, strict=True))


def test_a_trace_that_fails_makes_clients_come_again() -> None:
    """Failed rows have no time, or half a second; the answer takes 1 s, and 0.5 s for its one token."""
    rows = "".join(MEASURED.splitlines(keepends=True)[:4])
    settings = shared(requests={"csv": rows})
    cost = JobCost(3, 0, 3, 0, 0)
    failures = CallDraws(settings).failures(Streams(117), Calls(0, 0, cost, 1, 2.0, True))
    assert failures.call.tolist() == [0, 1, 1]  # a seed with failures to see
    assert failures.code.tolist() == [429, 503, 503]
    world = World(settings, seed=117)
    world.job(0, 3, scale=2.0, tokens_out=3)
    served = world.run()
    assert served[:4] == (6, 1, 2, 0)
    # all is twice as slow but the pauses: 0.5 s for the first call, 0.5 s and 1 s for the second
    assert world.finished_s == {(0, 0): 2 * 3 * 1.5 + 2 * (0 + 0.5 + 0.5) + 0.5 + (0.5 + 1)}


def test_the_cached_part_of_a_prompt_needs_no_prefill() -> None:
    """100 tokens per prompt at 100 per second; of all but the first call's, half are in the cache."""
    cached = {
        "prefill_tokens_per_s": 100,
        "prefix_cache": {"share": 0.5},
        "per_output_token": Constant(value_s=0.1),
    }
    calls = Calls(0, 0, JobCost(4, 400, 40, 0, 0), 1, 1.0, True)
    answers_s = CallDraws(shared(0.25, **cached)).answers_s(Streams(0), calls)
    assert answers_s.tolist() == pytest.approx([2.25, 1.75, 1.75, 1.75])


def test_answers_do_not_depend_on_who_is_served_first() -> None:
    """A worker with one lane is `CALLING` for as long as its answers take, whoever else is there."""
    calling_s = []
    for others in (0, 4):
        world = World(Shared(ttft=Exponential(mean_s=1.0), concurrency=2), workers=6, seed=5)
        for worker in range(1 + others):
            world.job(worker, 30, lanes=1 if worker == 0 else 5)
        world.run()
        calling_s.append(world.clock.seconds[Activity.CALLING][0])
    assert calling_s[0] == pytest.approx(calling_s[1])


def test_pauses_with_jitter_have_addresses_of_their_own() -> None:
    """Twenty calls that are refused twice at one instant come back at forty different times."""
    world = World(shared(0.0, outages=[{"start_s": 0, "stop_s": 1}], backoff={"jitter": 0.5, "factor": 1}))
    world.job(0, 10, lanes=10)
    world.job(1, 10, lanes=10)
    world.run()
    times_s = [entry.time_s for entry in world.service.served().levels]
    assert len(set(times_s)) == len(times_s)
    streams = Streams(0)
    first = [streams.seat(Stream.BACKOFF, 0 + (call << 32), 0 + (1 << 32)).random() for call in range(10)]
    assert len(set(first)) == 10


# Without any limit


def timing(llm: dict[str, Any]) -> Scenario:
    table: dict[str, Any] = {
        "name": "equal",
        "algorithm": {"kind": "asyndbt", "wait_for": 2, "tau": 5, "cuts": {"every": 5, "rounds": 2}},
        "problem": {"kind": "quadratic", "dimension": 4, "calls": 17},
        "workers": [
            {"count": 2, "lanes": 3, "compute": {"kind": "exponential", "mean_s": 0.5}},
            {"count": 2, "lanes": 1, "slow_down": 2.7, "transient": {"probability": 0.3, "factor": 3.1}},
        ],
        "llm": llm,
        "record": {"spans": True},
        "budget": {"server_steps": 40},
    }
    return parse(table)


@pytest.mark.parametrize("shared_by", ["all", "group"])
def test_without_limits_it_is_independent_to_the_last_digit(shared_by: str) -> None:
    latency = {"kind": "lognormal", "median_s": 0.3444, "sigma": 0.2925}
    plain = run(timing({"kind": "independent", "latency": latency}), timing_only=True)
    ours = run(timing({"kind": "shared", "shared_by": shared_by, "ttft": latency}), timing_only=True)
    assert plain.spans is not None
    assert ours.spans is not None
    assert plain.spans.equals(ours.spans)
    assert plain.workers.equals(ours.workers)
    assert plain.steps.equals(ours.steps)
    assert ours.summary["llm_requests"] >= ours.summary["llm_calls"] > 1000


def test_calls_are_counted_without_limits_too() -> None:
    """Two lanes and calls of 2 s: two from 0 s, the third from 2 s to 4 s."""
    found = {}
    for stop_s in (1, 3, 5):
        world = World(shared(2.0))
        world.job(0, 3, lanes=2)
        world.stop(0, stop_s)
        found[stop_s] = world.run(until_s=10)
    assert [found[stop_s][:4] for stop_s in (1, 3, 5)] == [(2, 0, 0, 2), (3, 0, 0, 1), (3, 0, 0, 0)]
    assert levels(found[1]) == [(0, 0, 2), (2, 0, 0)]
    assert levels(found[3]) == levels(found[5]) == [(0, 0, 2), (2, 0, 1), (4, 0, 0)]


def test_what_is_under_way_at_the_end_is_counted() -> None:
    for settings in (shared(2.0), shared(2.0, concurrency=100)):
        world = World(settings)
        world.job(0, 7, lanes=2)
        served = world.run(until_s=3)
        assert served[:4] == (4, 0, 0, 0)
        assert levels(served) == [(0, 0, 2)]


def test_a_worker_that_goes_down_as_it_begins_has_sent_its_first_calls() -> None:
    for settings in (shared(2.0), shared(2.0, concurrency=100)):
        world = World(settings)
        world.job(0, 7, lanes=2)
        world.stop(0, 0.0)
        served = world.run(until_s=5)
        assert served[:4] == (2, 0, 0, 2)
        assert levels(served) == [(0, 0, 2), (2, 0, 0)]


def test_an_answer_due_as_its_worker_goes_down_is_abandoned() -> None:
    for settings in (shared(2.0), shared(2.0, concurrency=100)):
        world = World(settings)
        world.job(0, 7, lanes=2)
        world.stop(0, 2.0)
        served = world.run(until_s=5)
        assert served[:4] == (2, 0, 0, 2)
        assert levels(served) == [(0, 0, 2), (2, 0, 0)]


def test_what_is_due_at_the_very_end_does_not_happen() -> None:
    for settings in (shared(2.0), shared(2.0, concurrency=100)):
        world = World(settings)
        world.job(0, 7, lanes=2)
        served = world.run(until_s=2)
        assert served[:4] == (2, 0, 0, 0)
        assert levels(served) == [(0, 0, 2)]


@given(seed=st.integers(0, 10**6))
@tried(max_examples=25, deadline=None, derandomize=True)
def test_a_limit_that_is_never_reached_changes_nothing(seed: int) -> None:
    """One timeout per job and events call by call tell the same story, of workers that go down as well."""
    random = np.random.default_rng(seed)
    stories = []
    plan = [(int(random.integers(1, 12)), int(random.integers(1, 5)), *random.random(2)) for _ in range(4)]
    for limit in (None, 1000):
        world = World(Shared(ttft=Exponential(mean_s=1.0), concurrency=limit), workers=4, seed=seed)
        for worker, (n, lanes, at_s, stop_s) in enumerate(plan):
            world.job(worker, n, at_s=at_s, lanes=lanes)
            if worker % 2:
                world.stop(worker, at_s + 5 * stop_s)
        served = world.run(until_s=100)
        stories.append((served, world.finished_s))
    (ours, finished_s), (by_calls, finished_by_calls_s) = stories
    assert ours[:4] == by_calls[:4]
    assert finished_s == pytest.approx(finished_by_calls_s)
    assert np.array(levels(ours)) == pytest.approx(np.array(levels(by_calls)))


# The slow twin


class Plain:
    """`CallDesk` without background and outages, written plainly: a process per lane, a door, sleeping."""

    def __init__(self, settings: Shared, env: simpy.Environment, streams: Streams) -> None:
        self.settings, self.env, self.streams = settings, env, streams
        self.draws = CallDraws(settings)
        self.door = simpy.Resource(env, 1)  # who has it is the head of the queue
        self.places = simpy.Resource(env, settings.concurrency or 10**6)
        self.waiting = 0
        self.too_many = self.errors = self.requests = 0
        per_minute = (settings.requests_per_minute, settings.tokens_per_minute)
        self.rate = [a_minute / 60 if a_minute else 1e12 for a_minute in per_minute]
        self.level = [np.inf, np.inf]
        self.since_s = 0.0

    def lacks_s(self, needs: list[float]) -> float:
        """Fill the buckets up to now, beyond their brim for the time being; return how long each lacks."""
        passed_s, self.since_s = self.env.now - self.since_s, self.env.now
        self.level = [level + rate * passed_s for level, rate in zip(self.level, self.rate, strict=True)]
        lacking = zip(self.rate, self.level, needs, strict=True)
        return max(0.0, *((need - level) / rate for rate, level, need in lacking))

    def take(self, needs: list[float]) -> None:
        """What is above the brim runs over; a request that needs more than that finds a larger bucket."""
        brims = [max(rate * self.settings.burst_s, need) for rate, need in zip(self.rate, needs, strict=True)]
        levels = zip(self.level, brims, needs, strict=True)
        self.level = [min(level, brim) - need for level, brim, need in levels]

    def let_in(self, waits: bool, needs: list[float]) -> Generator[simpy.Event, Any, Any]:
        if not waits:
            if self.settings.over_limit == "queue":
                self.take(needs)
            return self.places.request()
        self.waiting += 1
        with self.door.request() as door:
            yield door
            place = self.places.request()
            yield place
            if self.settings.over_limit == "queue":
                while (lacks_s := self.lacks_s(needs)) > 1e-9:
                    yield self.env.timeout(lacks_s)
                self.take(needs)
            self.waiting -= 1
        return place

    def call(
        self, calls: Calls, number: int, busy_s: float, failures: list[tuple[float, int]]
    ) -> Generator[simpy.Event, Any, None]:
        settings, refusals = self.settings, 0
        needs = [1.0, (calls.cost.tokens_in + calls.cost.tokens_out) / calls.cost.calls]
        while True:
            self.requests += 1
            lacks_s = self.lacks_s(needs)
            held = settings.over_limit == "queue" and lacks_s > 1e-9
            waits = self.waiting > 0 or self.places.count >= self.places.capacity or held
            full = waits and settings.queue_limit is not None and self.waiting >= settings.queue_limit
            if full or (settings.over_limit == "reject" and lacks_s > 1e-9):
                code = 429
            else:
                if settings.over_limit == "reject":
                    self.take(needs)
                place = yield from self.let_in(waits, needs)
                code = 0 if not failures else failures[0][1]
                yield self.env.timeout(failures.pop(0)[0] if failures else busy_s)
                self.places.release(place)
                for _ in range(4):  # whoever waits for the place has it before anybody else comes
                    yield self.env.timeout(0)
                if not code:
                    return
            self.too_many += code == 429
            self.errors += code >= 500
            refusals += 1
            backoff = settings.backoff
            pause_s = min(backoff.first_s * backoff.factor ** (refusals - 1), backoff.longest_s)
            address = calls.worker + number * 2**32, calls.job + refusals * 2**32
            uniform = self.streams.seat(Stream.BACKOFF, *address).random()
            yield self.env.timeout(pause_s * (1 - backoff.jitter * uniform))

    def serve(self, calls: Calls) -> Generator[simpy.Event, Any, None]:
        answers_s = calls.scale * self.draws.answers_s(self.streams, calls)
        drawn = self.draws.failures(self.streams, calls)
        failures: dict[int, list[tuple[float, int]]] = {}
        for call, seconds, code in zip(*drawn, strict=True):
            failures.setdefault(int(call), []).append((calls.scale * seconds, int(code)))
        numbers = iter(range(calls.cost.calls))

        def lane() -> Generator[simpy.Event, Any, None]:
            for number in numbers:
                yield from self.call(calls, number, answers_s[number], failures.get(number, []))

        yield self.env.all_of([self.env.process(lane()) for _ in range(calls.lanes)])


def test_one_place_follows_lindleys_recursion() -> None:
    """A wait is the one before plus that answer less the time to the next arrival, where that is above 0."""
    n = 500
    settings = Shared(ttft=Exponential(mean_s=1.0), concurrency=1)
    world = World(settings, workers=n, seed=1)
    at_s = np.cumsum(np.random.default_rng(1).exponential(1.25, n))
    for worker in range(n):
        world.job(worker, 1, at_s=at_s[worker])
    world.run()
    draws, wait_s = CallDraws(settings), 0.0
    for worker in range(n):
        assert world.clock.seconds[Activity.QUEUEING][worker] == pytest.approx(wait_s, abs=1e-9)
        answer_s = draws.answers_s(Streams(1), Calls(worker, 0, JobCost(1, 0, 0, 0, 0), 1, 1.0, True))[0]
        if worker + 1 < n:
            wait_s = max(0.0, wait_s + answer_s - (at_s[worker + 1] - at_s[worker]))


LIMITS = st.fixed_dictionaries(
    {
        "concurrency": st.sampled_from([None, 1, 2, 5]),
        "queue_limit": st.sampled_from([None, 0, 1, 4]),
        "requests_per_minute": st.sampled_from([None, 50.0, 200.0]),
        "tokens_per_minute": st.sampled_from([None, 5000.0, 20000.0]),
        "burst_s": st.sampled_from([0.1, 2.0, 60.0]),
        "over_limit": st.sampled_from(["reject", "queue"]),
        "server_error_probability": st.sampled_from([0.0, 0.2]),
    }
)


@given(limits=LIMITS, seed=st.integers(0, 10**6))
@tried(max_examples=150, deadline=None, derandomize=True)
def test_it_is_what_a_process_a_call_would_be(limits: dict[str, Any], seed: int) -> None:
    settings = Shared(ttft=Lognormal(median_s=0.5, sigma=0.8), **limits)
    random = np.random.default_rng(seed)
    plan = [
        Calls(
            worker,
            job,
            JobCost(int(random.integers(1, 10)), 700, 90, 0, 0),
            int(random.integers(1, 5)),
            1.5,
            True,
        )
        for worker in range(4)
        for job in range(2)
    ]
    gaps_s = random.exponential(2.0, len(plan))

    def found(service: Any, env: simpy.Environment) -> list[float]:
        finished_s = [0.0] * len(plan)

        def worker(number: int) -> Generator[simpy.Event, Any, None]:
            for place, calls in enumerate(plan):
                if calls.worker == number:
                    yield env.timeout(gaps_s[place])
                    yield from service.serve(calls)
                    finished_s[place] = env.now

        for number in range(4):
            env.process(worker(number))
        env.run()
        return finished_s

    env = simpy.Environment()
    service = Desks(settings, env, Streams(seed), ActivityClock(4), [0] * 4, keep_levels=False)
    finished_s = found(service, env)
    plain_env = simpy.Environment()
    plain = Plain(settings, plain_env, Streams(seed))
    assert finished_s == pytest.approx(found(plain, plain_env), rel=1e-9)
    assert service.served()[:4] == (plain.requests, plain.too_many, plain.errors, 0)


# What always holds


@given(
    limits=LIMITS,
    outage=st.booleans(),
    others=st.booleans(),
    stops_s=st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.75, 4.0, 7.5]), max_size=4),
    random_times=st.booleans(),
    seed=st.integers(0, 10**6),
)
@tried(max_examples=150, deadline=None, derandomize=True)
def test_nothing_is_lost_or_counted_twice(
    limits: dict[str, Any], outage: bool, others: bool, stops_s: list[float], random_times: bool, seed: int
) -> None:
    """Workers go down at any instant, those at which something else happens among them, and stay down."""
    settings = Shared(
        ttft=Exponential(mean_s=0.5) if random_times else Constant(value_s=0.25),
        outages=({"start_s": 2.0, "stop_s": 3.0},) if outage else (),
        background={"requests_per_minute": 30.0} if others else None,
        backoff={"jitter": 0.25 if random_times else 0.0},
        **limits,
    )
    n_calls = 9
    world = World(settings, workers=6, seed=seed)
    for worker in range(6):
        world.job(worker, n_calls, at_s=0.25 * worker, lanes=1 + worker % 3, tokens_in=900)
    for worker, stop_s in enumerate(stops_s):
        world.stop(worker, stop_s)
    served = world.run()

    down = {worker for worker in range(6) if (worker, 0) not in world.finished_s}
    answered_at_least = n_calls * (6 - len(down))
    refused = served.too_many_requests + served.server_errors
    unanswered = served.requests - refused - served.abandoned_calls
    if not down:
        assert unanswered == n_calls * 6
        assert served.abandoned_calls == 0
    assert answered_at_least <= unanswered <= n_calls * 6
    assert served.abandoned_calls <= sum(1 + worker % 3 for worker in down)
    for worker in range(6):
        total_s = sum(world.clock.seconds[activity][worker] for activity in Activity)
        assert total_s == pytest.approx(world.env.now)
        for activity in (Activity.CALLING, Activity.QUEUEING):
            if worker in down:  # nothing touches it after it went down
                ends_s = [span.end_s for span in world.clock.spans if span[:2] == (worker, activity)]
                assert all(end_s <= stops_s[worker] for end_s in ends_s)
    rows = levels(served)
    most_queued = 10**9 if settings.queue_limit is None else settings.queue_limit
    assert all(0 <= queued <= most_queued for _, queued, _ in rows)
    assert all(0 <= serving <= (settings.concurrency or 10**9) for _, _, serving in rows)
    assert all(before[0] < after[0] and before[1:] != after[1:] for before, after in pairwise(rows))
    if not others:
        assert rows[-1][1] == 0
    if not others and not down:
        assert rows[-1][2] == 0
