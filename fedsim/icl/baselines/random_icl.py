"""Random in-context learning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedsim.icl.baselines.base import Baseline, Desk, Labelled

if TYPE_CHECKING:
    from torch import Tensor


class RandomIcl(Baseline):
    """Demonstrations drawn once from the worker's pool, as many of each class, in random order.

    The default of one per class is the number that the tuned prompt shows.

    Source: Brown et al., "Language models are few-shot learners", NeurIPS 2020, section 2; Ma et al.,
    "AsynDBT", Scientific Reports 16:9381 (2026), Table 3 (Random ICL).
    """

    kind: Literal["random_icl"] = "random_icl"
    per_class: int = Field(default=1, ge=1)
    """Demonstrations of each class."""

    def check(self, n_classes: int, per_class: int) -> None:
        if self.per_class > per_class:
            raise ValueError(
                f"method random_icl shows {self.per_class} demonstrations per class, "
                f"but a pool holds {per_class}"
            )

    def prepare(self, worker: Desk) -> list[Labelled]:
        generator = worker.generator()
        places = [
            u * worker.per_class + k
            for u in range(worker.n_classes)
            for k in generator.choice(worker.per_class, self.per_class, replace=False)
        ]
        return [worker.pool[place] for place in generator.permutation(places)]

    def answer(self, worker: Desk, prepared: list[Labelled]) -> Tensor:
        return worker.score([prepared] * len(worker.test), worker.test)
