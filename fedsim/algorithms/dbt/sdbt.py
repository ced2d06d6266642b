"""Synchronous distributed bilevel tuning."""

from __future__ import annotations

from typing import Literal

from fedsim.algorithms.dbt.distributed import Distributed
from fedsim.schedule import Steps


class Sdbt(Distributed):
    """SDBT: AsynDBT that waits for all workers in every step (S = R); the same code path, bit for bit.

    Source: by analogy with SDBO in Jiao et al., "Asynchronous Distributed Bilevel Optimization", ICLR 2023.
    """

    kind: Literal["sdbt"] = "sdbt"

    def steps(self, n_workers: int) -> Steps:
        return Steps(n_workers, 1)
