"""Asynchronous distributed bilevel tuning."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fedsim.algorithms.dbt.distributed import Distributed
from fedsim.schedule import Steps


class Asyndbt(Distributed):
    """AsynDBT: the server steps as soon as S workers have reported and nobody is too stale.

    Source: Ma et al., "AsynDBT", Scientific Reports 16:9381 (2026), Algorithm 1.
    """

    kind: Literal["asyndbt"] = "asyndbt"
    wait_for: int = Field(2, ge=1)
    """S, how many workers must have reported."""
    tau: int = Field(5, ge=1)
    """Staleness bound: a ticket is at most tau - 1 steps old when used; with 1, every step waits for all."""

    def steps(self, n_workers: int) -> Steps:
        return Steps(self.wait_for, self.tau)
