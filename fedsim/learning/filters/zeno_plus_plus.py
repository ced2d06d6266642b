"""Zeno++: an update passes if it lowers the loss on the server's own data."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from fedsim.errors import InputError
from fedsim.learning.filters.base import Arrival, Filter

if TYPE_CHECKING:
    from torch import Tensor


class ZenoPlusPlus(Filter):
    """Lets an update pass that goes downhill on the server's own data, at the length of its gradient there.

    With v the gradient on the server's data and g an update's descent direction -u brought to the length of
    v, the update passes if ``rate <v, g> - rho |g|^2 >= -rate epsilon``, and becomes the row ``previous -
    rate g``. As |g| = |v|, that is a least cosine between them: ``cos >= rho / rate - epsilon / |v|^2``. The
    number of malicious workers does not matter; the server must hold data of the workers' kind. The gradient
    is taken anew every so many steps, at the consensus of then, and its calls are counted.

    Known implementations differ: some leave out the scaling of g to |v|, which bounds what passes.

    Source: Xie, Koyejo, and Gupta, "Zeno++: robust fully asynchronous SGD", ICML 2020, Definition 2 (the
    approximated score) and Algorithm 1 (the gradient on the server's data taken anew now and then).
    """

    kind: Literal["zeno_plus_plus"] = "zeno_plus_plus"
    needs_trusted: ClassVar[bool] = True
    rate: float = Field(default=0.1, gt=0)
    """gamma, the server's step size."""
    rho: float = Field(default=0.0, ge=0)
    """Weight of the length: with epsilon 0, the least cosine is rho / rate."""
    epsilon: float = Field(default=0.0, ge=0)
    """How far uphill an update may go, as a rise of the loss per rate."""
    refresh_steps: int = Field(default=10, ge=1)
    """Server steps for which a gradient on the server's data serves."""

    def open(
        self,
        n_workers: int,
        trusted: Callable[[Tensor, int], Tensor] | None = None,
        calls_each: int = 0,
    ) -> Scoring:
        if trusted is None:
            raise InputError("zeno_plus_plus: the server needs data of its own, and this problem gives none")
        return Scoring(self, trusted, calls_each)


class Scoring:
    """Zeno++ at work, with the last gradient on the server's data."""

    def __init__(
        self, settings: ZenoPlusPlus, trusted: Callable[[Tensor, int], Tensor], calls_each: int
    ) -> None:
        self.refused = 0
        self.calls = 0
        self.expelled: Collection[int] = ()
        self._settings = settings
        self._trusted = trusted
        self._calls_each = calls_each
        self._steps = 0
        self._v: Tensor | None = None

    def passed(self, arrivals: list[Arrival], previous: Tensor) -> Tensor:
        import torch

        v = self._gradient(previous)
        rows = []
        for arrival in arrivals:
            length = arrival.update.norm()
            # The scale is 0 and not infinite for who has done nothing: there is no direction to stretch.
            g = arrival.update * (-v.norm() / length if length else 0.0)
            if self._score(v, g) >= -self._settings.rate * self._settings.epsilon:
                rows.append(previous - self._settings.rate * g)
        self.refused += len(arrivals) - len(rows)
        return torch.stack(rows) if rows else previous.new_empty(0, len(previous))

    def _gradient(self, previous: Tensor) -> Tensor:
        if self._v is None or self._steps % self._settings.refresh_steps == 0:
            self._v = self._trusted(previous, self._steps)
            self.calls += self._calls_each
        self._steps += 1
        return self._v

    def _score(self, v: Tensor, g: Tensor) -> float:
        return float(self._settings.rate * (v @ g) - self._settings.rho * (g @ g))
