"""Drawing from many categorical distributions at once, from given uniforms."""

from __future__ import annotations

import torch
from torch import Tensor


def draw(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """Return indices drawn by inversion: the first n with p_1 + ... + p_n > u (p_1 + ... + p_N).

    An index of probability exactly 0 is never drawn. Rows need not sum exactly to 1: each is scaled by its
    own total.

    Args:
        probabilities: (..., N), non-negative rows with a positive sum.
        uniforms: (..., I) on [0, 1), of the same type and with the same leading dimensions.

    Returns:
        (..., I) int64 indices in 0..N-1.

    Raises:
        ValueError: a row has no positive sum, or holds NaN.

    Source: L. Devroye, "Non-Uniform Random Variate Generation", Springer 1986, Section III.2 (inversion).
    """
    cumulative = probabilities.cumsum(dim=-1)
    total = cumulative[..., -1:]
    if not (total > 0).all():
        raise ValueError("a row to draw from has no positive sum")
    # u <= 1 - eps/2 keeps the rounded product strictly below the total, so an index N cannot come out; and
    # "first cumulative sum strictly above" (right=True) skips an index that adds nothing to the sum before.
    return torch.searchsorted(cumulative, (uniforms * total).contiguous(), right=True)
