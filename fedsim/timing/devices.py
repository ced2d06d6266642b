"""Workers as measured devices: each is a row of a trace."""

from __future__ import annotations

from typing import Literal

import numpy as np

from fedsim.streams import Stream, Streams
from fedsim.timing.traces import Devices
from fedsim.timing.traces.kept import KeptTrace


class DeviceTrace(KeptTrace[Devices]):
    """The devices that the workers of a group are, and which of them each is."""

    format = Devices

    assignment: Literal["drawn", "in order"] = "drawn"
    """Each worker draws a device, with replacement, or the group's first worker is the first device, and so
    on."""

    def check(self, count: int) -> None:
        """Say, before anything runs, that there are too few devices for so many workers.

        Raises:
            ValueError: there are: what was found and what was expected.
        """
        if self.assignment == "in order" and count > len(self.rows):
            raise ValueError(
                f"found {len(self.rows)}, expected at least {count} devices, one for each worker of the "
                'group (or assignment = "drawn")'
            )

    def of_workers(self, streams: Streams, first: int, count: int) -> Devices:
        """Return the device of each worker of a group, one row each.

        Args:
            streams: the randomness of the run; a worker draws at (`DEVICE`, worker).
            first: the number of the group's first worker.
            count: how many there are.
        """
        if self.assignment == "in order":
            return self.rows.rows(np.arange(count))
        return self.rows.assigned(streams, Stream.DEVICE, range(first, first + count))
