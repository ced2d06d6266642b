"""The services of a run: one for all workers, or one per group."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from fedsim.timing.llm_service.base import Calls, LlmService, Served
from fedsim.timing.llm_service.desk import CallDesk
from fedsim.timing.llm_service.draws import CallDraws
from fedsim.timing.llm_service.undisturbed import Undisturbed

if TYPE_CHECKING:
    import simpy

    from fedsim.streams import Streams
    from fedsim.timing.activities import ActivityClock
    from fedsim.timing.llm_service.shared import Shared


class Desks:
    """`Shared` at work: sends each worker to its service, one for all or one per group.

    A worker sends the calls of a job in order and keeps `lanes` of them open at a time: a call that is
    answered opens the next. A request is at the service at once; the way there and back is part of the time
    to the first token. What becomes of it:

    1. In an outage: answered 503.
    2. Others wait already, or all places are taken, or (where requests are held) a bucket has too little: it
       has to wait. If `queue_limit` requests wait already: answered 429.
    3. With ``over_limit = "reject"``, where a bucket has too little: answered 429, and nothing is taken from
       any bucket. Else its need is taken from all of them.
    4. It waits in one queue, in order of arrival. Its head is let in as soon as there is a place and, with
       ``over_limit = "queue"``, enough in all buckets, from which its need is taken now. Nobody overtakes it.
    5. It takes its place until its last token, or until the first one if it fails.

    Answers 429, 503 and failures take no time of their own. The client then backs off, with its lane, and
    sends the request again, to the end of the queue. An outage that begins answers 503 to all that is being
    answered or waits. A call keeps the time that was drawn for its answer through all its requests.

    The worker's seconds are `CALLING` while at least one of its open calls is being answered, and else
    `QUEUEING`. If it goes down, its calls that are being answered keep their places until their end, for the
    service does not know, and count as abandoned; what waits or backs off is gone.

    Requests of others (`background`) wait in the same queue and take the same places. They take nothing from
    the buckets and are not counted; one that is refused or cut off is not sent again.

    Where nothing limits and nothing fails no call disturbs another, and a job is a single timeout.

    Args:
        settings: of every service.
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
        self._desks: dict[int, LlmService] = {
            number: CallDesk(number, settings, draws, env, streams, clock, keep_levels)
            if disturbed
            else Undisturbed(number, draws, env, streams, clock, keep_levels)
            for number in sorted(set(numbers))
        }
        self._desk_of = [self._desks[number] for number in numbers]

    def serve(self, calls: Calls) -> Generator[simpy.Event, object, None]:
        """Return when all calls of a job are answered: see `LlmService.serve`."""
        return self._desk_of[calls.worker].serve(calls)

    def served(self) -> Served:
        """Return what all services together have counted."""
        found = [desk.served() for desk in self._desks.values()]
        requests, too_many, errors, abandoned = map(sum, zip(*(one[:4] for one in found), strict=True))
        levels = [row for one in found for row in one.levels]
        levels.sort(key=lambda row: (row.time_s, row.service))
        return Served(requests, too_many, errors, abandoned, levels)
