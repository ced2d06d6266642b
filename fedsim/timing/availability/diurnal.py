"""Workers that are on for a part of each day."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from fedsim.streams import Stream, Streams
from fedsim.timing.availability.base import Availability, Stretch
from fedsim.timing.delays import AnyDelay
from fedsim.timing.delays.constant import Constant
from fedsim.timing.pace import RESOLUTION_S
from fedsim.timing.time_of_day import TimeOfDay

EARLIEST_DAY = -2
"""No earlier day's stretch reaches time 0: it begins within its day or the next, and lasts less than one."""


class Diurnal(Availability):
    """On from `from_s` to `to_s` of each period, a day unless told, as phones are that charge at night.

    Where `to_s` is before `from_s`, the stretch passes midnight. A run begins at the time of day that
    ``clock.starts_at`` says, of a clock that each worker's is behind by a draw of `phase`: its time zone.
    Days are all alike: there is no daylight saving time. Each beginning and each end is moved by a uniform
    draw of at most `jitter_s` either way.

    Source: ours, after what servers see of phones: Bonawitz et al., "Towards federated learning at scale:
    system design", MLSys 2019, section 9 and Figure 5.
    """

    kind: Literal["diurnal"] = "diurnal"
    period_s: float = Field(86_400.0, ge=RESOLUTION_S)
    reads_clock: ClassVar[bool] = True
    from_s: TimeOfDay = Field(ge=0)
    """Since the period began: seconds, or a time of day, "22:00"."""
    to_s: TimeOfDay = Field(ge=0)
    phase: AnyDelay = Constant(value_s=0.0)
    """How much later than `from_s` and `to_s` say a worker is; drawn once for each."""
    jitter_s: float = Field(0.0, ge=0)

    @model_validator(mode="after")
    def _within_a_period(self) -> Self:
        for name, value in (("from_s", self.from_s), ("to_s", self.to_s)):
            if value > self.period_s:
                raise ValueError(f"{name}: found {value:g}, expected at most period_s = {self.period_s:g}")
        if (self.to_s - self.from_s) % self.period_s == 0:
            raise ValueError(
                f"to_s: found {self.to_s:g}, expected another time of the period than from_s = "
                f"{self.from_s:g}"
            )
        shorter_s = min(self._on_s, self.period_s - self._on_s)
        if self.jitter_s and 2 * self.jitter_s >= shorter_s:
            raise ValueError(
                f"jitter_s: found {self.jitter_s:g}, expected less than half of {shorter_s:g}, the shorter "
                "one of a worker's time on and its time off"
            )
        return self

    @property
    def _on_s(self) -> float:
        return (self.to_s - self.from_s) % self.period_s

    def starting_at(self, time_s: float) -> Self:
        if time_s % self.period_s == 0:
            return self
        moved = {name: (getattr(self, name) - time_s) % self.period_s for name in ("from_s", "to_s")}
        return self.model_copy(update=moved)

    def stretches(self, streams: Streams, worker: int, place: int) -> Iterator[Stretch]:
        """Yield the stretches; day k, counted from 0, is drawn at job k + 3, the phase at job 0."""
        phase_s = float(self.phase.sample(streams.seat(Stream.AVAILABILITY, worker, 0), 1)[0])
        first_s = self.from_s + phase_s % self.period_s
        for day in count(EARLIEST_DAY):
            generator = streams.seat(Stream.AVAILABILITY, worker, day - EARLIEST_DAY + 1)
            early_s, late_s = generator.uniform(-self.jitter_s, self.jitter_s, size=2).tolist()
            on_s = first_s + day * self.period_s
            begins_s, ends_s = max(0.0, on_s + early_s), on_s + self._on_s + late_s
            if ends_s > 0:
                yield begins_s, ends_s
