"""Equal but for rounding: the one place that says when two numbers tie, and what a sign or an argmax then is.

Two ways to compute one number differ in its last digits. A sign makes 1 or -1 of such a difference, and an
argmax another word, so both ask here.
"""

from __future__ import annotations

import torch
from torch import Tensor

TIE = 1e-12
"""Numbers that differ by no more are equal. For probabilities: far above their rounding, far below a step."""


def sign(difference: Tensor) -> Tensor:
    """Return the signs, 0 for a tie, in the shape and type of `difference`."""
    return torch.where(difference.abs() <= TIE, 0.0, difference.sign())


def at_largest(values: Tensor, dim: int = -1) -> Tensor:
    """Return which values tie with the largest along a dimension, bool, in the shape of `values`."""
    return values >= values.amax(dim, keepdim=True) - TIE


def argmax(values: Tensor, dim: int = -1, uniforms: Tensor | None = None) -> Tensor:
    """Return the place of the largest along a dimension, which is gone from the result's shape.

    Args:
        values: at least one along the dimension.
        dim: the dimension.
        uniforms: which of tied places is taken, a number in [0, 1) for each result, in its shape: all of them
            are equally likely; none: the first.
    """
    tied = at_largest(values, dim)
    if uniforms is None:
        return _first(tied, dim)
    n_tied = tied.sum(dim, keepdim=True)
    if (n_tied == 1).all():  # as always but at the start
        return _first(tied, dim)
    order = tied.cumsum(dim)
    wanted = (uniforms.unsqueeze(dim) * n_tied).long() + 1
    return _first(tied & (order == wanted), dim)


def argmin(values: Tensor, dim: int = -1) -> Tensor:
    """Return the place of the smallest along a dimension, of tied places the first; see `argmax`."""
    return argmax(-values, dim)


def _first(found: Tensor, dim: int) -> Tensor:
    """Return the place of the first that is true along a dimension."""
    # `max` promises the first of equal values as `argmax` does, and takes a tenth of its time along a
    # dimension that is not the last.
    return found.max(dim).indices
