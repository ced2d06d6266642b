"""The same number in every coordinate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from fedsim.learning.attacks.base import MessageAttack

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class SameValue(MessageAttack):
    """All send the same number in every coordinate.

    Source: the same-value attack in the experiments of Li et al., "RSA: Byzantine-robust stochastic
    aggregation methods for distributed learning from heterogeneous datasets", AAAI 2019: c times the vector
    of ones. Projected on the simplex it is the uniform distribution, whatever c is.
    """

    kind: Literal["same_value"] = "same_value"
    looks: ClassVar[bool] = False
    value: float = 100.0
    """The constant c."""

    def forge(
        self,
        own: Tensor,
        honest: Tensor,
        previous: Tensor,
        draws: Sequence[np.random.Generator] = (),
        options: int | None = None,
    ) -> Tensor:
        import torch

        return torch.full_like(own, self.value)
