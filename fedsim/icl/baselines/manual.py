"""Manual prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fedsim.icl.baselines.base import Baseline, Desk

if TYPE_CHECKING:
    from torch import Tensor


class Manual(Baseline):
    """The hand-written template alone: no demonstration, no fragment.

    Source: Ma et al., "AsynDBT", Scientific Reports 16:9381 (2026), Tables 1 and 3 (Manual Prompt).
    """

    kind: Literal["manual"] = "manual"

    def prepare(self, worker: Desk) -> None:
        """Nothing to do."""

    def answer(self, worker: Desk, prepared: None) -> Tensor:
        return worker.score([()] * len(worker.test), worker.test)
