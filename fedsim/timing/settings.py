"""The server's settings: the machine, and the plan of its polyhedron updates."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from fedsim.catalog import Strict


class ServerSettings(Strict):
    """The server as a machine."""

    step_s: float = Field(0.001, ge=0)
    """Time for the server's own arithmetic in a step or an inner round; messages queue meanwhile."""
    evict_after_s: float | None = Field(None, gt=0)
    """While the server waits, drop a worker whose job was handed out longer ago than this; none: never."""
    readmit: bool = False
    """Take an evicted worker in again when its message arrives after all, or when it asks for work."""

    @model_validator(mode="after")
    def _readmits_somebody(self) -> ServerSettings:
        if self.readmit and self.evict_after_s is None:
            raise ValueError("readmit: found true, expected evict_after_s as well: nobody is ever evicted")
        return self


class CutPlan(Strict):
    """When the polyhedron is updated, and who takes part."""

    every: int = Field(50, ge=1)
    """A barrier after step t (from 0) whenever t is a multiple of this."""
    rounds: int = Field(5, ge=1)
    """K, inner rounds in each update."""
    stop_after: int | None = Field(None, ge=0)
    """T_1: no update from this step on; none: never stops."""
    participation: Literal["all", "active"] = "all"
    """All workers (the paper's barrier), or only the active set: an extension that spares the barrier."""

    def due(self, step: int) -> bool:
        """Whether an update follows step number `step`, counted from 0."""
        return step % self.every == 0 and (self.stop_after is None or step < self.stop_after)
