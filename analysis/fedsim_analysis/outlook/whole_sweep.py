"""What all runs of a sweep ask, added up by arithmetic: there may be more than could be estimated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fedsim.scenario import Scenario
from fedsim.sweep.forecast import work_of
from fedsim_analysis.outlook.expected import called
from fedsim_analysis.outlook.telling import count, real_words
from fedsim_analysis.words import number


class SweepOutlook:
    """Adds up LLM calls and prices of runs."""

    def __init__(self) -> None:
        self.n_runs = self.unknown = 0
        """Runs, and those of which nobody can say how many calls they make: budgets in seconds alone."""
        self.calls: list[float] = []
        self.prices: list[float] = []
        self.real_calls: list[float] = []
        self.real_prices: list[float | None] = []
        self.exact, self.at_most = True, False

    def add(self, scenario: Scenario) -> None:
        """Count a run."""
        work = work_of(scenario)
        self.n_runs += 1
        self.at_most |= work.at_most
        if work.updates is None:
            self.unknown += 1
            return
        self.exact &= work.exact
        asked = called(scenario, work)
        self.calls.append(asked.run.calls)
        self.prices.append(asked.price)
        if asked.real is not None:
            self.real_calls.append(asked.real.jobs + asked.real.evaluation)
            self.real_prices.append(asked.real.price)

    def told(self) -> Iterator[tuple[str, str]]:
        """Yield what all runs ask together, and what one of them asks at least and at most."""
        unknown = f"; unknown for {self.unknown:,} runs with a budget in seconds" if self.unknown else ""
        if not self.calls:
            yield "all runs", f"LLM calls: unknown, the budget is in seconds{unknown}"
            return
        how = "at most " if self.at_most else ("" if self.exact else "about ")
        low, high = (count(value, "call") for value in (min(self.calls), max(self.calls)))
        each = f"{low} each" if low == high else f"{low} to {high} a run"
        yield "all runs", f"{how}{count(sum(self.calls), 'LLM call')}, {each}{unknown}"
        if any(self.prices):
            low, high = number(min(self.prices)), number(max(self.prices))
            each = f"{low} each" if low == high else f"{low} to {high} a run"
            yield "price", f"simulated {number(sum(self.prices))}, {each}"
        if self.real_calls:
            yield "real model", real_words(sum(self.real_calls), self.real_price)

    @property
    def real_price(self) -> float | None:
        """Of all runs that ask a real model; None: nobody can say."""
        prices = [price for price in self.real_prices if price is not None]
        return sum(prices) if prices and len(prices) == len(self.real_prices) else None

    def as_json(self) -> dict[str, Any]:
        """Return it for another program."""
        return {
            "llm_calls": sum(self.calls) if self.calls else None,
            "llm_calls_low": min(self.calls, default=None),
            "llm_calls_high": max(self.calls, default=None),
            "cost": sum(self.prices),
            "real_calls": sum(self.real_calls),
            "real_cost": self.real_price,
            "runs_unknown": self.unknown,
            "exact": self.exact,
            "at_most": self.at_most,
        }
