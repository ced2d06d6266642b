"""A shared LLM service a round at a time: an approximation without an event a call."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from fedsim.timing.llm_service.base import Calls, Served
from fedsim.timing.llm_service.draws import CallDraws
from fedsim.timing.llm_service.round_desk import RoundDesk
from fedsim.timing.llm_service.undisturbed import Undisturbed

if TYPE_CHECKING:
    import simpy

    from fedsim.streams import Streams
    from fedsim.timing.activities import ActivityClock
    from fedsim.timing.llm_service.shared import Shared


class PerRound:
    """`Shared` at work, approximately: all calls of a job at once, as a fluid, with a few events a job.

    What a job's calls are, how long each is answered and what of it fails is drawn as `PerCall` draws it, and
    how long the job takes alone is exact. What jobs take from each other is not followed call by call: every
    open call waits equally long before it is let in, and `Fluid` works out that wait each time that a job
    comes or goes. Without limits and failures every job ends at the very instant at which it ends with
    `PerCall` and with `Independent`. Where places or held requests are what limits, and each lane has many
    calls, a job's duration is right to a percent. It is less right, and `per_call` is not much slower,

    - where a job has few calls a lane: who stood first in the line then matters;
    - where requests are refused: all wait equally long here, but in truth some are lucky and some are not;
    - where all jobs begin together and have few calls a lane, or a `queue_limit` is shorter than the line;
    - where places suffice on average: what a background or failures fill now and then is not seen.

    All that counts is averages. Pauses are taken at their mean, except those after failures, which are drawn.
    The background takes its mean number of places. A call that an outage cuts off is as old as the job's
    calls are on average. A worker that goes down frees its places at once, and its open calls count as
    abandoned. The books of a job are entered when it ends, as [queueing][calling], with the seconds of both;
    a job under way at the end of the run has been calling since it began and is not yet counted in `Served`.

    Source: processor sharing, the fluid form of taking turns; Kleinrock, "Time-shared systems: a theoretical
    treatment", Journal of the ACM, 1967. Waits, rates and places hang together by Little's law; Little, "A
    proof for the queuing formula L = lambda W", Operations Research, 1961.

    Args:
        settings: the service.
        env: the simulation.
        streams: the randomness of the run.
        clock: the books of seconds.
        groups: the number of each worker's group.
        keep_levels: whether to remember queue lengths over time.
    """

    def __init__(
        self,
        settings: Shared,
        env: simpy.Environment,
        streams: Streams,
        clock: ActivityClock,
        groups: Sequence[int],
        keep_levels: bool,
    ) -> None:
        numbers = list(groups) if settings.shared_by == "group" else [0] * len(groups)
        draws = CallDraws(settings)
        disturbed = settings.has_limits or draws.failure_probability > 0
        self._desks: dict[int, RoundDesk | Undisturbed] = {
            number: RoundDesk(number, settings, draws, env, streams, clock, keep_levels)
            if disturbed
            else Undisturbed(number, draws, env, streams, clock, keep_levels)
            for number in sorted(set(numbers))
        }
        self._desk_of = [self._desks[number] for number in numbers]

    def serve(self, calls: Calls) -> Generator[simpy.Event, object, None]:
        """Return when all calls of a job are answered: see `LlmService.serve`."""
        return self._desk_of[calls.worker].serve(calls)

    def served(self) -> Served:
        """Return what all services together have counted; jobs that have not ended are not in it."""
        found = [desk.served() for desk in self._desks.values()]
        requests, too_many, errors, abandoned = map(sum, zip(*(one[:4] for one in found), strict=True))
        levels = [row for one in found for row in one.levels]
        levels.sort(key=lambda row: (row.time_s, row.service))
        return Served(requests, too_many, errors, abandoned, levels)
