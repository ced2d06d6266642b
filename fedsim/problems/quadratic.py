"""A small bilevel problem with a solution in closed form."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedsim.attack import Assigned
from fedsim.messages import JobCost
from fedsim.problems.base import Oracle, Problem, Questions, RealisationRule, Sent
from fedsim.streams import Stream, Streams

if TYPE_CHECKING:
    from torch import Tensor


FLOAT64_BYTES = 8


class Quadratic(Problem):
    """Quadratics at both levels, for tests and for the study of the optimizer alone.

    Worker v holds, in dimension d, curvatures h_v > 0 and points c_v, b_v, t_v::

        upper  f_v(p, q) = 1/2 |q - p - b_v|^2 + upper_weight/2 |p - t_v|^2
        lower  g_v(p; q) = 1/2 sum_d h_vd (p_d - c_vd - coupling q_d)^2,    all p_v = z

    With `coupling` = 0 the lower solution is the h-weighted mean of the c_v whatever the q, and AsynDBT's
    fixed point is the bilevel optimum up to epsilon. With a coupling it is not: like the paper's (24) it
    leaves out how the lower solution moves with q; `optimum` gives the truth to compare with.

    Source: ours; the closed form follows from setting the gradients to zero (see `Bilevel.optimum`).
    """

    kind: Literal["quadratic"] = "quadratic"
    on_device: ClassVar[bool] = True
    has_accuracy: ClassVar[bool] = False
    dimension: int = Field(10, ge=1)
    upper_weight: float = Field(0.1, ge=0)
    coupling: float = Field(0.0, ge=0, lt=1)
    heterogeneity: float = Field(1.0, ge=0)
    """Standard deviation of c_v, b_v and t_v between workers, around a common point of size 1."""
    noise_std: float = Field(0.0, ge=0)
    """Standard deviation of the noise on every gradient coordinate."""
    calls: int = Field(1, ge=0)
    """LLM calls that the clock charges for a job."""
    bytes_up: int = Field(0, ge=0)
    bytes_down: int = Field(0, ge=0)

    @property
    def tunes_p(self) -> bool:
        return True

    @property
    def realises(self) -> bool:
        return False

    @property
    def sends(self) -> Sent:
        return "numbers"

    def cost(self, pooled: int = 1) -> JobCost:
        return JobCost(self.calls * pooled, 0, 0, self.bytes_up, self.bytes_down)

    def memory(self, n_workers: int, pooled: int = 1) -> dict[str, int]:
        numbers = 8 * n_workers * self.dimension  # p, q, their gradients, h, c, b and t
        return {f"problem.dimension = {self.dimension:,} at {n_workers:,} workers": FLOAT64_BYTES * numbers}

    def prepare(
        self, streams: Streams, n_workers: int, pooled: int = 1, attacks: Sequence[Assigned] = ()
    ) -> Oracle:
        """Draw the data; a pooled worker's functions are the sums of those it holds."""
        return Bilevel(self, streams, n_workers, pooled)


class Optimum(NamedTuple):
    """The solution of the bilevel problem."""

    z: NDArray[np.float64]
    """(d,)"""
    q: NDArray[np.float64]
    """(R, d)"""


class Bilevel:
    """The quadratic problem with its data in place."""

    on_simplex = False
    questions: Questions | None = None

    def __init__(self, settings: Quadratic, streams: Streams, n_workers: int, pooled: int) -> None:
        import torch

        from fedsim.learning.device import from_numpy

        self.settings = settings
        self._streams = streams
        d = settings.dimension
        common = streams.generator(Stream.TASK).normal(size=(3, d))
        drawn = [streams.generator(Stream.DATA, worker) for worker in range(n_workers * pooled)]
        spread = settings.heterogeneity * np.stack([one.normal(size=(3, d)) for one in drawn])
        points = (common + spread).reshape(n_workers, pooled, 3, d)
        curvature = np.stack([one.uniform(0.5, 1.5, size=d) for one in drawn]).reshape(n_workers, pooled, d)
        # Sums of quadratics are quadratics: pooled functions are kept as means, which only rescales them.
        self._h = from_numpy(curvature.mean(1))
        self._c = from_numpy((curvature * points[:, :, 0]).mean(1) / curvature.mean(1))
        self._b = from_numpy(points[:, :, 1].mean(1))
        self._t = from_numpy(points[:, :, 2].mean(1))
        self.start_p = torch.zeros(1, d, dtype=torch.float64)
        self.start_q = torch.zeros(1, d, dtype=torch.float64)
        self._optimum = self.optimum()

    def upper(
        self, workers: list[int], jobs: list[int], P: Tensor, Q: Tensor, starts_s: Sequence[float] = ()
    ) -> tuple[Tensor, Tensor]:
        rows = _rows(workers)
        p, q = P[:, 0], Q[:, 0]
        residual = q - p - self._b[rows]
        by_p = self.settings.upper_weight * (p - self._t[rows]) - residual
        noise = self._noise(workers, jobs)
        return (by_p + noise[0])[:, None], (residual + noise[1])[:, None]

    def lower(
        self,
        workers: list[int],
        jobs: list[int],
        P: Tensor,
        realised: Tensor,
        starts_s: Sequence[float] = (),
    ) -> Tensor:
        rows = _rows(workers)
        target = self._c[rows] + self.settings.coupling * realised[:, 0]
        return (self._h[rows] * (P[:, 0] - target) + self._noise(workers, jobs)[0])[:, None]

    def realise(self, workers: list[int], Q: Tensor, rule: RealisationRule, update: int) -> Tensor:
        """Return q itself: it is not a distribution, so there is nothing to draw."""
        return Q.clone()

    def evaluate(
        self, workers: list[int], P: Tensor, Q: Tensor, z: Tensor, time_s: float = 0.0
    ) -> dict[str, float]:
        from fedsim.learning.device import to_numpy

        rows = _rows(workers)
        p, q = P[:, 0], Q[:, 0]
        fit = (q - p - self._b[rows]).square().sum(1)
        loss = 0.5 * (fit + self.settings.upper_weight * (p - self._t[rows]).square().sum(1))
        return {
            "loss": float(loss.mean()),
            "accuracy": math.nan,
            "distance_z": float(np.abs(to_numpy(z[0]) - self._optimum.z).sum()),
            "distance_q": float(np.abs(to_numpy(q) - self._optimum.q[workers]).sum(1).mean()),
        }

    def optimum(self) -> Optimum:
        """Return the bilevel optimum.

        Per coordinate, with H = sum h_v, k the coupling, w the upper weight and r_v = q_v - z - b_v, the
        gradient of F by q_v is ``r_v + k (h_v/H) G`` with ``G = sum_u (w (z - t_u) - r_u)``. Summing over v
        gives ``G = w (R z - sum t) / (1 - k)``; inserting q_v into ``z = sum h_v (c_v + k q_v) / H`` leaves
        one linear equation for z.
        """
        from fedsim.learning.device import to_numpy

        k, w = self.settings.coupling, self.settings.upper_weight
        h, c, b, t = (to_numpy(table) for table in (self._h, self._c, self._b, self._t))
        total = h.sum(0)
        mean_c, mean_b = (h * c).sum(0) / total, (h * b).sum(0) / total
        squares = (h**2).sum(0) / total**2
        pull = k**2 * squares * w / (1 - k)
        z = (mean_c + k * mean_b + pull * t.sum(0)) / (1 - k + pull * len(h))
        gradient = w * (len(h) * z - t.sum(0)) / (1 - k)
        return Optimum(z, z + b - k * h / total * gradient)

    def _noise(self, workers: list[int], jobs: list[int]) -> Any:
        from fedsim.learning.device import from_numpy

        std, d = self.settings.noise_std, self.settings.dimension
        if std == 0:
            return 0.0, 0.0
        draws = [
            self._streams.seat(Stream.NOISE, worker, job).normal(0.0, std, size=(2, d))
            for worker, job in zip(workers, jobs, strict=True)
        ]
        return from_numpy(np.stack(draws, 1))


def _rows(workers: list[int]) -> Any:
    import torch

    return torch.tensor(workers)
