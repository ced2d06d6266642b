"""Adam with decoupled weight decay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedsim.learning.optimizers.adam import Adam
from fedsim.learning.optimizers.base import Optimizer

if TYPE_CHECKING:
    from torch import Tensor


class AdamW(Optimizer):
    """Adam's step, after the variables have been shrunk by the learning rate times a constant.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, Algorithm 2, with a
    constant schedule.
    """

    kind: Literal["adamw"] = "adamw"
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    epsilon: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=1e-3, ge=0)
    """Times the learning rate, the part of the variables that each step takes away."""

    @property
    def n_moments(self) -> int:
        return 2

    @property
    def shrinks(self) -> float:
        return self.learning_rate * self.weight_decay

    def step(self, gradient: Tensor, moments: tuple[Tensor, ...], count: Tensor) -> Tensor:
        adam = Adam(
            learning_rate=self.learning_rate, beta1=self.beta1, beta2=self.beta2, epsilon=self.epsilon
        )
        return adam.step(gradient, moments, count)
