"""Successive halving with paired seeds, in waves that each end with an answer.

A loop of our own: Optuna's pruner halves trials by what each reports on its way, one after the other. It
knows neither rungs in which all have the same seeds nor brackets that must not compete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil

import numpy as np

from fedsim_analysis.advice.candidates import Candidate

WAVES = (2, 4, 8, None)
"""How many candidates of a bracket a wave looks at, the best by estimate first; none: all of them."""

FIRST = 2
"""Seeds of the first rung."""

Pair = tuple[int, int]
"""The number of a candidate, and which of the seeds, from 0."""
Times = Callable[[Sequence[Pair]], Mapping[Pair, float] | None]
"""Gives the simulated time of each pair (s), infinite for a run that failed; none if time is up before."""


def halved(brackets: Sequence[Sequence[Candidate]], times: Times) -> list[Candidate] | None:
    """Return the candidate of each bracket that takes the least time, by successive halving.

    All candidates of a rung have the same seeds, and each rung has twice as many as the one before and half
    of its candidates. At equal times the earlier candidate stays. All brackets go through a rung together.

    Source: Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization",
    AISTATS 2016, figure 1.

    Args:
        brackets: each with at least one candidate.
        times: makes runs.

    Returns:
        One candidate of each bracket; none if there was no time for that.
    """
    left = [list(each) for each in brackets]
    seeds = FIRST
    while max(map(len, left)) > 1:
        racing = [candidate for each in left if len(each) > 1 for candidate in each]
        found = times([(candidate.number, seed) for seed in range(seeds) for candidate in racing])
        if found is None:
            return None
        means = {
            candidate.number: float(np.mean([found[candidate.number, seed] for seed in range(seeds)]))
            for candidate in racing
        }
        for place, each in enumerate(left):
            if len(each) > 1:
                order = sorted(each, key=lambda candidate: (means[candidate.number], candidate.number))
                left[place] = order[: ceil(len(each) / 2)]
        seeds *= 2
    return [each[0] for each in left]


def by_estimate(candidate: Candidate) -> tuple[float, int]:
    """Return what puts candidates in the order of their estimates; those without one come last."""
    return candidate.estimated_s, candidate.number


def wave(brackets: Sequence[Sequence[Candidate]], most: int | None) -> list[list[Candidate]]:
    """Return the best of each bracket by estimate, at most so many, and the scenario as it stands.

    Args:
        brackets: all candidates.
        most: of each bracket; none: all.
    """
    found = []
    for each in brackets:
        order = sorted(each, key=by_estimate)
        found.append([c for place, c in enumerate(order) if c.number == 0 or most is None or place < most])
    return found
