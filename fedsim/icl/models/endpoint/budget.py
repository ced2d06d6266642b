"""What a session may use: calls, tokens, money."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fedsim.icl.models.endpoint.part import Endpoint

TEMPLATE_TOKENS = 100
"""Allowance for what a server puts around a prompt: the roles of a chat, a system message."""


class Use(NamedTuple):
    """What asking one prompt uses, of all its calls."""

    calls: int
    tokens_in: int
    tokens_out: int


def most(prompt: str, calls: int, tokens_out: int, added: int = 0) -> Use:
    """Return the most that a prompt can use: no token is shorter than a byte.

    Args:
        prompt: the text.
        calls: the most calls that it may take.
        tokens_out: the most tokens of one answer.
        added: bytes by which later calls may be longer.
    """
    return Use(calls, calls * (len(prompt.encode()) + added + TEMPLATE_TOKENS), calls * tokens_out)


class UsageBudget:
    """Counts what a session uses. What is on its way counts as the most that it can use."""

    def __init__(self, settings: Endpoint) -> None:
        self._settings = settings
        self._used = Use(0, 0, 0)

    def lacking(self, use: Use) -> str | None:
        """Return a sentence on the limit that this use would pass; None if there is room."""
        limits = ("max_calls", "max_tokens", "max_cost")
        both = Use(*(a + b for a, b in zip(self._used, use, strict=True)))
        amounts = (self._amounts(self._used), self._amounts(use), self._amounts(both))
        for name, used, needed, together in zip(limits, *amounts, strict=True):
            limit = getattr(self._settings, name)
            if limit is not None and together > limit:
                return (
                    f"{name} = {limit:.10g} leaves no room for the next prompt: {used:.10g} used, and it may "
                    f"need {needed:.10g}; raise {name}"
                )
        return None

    def reserve(self, use: Use) -> None:
        """Count a prompt that is asked."""
        self._used = Use(*(a + b for a, b in zip(self._used, use, strict=True)))

    def settle(self, reserved: Use, used: Use) -> None:
        """Count what a prompt used in the place of what it could have used."""
        self._used = Use(*(a - b + c for a, b, c in zip(self._used, reserved, used, strict=True)))

    def _amounts(self, use: Use) -> tuple[float, float, float]:
        """Return calls, tokens and cost."""
        price_in = self._settings.price_per_million_tokens_in or 0.0
        price_out = self._settings.price_per_million_tokens_out or 0.0
        cost = (use.tokens_in * price_in + use.tokens_out * price_out) / 1e6
        return use.calls, use.tokens_in + use.tokens_out, cost
