"""An estimate of a Hessian from how gradients have changed along the steps taken."""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_CURVATURE = 1e-8
"""A pair whose step and change are more nearly orthogonal than this (cosine) says nothing: dividing by their
product would drown everything else."""


def tells(step: Tensor, change: Tensor) -> bool:
    """Whether a pair of a step and the change of the gradient along it, both (d,), can enter an estimate."""
    size = float(step.norm() * change.norm())
    return size > 0 and abs(float(step @ change)) > LEAST_CURVATURE * size


def hessian_product(S: Tensor, Y: Tensor, V: Tensor) -> Tensor:
    """Return what the BFGS estimate of the Hessian makes of vectors, without ever writing it down.

    From ``sigma I``, sigma = y's / s's of the newest pair, h BFGS updates by the pairs (s, y), oldest first,
    give ``B = sigma I - A' M^-1 A`` with the 2 h rows ``A = (sigma S, Y)`` and ``M = ((sigma S S', L),
    (L', -D))``; L is what is below the diagonal of ``S Y'``, and D its diagonal. The estimate is the same for
    pairs of any length, so all steps are brought to length 1 first. Gradients may have either sign: with
    those of a loss turned round the estimate is of minus its Hessian.

    Source: Byrd, Nocedal and Schnabel, "Representations of quasi-Newton matrices and their use in limited
    memory methods", Mathematical Programming 63, 1994, Theorem 2.3.

    Args:
        S: the steps, (h, d), the oldest first; of each pair `tells` holds.
        Y: the changes of the gradient along them, (h, d).
        V: the vectors, (m, d).

    Returns:
        The products, (m, d).
    """
    lengths = S.norm(dim=1, keepdim=True)
    S, Y = S / lengths, Y / lengths
    sigma = S[-1] @ Y[-1]
    products = S @ Y.T
    lower = products.tril(-1)
    M = torch.cat((torch.cat((sigma * S @ S.T, lower), 1), torch.cat((lower.T, -products.diag().diag()), 1)))
    A = torch.cat((sigma * S, Y))
    # Steps along one line make M singular: the shortest solution leaves out what they say twice.
    # That solver is the processor's alone, and M has a few rows only.
    weights = torch.linalg.lstsq(M.cpu(), (A @ V.T).cpu(), driver="gelsd").solution.to(V)
    return sigma * V - weights.T @ A
