"""Synchronous distributed bilevel tuning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from fedsim.algorithms.base import Setting
from fedsim.algorithms.dbt.distributed import Distributed
from fedsim.schedule import Steps


class Sdbt(Distributed):
    """SDBT: AsynDBT that waits for all workers in every step (S = R); the same code path, bit for bit.

    Source: by analogy with SDBO in Jiao et al., "Asynchronous Distributed Bilevel Optimization", ICLR 2023.
    """

    kind: Literal["sdbt"] = "sdbt"

    def steps(self, n_workers: int) -> Steps:
        return Steps(n_workers, 1)

    def unread(self, setting: Setting) -> Mapping[str, str]:
        all_anyway = {"algorithm.cuts.participation": "all workers take part in every step of sdbt"}
        return all_anyway | dict(super().unread(setting))
