"""The geometric median."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedsim.learning.aggregators.base import Tolerant

if TYPE_CHECKING:
    from torch import Tensor


class GeometricMedian(Tolerant):
    """The point with the least sum of distances to the rows, by the smoothed Weiszfeld algorithm.

    Each row pulls with a force of 1 towards itself; at the median the forces balance. The algorithm starts at
    the coordinate-wise median and stops when the mean force is at most `tolerance`. The mean distance to the
    rows is then least up to `tolerance` times the way that is left, plus `smoothing` times the radius; where
    several points are least, as between two rows, it is one of them. At most f Byzantine rows among 2f + 1
    rows or more, whatever they hold, move it by a multiple of the honest rows' radius at most. `f` does not
    enter the value; it says what the load-time check is to ensure.

    Source: Pillutla, Kakade, Harchaoui, "Robust aggregation for federated learning", IEEE Transactions on
    Signal Processing 70, 2022, Algorithm 2, with nu = `smoothing` times the radius so that the result scales
    with the rows. ByzFL stops after 3 iterations from zero with nu = 0.1, which is often far from the median;
    Pillutla's own package starts at the mean and stops when the sum of distances hardly falls any more.
    """

    kind: Literal["geometric_median"] = "geometric_median"
    f: int = Field(default=0, ge=0)
    smoothing: float = Field(default=1e-6, gt=0)
    """Distances below this share of the radius, the median distance of the rows from the coordinate-wise
    median, count as that."""
    tolerance: float = Field(default=1e-6, gt=0)
    """The mean force, between 0 and 1, at which the point is good enough."""
    most_iterations: int = Field(default=1000, ge=1, le=1_000_000)
    """After so many the last point is returned; only where a row is nearly the median does it take many."""

    def _combined(self, rows: Tensor, previous: Tensor) -> Tensor:
        import torch

        from fedsim.learning.distances import framed

        frame = framed(rows)
        z = torch.zeros_like(frame.centre)
        radius = _distances(frame.points, z).median()
        if radius == 0:  # half of the rows or more are there: no force of the others can move it
            return frame.centre
        for _ in range(self.most_iterations):
            beta = 1 / _distances(frame.points, z).clamp(min=self.smoothing * float(radius))
            before, z = z, (beta @ frame.points) / beta.sum()
            mean_force = torch.linalg.vector_norm(z - before) * beta.sum() / len(rows)
            if mean_force <= self.tolerance:
                break
        return frame.back(z)


def _distances(points: Tensor, z: Tensor) -> Tensor:
    """Return the distance of each point, (m, d), from one, (d,)."""
    import torch

    # By differences: a product of matrices would lose the digits of a point close to z.
    return torch.cdist(points, z.unsqueeze(0), compute_mode="donot_use_mm_for_euclid_dist").squeeze(1)
