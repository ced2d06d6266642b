"""The nearest texts, and texts that represent many others, by an encoder's vectors; for several baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from fedsim.icl.encoders.base import Floats


def nearest_last(points: Floats, queries: Floats, k: int) -> NDArray[np.int64]:
    """Return the k points nearest to each query by cosine similarity, the nearest last, (n, k).

    Of points as near as each other the one with the lower number counts as nearer.

    Args:
        points: rows of length one, (m, d).
        queries: rows of length one, (n, d).
        k: at most m.
    """
    falling = np.argsort(-(queries @ points.T), axis=1, kind="stable")
    return falling[:, :k][:, ::-1]


def k_means(points: Floats, k: int, generator: np.random.Generator, most_rounds: int = 100) -> Floats:
    """Return the k centres of Lloyd's algorithm, (k, d), started at points drawn without replacement.

    A centre that no point is nearest to stays where it is.

    Source: Lloyd, "Least squares quantization in PCM", IEEE Trans. Inf. Theory 28 (1982), section III.
    """
    centres = points[generator.choice(len(points), k, replace=False)]
    for _ in range(most_rounds):
        nearest = squared_distances(points, centres).argmin(1)
        moved = np.array(
            [points[nearest == c].mean(0) if (nearest == c).any() else centres[c] for c in range(k)]
        )
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres


def squared_distances(points: Floats, centres: Floats) -> Floats:
    """Return the squared distance of each point to each centre, (n, k)."""
    return ((points[:, None] - centres) ** 2).sum(-1)
