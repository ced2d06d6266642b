"""Fits of the forms in which the effects of a fragment's words may add up.

An effect is a label margin under a fragment minus the margin of the same prompt without one. It is looked at
in three ways: its mean over the contexts (``shift``, a bias to a label), half the difference of its means
over queries of class 1 and class 0 (``separation``, which makes answers better), and by itself in ``each``
context. What all fragments do alike is taken away: only how fragments differ can be tuned. So the size of a
set of effects is their standard deviation over fragments, pooled over contexts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.stats import bootstrap

from fedsim.streams import Stream, Streams
from fedsim_analysis.bootstrap import Interval
from fedsim_analysis.fragments.designs import PLACES, Design, Fragment
from fedsim_analysis.statistics import CONFIDENCE

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]

COMPONENTS = ("shift", "separation", "each")
RESAMPLES = 499
REPEAT_EXPONENTS = (-0.5, 1.5)
"""Between which the repeat exponent is looked for."""
FOLDS = 10
RIDGES = (0.01, 0.1, 1.0, 10.0)


class Form(NamedTuple):
    """A word that stands c times among M adds ``c^repeat_exponent / M^length_exponent`` of its effect."""

    length_exponent: float
    repeat_exponent: float


MEAN = Form(1.0, 1.0)
ADDING: tuple[Design, ...] = ("single", "repeat", "random", "mixed", "wide")
"""Designs in which words are alone or drawn, and not put somewhere."""


def components(margins: Floats, labels: Sequence[int]) -> dict[str, Floats]:
    """Return the effects of fragments, each in the columns in which it is looked at, (F, K).

    Args:
        margins: log-odds of label 1, (F, Q); the first row is that of the prompt without a fragment.
        labels: classes of the queries, Q, both present.
    """
    effects = margins - margins[0]
    of_class = np.asarray(labels)
    by_class = [effects[:, of_class == label].mean(1) for label in (0, 1)]
    return {
        "shift": effects.mean(1, keepdims=True),
        "separation": ((by_class[1] - by_class[0]) / 2)[:, None],
        "each": effects,
    }


def counts(fragments: Sequence[Fragment], n_candidates: int) -> Longs:
    """Return how often each word stands in each fragment, (F, N)."""
    found = np.zeros((len(fragments), n_candidates), dtype=np.int64)
    for row, fragment in enumerate(fragments):
        np.add.at(found[row], list(fragment.words), 1)
    return found


def held(counts: Longs, form: Form) -> Floats:
    """Return how much of each word's effect each fragment holds, (F, N)."""
    amounts = np.where(counts > 0, np.maximum(counts, 1).astype(float) ** form.repeat_exponent, 0.0)
    return amounts / np.maximum(counts.sum(1, keepdims=True), 1) ** form.length_exponent


def size(effects: Floats) -> float:
    """Return the standard deviation over fragments, pooled over columns."""
    return float(np.sqrt(effects.var(0, ddof=1).mean()))


def size_interval(effects: Floats) -> Interval:
    """Return `size` with its bootstrap interval."""
    rows = np.arange(len(effects))
    return _intervals([rows], lambda drawn: np.array([size(effects[drawn])]), ("size",))["size"]


class Set(NamedTuple):
    """Fragments of one design and one length."""

    design: Design
    length: int
    rows: Longs
    """Their numbers."""


def sets_of(fragments: Sequence[Fragment], designs: Sequence[Design]) -> list[Set]:
    """Return the fragments of these designs by design and length."""
    places: dict[tuple[Design, int], list[int]] = {}
    for row, fragment in enumerate(fragments):
        if fragment.design in designs:
            places.setdefault((fragment.design, len(fragment.words)), []).append(row)
    return [Set(design, length, np.array(rows)) for (design, length), rows in places.items()]


def with_rare_repeats(sets: Sequence[Set], n_candidates: int) -> list[Set]:
    """Return the sets without long random fragments of few words.

    These hold all words about as often: they differ mostly in their order, which no form of counts reads.
    """
    return [one for one in sets if one.design != "random" or 2 * one.length <= n_candidates]


def exponents(effects: Floats, counts: Longs, sets: Sequence[Set]) -> tuple[float, float, float]:
    """Return the form whose sizes of sets are nearest, and the size of a single word's effect.

    Words with independent effects of one size sigma give a set the size ``sigma * sqrt(S) / M **
    length_exponent``, S being the sum over all words of the variance of ``c ** repeat_exponent`` over the
    fragments of the set. Squares of differences of logarithms are minimised.

    Args:
        effects: (F, K).
        counts: (F, N).
        sets: of equal length within each, rows of both tables.

    Returns:
        Length exponent, repeat exponent, sigma.
    """
    sizes = np.log([size(effects[one.rows]) for one in sets])
    lengths = np.log([one.length for one in sets])
    design = np.stack([np.ones_like(lengths), -lengths], 1)

    def solved(repeat_exponent: float) -> tuple[Floats, float]:
        amounts = held(counts, Form(0.0, repeat_exponent))
        target = sizes - 0.5 * np.log([amounts[one.rows].var(0, ddof=1).sum() for one in sets])
        found, *_ = np.linalg.lstsq(design, target)
        return found, float(((design @ found - target) ** 2).sum())

    best = minimize_scalar(lambda value: solved(value)[1], bounds=REPEAT_EXPONENTS, method="bounded")
    (sigma, length_exponent), _ = solved(float(best.x))
    return float(length_exponent), float(best.x), float(np.exp(sigma))


def exponent_intervals(effects: Floats, counts: Longs, sets: Sequence[Set]) -> dict[str, Interval]:
    """Return `exponents` with their bootstrap intervals.

    Random and mixed fragments are resampled within their set; of single and repeated words, the words.
    """
    of_words = [one for one in sets if one.design in ("single", "repeat")]
    others = [one for one in sets if one.design not in ("single", "repeat")]

    def statistic(*drawn: Longs) -> Floats:
        words, *rows = drawn
        resampled = [one._replace(rows=one.rows[words]) for one in of_words]
        resampled += [one._replace(rows=one.rows[some]) for one, some in zip(others, rows, strict=True)]
        return np.array(exponents(effects, counts, resampled))

    samples = [np.arange(len(of_words[0].rows)), *(np.arange(len(one.rows)) for one in others)]
    names = ("length_exponent", "repeat_exponent", "word_size")
    return _intervals(samples, statistic, names)


def position_intervals(effects: Floats, fragments: Sequence[Fragment]) -> dict[str, Interval]:
    """Return how much larger a word's effect is at the last place than at the first, as a logarithm.

    ``recency`` is that; ``middle`` is the logarithm of its size in the middle over the geometric mean of both
    ends, 0 where weights rise or fall evenly. At one place of one group, effects are compared with the mean
    over the words that stand there.
    """
    variances = _variances_by_place(effects, fragments)

    def statistic(drawn: Longs) -> Floats:
        first, middle, last = 0.5 * np.log(variances[drawn].mean(0))
        return np.array([last - first, middle - (first + last) / 2])

    return _intervals([np.arange(len(variances))], statistic, ("recency", "middle"))


def place_sizes(effects: Floats, fragments: Sequence[Fragment]) -> list[Interval]:
    """Return the size of a word's effect at each of `PLACES`."""
    variances = _variances_by_place(effects, fragments)
    found = _intervals(
        [np.arange(len(variances))],
        lambda drawn: np.sqrt(variances[drawn].mean(0)),
        [str(place) for place in PLACES],
    )
    return list(found.values())


def _variances_by_place(effects: Floats, fragments: Sequence[Fragment]) -> Floats:
    """Return the variance over the words at each place of each group, (groups, places)."""
    groups: dict[int, list[list[int]]] = {}
    for row, fragment in enumerate(fragments):
        if fragment.design == "position":
            places = groups.setdefault(fragment.group, [[] for _ in PLACES])
            places[PLACES.index(fragment.place)].append(row)
    rows = np.array(list(groups.values()))
    found: Floats = effects[rows].var(2, ddof=1).mean(-1)
    return found


def predicted_from_single(effects: Floats, counts: Longs, sets: Sequence[Set], form: Form) -> Floats:
    """Return what the effects of single words say of fragments, one scale per set, (F, K) about set means.

    The words that were asked alone are the first ones; others are taken to do nothing.
    """
    singles = next(one for one in sets if one.design == "single")
    words = effects[singles.rows] - effects[singles.rows].mean(0)
    found = np.zeros_like(effects)
    sums = held(counts, Form(0.0, form.repeat_exponent))[:, : len(words)] @ words
    for one in sets:
        about = sums[one.rows] - sums[one.rows].mean(0)
        real = effects[one.rows] - effects[one.rows].mean(0)
        squares = (about**2).sum()
        found[one.rows] = about * ((about * real).sum() / squares if squares > 0 else 0.0)
    return found


def predicted_from_fragments(effects: Floats, counts: Longs, sets: Sequence[Set], form: Form) -> Floats:
    """Return what other fragments say of each by a fit of the words' effects, (F, K) about set means.

    Ridge regression, cross-validated over fragments of all sets; the ridge that predicts best is taken.
    """
    rows = np.concatenate([one.rows for one in sets])
    amounts, real = held(counts, form), effects.copy()
    for one in sets:
        amounts[one.rows] -= amounts[one.rows].mean(0)
        real[one.rows] -= real[one.rows].mean(0)
    fold = np.arange(len(rows)) % FOLDS
    found = []
    for ridge in RIDGES:
        guess = np.zeros_like(effects)
        for left_out in range(FOLDS):
            known, unknown = rows[fold != left_out], rows[fold == left_out]
            square = amounts[known].T @ amounts[known] + ridge * np.eye(amounts.shape[1])
            guess[unknown] = amounts[unknown] @ np.linalg.solve(square, amounts[known].T @ real[known])
        found.append(guess)
    return min(found, key=lambda guess: ((guess[rows] - real[rows]) ** 2).sum())


def share(effects: Floats, predicted: Floats, sets: Sequence[Set]) -> Interval:
    """Return the share of the variance within sets that a prediction explains; below 0, worse than none."""
    total, rest = [], []
    for one in sets:
        real = effects[one.rows] - effects[one.rows].mean(0)
        total.append((real**2).sum(1))
        rest.append(((real - predicted[one.rows]) ** 2).sum(1))
    sums = np.concatenate(total), np.concatenate(rest)

    def statistic(drawn: Longs) -> Floats:
        return np.array([1 - sums[1][drawn].sum() / sums[0][drawn].sum()])

    return _intervals([np.arange(len(sums[0]))], statistic, ("share",))["share"]


def _intervals(
    samples: Sequence[Longs], statistic: Callable[..., Floats], names: Sequence[str]
) -> dict[str, Interval]:
    """Return numbers that are worked out from resampled row numbers, with percentile intervals."""
    found = bootstrap(
        samples,
        statistic,
        vectorized=False,
        paired=False,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        random_state=Streams(1).generator(Stream.EVALUATION),
    ).confidence_interval
    count = sum(map(len, samples))
    values = statistic(*samples)
    lows, highs = np.atleast_1d(found.low), np.atleast_1d(found.high)
    return {
        name: Interval(float(values[i]), float(lows[i]), float(highs[i]), count)
        for i, name in enumerate(names)
    }
