"""How a server combines the messages of a step, as settings; free of torch so that scenarios load fast."""

from __future__ import annotations

from pydantic import Field, model_validator

from fedsim.catalog import Strict
from fedsim.learning.aggregators import AnyAggregator
from fedsim.learning.aggregators.base import Aggregator
from fedsim.learning.filters import AnyFilter
from fedsim.learning.preaggregators import AnyPreaggregator

COUNTERS = ("rejected", "fallbacks", "filtered", "filter_calls")
"""What a `Door` and a `Merge` count: messages turned away, rounds in which a rule had too few rows, messages
that a filter refused, and the filter's own LLM calls."""
SIGN_SHARE = 32
"""A sign is one bit of the 32 of a number."""


class Aggregation(Strict):
    """Which rule combines messages, and what happens to them before.

    A rule A stands for ``z <- z + rate (A(rows, z) - z)``.
    """

    outer: AnyAggregator | None = None
    """The rule of a server step."""
    before: tuple[AnyPreaggregator, ...] = ()
    """What happens to the rows first, one after the other."""
    outer_rate: float = Field(1.0, gt=0, le=1)
    """How far z goes towards the combined value in a step."""
    filter: AnyFilter | None = None
    """What the server does to each message of a step as it arrives."""

    @property
    def sends_signs(self) -> bool:
        """Whether workers send signs in a step, in the place of numbers."""
        return self.outer is not None and self.outer.sends_signs

    def sent_bytes(self, bytes_up: int) -> int:
        """Return the size of what workers send in a step, where a message of numbers has so many bytes."""
        return -(-bytes_up // SIGN_SHARE) if self.sends_signs else bytes_up

    @model_validator(mode="after")
    def _check_signs(self) -> Aggregation:
        """Say that something is done to messages where workers send signs."""
        if self.outer is not None and self.sends_signs and self.before:
            raise ValueError(
                f"before: {self.before[0].kind!r} works on messages, but with outer = {self.outer.kind!r} "
                "workers send signs"
            )
        return self

    def check_steps(self, wait_for: int, n_workers: int) -> int | None:
        """Say that steps of so many messages cannot satisfy the filter or the rule.

        Args:
            wait_for: S.
            n_workers: R.

        Raises:
            ValueError: they cannot.
        """
        rows: int | None = wait_for
        if self.filter is not None:
            try:
                self.filter.check(n_workers)
            except ValueError as error:
                raise ValueError(f"algorithm.aggregation.filter.{error}") from error
            rows = self.filter.rows_made(wait_for)
        if rows is not None and self.outer is not None:
            self.check_rows("outer", self.outer, rows)
        return rows

    def check_rows(self, place: str, rule: Aggregator, m: int) -> None:
        """Say that m rows per step cannot satisfy the rule at a place, pre-aggregation included.

        Raises:
            ValueError: they cannot.
        """
        left = m
        for stage in self.before:
            if not stage.rows_left(left):
                raise ValueError(
                    f"algorithm.aggregation.before: {stage.kind!r} cannot work on the {left} rows of a step"
                )
            left = stage.rows_left(left)
        if left < rule.least_rows:
            made = "" if left == m else f", made of {m}"
            raise ValueError(
                f"algorithm.aggregation.{place}: {rule.kind!r} needs at least {rule.least_rows} rows in a "
                f"step, got {left}{made}"
            )
        if refusal := rule.refusal(left):
            raise ValueError(f"algorithm.aggregation.{place}: {refusal}")
