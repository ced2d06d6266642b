"""How a norm pulls: the subgradients that robust aggregation by regularisation is made of."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from fedsim.learning.clipping import unit
from fedsim.learning.ties import at_largest, sign

Norm = Literal["l1", "l2", "linf"]


def subgradient(difference: Tensor, norm: Norm) -> Tensor:
    """Return a subgradient of ``||d||_p`` along the last dimension, the shape of `difference`; 0 at d = 0.

    Whatever d is, no coordinate is beyond 1; so much and no more can one message pull.

    Args:
        difference: d, (..., d), of any floating type; finite, but not of any size: nothing overflows.
        norm: l1: ``sign(d)``. l2: ``d / ||d||_2``. linf: the signs of the largest coordinates, which share a
            weight of 1. What differs by rounding alone ties (`fedsim.learning.ties`).

    Source: Li et al., "RSA: Byzantine-robust stochastic aggregation methods for distributed learning from
    heterogeneous datasets", AAAI 2019, who penalise with p = 1 and extend it to other p; ties of linf are
    free there.
    """
    if norm == "l1":
        return sign(difference)
    if norm == "l2":
        return unit(difference)
    largest = at_largest(difference.abs())
    return sign(difference) * largest / largest.sum(-1, keepdim=True)
