"""The mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fedsim.learning.aggregators.base import Aggregator

if TYPE_CHECKING:
    from torch import Tensor


class Mean(Aggregator):
    """The average of the rows: no defence; one malicious worker moves it anywhere.

    Source: federated averaging, McMahan et al., "Communication-efficient learning of deep networks from
    decentralized data", AISTATS 2017, Algorithm 1; that one malicious worker suffices, Blanchard et al.,
    "Machine learning with adversaries", NeurIPS 2017, Lemma 1.
    """

    kind: Literal["mean"] = "mean"

    @property
    def least_rows(self) -> int:
        return 1

    def _combined(self, rows: Tensor, previous: Tensor) -> Tensor:
        return rows.mean(0)
