"""Calls that do not disturb each other."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from fedsim.messages import JobCost
from fedsim.streams import Stream, Streams
from fedsim.timing.activities import Activity, ActivityClock
from fedsim.timing.delays import AnyDelay
from fedsim.timing.lanes import makespan_s
from fedsim.timing.llm_service.base import Calls, LlmProvider, LlmService, Served

if TYPE_CHECKING:
    import simpy

CALLING = Activity.CALLING


class Independent(LlmProvider):
    """Calls that do not disturb each other: each latency is an independent draw.

    A call takes `latency`, plus `per_input_token_s` for each prompt token that it has more than the calls
    with which `latency` was measured (less for each token fewer, but never below nothing), plus its answer's
    tokens times `per_output_token_s`. The next call of a job starts as soon as one of the worker's lanes is
    free.

    Source: the infinite-server model; lanes as in Graham, "Bounds on multiprocessing timing anomalies", 1969.
    """

    kind: Literal["independent"] = "independent"
    latency: AnyDelay
    per_input_token_s: float = Field(0.0, ge=0)
    latency_tokens: int = Field(0, ge=0)
    """Prompt tokens of the calls with which `latency` was measured, which its draws therefore contain."""
    per_output_token_s: float = Field(0.0, ge=0)

    def idle(self) -> Mapping[str, str]:
        if self.per_input_token_s:
            return {}
        return {"latency_tokens": "tokens of a prompt take no time (per_input_token_s = 0)"}

    def instant(self, cost: JobCost) -> bool:
        read_s = self._read_s(cost) if self.per_input_token_s else 0.0
        written_s = cost.tokens_out * self.per_output_token_s
        return self.latency.mean_value_s == 0 and read_s <= 0 and written_s == 0

    def _read_s(self, cost: JobCost) -> float:
        """Return what a prompt costs beyond those with which `latency` was measured (s); may be below 0."""
        return (cost.tokens_in / cost.calls - self.latency_tokens) * self.per_input_token_s

    def job_s(self, streams: Streams, worker: int, job: int, cost: JobCost, lanes: int) -> float:
        """Return how long all calls of one job take (s), before any slow-down."""
        if cost.calls == 0:
            return 0.0
        latencies = self.latency.sample(streams.seat(Stream.LLM, worker, job), cost.calls)
        read_s = self._read_s(cost)
        if read_s:
            latencies = np.maximum(latencies + read_s, 0.0)
        written_s = cost.tokens_out * self.per_output_token_s / cost.calls
        return makespan_s(latencies + written_s, lanes)

    def open(
        self,
        env: simpy.Environment,
        streams: Streams,
        clock: ActivityClock,
        groups: Sequence[int],
        keep_levels: bool,
    ) -> LlmService:
        return _Open(self, env, streams, clock)


class _Open:
    """`Independent` at work: one timeout per job."""

    def __init__(
        self, settings: Independent, env: simpy.Environment, streams: Streams, clock: ActivityClock
    ) -> None:
        self._settings = settings
        self._env = env
        self._streams = streams
        self._clock = clock

    def serve(self, calls: Calls) -> Generator[simpy.Event, object, None]:
        worker, job, cost, lanes, scale, booked = calls
        if booked:
            self._clock.switch(worker, CALLING, self._env.now)
        seconds = scale * self._settings.job_s(self._streams, worker, job, cost, lanes)
        if seconds > 0:
            yield self._env.timeout(seconds)

    def served(self) -> Served:
        return Served()
