"""Limits that jobs share as if calls were a fluid: token buckets, and how long calls wait for a limit."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

MOMENT_S = 1e-6
"""A bucket that lasts no longer than this is empty, and no job takes less."""
ROUNDING = 1 + 1e-7
"""A limit that is passed by no more than this does not bind: waits are computed to a few digits only."""
NEWTON_STEPS = 50
"""The most steps of Newton's method; two or three are needed."""
LAST_STEP = 1e-5
"""The last step, relative to the wait. The error after a step of Newton's is of the order of its square."""


class FluidBucket:
    """A token bucket with a steady stream in and a steady stream out.

    Args:
        per_minute: what flows in.
        burst_s: a full bucket, as it is at the start, holds what flows in meanwhile.

    Source: the leaky bucket; Turner, "New directions in communications", IEEE Communications Magazine, 1986.
    """

    __slots__ = ("_capacity", "_level", "rate")

    def __init__(self, per_minute: float, burst_s: float) -> None:
        self.rate = per_minute / 60
        self._capacity = self._level = self.rate * burst_s

    def make_room(self, amount: float) -> None:
        """Let the bucket be large enough for one request, and as full as before."""
        if amount > self._capacity:
            self._level += amount - self._capacity
            self._capacity = amount

    def flow(self, taken: float, seconds: float) -> None:
        """Let time pass in which so much was taken a second."""
        self._level = min(max(self._level + (self.rate - taken) * seconds, 0.0), self._capacity)

    def lasts_s(self, taken: float) -> float:
        """Return how long so much can be taken a second; `math.inf` for ever."""
        return self._level / (taken - self.rate) if taken > ROUNDING * self.rate else math.inf


def common_wait_s(
    asked: NDArray[np.float64], bare_s: NDArray[np.float64], limit: float, guess_s: float
) -> float:
    """Return how long each call must wait (s) for jobs that never stop to stay within a limit.

    Of job i, whose calls follow each other every ``bare_s[i] + wait``, each round uses ``asked[i]``: the wait
    solves ``sum(asked / (bare_s + wait)) = limit``, and is 0 where the limit does not bind. The inverse of
    the sum is a concave and nearly straight function of the wait, so that Newton's method needs few steps.

    Args:
        asked: ``(jobs,)``, of the limited thing, positive somewhere.
        bare_s: ``(jobs,)``, positive.
        limit: what may be used in a second, positive.
        guess_s: a wait to begin with.
    """
    wait_s = guess_s
    for _ in range(NEWTON_STEPS):
        often = 1 / (bare_s + wait_s)
        used = asked * often
        total = float(np.add.reduce(used))
        better_s = max(wait_s + (total / limit - 1) * total / float(used @ often), 0.0)
        if abs(better_s - wait_s) <= LAST_STEP * better_s:
            return better_s
        wait_s = better_s
    return wait_s
