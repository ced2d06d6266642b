"""Sign flip: the opposite of the honest update, enlarged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from fedsim.learning.attacks.base import MessageAttack

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class SignFlip(MessageAttack):
    """Each sends the opposite of its honest message, `factor` times as large.

    Source: the sign-flipping attack in the experiments of Li et al., "RSA: Byzantine-robust stochastic
    aggregation methods for distributed learning from heterogeneous datasets", AAAI 2019: sigma times the true
    message, sigma = -4. There messages are models, as here; where they are gradients, as in Blanchard et al.,
    "Machine learning with adversaries", NeurIPS 2017, it is the update that turns round. ByzFL's
    `SignFlipping` is another attack: all send the opposite of the honest mean, our `inner_product`.
    """

    kind: Literal["sign_flip"] = "sign_flip"
    looks: ClassVar[bool] = False
    factor: float = Field(default=4.0, gt=0)
    of: Literal["message", "update"] = "message"
    """What is flipped: the message p, to ``-factor p``, or how far it is from the consensus z that the worker
    last read, to ``z - factor (p - z)``."""

    def forge(
        self,
        own: Tensor,
        honest: Tensor,
        previous: Tensor,
        draws: Sequence[np.random.Generator] = (),
        options: int | None = None,
    ) -> Tensor:
        if self.of == "message":
            return -self.factor * own
        return previous.to(own.dtype) - self.factor * (own - previous.to(own.dtype))
