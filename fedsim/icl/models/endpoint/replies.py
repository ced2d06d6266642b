"""What a server answers, in each layout that is read: fields that are not needed are left out."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedsim.icl.models.endpoint.errors import CallError


class Token(BaseModel):
    """A token and its log-probability."""

    model_config = ConfigDict(allow_inf_nan=False)

    token: str
    logprob: float


class Position(Token):
    """The token that was written at one place, and the likeliest ones there."""

    top_logprobs: list[Token] = []


class Logprobs(BaseModel):
    """Log-probabilities: `content` is the layout of chats, the rest that of completions.

    llama.cpp sends the first for completions, too.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    content: list[Position] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class ChatMessage(BaseModel):
    """The message of a chat."""

    content: str | None = None


class Choice(BaseModel):
    """One answer."""

    text: str | None = None
    message: ChatMessage | None = None
    logprobs: Logprobs | None = None


class Usage(BaseModel):
    """Tokens, as the server counts them."""

    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)


class Reply(BaseModel):
    """The body of an answer."""

    choices: list[Choice] = Field(min_length=1)
    usage: Usage | None = None

    @property
    def text(self) -> str | None:
        """What was written."""
        first = self.choices[0]
        return first.message.content if first.message else first.text

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
    """Return the answer that a body holds.

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
