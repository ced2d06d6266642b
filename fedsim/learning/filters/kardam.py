"""Kardam: an update passes if it is smooth and not too frequent, and counts less the staler it is."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedsim.learning.filters.base import Arrival, Filter

if TYPE_CHECKING:
    from torch import Tensor


class Kardam(Filter):
    """Lets an update pass if its worker is smooth and not too frequent, and weakens it by its staleness.

    *Lipschitz filter.* A worker's coefficient is how much its update changed against its one before, per
    change of the consensus it read: ``|u - u'| / |x - x'|``, whether or not that one passed. An update passes
    if its coefficient is at most the (n - f) / n quantile of all workers' last ones, its own included: the
    ceil(k (n - f) / n)-th smallest of the k that are known. Where x = x' the coefficient is 0 for the same
    update and infinite for another. A worker's first update has nothing to be compared with and passes; a
    robust aggregator, or a projection before it, bounds what a forged message can do then.

    *Frequency filter.* Among any 2 f + 1 updates that passed one after the other, any f workers made at most
    f. That is: all are of different workers. At least 2 f + 1 workers must go on reporting.

    *Dampening.* What passes is multiplied by a strictly decreasing function of its staleness, 1 at 0.

    Source: Damaskinos, El Mhamdi, Guerraoui, Patra, and Taziki, "Asynchronous Byzantine machine learning (the
    case of SGD)", ICML 2018, Section 3: filtering and dampening components. What is said of first updates and
    of x = x' is ours.
    """

    kind: Literal["kardam"] = "kardam"
    f: int = Field(default=1, ge=0)
    """Workers that may be malicious: less than a third of all."""
    frequency: bool = True
    """Whether the frequency filter works."""
    dampening: Literal["none", "inverse", "exponential"] = "exponential"
    """By 1, by 1 / (1 + staleness), or by exp(-decay staleness)."""
    decay: float = Field(default=0.2, gt=0)
    """Of the exponential dampening, per server step."""

    def idle(self) -> Mapping[str, str]:
        fades = self.dampening == "exponential"
        return {} if fades else {"decay": f'dampening = "{self.dampening}" has none'}

    def check(self, n_workers: int) -> None:
        if n_workers <= 3 * self.f:
            raise ValueError(
                f"f: {self.f} malicious workers need more than {3 * self.f} workers in all, found {n_workers}"
            )

    def open(
        self,
        n_workers: int,
        trusted: Callable[[Tensor, int], Tensor] | None = None,
        calls_each: int = 0,
    ) -> Vetting:
        self.check(n_workers)
        return Vetting(self, n_workers)

    def weight(self, staleness: int) -> float:
        """Return what an update of this staleness is multiplied by."""
        if self.dampening == "none":
            return 1.0
        return 1 / (1 + staleness) if self.dampening == "inverse" else math.exp(-self.decay * staleness)


class Vetting:
    """Kardam at work: the last update and the last coefficient of every worker, and who passed last."""

    def __init__(self, settings: Kardam, n_workers: int) -> None:
        self.refused = 0
        self.calls = 0
        self.expelled: Collection[int] = ()
        self._settings = settings
        self._n_workers = n_workers
        self._last: dict[int, tuple[Tensor, Tensor]] = {}
        self._coefficients: dict[int, float] = {}
        self._let_in: deque[int] = deque(maxlen=2 * settings.f if settings.frequency else 0)

    def passed(self, arrivals: list[Arrival], previous: Tensor) -> Tensor:
        import torch

        rows = []
        for arrival in arrivals:
            smooth = self._is_smooth(arrival)  # it remembers this update, so it is asked first
            if smooth and arrival.worker not in self._let_in:
                self._let_in.append(arrival.worker)
                rows.append(previous + self._settings.weight(arrival.staleness) * arrival.update)
        self.refused += len(arrivals) - len(rows)
        return torch.stack(rows) if rows else previous.new_empty(0, len(previous))

    def _is_smooth(self, arrival: Arrival) -> bool:
        worker, update, read = arrival.worker, arrival.update, arrival.read
        before = self._last.get(worker)
        self._last[worker] = update, read
        if before is None:
            return True
        change, moved = float((update - before[0]).norm()), float((read - before[1]).norm())
        coefficient = change / moved if moved else math.inf if change else 0.0
        self._coefficients[worker] = coefficient
        return coefficient <= self._quantile()

    def _quantile(self) -> float:
        known = sorted(self._coefficients.values())
        n = self._n_workers
        # In whole numbers: a quantile between two coefficients would be infinite as soon as one of them is.
        return known[-(-len(known) * (n - self._settings.f) // n) - 1]
