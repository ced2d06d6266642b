"""The probability simplex: rows that are non-negative and sum to 1."""

from __future__ import annotations

import math

import torch
from torch import Tensor

CHUNK_ELEMENTS = 32_768
"""Elements projected at a time: small enough that a chunk and its scratch stay in a core's own cache."""


def project(rows: Tensor) -> Tensor:
    """Return the Euclidean projection of every row on the probability simplex.

    The projection of y is max(y - tau, 0) with the one tau that makes it sum to 1. It is defined for every
    real row, also for one that sums to less than 1 or is all negative (tau is then negative).

    Results sum to 1 within rounding, for values up to 1e15 and beyond. Coordinates no larger than the
    machine epsilon of the type (2.2e-16 for float64) are exact zeros.

    Args:
        rows: (..., N) float32 or float64, N >= 1. An entry of minus infinity gets 0. Not differentiable.

    Returns:
        A new tensor of the same shape.

    Raises:
        ValueError: N is 0, or a row holds NaN or plus infinity.

    Source: C. Michelot, "A finite algorithm for finding the projection of a point onto the canonical simplex
    of R^n", Journal of Optimization Theory and Applications 50, 1986; compared with its rivals in L. Condat,
    "Fast projection onto the simplex and the l1 ball", Mathematical Programming 158, 2016.
    """
    n = rows.shape[-1]
    if n == 0:
        raise ValueError("a row to project needs at least one entry, got a last dimension of 0")
    flat = rows.reshape(-1, n)
    projected = torch.empty_like(flat, memory_format=torch.contiguous_format)
    n_rows, rows_per_chunk = flat.shape[0], max(1, CHUNK_ELEMENTS // n)
    for start in range(0, n_rows, rows_per_chunk):
        end = start + rows_per_chunk
        _project_chunk(flat[start:end], projected[start:end])
    return projected.view(rows.shape)


def _project_chunk(source: Tensor, y: Tensor) -> None:
    """Project `source`, (rows, N), into `y` of the same shape.

    `y` holds max(source - tau, 0) throughout, with a tau that only grows: what has become 0 stays 0, so tau
    itself is never needed, only its increments (sum of y - 1) / (number of positive y).
    """
    n = y.shape[1]
    # Entries of 1 or less around the maximum keep every digit of the sums, however large the row is.
    torch.sub(source, source.amax(dim=1, keepdim=True), out=y)
    total = y.sum(dim=1, keepdim=True)
    # Infinity less infinity is NaN as well. A total of minus infinity is a row with an entry of it.
    if math.isnan(total.sum().item()):
        raise ValueError("a row to project holds NaN or infinity, so it has no nearest distribution")
    active = torch.full_like(total, n)
    # Two lower bounds of tau: all entries active, and the largest entry alone.
    _subtract(y, total.sub_(1).div_(n).clamp_min_(-1))
    positive = torch.empty_like(y)
    while True:
        torch.sign(y, out=positive)
        still_active = positive.sum(dim=1, keepdim=True)
        if torch.equal(still_active, active):
            return
        active = still_active
        torch.sum(y, dim=1, keepdim=True, out=total)
        # Rounding may leave a total just below 1. A negative increment would bring zeros back, and a row with
        # many entries near the epsilon could then go on for ever.
        _subtract(y, total.sub_(1).div_(active).clamp_min_(0))


def _subtract(y: Tensor, increment: Tensor) -> None:
    """Replace y by max(y - increment, 0), in place, with rounding noise counted as 0."""
    # Without the epsilon a word once removed would return with probability 1e-18 because its row sums to
    # 1 - 1e-16, and policy gradients divide by probabilities.
    torch.threshold_(y.sub_(increment), torch.finfo(y.dtype).eps, 0.0)


def is_distribution(rows: Tensor, tolerance: float = 1e-9) -> Tensor:
    """Return, for each row of (..., N), whether it is a distribution: a bool tensor (...).

    A row qualifies if no entry is below ``-tolerance`` and the sum is within `tolerance` of 1, without NaN.
    """
    return (rows >= -tolerance).all(dim=-1) & ((rows.sum(dim=-1) - 1).abs() <= tolerance)
