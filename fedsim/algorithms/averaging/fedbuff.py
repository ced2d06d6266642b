"""Buffered asynchronous aggregation: the server steps when its buffer is full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedsim.algorithms.averaging.asynchronous import AsynchronousAveraging
from fedsim.algorithms.base import Bench

if TYPE_CHECKING:
    from fedsim.algorithms.averaging.averager import Averager


class Fedbuff(AsynchronousAveraging):
    """Workers send how they changed the model that they read; the server adds the mean of K such changes.

    ``x <- x + server_rate (1/K) sum_i w(u_i) (x_i - x_read,i)``, where u_i counts the steps that the server
    has taken since worker i read. The paper's clients are drawn so that a number of them is busy; here all
    workers are, and a buffer holds changes of K different ones.

    Source: Nguyen et al., "Federated learning with buffered asynchronous aggregation", AISTATS 2022,
    Algorithm 1; the weights 1 / sqrt(1 + u) are those of its experiments.
    """

    kind: Literal["fedbuff"] = "fedbuff"
    buffer: int = Field(default=10, ge=1)
    """K, changes in one step."""
    server_rate: float = Field(default=1.0, gt=0)
    """eta_g, how much of their mean is added."""
    weighs_staleness: bool = True
    """Whether a change counts ``1 / sqrt(1 + u)``, and not 1."""

    def messages_a_step(self) -> int:
        return self.buffer

    def weight(self, staleness: int) -> float:
        """Return how much a change to the model of so many steps ago counts."""
        return self.server_rate / (1.0 + staleness) ** 0.5 if self.weighs_staleness else self.server_rate

    def open(self, bench: Bench) -> Averager:
        from fedsim.algorithms.averaging.averager import Stale
        from fedsim.algorithms.averaging.mixer import averager

        return averager(bench, self.optimizer, self.local_steps, Stale(self.weight, from_read=True))
