"""A federated method that fedsim does not know: a file such as this one is all that it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedsim.algorithms.averaging.base import Averaging
from fedsim.algorithms.base import Bench

if TYPE_CHECKING:
    from torch import Tensor

    from fedsim.algorithms.averaging.averager import Averager


class ServerMomentum(Averaging):
    """FedAvgM: the server averages what workers did in a round, and goes on in the direction of past rounds.

    Source: Hsu, Qi and Brown, "Measuring the effects of non-identical data distribution for federated visual
    classification", arXiv 1909.06335, 2019.
    """

    kind: Literal["server_momentum"] = "server_momentum"
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """beta: how much of its direction the server keeps from one step to the next."""
    rate: float = Field(default=1.0, gt=0)
    """How far the server goes in that direction."""

    def open(self, bench: Bench) -> Averager:
        from fedsim.algorithms.averaging.averager import Averager

        server = Momentum(self.momentum, self.rate)
        return Averager(bench, self.optimizer, self.local_steps, self.aggregation, server)


class Momentum:
    """The server of one run: v <- momentum v + change, theta <- theta + rate v."""

    def __init__(self, momentum: float, rate: float) -> None:
        self.momentum = momentum
        self.rate = rate
        self.v: Tensor | float = 0.0

    def __call__(self, theta: Tensor, change: Tensor) -> Tensor:
        self.v = self.momentum * self.v + change
        return theta + self.rate * self.v
