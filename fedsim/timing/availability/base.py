"""The interface of availability: when a worker is on, and when it is down."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Self

from fedsim.answering import answers, is_number, number, refuse
from fedsim.catalog import Family, Part
from fedsim.streams import Streams

Stretch = tuple[float, float]
"""A worker is on from the first instant (s) until just before the second, which may be infinite."""


MOST_IN_VAIN = 100_000
"""Stretches in a row in which no time passes."""


def _stretches(part: Part, name: str, given: list[Any], answer: Any) -> Iterator[Stretch]:
    if not isinstance(answer, Iterator):
        refuse(name, answer, "an iterator of stretches")
    return _in_order(part, name, answer)


def _in_order(part: Part, name: str, stretches: Iterator[Any]) -> Iterator[Stretch]:
    """Yield stretches of a stranger's, one after the other in time."""
    before_s, in_vain = 0.0, 0
    for stretch in stretches:
        pair = isinstance(stretch, tuple) and len(stretch) == 2 and all(map(is_number, stretch))
        if not pair or not (before_s <= stretch[0] <= stretch[1] and stretch[0] < math.inf):
            refuse(name, stretch, f"a stretch (on_s, off_s) in order, from {before_s:g} s on")
        in_vain = in_vain + 1 if stretch[1] == before_s else 0
        if in_vain > MOST_IN_VAIN:
            refuse(name, stretch, "stretches in which time passes")
        before_s = float(stretch[1])
        yield float(stretch[0]), before_s


class Availability(Part):
    """When a worker is on."""

    returns: ClassVar[bool] = True
    """Whether a worker that has gone down may come back."""

    reads_clock: ClassVar[bool] = False
    """Whether a worker is on at some times of the day."""

    def starting_at(self, time_s: float) -> Self:
        """Return the same for a run that begins so many seconds after midnight."""
        return self

    @abstractmethod
    @answers(_stretches)
    def stretches(self, streams: Streams, worker: int, place: int) -> Iterator[Stretch]:
        """Yield when a worker is on: in order of time, none of them overlapping, without end perhaps.

        After the last stretch the worker is lost for good. Where one begins at the instant at which the one
        before it ends, the worker has gone down and is back at once.

        Args:
            streams: the randomness of the run; all draws stand at (`AVAILABILITY`, worker, k).
            worker: its number.
            place: its number within its group.
        """

    @answers(number(least=0))
    def joins_s(self, streams: Streams, worker: int) -> float:
        """Return when a worker first becomes a member (s).

        A member that is down is waited for; who has yet to join is not. 0 unless the kind says otherwise.
        """
        return 0.0

    def check(self, count: int) -> None:
        """Say, before anything runs, that a group of so many workers is impossible.

        Raises:
            ValueError: it is: what was found and what was expected.
        """


# Listed in __init__.py.
AVAILABILITIES = Family("availabilities", Availability)
AnyAvailability = Annotated[Availability, AVAILABILITIES]
