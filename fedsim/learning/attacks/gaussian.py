"""Gaussian noise in place of messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from fedsim.learning.attacks.base import MessageAttack

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class Gaussian(MessageAttack):
    """Sends normal noise, other noise at each worker, around a centre.

    Source: the Gaussian attack in the experiments of Li et al., "RSA: Byzantine-robust stochastic aggregation
    methods for distributed learning from heterogeneous datasets", AAAI 2019, with the numbers of its released
    code: N(0, 10,000^2). Blanchard et al., "Machine learning with adversaries", NeurIPS 2017, take a standard
    deviation of 200. ByzFL's `Gaussian` makes one row, of standard deviation 1 around `mu`, for all malicious
    workers.
    """

    kind: Literal["gaussian"] = "gaussian"
    looks: ClassVar[bool] = False
    std: float = Field(default=10_000.0, ge=0)
    """Standard deviation of each coordinate."""
    centre: Literal["own", "previous", "zero"] = "zero"
    """Around what: their honest message, the consensus that they last read, or 0."""

    def forge(
        self,
        own: Tensor,
        honest: Tensor,
        previous: Tensor,
        draws: Sequence[np.random.Generator] = (),
        options: int | None = None,
    ) -> Tensor:
        from fedsim.learning.forging import drawn

        noise = self.std * drawn(own, draws, lambda generator: generator.standard_normal(own.shape[1]))
        if self.centre == "own":
            noise += own
        elif self.centre == "previous":
            noise += previous
        return noise.to(own.dtype)
