"""The pull of all messages on z for the l1 norm, kept up to date in place of summing over all workers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from fedsim.learning.ties import TIE, sign

MANY = 100
"""From so many workers on it pays."""


class SignSum:
    """``sum_v s(z - p^(v))``, s the signs of `fedsim.learning.ties`: whole numbers, so it is exact.

    Of some time ago it keeps all messages, and the numbers of each coordinate in order: how many are below z
    is a search among them. Messages that have changed since are taken out and put in one by one, until there
    are so many of them that all are put in order anew. So a step costs of the order of the square root of R
    in the place of R, and memory for two more tables of messages. Ours; the sum is that of RSA.

    Args:
        n_workers: R.
    """

    def __init__(self, n_workers: int) -> None:
        self._most_changed = 2 * math.isqrt(n_workers)
        self._there = torch.ones(n_workers, dtype=torch.bool)
        self._changed: dict[int, None] = {}
        # The messages of some time ago, (R, d), who took part then, and their numbers in order, (d, k).
        self._old = torch.empty(0, 0)
        self._were_there = self._there
        self._in_order = torch.empty(0, 0)

    def changed(self, workers: Iterable[int]) -> None:
        """Note whose messages are others now."""
        self._changed.update(dict.fromkeys(workers))

    def leaves(self, worker: int) -> None:
        """Count a worker's message no more."""
        self._there[worker] = False
        self._changed[worker] = None

    def joins(self, worker: int) -> None:
        """Count it again."""
        self._there[worker] = True
        self._changed[worker] = None

    def at(self, z: Tensor, messages: Tensor) -> Tensor:
        """Return the sum, (d,), at z, (d,), over the messages, (R, d), of all that take part."""
        if not len(self._old) or len(self._changed) > self._most_changed:
            self._old, self._were_there, self._changed = messages.clone(), self._there.clone(), {}
            self._in_order = self._old[self._there].T.contiguous().sort(1).values
        total = _signs(z, self._in_order)
        if self._changed:
            rows = torch.tensor(list(self._changed))
            total += sign(z - messages[rows[self._there[rows]]]).sum(0)
            total -= sign(z - self._old[rows[self._were_there[rows]]]).sum(0)
        return total


def _signs(z: Tensor, in_order: Tensor) -> Tensor:
    """Return ``sum_v s(z - p_v)`` of each coordinate, z (d,), over numbers that are in order, (d, k)."""
    at = z[:, None]
    not_below = _first(in_order, at - TIE, lambda p: at - p <= TIE)
    above = _first(in_order, at + TIE, lambda p: at - p < -TIE)
    return (not_below + above - in_order.shape[1]).to(z.dtype)


def _first(in_order: Tensor, near: Tensor, holds: Callable[[Tensor], Tensor]) -> Tensor:
    """Return where in each row something begins to hold, (d,); from there on it does.

    Args:
        in_order: (d, k).
        near: about where that is, (d, 1). The last digit may be on the other side.
        holds: asked of one number of each row, (d, 1).
    """
    k = in_order.shape[1]
    place = torch.searchsorted(in_order, near)
    if not k:
        return place[:, 0]
    while True:
        before = in_order.gather(1, (place - 1).clamp_min(0))
        here = in_order.gather(1, place.clamp_max(k - 1))
        too_late, too_soon = (place > 0) & holds(before), (place < k) & ~holds(here)
        if not bool((too_late | too_soon).any()):
            return place[:, 0]
        # Of equal numbers it holds of all or none.
        back, on = torch.searchsorted(in_order, before), torch.searchsorted(in_order, here, right=True)
        place = torch.where(too_late, back, torch.where(too_soon, on, place))
