"""The LLM service as the clock sees it: how long the calls of a job take, and what they cost.

One interface, `LlmService.serve`: workers and server do not know whether calls are independent or share a
service that limits them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol

from pydantic import Field

from fedsim.answering import answers, count, number, of_type, opens, processes, refuse
from fedsim.catalog import Family, Part
from fedsim.messages import JobCost
from fedsim.streams import Streams

if TYPE_CHECKING:
    import simpy

    from fedsim.timing.activities import ActivityClock


class Calls(NamedTuple):
    """The LLM calls of one job of a worker."""

    worker: int
    job: int
    """With `worker` the address of everything drawn for these calls."""
    cost: JobCost
    """At least one call; all calls of a job are alike."""
    lanes: int
    """How many of them the worker keeps open at a time."""
    scale: float
    """How much slower than normal this job's calls are answered."""
    booked: bool
    """Whether `CALLING` and `QUEUEING` are told apart in the books; some jobs are one activity as a whole."""


class QueueLevel(NamedTuple):
    """From this instant on, so many calls wait at a service and so many are being answered."""

    service: int
    """Its number: 0 where all workers share one, else the group's."""
    time_s: float
    queued: int
    serving: int


class Served(NamedTuple):
    """What a service has done in a run; nothing is counted where workers' calls do not disturb each other."""

    requests: int = 0
    """Requests that workers have sent, repeated ones included."""
    too_many_requests: int = 0
    """Answers 429."""
    server_errors: int = 0
    """Answers 5xx, requests cut off by an outage included, and all other failures in a trace of requests."""
    abandoned_calls: int = 0
    """Calls under way when their worker went down: nobody waits for the answer, and no job counts them."""
    levels: Sequence[QueueLevel] = ()
    """Queue lengths in order of time; recorded only together with spans."""


class LlmService(Protocol):
    """Answers the calls of a job in simulated time."""

    def serve(self, calls: Calls) -> Generator[simpy.Event, object, None]:
        """Return when all calls are answered.

        Books the worker's seconds as `CALLING` or, while all its open calls wait, as `QUEUEING`. Where the
        worker goes down meanwhile, `Interrupt` is thrown in: calls not yet sent are not sent, and what is
        open is abandoned.
        """
        ...

    def served(self) -> Served:
        """Return what has been counted so far."""
        ...


def _wrong_count(served: Served) -> str:
    for name, value in served._asdict().items():
        if name != "levels" and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            return f"{name} is {value!r}, expected a whole number from 0"
    return ""


def _cached(part: Part, name: str, given: list[Any], answer: Any) -> int:
    found = count()(part, name, given, answer)
    if found > given[0].tokens_in:
        refuse(name, answer, f"at most tokens_in = {given[0].tokens_in}")
    return int(found)


class LlmProvider(Part):
    """An LLM service as settings: who answers, how fast, and at what price."""

    price_per_million_tokens_in: float = Field(0.0, ge=0)
    price_per_million_tokens_out: float = Field(0.0, ge=0)

    @abstractmethod
    @answers(opens({"serve": processes, "served": of_type(Served, _wrong_count)}, copies=False))
    def open(
        self,
        env: simpy.Environment,
        streams: Streams,
        clock: ActivityClock,
        groups: Sequence[int],
        keep_levels: bool,
    ) -> LlmService:
        """Return the running service.

        Args:
            env: the simulation.
            streams: the randomness of the run.
            clock: the books of seconds; the entity to `switch` is `Calls.worker`.
            groups: the number of each worker's group.
            keep_levels: whether to remember queue lengths over time.
        """

    def instant(self, cost: JobCost) -> bool:
        """Return whether it is certain that the calls of such a job are always answered at once."""
        return False

    def check(self, lasts_s: float, call_tokens: float, patient: bool = True) -> None:
        """Check what depends on the run.

        Args:
            lasts_s: how long it may last (s).
            call_tokens: of the longest call.
            patient: whether the server waits for its workers, however long that takes.

        Raises:
            ValueError: one sentence with the place, what was found and what was expected.
        """

    @answers(_cached)
    def cached_tokens(self, cost: JobCost) -> int:
        """Return how many of a job's prompt tokens the service has in its cache; none unless it has one."""
        return 0

    @answers(number())
    def price(self, tokens_in: int, tokens_out: int, tokens_cached: int = 0) -> float:
        """Return what these tokens cost, in the currency of the prices; `tokens_in` includes those cached."""
        millions_in, millions_out = tokens_in / 1e6, tokens_out / 1e6
        return (
            millions_in * self.price_per_million_tokens_in + millions_out * self.price_per_million_tokens_out
        )


# Listed in __init__.py.
LLM_SERVICES = Family("llm_services", LlmProvider)
AnyLlmService = Annotated[LlmProvider, LLM_SERVICES]
