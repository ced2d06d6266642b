"""When devices are there: one row per stretch of time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedsim.errors import InputError
from fedsim.timing.traces.base import Array, Column, MeasuredTrace, Place, check_begins, span_text


@dataclass(frozen=True, eq=False)
class ObservedAvailability(MeasuredTrace):
    """When devices are on: each row says that one of them is on from `t_on_s` until just before `t_off_s`.

    The rows of a device are in order of time and do not overlap; rows of different devices may be mixed.
    Devices are numbered in the order of their first rows.
    """

    kind = "availability"
    columns = (Column("device_id", "text"), Column("t_on_s"), Column("t_off_s"))

    device_id: NDArray[np.object_]
    t_on_s: NDArray[np.float64]
    t_off_s: NDArray[np.float64]

    @classmethod
    def check(cls, cells: dict[str, Array], place: Place) -> None:
        check_begins(cells, "t_on_s", place)
        check_begins(cells, "t_off_s", place)
        on_s, off_s = cells["t_on_s"].tolist(), cells["t_off_s"].tolist()
        last: dict[str, int] = {}
        for row, device in enumerate(cells["device_id"].tolist()):
            if off_s[row] <= on_s[row]:
                raise InputError(
                    f"{place(row, 't_off_s')}: expected a time after t_on_s = {on_s[row]:g}, "
                    f"got {off_s[row]:g}"
                )
            before = last.get(device)
            if before is not None and on_s[row] < off_s[before]:
                what = "overlaps" if on_s[row] >= on_s[before] else "begins before"
                raise InputError(
                    f"{place(row, 't_on_s')}: {on_s[row]:g} to {off_s[row]:g} {what} the one before it "
                    f"of device {device!r}, {on_s[before]:g} to {off_s[before]:g}; expected them apart and "
                    "in order of time"
                )
            last[device] = row

    def span(self) -> str:
        return f"{len(self.devices)} devices, {span_text(self.t_on_s.min(), self.t_off_s.max())}"

    @property
    def devices(self) -> tuple[str, ...]:
        """The names of the devices, by number."""
        return tuple(self._rows_of)

    def intervals_s(self, device: str) -> NDArray[np.float64]:
        """Return when a device is on (s), an ``(n, 2)`` array of beginnings and ends in order of time."""
        numbers = self._rows_of[device]
        return np.stack([self.t_on_s[numbers], self.t_off_s[numbers]], axis=1)

    @cached_property
    def _rows_of(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for row, device in enumerate(self.device_id.tolist()):
            found.setdefault(device, []).append(row)
        return found
