"""Synchronous distributed bilevel tuning."""

from __future__ import annotations

from typing import Literal

from fedsim.learning.algorithms.base import Algorithm


class Sdbt(Algorithm):
    """SDBT: AsynDBT that waits for all workers in every step (S = R); the same code path, bit for bit.

    Source: by analogy with SDBO in Jiao et al., "Asynchronous Distributed Bilevel Optimization", ICLR 2023.
    """

    kind: Literal["sdbt"] = "sdbt"

    @property
    def centralised(self) -> bool:
        return False

    def step_rule(self, n_workers: int) -> tuple[int, int]:
        return n_workers, 1
