"""Regularised robust aggregation: how much one message may move the consensus.

Source: Li et al., "RSA: Byzantine-Robust Stochastic Aggregation Methods", AAAI 2019 (the penalty
``psi sum_v ||p^(v) - z||`` and its subgradient steps); AsynDBT paper, (8) and (9) (psi in the inner loop).
The AsynDBT paper's (9) also adds unclipped quadratic and dual terms, which undo the protection; options R3
and R4 repair that. R3 clips as the l1-penalised ADMM does: Lin, Li and Ling, "Stochastic alternating
direction method of multipliers for Byzantine-robust distributed learning", arXiv 2106.06891, 2021.
"""

from __future__ import annotations

from torch import Tensor

from fedsim.algorithms.dbt.settings import PenaltyNorm, RobustSettings
from fedsim.learning.penalty import subgradient


def penalty_slope(difference: Tensor, norm: PenaltyNorm) -> Tensor:
    """Return a subgradient of ``||d||`` for each message's d, (..., M, N) to the same shape.

    The norm is that of a whole message, all M N numbers of it: RSA's x is the whole model. Coordinates of the
    subgradient are at most 1 in size; for l2 so is its Euclidean norm, for linf the sum of their sizes.
    """
    return subgradient(difference.flatten(-2), norm).view_as(difference)


def outer_pull(z: Tensor, received: Tensor, psi: float, norm: PenaltyNorm = "l1") -> Tensor:
    """Return ``psi sum_v s(z - p^(v))``, s the subgradient: (M, N) and (R, M, N) to (M, N)."""
    return psi * penalty_slope(z - received, norm).sum(0)


def worker_pull(p: Tensor, z: Tensor, settings: RobustSettings) -> Tensor:
    """Return the psi term of a worker's gradient, the shape of p."""
    sign = 1.0 if settings.worker_sign == "rsa" else -1.0
    return sign * settings.psi * penalty_slope(p - z, settings.norm)


def inner_z_gradient(z: Tensor, p: Tensor, rho: Tensor, mu: float, robust: RobustSettings | None) -> Tensor:
    """Return the bracket of (9): the gradient (12) over all messages, made robust as the option says.

    Args:
        z: consensus (M, N).
        p: received variables (n, M, N).
        rho: duals (n, M, N).
        mu: weight of the quadratic penalty.
        robust: the option; none means (12) alone.
    """
    if robust is not None and robust.inner == "R4":
        return outer_pull(z, p, robust.psi, robust.norm)
    contributions = mu * (z - p) - rho
    if robust is None:
        return contributions.sum(0)
    if robust.inner == "R3":
        return contributions.clamp(-robust.psi, robust.psi).sum(0)
    return contributions.sum(0) + outer_pull(z, p, robust.psi, robust.norm)
