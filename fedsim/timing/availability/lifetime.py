"""Workers that join late or leave for good."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

from fedsim.streams import Stream, Streams
from fedsim.timing.availability.base import Availability, Stretch
from fedsim.timing.delays import AnyDelay
from fedsim.timing.delays.constant import Constant


class Lifetime(Availability):
    """Joins at some time, stays on without a break, and is lost for good at the end of its life.

    Who joins after time 0 is no member before: nobody waits for it, and it starts with the newest snapshot.

    Source: churn as the lifetimes of those who come and go; Stutzbach and Rejaie, "Understanding churn in
    peer-to-peer networks", IMC 2006.
    """

    kind: Literal["lifetime"] = "lifetime"
    returns: ClassVar[bool] = False
    joins: AnyDelay = Constant(value_s=0.0)
    """When a worker joins, from the start of the run."""
    life: AnyDelay | None = None
    """How long it then lasts; none: to the end of the run."""

    def stretches(self, streams: Streams, worker: int, place: int) -> Iterator[Stretch]:
        """Yield the one stretch; both of its ends are drawn at job 0."""
        generator = streams.seat(Stream.AVAILABILITY, worker, 0)
        joins_s = float(self.joins.sample(generator, 1)[0])
        lasts_s = math.inf if self.life is None else float(self.life.sample(generator, 1)[0])
        yield joins_s, joins_s + lasts_s

    def joins_s(self, streams: Streams, worker: int) -> float:
        return float(self.joins.sample(streams.seat(Stream.AVAILABILITY, worker, 0), 1)[0])
