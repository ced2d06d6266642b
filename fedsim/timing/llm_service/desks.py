"""The services of a run, one for all workers or one per group, at either level of detail."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, ClassVar

from fedsim.timing.llm_service.base import Calls, LlmService, Served
from fedsim.timing.llm_service.draws import CallDraws
from fedsim.timing.llm_service.undisturbed import Undisturbed

if TYPE_CHECKING:
    import simpy

    from fedsim.streams import Streams
    from fedsim.timing.activities import ActivityClock
    from fedsim.timing.llm_service.shared import Shared


class Desks:
    """Sends each worker to its service; where nothing limits or fails, to one of a timeout per job.

    Args:
        settings: of every service.
        env: the simulation.
        streams: the randomness of the run.
        clock: the books of seconds.
        groups: the number of each worker's group.
        keep_levels: whether to remember queue lengths over time.
    """

    desk: ClassVar[Callable[..., LlmService]]
    """Makes one service with limits, from what `CallDesk` is made of; each level of detail names its own."""

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
            number: self.desk(number, settings, draws, env, streams, clock, keep_levels)
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
