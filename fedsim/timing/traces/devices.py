"""How fast devices are: one row per device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fedsim.errors import InputError
from fedsim.streams import Stream, Streams
from fedsim.timing.traces.base import Array, Column, MeasuredTrace, Place


@dataclass(frozen=True, eq=False)
class Devices(MeasuredTrace):
    """How fast devices compute and send, in one row each.

    `compute_scale` multiplies what computing takes, as `slow_down` of a worker does: 1 is normal, 2 twice as
    slow. `mbps_down` and `mbps_up` are megabits (10^6) a second towards the device and away from it. Where
    they are given, `own_token_s` are the seconds in which a token passes forward through the model that the
    device runs itself, measured on it: `compute_scale` does not multiply them.
    """

    kind = "devices"
    columns = (
        Column("device_id", "text"),
        Column("compute_scale", above_zero=True),
        Column("mbps_down", above_zero=True),
        Column("mbps_up", above_zero=True),
        Column("own_token_s", above_zero=True, optional=True),
    )

    device_id: NDArray[np.object_]
    compute_scale: NDArray[np.float64]
    mbps_down: NDArray[np.float64]
    mbps_up: NDArray[np.float64]
    own_token_s: NDArray[np.float64] | None = None

    @classmethod
    def check(cls, cells: dict[str, Array], place: Place) -> None:
        seen: set[str] = set()
        for row, device in enumerate(cells["device_id"].tolist()):
            if device in seen:
                raise InputError(
                    f"{place(row, 'device_id')}: expected one row per device, got {device!r} again"
                )
            seen.add(device)

    def span(self) -> str:
        least, most = self.compute_scale.min(), self.compute_scale.max()
        return f"{len(self)} devices, compute_scale {least:g} to {most:g}"

    def assigned(self, streams: Streams, purpose: Stream, workers: Sequence[int]) -> Self:
        """Return the device of each worker, one whole row each, drawn with replacement.

        A worker's row is drawn at its own address, so that it has the same device whoever else takes part.
        """
        drawn = [int(streams.seat(purpose, worker).integers(len(self))) for worker in workers]
        return self.rows(np.array(drawn, dtype=np.int64))
