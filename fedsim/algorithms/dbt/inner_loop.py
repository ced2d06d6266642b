"""The augmented-Lagrangian loop (7)-(13) that estimates the lower solution phi in K rounds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fedsim.algorithms.dbt.robust import inner_z_gradient, worker_pull
from fedsim.algorithms.dbt.settings import InnerSettings, RobustSettings

Combine = Callable[[Tensor, Tensor], Tensor]
"""From the rows of a round, (n, M, N), and z to the new z before its projection."""


@dataclass(frozen=True)
class InnerLoop:
    """The state between two rounds; n participants."""

    workers: tuple[int, ...]
    p: Tensor
    """(n, M, N)"""
    z: Tensor
    """(M, N)"""
    rho: Tensor
    """(n, M, N)"""
    realised: Tensor
    """What the lower level sees of the upper one, one row per participant."""

    def kept(self, workers: Collection[int]) -> InnerLoop:
        """Return the loop with only these of its workers, in its own order."""
        wanted = set(workers)
        places = [place for place, worker in enumerate(self.workers) if worker in wanted]
        return replace(
            self,
            workers=tuple(self.workers[place] for place in places),
            p=self.p[places],
            rho=self.rho[places],
            realised=self.realised[places],
        )


def worker_round(
    loop: InnerLoop,
    rows: slice,
    gradient: Tensor,
    settings: InnerSettings,
    robust: RobustSettings | None,
    project: Callable[[Tensor], Tensor],
) -> Tensor:
    """Return p^{k+1} of the participants in `rows` by (8) and (11), from gradients of g (J, M, N)."""
    p, rho = loop.p[rows], loop.rho[rows]
    step = gradient + rho + settings.mu * (p - loop.z)
    if robust is not None:
        step += worker_pull(p, loop.z, robust)
    return project(p - settings.p_rate * step)


def server_round(
    loop: InnerLoop,
    p: Tensor,
    settings: InnerSettings,
    robust: RobustSettings | None,
    project: Callable[[Tensor], Tensor],
    combine: Combine | None = None,
) -> InnerLoop:
    """Take the workers' new p and return the loop after (9) and (10): first z with the new p, then rho.

    `combine` takes the place of (9). Its rows are ``p + rho / mu``, the points at which each worker's part of
    (12) is zero; p where mu is 0.
    """
    z = stepped_z(loop.z, p, loop.rho, settings, robust, project, combine)
    return replace(loop, p=p, z=z, rho=stepped_rho(loop.rho, p, z, settings, robust))


def stepped_z(
    z: Tensor,
    p: Tensor,
    rho: Tensor,
    settings: InnerSettings,
    robust: RobustSettings | None,
    project: Callable[[Tensor], Tensor],
    combine: Combine | None = None,
) -> Tensor:
    """Return z^{k+1} by (9) and (12), from the new p, (n, M, N); `combine` as in `server_round`."""
    if combine is not None:
        return project(combine(p + rho / settings.mu if settings.mu else p, z))
    return project(z - settings.z_rate * inner_z_gradient(z, p, rho, settings.mu, robust))


def stepped_rho(
    rho: Tensor, p: Tensor, z: Tensor, settings: InnerSettings, robust: RobustSettings | None
) -> Tensor:
    """Return rho^{k+1} by (10) and (13), from the new p and z; clipped where R3 says so."""
    stepped = rho + settings.rho_rate * (p - z)
    if robust is not None and robust.inner == "R3":
        stepped = stepped.clamp(-robust.psi, robust.psi)
    return stepped


def start_loop(
    workers: Sequence[int], p: Tensor, z: Tensor, start: Tensor, realised: Tensor, settings: InnerSettings
) -> InnerLoop:
    """Return round 0, with rho = 0."""
    if settings.start == "uniform":
        p, z = start.expand_as(p).clone(), start.clone()
    elif settings.start == "consensus":
        p = z.expand_as(p).clone()
    return InnerLoop(tuple(workers), p, z, torch.zeros_like(p), realised)
