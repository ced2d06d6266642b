"""What workers hold and how they step it, for any number of workers at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fedsim.learning import simplex
from fedsim.learning.batching import Job
from fedsim.learning.optimizers.base import Optimizer, shrunk

if TYPE_CHECKING:
    from fedsim.problems.base import Oracle

Pull = Callable[[Tensor, Tensor, Tensor], None]
"""Adds to the gradients by p, given (workers, p, gradient)."""


def projector(on_simplex: bool) -> Callable[[Tensor], Tensor]:
    """Return the projection on the feasible set of p, q and z.

    Where everything is feasible, it returns the very tensor that it is given.
    """
    return simplex.project if on_simplex else _as_it_is


def _as_it_is(values: Tensor) -> Tensor:
    return values


class WorkerTables:
    """The private state of R workers: p, q and the optimizer's memory.

    The tables are changed in place, a few rows at a time: with many workers a copy a step would cost R, where
    the step itself costs its active set.
    """

    def __init__(self, oracle: Oracle, optimizer: Optimizer, n_workers: int) -> None:
        self.P = oracle.start_p.expand(n_workers, *oracle.start_p.shape).clone()
        self.Q = oracle.start_q.expand(n_workers, *oracle.start_q.shape).clone()
        self._oracle = oracle
        self._optimizer = optimizer
        self._project = projector(oracle.on_simplex)
        n_moments = optimizer.n_moments
        self._p_moments = tuple(torch.zeros_like(self.P) for _ in range(n_moments))
        self._q_moments = tuple(torch.zeros_like(self.Q) for _ in range(n_moments))
        self._count = torch.zeros(n_workers)

    def forget(self, worker: int) -> None:
        """Put a worker back to the start: p, q and the optimizer's memory."""
        self.P[worker] = self._oracle.start_p
        self.Q[worker] = self._oracle.start_q
        for table in (*self._p_moments, *self._q_moments, self._count):
            table[worker] = 0

    def descend(
        self,
        jobs: list[Job],
        numbers: list[int],
        pull: Pull | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Take one step of p and q along the gradients of f_v; return whose, (J,), and their p, (J, M, N).

        Args:
            jobs: of distinct workers, one at least.
            numbers: where each job's draws stand, in place of its own number.
            pull: adds to the gradients by p; none: nothing is added.
        """
        workers = [job.worker for job in jobs]
        rows = torch.tensor(workers)
        P, Q = self.P[rows], self.Q[rows]
        p_gradient, q_gradient = self._oracle.upper(workers, numbers, P, Q, [job.start_s for job in jobs])
        if pull is not None:
            pull(rows, P, p_gradient)
        self._count[rows] += 1
        P, Q = shrunk(P, self._optimizer), shrunk(Q, self._optimizer)
        P = self.P[rows] = self._project(P - self._optimized(rows, p_gradient, self._p_moments))
        self.Q[rows] = self._project(Q - self._optimized(rows, q_gradient, self._q_moments))
        return rows, P

    def _optimized(self, rows: Tensor, gradient: Tensor, moments: tuple[Tensor, ...]) -> Tensor:
        own = tuple(table[rows] for table in moments)
        step = self._optimizer.update(gradient, own, self._count[rows])
        for table, changed in zip(moments, own, strict=True):
            table[rows] = changed
        return step
