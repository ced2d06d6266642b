"""Zeros in place of messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from fedsim.learning.attacks.base import MessageAttack

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class Zero(MessageAttack):
    """All send zeros.

    Source: `same_value` with c = 0 (Li et al., RSA, AAAI 2019): a worker that has failed, or does nothing and
    pretends. Not the zero-gradient attack of Wu et al., "Federated variance-reduced stochastic gradient
    descent with robustness to Byzantine attacks", IEEE TSP 2020, whose messages make the sum over all workers
    zero: that is `inner_product` of messages, with epsilon = honest rows / forged rows.
    """

    kind: Literal["zero"] = "zero"
    looks: ClassVar[bool] = False

    def forge(
        self,
        own: Tensor,
        honest: Tensor,
        previous: Tensor,
        draws: Sequence[np.random.Generator] = (),
        options: int | None = None,
    ) -> Tensor:
        import torch

        return torch.zeros_like(own)
