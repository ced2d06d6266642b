"""The LLM service as the clock sees it: how long the calls of a job take.

One interface, `LlmService.serve`, so that a shared, rate-limited service can take the place of independent
calls without a change to workers or server.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

from pydantic import Field

from fedsim.catalog import Family, Part
from fedsim.messages import JobCost
from fedsim.streams import Stream, Streams
from fedsim.timing.delays import AnyDelay
from fedsim.timing.lanes import makespan_s

if TYPE_CHECKING:
    import simpy


class LlmService(Protocol):
    """Answers the calls of a job in simulated time."""

    def serve(
        self, env: simpy.Environment, worker: int, job: int, cost: JobCost, lanes: int, scale: float
    ) -> Generator[simpy.Event, object, None]:
        """Return when all calls are answered.

        Args:
            env: the simulation.
            worker: who calls.
            job: its job's number; with `worker` the address of every latency drawn.
            cost: the number of calls and tokens.
            lanes: how many calls the worker keeps open at a time.
            scale: how much slower than normal this job's calls are.
        """
        ...


class IndependentCalls(Part):
    """Calls that do not disturb each other: each latency is an independent draw.

    A call takes `latency` plus its prompt tokens times `per_input_token_s` plus its answer's tokens times
    `per_output_token_s`. The next call of a job starts as soon as one of the worker's lanes is free.

    Source: the infinite-server model; lanes as in Graham, "Bounds on multiprocessing timing anomalies", 1969.
    """

    kind: Literal["independent"] = "independent"
    latency: AnyDelay
    per_input_token_s: float = Field(0.0, ge=0)
    per_output_token_s: float = Field(0.0, ge=0)
    price_per_million_tokens_in: float = Field(0.0, ge=0)
    price_per_million_tokens_out: float = Field(0.0, ge=0)

    def job_s(self, streams: Streams, worker: int, job: int, cost: JobCost, lanes: int) -> float:
        """Return how long all calls of one job take (s), before any slow-down."""
        if cost.calls == 0:
            return 0.0
        latencies = self.latency.sample(streams.seat(Stream.LLM, worker, job), cost.calls)
        tokens_s = cost.tokens_in * self.per_input_token_s + cost.tokens_out * self.per_output_token_s
        if tokens_s:
            latencies = latencies + tokens_s / cost.calls
        return makespan_s(latencies, lanes)

    def price(self, tokens_in: int, tokens_out: int) -> float:
        """Return what these tokens cost, in the currency of the prices."""
        millions_in, millions_out = tokens_in / 1e6, tokens_out / 1e6
        return (
            millions_in * self.price_per_million_tokens_in + millions_out * self.price_per_million_tokens_out
        )

    def open(self, streams: Streams) -> LlmService:
        """Return the running service."""
        return _Independent(self, streams)


class _Independent:
    """`IndependentCalls` at work: one timeout a job."""

    def __init__(self, settings: IndependentCalls, streams: Streams) -> None:
        self._settings = settings
        self._streams = streams

    def serve(
        self, env: simpy.Environment, worker: int, job: int, cost: JobCost, lanes: int, scale: float
    ) -> Generator[simpy.Event, object, None]:
        seconds = scale * self._settings.job_s(self._streams, worker, job, cost, lanes)
        if seconds > 0:
            yield env.timeout(seconds)


LLM_SERVICES = Family("llm_services", IndependentCalls, IndependentCalls)
AnyLlmService = Annotated[IndependentCalls, LLM_SERVICES]
