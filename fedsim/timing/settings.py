"""The server's settings as a machine."""

from __future__ import annotations

from pydantic import Field, model_validator

from fedsim.catalog import Strict
from fedsim.timing.time_of_day import DAY_S, TimeOfDay


class ClockSettings(Strict):
    """The clock's settings."""

    starts_at: TimeOfDay = Field(0.0, ge=0, lt=DAY_S)
    """The time of day at which a run begins, as in "20:00", or the seconds since midnight: what time it is at
    simulated time 0 for workers that are on at some hours of the day."""


class ServerSettings(Strict):
    """The server as a machine."""

    step_s: float = Field(0.001, ge=0)
    """Time for the server's own arithmetic in a step or in a round of an interlude; messages queue
    meanwhile."""
    evict_after_s: float | None = Field(None, gt=0)
    """While the server waits, drop a worker whose job was handed out longer ago than this; none: never."""
    readmit: bool = False
    """Take an evicted worker in again when its message arrives after all, or when it asks for work."""

    @model_validator(mode="after")
    def _readmits_somebody(self) -> ServerSettings:
        if self.readmit and self.evict_after_s is None:
            raise ValueError("readmit: found true, expected evict_after_s as well: nobody is ever evicted")
        return self
