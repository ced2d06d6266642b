"""Plain gradient descent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fedsim.learning.optimizers.base import Optimizer

if TYPE_CHECKING:
    from torch import Tensor


class Sgd(Optimizer):
    """The gradient times the learning rate.

    Source: Robbins and Monro, "A stochastic approximation method", Annals of Mathematical Statistics 22,
    1951, with a constant step.
    """

    kind: Literal["sgd"] = "sgd"

    @property
    def n_moments(self) -> int:
        return 0

    def step(self, gradient: Tensor, moments: tuple[Tensor, ...], count: Tensor) -> Tensor:
        return gradient.mul_(self.learning_rate)
