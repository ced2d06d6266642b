"""Asynchronous federated optimization: the server steps at every message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedsim.algorithms.averaging.asynchronous import AsynchronousAveraging
from fedsim.algorithms.base import Bench

if TYPE_CHECKING:
    from fedsim.algorithms.averaging.averager import Averager


class Fedasync(AsynchronousAveraging):
    """The server mixes each model that comes in with its own: ``x <- (1 - a) x + a x_new``.

    ``a = alpha s(u)``, where u counts the steps that the server has taken since the worker read, from 0:
    "constant" ``s = 1``; "polynomial" ``s = (1 + u)^-a``; "hinge" ``s = 1`` up to b and
    ``1 / (a (u - b) + 1)`` beyond. Read literally, the paper's t - tau is 1 for a message that is not
    stale; here its u is 0, so that s(0) = 1 is what it counts.

    Source: Xie, Koyejo, Gupta, "Asynchronous federated optimization", 2019 (OPT 2020), Algorithm 1 and
    section 5.2; the hinge is 1 at b, as there.
    """

    kind: Literal["fedasync"] = "fedasync"
    alpha: float = Field(default=0.6, gt=0, le=1)
    """How far the model moves towards one that is not stale."""
    staleness: Literal["constant", "polynomial", "hinge"] = "polynomial"
    """How that falls with the steps taken since the worker read."""
    a: float = Field(default=0.5, gt=0)
    """The exponent of "polynomial", the slope of "hinge"."""
    b: int = Field(default=4, ge=0)
    """Up to so many steps "hinge" takes nothing away."""
    rho: float = Field(default=0.0, ge=0)
    """Weight of the proximal term ``rho/2 |x - x_read|^2`` that workers add to their loss."""

    def idle(self) -> Mapping[str, str]:
        found = {}
        if self.staleness == "constant":
            found["a"] = 'staleness = "constant" takes nothing away'
        if self.staleness != "hinge":
            found["b"] = f'staleness = "{self.staleness}" has no place from which it falls'
        if self.local_steps == 1:
            found["rho"] = "with local_steps = 1 a worker is where the proximal term pulls it to"
        return found

    def weight(self, staleness: int) -> float:
        """Return a, how far the model moves towards one from so many steps ago."""
        if self.staleness == "polynomial":
            return float(self.alpha * (1.0 + staleness) ** -self.a)
        if self.staleness == "hinge" and staleness > self.b:
            return self.alpha / (self.a * (staleness - self.b) + 1.0)
        return self.alpha

    def open(self, bench: Bench) -> Averager:
        from fedsim.algorithms.averaging.averager import Stale
        from fedsim.algorithms.averaging.mixer import averager

        stale = Stale(self.weight, from_read=False)
        return averager(bench, self.optimizer, self.local_steps, stale, self.rho)
