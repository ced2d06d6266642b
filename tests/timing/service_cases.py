"""Jobs that workers bring to an LLM service, and how it went."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import NamedTuple

import simpy
from simpy.exceptions import Interrupt

from fedsim.messages import JobCost
from fedsim.streams import Streams
from fedsim.timing.activities import Activity, ActivityClock
from fedsim.timing.llm_service import Calls, LlmProvider, Served


class Asked(NamedTuple):
    """A job that a worker brings to the service."""

    begin_s: float
    calls: int
    lanes: int = 1
    scale: float = 1.0
    leaves_s: float | None = None
    """When the worker goes down."""
    booked: bool = True
    """Whether it is no inner round."""


class Found(NamedTuple):
    """How it went."""

    ends_s: list[float]
    """When each job ended, or its worker went down."""
    clock: ActivityClock
    served: Served


def serve(provider: LlmProvider, asked: Sequence[Asked], seed: int = 0) -> Found:
    """Bring one job a worker to a service."""
    env, streams, clock = simpy.Environment(), Streams(seed), ActivityClock(len(asked), keep_spans=True)
    service = provider.open(env, streams, clock, [0] * len(asked), False)
    ends_s = [math.nan] * len(asked)

    def work(worker: int, job: Asked) -> Generator[simpy.Event, object, None]:
        if job.begin_s:
            yield env.timeout(job.begin_s)
        cost = JobCost(job.calls, 0, 0, 0, 0)
        with suppress(Interrupt):
            yield from service.serve(Calls(worker, 0, cost, job.lanes, job.scale, job.booked))
        ends_s[worker] = env.now
        clock.switch(worker, Activity.WAITING, env.now)

    def stop(process: simpy.Process, at_s: float) -> Generator[simpy.Event, object, None]:
        yield env.timeout(at_s)
        if process.is_alive:
            process.interrupt()

    for worker, job in enumerate(asked):
        process = env.process(work(worker, job))
        if job.leaves_s is not None:
            env.process(stop(process, job.leaves_s))
    env.run()
    return Found(ends_s, clock, service.served())
