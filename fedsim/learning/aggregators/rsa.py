"""Aggregation by a penalty on each worker's difference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedsim.learning.aggregators.base import Aggregator

if TYPE_CHECKING:
    from torch import Tensor


class Rsa(Aggregator):
    """A step towards the rows; each row has the same small pull, however far away it is.

    ``previous - step sum_v s(previous - row_v)``, where s is a subgradient of the norm. One row moves a
    coordinate by at most the step, whatever it holds. Equal rows are approached, not reached.

    Source: Li et al., "RSA: Byzantine-robust stochastic aggregation methods for distributed learning from
    heterogeneous datasets", AAAI 2019: the master's update for p = 1 and its extension to other p, without
    the master's own regulariser f_0. Its released code has p = 1.
    """

    kind: Literal["rsa"] = "rsa"
    step: float = Field(gt=0)
    """The paper's learning rate times its penalty lambda."""
    norm: Literal["l1", "l2", "linf"] = "l1"
    """The norm of the penalty: pulls by signs, by directions, or by the sign of the largest coordinate."""

    @property
    def least_rows(self) -> int:
        return 1

    def _combined(self, rows: Tensor, previous: Tensor) -> Tensor:
        from fedsim.learning.penalty import subgradient

        return previous - self.step * subgradient(previous - rows, self.norm).sum(0)
