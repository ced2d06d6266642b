"""Clipping of every message to a length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedsim.learning.preaggregators.base import Preaggregator

if TYPE_CHECKING:
    from torch import Tensor


class NormClipping(Preaggregator):
    """Shortens every message's difference from the consensus to a radius.

    It bounds what one row can do to a mean, by radius / m, and does not find out which rows are forged.

    Source: Sun et al., "Can you really backdoor federated learning?", arXiv 1911.07963, 2019, the norm
    thresholding of updates, for the fixed radius. Andrew et al., "Differentially private learning with
    adaptive clipping", NeurIPS 2021, for the median norm as radius: they track it over steps, and privately;
    here it is the median of this step alone.
    """

    kind: Literal["norm_clipping"] = "norm_clipping"
    radius: float | None = Field(default=None, gt=0)
    """None: the median of the differences' lengths; of an even number the mean of the two middle ones."""

    def rows_left(self, m: int) -> int:
        return m

    def apply(self, rows: Tensor, previous: Tensor) -> Tensor:
        import torch

        from fedsim.learning.clipping import clipped, lengths
        from fedsim.learning.ordered import in_order, middle

        wide = torch.promote_types(rows.dtype, torch.float32)
        centre = previous.to(wide)
        differences = rows.to(wide) - centre
        radius = middle(in_order(lengths(differences))) if self.radius is None else self.radius
        short = clipped(differences, radius)
        # A row that was not cut stays as it is: the consensus plus a rounded difference would differ.
        return torch.where(short == differences, rows, (centre + short).to(rows.dtype))
