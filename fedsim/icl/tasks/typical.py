"""A fixed test set that is neither a lucky nor an unlucky draw."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from fedsim.icl.tasks.base import Floats, Longs
from fedsim.streams import Stream, Streams


def typical(class_counts: Sequence[int], means: Floats, base: Floats, task_seed: int) -> Floats:
    """Return points of all classes that lie as draws do on average, (B, d), one class after the other.

    Of n points of a class, one lies in each n-th part of the normal distribution, at its middle, along each
    of d orthogonal axes: a Latin hypercube. The first axis is that along which the classifier without context
    judges the class, so that with two classes it is right on as many of each as it is on average, to half a
    query. The second is where the other classes are beyond that; their places on the first two make a
    Hammersley set, even in the plane. The task's own seed draws the shift of its digits, and shuffles the
    rest.

    Args:
        class_counts: n of each class.
        means: of the classes, (U, d).
        base: the classifier without context, (U, d + 1).
        task_seed: the number of the task.

    Source: McKay, Beckman and Conover, "A comparison of three methods for selecting values of input
    variables", Technometrics 21, 1979 (Latin hypercubes); Niederreiter, "Random number generation and
    quasi-Monte Carlo methods", SIAM 1992, section 3.1 (Hammersley sets).
    """
    n_features = means.shape[1]
    parts = []
    for label, n in enumerate(class_counts):
        others = np.arange(len(means)) != label
        axes = _axes(
            [base[label, :-1] - base[others, :-1].mean(0), means[label] - means[others].mean(0)], n_features
        )
        middles = np.array([NormalDist().inv_cdf((k + 0.5) / n) for k in range(n)])
        generator = Streams(task_seed).generator(Stream.TASK, job=1 + label)
        shift = int(generator.integers(2**32))
        shuffled = [generator.permutation(n) for _ in range(n_features - 2)]
        orders = [np.arange(n), _mirrored(n, shift), *shuffled]
        parts.append(means[label] + middles[np.stack(orders, 1)] @ axes)
    return np.concatenate(parts)


def _axes(leading: Sequence[Floats], n_features: int) -> Floats:
    """Return orthonormal rows, (d, d): the first along the first vector, the next in the plane of two."""
    rows: list[Floats] = []
    for vector in (*leading, *np.eye(n_features)):
        across = vector - sum((vector @ row) * row for row in rows)
        length = float(np.linalg.norm(across))
        # What is left of a vector in the span of those before is rounding, and points anywhere.
        if length > 1e-6 and len(rows) < n_features:
            rows.append(across / length)
    return np.stack(rows)


def _mirrored(n: int, shift: int = 0) -> Longs:
    """Return the ranks of 0 to n - 1 by their binary digits read backwards: neighbours go far apart.

    Where the shift has a 1 among its last digits, 0 and 1 change places.
    """
    width = max(1, (n - 1).bit_length())
    backwards = np.array([int(f"{k:0{width}b}"[::-1], 2) for k in range(n)]) ^ (shift % 2**width)
    return backwards.argsort().argsort()
