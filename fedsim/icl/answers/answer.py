"""What a language model says, and what a call of it cost."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, Protocol, runtime_checkable

Correction = Literal["none", "content_free"]
"""How label probabilities are corrected; see `fedsim.icl.models.language.LanguageModel.correction`."""


ROUNDING = 1e-3
"""How far above 0 a log-probability may be: whoever computes it rounds."""

ROUNDING_OF_SUM = 0.01
"""How far above 1 the probabilities of things that exclude each other may add up."""


class Answer(NamedTuple):
    """What a model says of one prompt, and what the call cost. Holds no text."""

    logprobs: tuple[float, ...]
    """Natural logarithm of the probability of each label word, not normalised over the labels."""
    tokens_in: int
    tokens_out: int
    ttft_s: float
    """Measured seconds to the first token."""
    end_to_end_s: float
    rule: str = "listed"
    """How the label words were scored: "listed"; the rule for a label word the model did not list; or why a
    text names no label: "no_text", "cut_off" (it is longer than asked for), "refused" (by a filter)."""
    unlisted: tuple[int, ...] = ()
    """The numbers of the labels that the answer neither lists nor writes: their scores are the rule's."""
    model: str = ""
    """What the server says that it has asked; empty where it does not say."""
    fingerprint: str = ""
    """What the server says of the configuration that it runs with; empty where it does not say."""

    @property
    def says_nothing(self) -> bool:
        """Whether no label is named at all, so that all of them are as likely."""
        return len(self.unlisted) == len(self.logprobs) or max(self.logprobs) == -math.inf


class Writing(NamedTuple):
    """A text that a model wrote, and what the call cost."""

    text: str
    tokens_in: int
    tokens_out: int
    ttft_s: float
    end_to_end_s: float
    model: str = ""
    """As in an `Answer`."""
    fingerprint: str = ""


class Spent(NamedTuple):
    """What was really sent to a model and came back, tries that failed aside."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    calls_without_usage: int = 0
    """Calls of which the server reports no tokens."""
    cost: float | None = None
    """In the currency of the prices; None where they are not known."""

    def plus(self, other: Spent) -> Spent:
        """Return both together."""
        costs = [cost for cost in (self.cost, other.cost) if cost is not None]
        return Spent(
            self.calls + other.calls,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            self.calls_without_usage + other.calls_without_usage,
            sum(costs) if costs else None,
        )

    def as_table(self) -> dict[str, float | None]:
        """Return it for JSON; tokens and cost are unknown where the server did not report all of them."""
        unknown = dict.fromkeys(("tokens_in", "tokens_out", "cost")) if self.calls_without_usage else {}
        return self._asdict() | unknown


@runtime_checkable
class Metered(Protocol):
    """A session that counts what is really sent; of others each answer counts as a call."""

    def spent(self) -> Spent:
        """Return what was sent so far."""
        ...
