"""The interface of availability: when a worker is on, and when it is down."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, ClassVar

from fedsim.catalog import Family, Part
from fedsim.streams import Streams

Stretch = tuple[float, float]
"""A worker is on from the first instant (s) until just before the second, which may be infinite."""


class Availability(Part):
    """When a worker is on."""

    returns: ClassVar[bool] = True
    """Whether a worker that has gone down may come back."""

    @abstractmethod
    def stretches(self, streams: Streams, worker: int, place: int) -> Iterator[Stretch]:
        """Yield when a worker is on: in order of time, none of them overlapping, without end perhaps.

        After the last stretch the worker is lost for good. Where one begins at the instant at which the one
        before it ends, the worker has gone down and is back at once.

        Args:
            streams: the randomness of the run; all draws stand at (`AVAILABILITY`, worker, k).
            worker: its number.
            place: its number within its group.
        """

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
