"""What a call to the shared LLM service costs.

Target, on a quiet core: 100,000 calls per second, requests that are refused counted.
"""

from __future__ import annotations

from collections.abc import Generator
from time import process_time
from typing import Any

import pytest
import simpy
from pytest_benchmark.fixture import BenchmarkFixture

from fedsim.messages import JobCost
from fedsim.streams import Streams
from fedsim.timing.activities import ActivityClock
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.llm_service import Calls
from fedsim.timing.llm_service.shared import Shared

WORKERS, LANES, CALLS = 100, 5, 40_000
BUCKETS = {"requests_per_minute": 2000.0, "tokens_per_minute": 300_000.0, "burst_s": 10.0}
"""Less than 50 places can do with answers of mean 1 s; of tokens (110 per call) there are enough."""
SETTINGS: dict[str, dict[str, Any]] = {
    "no limit": {},
    "places": {"concurrency": 50},
    "places and buckets, held": {"concurrency": 50, "over_limit": "queue", **BUCKETS},
    "places and buckets, refused": {"concurrency": 50, **BUCKETS},
    "places and background": {"concurrency": 50, "background": {"requests_per_minute": 600.0}},
}


def serve(calls_per_job: int, settings: dict[str, Any]) -> tuple[float, int]:
    """Serve `CALLS` calls; return the processor time (s) and the number of requests."""
    env = simpy.Environment()
    shared = Shared.model_validate({"ttft": Exponential(mean_s=1.0), **settings})
    service = shared.open(env, Streams(1), ActivityClock(WORKERS), [0] * WORKERS, False)
    cost = JobCost(calls_per_job, 100 * calls_per_job, 10 * calls_per_job, 0, 0)

    def worker(number: int) -> Generator[simpy.Event, object, None]:
        for job in range(CALLS // (WORKERS * calls_per_job)):
            yield from service.serve(Calls(number, job, cost, LANES, 1.0, True))

    for number in range(WORKERS):
        env.process(worker(number))
    begun_s = process_time()
    env.run()
    return process_time() - begun_s, service.served().requests


def timeouts(count: int) -> float:
    """Return the processor time (s) of as many bare SimPy timeouts: the least for an event per call."""
    env = simpy.Environment()

    def lane() -> Generator[simpy.Event, object, None]:
        for _ in range(count // WORKERS):
            yield env.timeout(1.0)

    for _ in range(WORKERS):
        env.process(lane())
    begun_s = process_time()
    env.run()
    return process_time() - begun_s


@pytest.mark.parametrize("calls_per_job", [20, 400])
@pytest.mark.parametrize("limits", SETTINGS)
def test_calls(benchmark: BenchmarkFixture, limits: str, calls_per_job: int) -> None:
    benchmark.pedantic(serve, (calls_per_job, SETTINGS[limits]), rounds=3)


def test_bare_timeouts(benchmark: BenchmarkFixture) -> None:
    benchmark.pedantic(timeouts, (CALLS,), rounds=3)
