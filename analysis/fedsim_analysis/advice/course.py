"""Steps and interludes of a run one after the other, as means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fedsim_analysis.advice.renewal import Step


class Totals(NamedTuple):
    """What has passed after some steps."""

    steps_s: float
    updates: float
    drained: float
    """The part of the updates that came in at barriers."""
    interludes: int
    interludes_s: float

    @property
    def all_s(self) -> float:
        return self.steps_s + self.interludes_s


class Course:
    """Steps and interludes one after the other.

    Args:
        first: the steps that follow a start, or a barrier, one by one; the last stands for all after it.
        every: steps between two interludes; infinite: there are none.
        stop_after: interludes follow earlier steps alone.
        held: the interlude after step 0, and each of those after that: how long it takes (s), and how many
            reports come in at its barrier.
    """

    def __init__(
        self, first: Sequence[Step], every: float, stop_after: int | None, held: tuple[Step, Step]
    ) -> None:
        self._times_s = np.cumsum([0.0, *(step.length_s for step in first)])
        self._updates = np.cumsum([0.0, *(step.updates for step in first)])
        self._last = first[-1]
        self._every = every
        self._most = math.inf if stop_after is None else math.ceil(stop_after / every)
        self._held = held

    def after(self, steps: int) -> Totals:
        """Return what has passed by the end of this step, the interlude that follows it apart."""
        held = 0
        if steps >= 2 and self._every < math.inf:
            held = int(min(1 + (steps - 2) // self._every, self._most))
        if held == 0:
            return Totals(*self._run(steps), 0.0, 0, 0.0)
        parts = [self._run(1), self._run(steps - 1 - (held - 1) * self._every)]
        between = self._run(self._every) if held > 1 else (0.0, 0.0)
        first, later = self._held
        drained = first.updates + (held - 1) * later.updates
        return Totals(
            parts[0][0] + parts[1][0] + (held - 1) * between[0],
            parts[0][1] + parts[1][1] + (held - 1) * between[1] + drained,
            drained,
            held,
            first.length_s + (held - 1) * later.length_s,
        )

    def _run(self, steps: float) -> tuple[float, float]:
        """Return the time (s) and the updates of so many steps after a start or a barrier."""
        known = len(self._times_s) - 1
        rest = max(0.0, steps - known)
        places = np.arange(known + 1)
        return (
            float(np.interp(steps, places, self._times_s)) + rest * self._last.length_s,
            float(np.interp(steps, places, self._updates)) + rest * self._last.updates,
        )
