"""Regularised robust aggregation: how much one message may move the consensus.

Source: Li et al., "RSA: Byzantine-Robust Stochastic Aggregation Methods", AAAI 2019 (the l1 penalty and its
sign steps); AsynDBT paper, (8) and (9) (psi in the inner loop). The AsynDBT paper's (9) also adds unclipped
quadratic and dual terms, which undo the protection; options R3 and R4 repair that.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fedsim.learning.settings import RobustSettings


def outer_pull(z: Tensor, received: Tensor, psi: float) -> Tensor:
    """Return ``psi sum_v sign(z - p^(v))``: (M, N) and (R, M, N) to (M, N)."""
    return psi * torch.sign(z - received).sum(0)


def worker_pull(p: Tensor, z: Tensor, settings: RobustSettings) -> Tensor:
    """Return the psi term of a worker's gradient, the shape of p."""
    sign = 1.0 if settings.worker_sign == "rsa" else -1.0
    return sign * settings.psi * torch.sign(p - z)


def inner_z_gradient(z: Tensor, p: Tensor, rho: Tensor, mu: float, robust: RobustSettings | None) -> Tensor:
    """Return the bracket of (9): the gradient (12) over all messages, made robust as the option says.

    Args:
        z: consensus (M, N).
        p: received variables (n, M, N).
        rho: duals (n, M, N).
        mu: weight of the quadratic penalty.
        robust: the option; none means (12) alone.
    """
    contributions = mu * (z - p) - rho
    if robust is None:
        return contributions.sum(0)
    if robust.inner == "R3":
        return contributions.clamp(-robust.psi, robust.psi).sum(0)
    signs = outer_pull(z, p, robust.psi)
    return signs if robust.inner == "R4" else contributions.sum(0) + signs
