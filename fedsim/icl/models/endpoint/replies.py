"""What a server answers, in each layout that is read: fields that are not needed are left out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from fedsim.icl.answers.answer import ROUNDING, ROUNDING_OF_SUM
from fedsim.icl.models.endpoint.errors import CallError

MOST_LETTERS = 200
"""What is kept of a text that is only recorded."""


def _as_note(value: object) -> str:
    """Read something that is only recorded: whatever a server puts there, its answer can be used."""
    return value[:MOST_LETTERS] if isinstance(value, str) else ""


def _as_text(value: object) -> object:
    """Read a text in parts, as some servers send it, as one; their thoughts are other kinds of parts."""
    if isinstance(value, list) and all(isinstance(part, dict) for part in value):
        return "".join(str(part.get("text", "")) for part in value if part.get("type") == "text")
    return value


Note = Annotated[str, BeforeValidator(_as_note)]


class Token(BaseModel):
    """A token and its log-probability; minus infinity, like a very low number, says "never"."""

    token: str
    logprob: float


class Position(Token):
    """The token that was written at one place, and the likeliest ones there."""

    top_logprobs: list[Token] = []


class Logprobs(BaseModel):
    """Log-probabilities: `content` is the layout of chats, the rest that of completions.

    llama.cpp sends the first for completions, too.
    """

    content: list[Position] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class ChatMessage(BaseModel):
    """The message of a chat."""

    content: Annotated[str | None, BeforeValidator(_as_text)] = None
    refusal: Note = ""


class Choice(BaseModel):
    """One answer."""

    text: str | None = None
    message: ChatMessage | None = None
    logprobs: Logprobs | None = None
    finish_reason: Note = ""


class Usage(BaseModel):
    """Tokens, as the server counts them."""

    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)


class Reply(BaseModel):
    """The body of an answer."""

    choices: list[Choice] = Field(min_length=1)
    usage: Usage | None = None
    model: Note = ""
    system_fingerprint: Note = ""

    @model_validator(mode="before")
    @classmethod
    def _not_counted(cls, body: object) -> object:
        """Read a usage without numbers as none: nothing was counted."""
        if isinstance(body, dict) and isinstance(body.get("usage"), dict):
            counted = {name: value for name, value in body["usage"].items() if value is not None}
            return body | {"usage": counted or None}
        return body

    @property
    def text(self) -> str | None:
        """What was written."""
        first = self.choices[0]
        return first.message.content if first.message else first.text

    @property
    def is_refused(self) -> bool:
        """Whether a filter or the model itself has kept an answer back."""
        first = self.choices[0]
        return first.finish_reason == "content_filter" or bool(first.message and first.message.refusal)

    @property
    def is_cut_off(self) -> bool:
        """Whether the answer is longer than what was asked for."""
        return self.choices[0].finish_reason == "length"

    def listed(self) -> list[tuple[str, float]]:
        """Return the tokens listed for the first place with their log-probabilities; empty without any."""
        logprobs = self.choices[0].logprobs or Logprobs()
        if logprobs.content:
            return [(likely.token, likely.logprob) for likely in logprobs.content[0].top_logprobs]
        first = (logprobs.top_logprobs or [None])[0] or {}
        return list(first.items())

    def written(self) -> list[tuple[str, float]]:
        """Return the tokens of the text with their log-probabilities, an echoed prompt included.

        The very first token of a text has none: it is left out.
        """
        logprobs = self.choices[0].logprobs or Logprobs()
        if logprobs.content:
            return [(token.token, token.logprob) for token in logprobs.content]
        pairs = zip(logprobs.tokens or [], logprobs.token_logprobs or [], strict=False)
        return [(token, logprob) for token, logprob in pairs if logprob is not None]


def read(body: str) -> Reply:
    """Return the answer that a body holds; whether it is possible, `check` tells.

    Raises:
        CallError: it holds none; the text of the body is not repeated.
    """
    try:
        return Reply.model_validate_json(body)
    except ValidationError as error:
        what = error.errors(include_input=False)[0]
    if not body.strip():
        raise CallError("the server sent an empty answer")
    if what["type"] == "json_invalid":
        raise CallError("the server sent an answer that is no JSON: is base_url the root of an API, as /v1?")
    raise CallError(f"the server sent an answer without usable {str((*what['loc'], 'fields')[0])!r}")


def check(reply: Reply) -> None:
    """Refuse an answer that lists what cannot be log-probabilities.

    Raises:
        CallError: it does.
    """
    for listed in _lists(reply):
        _check(listed)


def _lists(reply: Reply) -> Iterator[list[float]]:
    """Yield all log-probabilities of an answer: those listed for each place, then those that were written."""
    for choice in reply.choices:
        logprobs = choice.logprobs or Logprobs()
        yield from ([token.logprob for token in place.top_logprobs] for place in logprobs.content or [])
        yield from (list(place.values()) for place in logprobs.top_logprobs or [] if place)
        yield from ([token.logprob] for token in logprobs.content or [])
        yield from ([logprob] for logprob in logprobs.token_logprobs or [] if logprob is not None)


def _check(found: list[float]) -> None:
    """Refuse log-probabilities of different tokens in one place that cannot be some.

    Raises:
        CallError: one is above 0 or no number, or together they say more than "always".
    """
    if any(math.isnan(logprob) for logprob in found):
        raise CallError("the server lists a log-probability that is no number (NaN)")
    if (most := max(found, default=0.0)) > ROUNDING:
        seems = " (it seems to list probabilities)" if all(0 <= logprob <= 1 for logprob in found) else ""
        raise CallError(
            f"the server lists a log-probability of {most:.4g}, which is impossible: expected at most "
            f"0{seems}"
        )
    if (total := sum(map(math.exp, found))) > 1 + ROUNDING_OF_SUM:
        raise CallError(
            f"the server lists tokens whose probabilities add up to {total:.4g}, which is impossible: "
            "expected at most 1"
        )
