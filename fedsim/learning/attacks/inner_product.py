"""Inner-product manipulation: a small multiple of the opposite of the mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedsim.learning.attacks.base import MessageAttack

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class InnerProduct(MessageAttack):
    """All send epsilon times the opposite of the mean of known messages.

    Small forged messages pass for honest ones, and yet the combined update may have a negative inner product
    with the honest one.

    Source: Xie, Koyejo and Gupta, "Fall of empires: breaking Byzantine-tolerant SGD by inner product
    manipulation", UAI 2019: -epsilon times the mean of the honest gradients. A gradient
    is an update, so what turns round is by default the mean update; ByzFL's `InnerProductManipulation`
    (tau = 2) and Blades (1) turn round whatever rows they get. epsilon = 0.1 is that of Karimireddy, He and
    Jaggi, ICLR 2022. The paper's attackers know all: ``knowledge = "all"``.
    """

    kind: Literal["inner_product"] = "inner_product"
    epsilon: float = Field(default=0.1, gt=0)
    of: Literal["message", "update"] = "update"
    """What is turned round: with the mean m of known messages and the consensus z that they last read, they
    send ``-epsilon m``, or ``z - epsilon (m - z)``."""

    def forge(
        self,
        own: Tensor,
        honest: Tensor,
        previous: Tensor,
        draws: Sequence[np.random.Generator] = (),
        options: int | None = None,
    ) -> Tensor:
        from fedsim.learning.forging import colluding

        mean = self.known(own, honest).double().mean(0)
        if self.of == "message":
            return colluding(-self.epsilon * mean, own)
        return colluding(previous - self.epsilon * (mean - previous), own)
