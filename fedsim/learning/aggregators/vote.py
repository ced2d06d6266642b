"""Counting votes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fedsim.learning.aggregators.base import Aggregator

if TYPE_CHECKING:
    from torch import Tensor


class Vote(Aggregator):
    """The share of rows that vote for each coordinate: a row votes for what it gives more than one half.

    Of a distribution at most one option gets more than one half, so a row has one vote for each distribution
    that it holds, whatever else it says; one that is sure of nothing abstains. The option with most votes is
    the majority's answer; who reads the shares decides what a tie is. On rows that hold nothing but zeros and
    ones the shares are the mean of the rows. The answer of most honest rows wins wherever the malicious rows
    are fewer than its lead over every other answer.

    Source: majority voting over the clients' answers, Wang et al., "Federated in-context learning: iterative
    refinement for improved answer quality", ICML 2025 (arXiv 2506.07440), the server's step for classes.
    """

    kind: Literal["vote"] = "vote"

    @property
    def least_rows(self) -> int:
        return 1

    def _combined(self, rows: Tensor, previous: Tensor) -> Tensor:
        return (rows > 0.5).to(rows.dtype).mean(0)
