"""Combining the messages of a step by a rule, as the aggregation settings say."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from fedsim.learning.aggregation import Aggregation
from fedsim.learning.aggregators.base import Aggregator
from fedsim.learning.door import consensus_of
from fedsim.learning.filters.base import Arrival, Filtering
from fedsim.learning.preaggregators.base import Preaggregator
from fedsim.messages import Ticket


def combined(
    rule: Aggregator, before: Sequence[Preaggregator], rows: Tensor, previous: Tensor
) -> Tensor | None:
    """Return the consensus of messages, or none where there are too few for the rule.

    Args:
        rule: the aggregator.
        before: what happens to the rows first, in this order.
        rows: the messages, (m, d).
        previous: the consensus before, (d,).
    """
    for stage in before:
        if not stage.rows_left(len(rows)):
            return None
        rows = stage.apply(rows, previous)
    return rule.aggregate(rows, previous) if len(rows) >= rule.least_rows else None


class Merge:
    """The rules of one run at work.

    Where a step has too few rows for a rule, z stays where it is, and that is counted.

    Args:
        rules: the rules; without an outer one no step is asked for.
        filtering: what judges each message of the active set; none: nothing does.
        all_rows: whether a step combines the last message of every worker, and not those of the step alone.
    """

    def __init__(
        self, rules: Aggregation, filtering: Filtering | None = None, all_rows: bool = False
    ) -> None:
        self.all_rows = all_rows
        """Whether a step combines the last message of every worker."""
        self._rules = rules
        self._filtering = filtering
        self._fallbacks = 0

    def counts(self) -> dict[str, int]:
        """Return how often a rule had too few rows, what the filter refused, and its own LLM calls."""
        filtering = self._filtering
        return {
            "fallbacks": self._fallbacks,
            "filtered": filtering.refused if filtering else 0,
            "filter_calls": filtering.calls if filtering else 0,
        }

    @property
    def expelled(self) -> Collection[int]:
        """The workers that the filter wants out for good."""
        return getattr(self._filtering, "expelled", ())  # a stranger's may not know of it

    def step(
        self,
        received: Tensor,
        alive: Collection[int],
        admitted: Sequence[Ticket],
        z: Tensor,
        step: int,
        read: Callable[[Any], Tensor] = consensus_of,
    ) -> Tensor:
        """Return what the rule of the outer step adds to z, (M, N).

        Args:
            received: the last message of each worker, (R, M, N), those of this step included.
            alive: the workers that still take part.
            admitted: the tickets of this step whose messages came in.
            z: the consensus before, (M, N).
            step: server steps taken so far.
            read: from the content of a snapshot to the consensus in it, (M, N).
        """
        assert self._rules.outer is not None
        workers = list(alive) if self.all_rows else [ticket.worker for ticket in admitted]
        everyone = self.all_rows and len(alive) == len(received)
        rows, previous = (received if everyone else received[workers]).flatten(1), z.flatten()
        if self._filtering is not None:
            arrivals = [
                Arrival(
                    ticket.worker,
                    row,
                    read(ticket.snapshot.content).flatten(),
                    step - ticket.snapshot.version,
                )
                for ticket, row in zip(admitted, rows, strict=True)
            ]
            rows = self._filtering.passed(arrivals, previous)
            if not len(rows):  # refused, or kept back: the filter says so in its own books
                return torch.zeros_like(z)
        return self.towards(self._rules.outer, self._rules.outer_rate, rows, z)

    def without_rows(self) -> None:
        """Count a step that had too few rows for its rule."""
        self._fallbacks += 1

    def towards(self, rule: Aggregator, rate: float, rows: Tensor, z: Tensor) -> Tensor:
        """Return what takes z the share `rate` of the way to what a rule makes of rows, (m, d): (M, N)."""
        found = combined(rule, self._rules.before, rows, z.flatten())
        if found is None:
            self.without_rows()
            return torch.zeros_like(z)
        return rate * (found.view_as(z) - z)
