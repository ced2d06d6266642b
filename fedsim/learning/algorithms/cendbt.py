"""Centralised bilevel tuning."""

from __future__ import annotations

from typing import Literal

from fedsim.learning.algorithms.base import Algorithm


class Cendbt(Algorithm):
    """cenDBT: one machine pools the workers' data and makes all calls itself; no z, no rho, no network.

    Source: Ma et al., "AsynDBT", Scientific Reports 16:9381 (2026), in words; the steps follow from (2)
    and the distributed form with one worker.
    """

    kind: Literal["cendbt"] = "cendbt"

    @property
    def centralised(self) -> bool:
        return True

    def step_rule(self, n_workers: int) -> tuple[int, int]:
        return 1, 1
