"""KATE: the nearest demonstrations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedsim.icl.baselines.base import Baseline, Desk
from fedsim.icl.baselines.retrieval import nearest_last
from fedsim.icl.encoders import AnyEncoder, WordLlama

if TYPE_CHECKING:
    from torch import Tensor

    from fedsim.icl.encoders.base import Floats


class Kate(Baseline):
    """For each query the demonstrations of the worker's pool that are most like it, the nearest last.

    Source: Liu et al., "What makes good in-context examples for GPT-3?", DeeLIO 2022, Algorithm 1; the
    number of demonstrations: Ma et al., "AsynDBT", Scientific Reports 16:9381 (2026), section 4.
    """

    kind: Literal["kate"] = "kate"
    n_demonstrations: int = Field(default=5, ge=1)
    encoder: AnyEncoder = WordLlama()

    def check(self, n_classes: int, per_class: int) -> None:
        if self.n_demonstrations > n_classes * per_class:
            raise ValueError(
                f"method kate shows {self.n_demonstrations} demonstrations, but a pool holds "
                f"{n_classes * per_class}"
            )

    def prepare(self, worker: Desk) -> Floats:
        return self.encoder.encode([text.joined() for text, _ in worker.pool])

    def answer(self, worker: Desk, prepared: Floats) -> Tensor:
        queries = self.encoder.encode([text.joined() for text in worker.test])
        nearest = nearest_last(prepared, queries, self.n_demonstrations)
        return worker.score([[worker.pool[i] for i in row] for row in nearest], worker.test)
