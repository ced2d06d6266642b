"""Workers that are on when a device of a trace was."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from itertools import count
from typing import Literal

from fedsim.streams import Stream, Streams
from fedsim.timing.availability.base import Availability, Stretch
from fedsim.timing.traces import ObservedAvailability
from fedsim.timing.traces.kept import KeptTrace


class AvailabilityTrace(KeptTrace[ObservedAvailability]):
    """When devices were on, as somebody has seen it."""

    format = ObservedAvailability


class Trace(Availability):
    """On when a device was, by a trace: each worker is one of its devices.

    Rows of a device that touch are one stretch. With `repeat` the trace begins again when it is over, at the
    last `t_off_s` of all devices; without, a worker is lost for good after its device's last row.

    Source: trace-driven simulation, as in Yang et al., "Characterizing impacts of heterogeneity in federated
    learning upon large-scale smartphone data", WWW 2021.
    """

    kind: Literal["trace"] = "trace"
    trace: AvailabilityTrace
    assignment: Literal["drawn", "in order"] = "drawn"
    """Each worker draws a device, with replacement, or the group's first worker is the first device, and so
    on."""
    repeat: bool = True

    def stretches(self, streams: Streams, worker: int, place: int) -> Iterator[Stretch]:
        """Yield the stretches; the device is drawn at job 0."""
        if self.assignment == "drawn":
            place = int(streams.seat(Stream.AVAILABILITY, worker, 0).integers(len(self._devices)))
        device = self._devices[place]
        return _joined(self._repeated(device)) if self.repeat else iter(device)

    def check(self, count: int) -> None:
        if self.assignment == "in order" and count > len(self._devices):
            raise ValueError(
                f"found {len(self._devices)}, expected at least {count} devices, one for each worker of the "
                'group (or assignment = "drawn")'
            )

    def _repeated(self, device: list[Stretch]) -> Iterator[Stretch]:
        """Yield the stretches of a device, again and again."""
        length_s = self._ends_s
        if device == [(0.0, length_s)]:
            yield 0.0, math.inf
            return
        for turn in count():
            for on_s, off_s in device:
                # as the next turn reckons its beginning, so that what touches is seen to touch
                ends_s = (turn + 1) * length_s if off_s == length_s else turn * length_s + off_s
                yield turn * length_s + on_s, ends_s

    # Once for all workers of a group: parsing is slow, and a worker needs the stretches of its device alone.
    @cached_property
    def _devices(self) -> list[list[Stretch]]:
        seen = self.trace.rows
        return [list(_joined(map(tuple, seen.intervals_s(device).tolist()))) for device in seen.devices]

    @cached_property
    def _ends_s(self) -> float:
        return float(self.trace.rows.t_off_s.max())


def _joined(stretches: Iterator[Stretch]) -> Iterator[Stretch]:
    """Yield the same stretches, one at least, with those that touch made one."""
    begins_s, ends_s = next(stretches)
    for on_s, off_s in stretches:
        if on_s > ends_s:
            yield begins_s, ends_s
            begins_s = on_s
        ends_s = off_s
    yield begins_s, ends_s
