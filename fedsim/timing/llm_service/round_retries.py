"""When refused clients come back, and how often they are refused: pauses at their mean, nothing drawn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fedsim.timing.llm_service.shared import Backoff

CHANCES, LAST_CHANCE, PAUSES = 400, 1e-6, 64
"""The curve of `Refusals`: its points, the least chance to be let in, and pauses before they grow no more."""


def mean_pause_s(backoff: Backoff, refusals: int) -> float:
    """Return how long a client waits on average after so many refusals in a row, at least 1."""
    return backoff.longest_pause_s(refusals) * (1 - backoff.jitter / 2)


class Refusals:
    """How often requests are refused, given how long they wait for a limit on average.

    Whoever comes back takes what is there, whether it has waited for long or comes for the first time: each
    try
    fails with one chance q, so that a request is refused q / (1 - q) times and waits the sum of q**k times
    the k-th pause.

    Args:
        backoff: the pauses, each taken at its mean.
    """

    def __init__(self, backoff: Backoff) -> None:
        self._chances = 1 - np.geomspace(1, LAST_CHANCE, CHANCES)
        numbers = range(1, PAUSES + 1)
        pauses_s = np.array([mean_pause_s(backoff, number) for number in numbers])
        powers = self._chances[:, None] ** np.array(numbers)
        beyond = powers[:, -1] * self._chances / (1 - self._chances)
        self._waits_s = powers @ pauses_s + beyond * pauses_s[-1]

    def within(self, wait_s: float) -> float:
        """Return how often a request is refused that waits so long (s) on average."""
        chance = float(np.interp(wait_s, self._waits_s, self._chances))
        return chance / (1 - chance)


def refusals_until_open(backoff: Backoff, seconds: float) -> tuple[float, int]:
    """Return when a client comes back for the first time after a closed door opens (s from its first try).

    The second number is how often it has been refused by then, at least once.

    Args:
        backoff: the pauses, each taken at its mean.
        seconds: how long the door stays closed, counted from the first try; positive.
    """
    at_s, refusals = 0.0, 0
    while at_s < seconds:
        pause = mean_pause_s(backoff, refusals + 1)
        again = 1
        if pause == mean_pause_s(backoff, refusals + 2):
            again = math.ceil((seconds - at_s) / pause)
        at_s += again * pause
        refusals += again
    return at_s, refusals
