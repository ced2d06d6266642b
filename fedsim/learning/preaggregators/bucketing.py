"""Means of small groups of messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedsim.learning.preaggregators.base import Preaggregator
from fedsim.streams import Stream, Streams

if TYPE_CHECKING:
    from torch import Tensor


class Bucketing(Preaggregator):
    """Shuffles the messages and replaces each bucket of `size` by its mean.

    The means differ less than the messages do, so that honest workers with unlike data look less suspicious.
    f Byzantine rows spoil up to f buckets: `f` of the rule that follows stays what it was, of fewer rows. The
    last bucket may be smaller; it counts like the others.

    Source: Karimireddy, He, Jaggi, "Byzantine-robust learning on heterogeneous datasets via bucketing", ICLR
    2022, Algorithm 1. There each step has a new permutation. Here the permutation is drawn once for each
    number of rows: a worker whose rows come in the same order shares its bucket with the same workers in
    each step, which averages less over time, and an attacker who knows the order of the rows and the seed can
    choose its company.
    """

    kind: Literal["bucketing"] = "bucketing"
    size: int = Field(default=2, ge=1)
    """Messages in a bucket, s; with 1, nothing changes but their order."""
    permutation_seed: int = Field(default=0, ge=0)
    """Chooses the permutation of each number of rows; the run's seed does not enter."""

    def rows_left(self, m: int) -> int:
        return -(-m // self.size)

    def apply(self, rows: Tensor, previous: Tensor) -> Tensor:
        import torch

        m = len(rows)
        order = Streams(self.permutation_seed).generator(Stream.BUCKETS, worker=m).permutation(m)
        wide = rows[order].to(torch.promote_types(rows.dtype, torch.float32))
        means = [wide[start : start + self.size].mean(0) for start in range(0, m, self.size)]
        return torch.stack(means).to(rows.dtype)
