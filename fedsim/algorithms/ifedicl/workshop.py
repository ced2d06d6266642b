"""What workers hold and compute: their vectors, and coefficients that they step."""

from __future__ import annotations

import torch
from torch import Tensor

from fedsim.learning.batching import Job
from fedsim.learning.optimizers.base import Optimizer, shrunk
from fedsim.problems.injection.oracle import InjectionOracle

LARGEST_HALF = 65_504.0
"""The largest number of half precision."""


def as_sent(vectors: Tensor) -> Tensor:
    """Return vectors as they are after they were sent in half precision."""
    return vectors.clamp(-LARGEST_HALF, LARGEST_HALF).half().double()


class Coefficients:
    """The coefficients of R workers, (R, L, 2, 2), and the optimizer's memory of them."""

    def __init__(self, start: Tensor, optimizer: Optimizer, n_workers: int) -> None:
        self.own = start.expand(n_workers, *start.shape).clone()
        """What each worker holds."""
        self._start = start
        self._optimizer = optimizer
        self._moments = tuple(torch.zeros_like(self.own) for _ in range(optimizer.n_moments))
        self._count = torch.zeros(n_workers)

    def forget(self, worker: int) -> None:
        """Put a worker back to the start."""
        self.own[worker] = self._start
        for table in (*self._moments, self._count):
            table[worker] = 0

    def descend(self, rows: list[int], gradient: Tensor) -> None:
        """Take one step of these workers along their gradients, (J, L, 2, 2)."""
        self._count[rows] += 1
        moments = tuple(table[rows] for table in self._moments)
        step = self._optimizer.update(gradient, moments, self._count[rows])
        self.own[rows] = shrunk(self.own[rows], self._optimizer) - step
        for table, changed in zip(self._moments, moments, strict=True):
            table[rows] = changed


class Workshop:
    """All workers of a run. Jobs that wait are computed in one batch, with a row of coefficients for each.

    Step e of job j draws at address ``E j + e``. A job that a worker skips makes no step, and takes no
    vectors: it sends what it had.

    Args:
        oracle: the problem with its data in place.
        optimizer: of the local steps.
        local_steps: E.
        start: lambda and beta at first.
        n_workers: R.
        control: whether there is a second calibration, with vectors of zero.
    """

    def __init__(
        self,
        oracle: InjectionOracle,
        optimizer: Optimizer,
        local_steps: int,
        start: tuple[float, float],
        n_workers: int,
        control: bool,
    ) -> None:
        n_layers, width = oracle.shape.n_layers, oracle.shape.width
        self.start = torch.tensor(start, dtype=torch.float64).expand(n_layers, 2, 2).clone()
        self.vectors = torch.zeros(n_workers, n_layers, 2, width, dtype=torch.float64)
        """What each worker has taken from its texts, as it sends them; zero before that."""
        self.lanes = [Coefficients(self.start, optimizer, n_workers) for _ in range(1 + control)]
        """The coefficients, and those of the control."""
        self._oracle = oracle
        self._local_steps = local_steps

    def forget(self, worker: int) -> None:
        """Put a worker back to the start: it has lost its state."""
        self.vectors[worker] = 0
        for lane in self.lanes:
            lane.forget(worker)

    def extract(self, jobs: list[Job]) -> None:
        """Take the vectors of the workers of these jobs."""
        working = [job for job in jobs if not job.skipped]
        if working:
            workers = [job.worker for job in working]
            self.vectors[workers] = as_sent(self._oracle.extract(workers, [job.start_s for job in working]))

    def calibrate(self, jobs: list[Job], vectors: Tensor) -> None:
        """Make the local steps of these jobs from what the workers hold, with vectors (J, L, 2, d)."""
        places = [place for place, job in enumerate(jobs) if not job.skipped]
        if not places:
            return
        working = [jobs[place] for place in places]
        workers, n_lanes = [job.worker for job in working], len(self.lanes)
        used = vectors[places]
        injected = torch.cat([used, torch.zeros_like(used)]) if n_lanes > 1 else used
        starts_s = [job.start_s for job in working] * n_lanes
        for e in range(self._local_steps):
            numbers = [job.job * self._local_steps + e for job in working]
            held = torch.cat([lane.own[workers] for lane in self.lanes])
            found = self._oracle.gradients(workers * n_lanes, numbers * n_lanes, injected, held, starts_s)
            for lane, gradient in zip(self.lanes, found.chunk(n_lanes), strict=True):
                lane.descend(workers, gradient.clone())


def controls(oracle: InjectionOracle, coefficients: Tensor | None) -> dict[str, float]:
    """Return the accuracies to compare with: without an injection, and of a control if there is one."""
    found = dict(oracle.without_injection())
    if coefficients is not None:
        nothing = torch.zeros(oracle.shape.n_layers, 2, oracle.shape.width, dtype=torch.float64)
        measured = oracle.evaluate(nothing, coefficients)
        found |= {f"{key}_zero_vectors": measured[key] for key in ("loss", "accuracy")}
    return found


def alike(workers: list[int], tables: list[Tensor]) -> list[list[int]]:
    """Return workers in groups whose rows in all tables are the same, as all are at the start."""
    groups: list[list[int]] = []
    for worker in workers:
        for group in groups:
            if all(torch.equal(table[worker], table[group[0]]) for table in tables):
                group.append(worker)
                break
        else:
            groups.append([worker])
    return groups


def mean_of(measured: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of measurements, one by one."""
    return {key: sum(each[key] for each in measured) / len(measured) for key in measured[0]}
