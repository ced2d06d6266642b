"""Adam, with bias correction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedsim.learning.optimizers.base import Optimizer, per_job

if TYPE_CHECKING:
    from torch import Tensor


class Adam(Optimizer):
    """Steps of about the learning rate per coordinate, whatever the scale of the gradient.

    Source: Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015, Algorithm 1, in the order
    of computation that the end of its Section 2 proposes.
    """

    kind: Literal["adam"] = "adam"
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    epsilon: float = Field(default=1e-8, gt=0)

    @property
    def n_moments(self) -> int:
        return 2

    def step(self, gradient: Tensor, moments: tuple[Tensor, ...], count: Tensor) -> Tensor:
        m, v = moments
        m.lerp_(gradient, 1 - self.beta1)
        v.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        t = count.double()  # a power of an integer tensor would be rounded to float32
        root_correction = (1 - self.beta2**t).sqrt()
        rate = self.learning_rate * root_correction / (1 - self.beta1**t)
        # m_hat / (sqrt(v_hat) + epsilon), the corrections moved to numbers per job
        denominator = gradient.copy_(v).sqrt_().add_(per_job(self.epsilon * root_correction, v))
        return denominator.reciprocal_().mul_(m).mul_(per_job(rate, v))
