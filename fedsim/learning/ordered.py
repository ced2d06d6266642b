"""The values of each coordinate in order: what the coordinate-wise rules are made of."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from fedsim.learning.device import from_numpy, to_numpy


def in_order(rows: Tensor) -> Tensor:
    """Return the rows, (m, d), with each column sorted on its own, smallest first.

    By NumPy, whose vectorised sort takes an eighth of the time of torch's at m = 1,000.
    """
    return from_numpy(np.sort(to_numpy(rows), axis=0))


def middle(ordered: Tensor) -> Tensor:
    """Return the median of each column, (d,), of rows that are `in_order`; of an even number the mean of the
    two middle values."""
    m = len(ordered)
    # Halved first: the sum of two huge values would overflow.
    return ordered[(m - 1) // 2] / 2 + ordered[m // 2] / 2
