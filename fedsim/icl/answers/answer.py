"""What a language model says, and what a call of it cost."""

from __future__ import annotations

from typing import Literal, NamedTuple

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
    """How the label words were scored: "listed", or the rule for a label word the model did not list."""


class Writing(NamedTuple):
    """A text that a model wrote, and what the call cost."""

    text: str
    tokens_in: int
    tokens_out: int
    ttft_s: float
    end_to_end_s: float
