"""The regularised Lagrangian (17)-(18) and the server's steps (21)-(22) on it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fedsim.algorithms.dbt.polyhedron import NewCuts, Polyhedron, without
from fedsim.algorithms.dbt.settings import PolyhedronSettings


class Multipliers(NamedTuple):
    """The multipliers of a polyhedron's cuts, and what the cuts weigh."""

    now: Tensor
    """lambda^t, (M, L), zero where a column has no cut"""
    before: Tensor
    """lambda^(t-1); infinite for a cut that has not lived through a step"""
    weighed: Tensor
    """``sum_v a . p^(v)`` over the p that the server holds, (M, L); kept up to date report by report, so that
    a step costs as much as its active set"""


def regularised(upper: float, multipliers: Tensor, values: Tensor, c1: float) -> float:
    """Return the regularised Lagrangian (18).

    Args:
        upper: ``sum_v f_v``.
        multipliers: lambda, (M, L).
        values: left-hand sides of the cuts, (M, L).
        c1: the regulariser.
    """
    return upper + float((multipliers * values).sum() - 0.5 * c1 * multipliers.square().sum())


def values(polyhedron: Polyhedron, weighed: Tensor, z: Tensor) -> Tensor:
    """Return the left-hand sides of the cuts, ``sum_v a . p^(v) + b . z + c``, (M, L)."""
    along_z = torch.bmm(z.unsqueeze(1), polyhedron.b_by_candidate).squeeze(1)
    return along_z.add_(weighed).add_(polyhedron.c)


def z_gradient(polyhedron: Polyhedron, multipliers: Tensor) -> Tensor:
    """Return (25), ``sum_l lambda_il b_il``, (M, N)."""
    return torch.bmm(multipliers.unsqueeze(1), polyhedron.b).squeeze(1)


def ascend(polyhedron: Polyhedron, state: Multipliers, z: Tensor, rate: float, c1: float) -> Multipliers:
    """Return the multipliers after (22) with the gradient (26)."""
    gradient = values(polyhedron, state.weighed, z).sub_(state.now, alpha=c1)
    # A column without a cut for a word has value 0 there, and so keeps its multiplier 0.
    return Multipliers(state.now.add(gradient, alpha=rate).clamp_(min=0), state.now, state.weighed)


def without_idle(
    polyhedron: Polyhedron, multipliers: Multipliers, settings: PolyhedronSettings
) -> tuple[Polyhedron, Multipliers]:
    """Drop the cuts, and their multipliers, that the settings call idle."""
    if settings.drop == "never" or not polyhedron.columns:
        return polyhedron, multipliers
    idle = multipliers.now < settings.drop_below
    if settings.drop == "twice":
        idle &= multipliers.before < settings.drop_below
    polyhedron, kept = without(polyhedron, idle)
    return polyhedron, Multipliers(*(table[:, kept] * polyhedron.alive for table in multipliers))


def joined(multipliers: Multipliers, new: NewCuts, p: Tensor) -> Multipliers:
    """Return the multipliers with a column for new cuts, 0 at first; p is the participants', (n, M, N)."""
    zero = torch.zeros_like(new.c)[:, None]
    weighed = (new.a * p).sum((0, 2))[:, None]
    additions = zero, torch.full_like(zero, torch.inf), weighed
    return Multipliers(*(torch.cat(pair, 1) for pair in zip(multipliers, additions, strict=True)))
