"""How often requests are refused: pauses at their mean, nothing drawn."""

from __future__ import annotations

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
    try fails with one chance q, so that a request is refused q / (1 - q) times and waits the sum of q**k
    times the k-th pause.

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
