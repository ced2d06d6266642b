"""What is best, and whether the data can tell it from the next."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from fedsim_analysis.compare.contrasts import LEVEL, Contrast, adjusted
from fedsim_analysis.compare.target import between, values_of
from fedsim_analysis.words import counted, number, sense, short_list


class Contender(NamedTuple):
    """A method with its settings, and its runs by seed."""

    label: str
    runs: pd.DataFrame


class Winner(NamedTuple):
    """What is best among some candidates."""

    sentence: str
    best: str
    """Its label; empty where nobody knows what is better, or no two runs differ."""
    told: bool = False
    """Whether the data tell it from all others."""


def verdict(candidates: Sequence[Contender], metric: str) -> Winner:
    """Return what is best by a metric, and whether the data can tell it from the others.

    The best is compared with each of the others, paired by seed; p values are corrected by Holm.
    """
    if not sense(metric):
        return Winner(
            f"whether more or less of {metric} is better is not known, so that nothing is called best", ""
        )
    ranked = sorted(candidates, key=lambda one: _rank(one, metric))
    best, others = ranked[0], ranked[1:]
    mean = number(_mean(best, metric))
    if not others:
        return Winner(f"{best.label} is the only one ({metric} {mean})", "")
    contrasts = [between(best.runs, other.runs, metric) for other in others]
    p_values = adjusted([one.p for one in contrasts], "holm")
    alike = [n for n, p in enumerate(p_values) if not p < LEVEL]
    first = f"best by {metric}: {best.label} ({mean})"
    if not alike:
        told = f"{first}; the data tell it from the next, {_told(others[0], contrasts[0])}"
        return Winner(told, best.label, told=True)
    if all(one.difference.low == one.difference.high == 0 for one in contrasts):
        return Winner(f"all have the same {metric}, seed by seed ({mean})", "")
    more = f", nor from {len(alike) - 1} more" if len(alike) > 1 else ""
    near = alike[0]
    return Winner(
        f"{first}; the data cannot tell it from {_told(others[near], contrasts[near])}{more}", best.label
    )


def summary(found: Sequence[Winner], metric: str) -> str:
    """Return what is best in how many of several surroundings."""
    counts = Counter(one.best for one in found if one.best)
    parts = [f"{label} in {count}" for label, count in counts.most_common()]
    if same := len(found) - counts.total():
        parts.append(f"none in {same}")
    n_told = sum(one.told for one in found)
    return (
        f"best by {metric} in {len(found)} surroundings: {short_list(parts, 6)}; the data tell the best "
        f"from all others in {n_told or 'none'} of them"
    )


def best_of(candidates: Sequence[Contender], metric: str) -> int | None:
    """Return the place of the best: fewest missed targets, then the mean; None where there is no such."""
    ranks = [_rank(one, metric) for one in candidates]
    return ranks.index(min(ranks)) if sense(metric) and min(ranks) < max(ranks) else None


def _told(other: Contender, found: Contrast) -> str:
    if math.isnan(found.difference.low):
        return f"{other.label} ({counted(found.pairs, 'pair')} of seeds)"
    low, high = number(found.difference.low), number(found.difference.high)
    return f"{other.label} (difference {number(found.difference.mean)}, 95 % {low} to {high})"


def _mean(one: Contender, metric: str) -> float:
    return float(values_of(one.runs, metric).mean())


def _rank(one: Contender, metric: str) -> tuple[float, float]:
    missed = float(one.runs[metric].isna().mean())
    mean = _mean(one, metric)
    return missed, math.inf if math.isnan(mean) else -sense(metric) * mean
