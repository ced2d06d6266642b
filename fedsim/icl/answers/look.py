"""One answer of a language model, looked at closely: what came, and what it was taken for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple, Protocol, runtime_checkable

from fedsim.errors import ModelError
from fedsim.icl.answers.answer import Answer, Writing
from fedsim.icl.models.language import Session

TEXT_TOKENS = 8
"""How much is written by a model that shows nothing else."""


class ListedToken(NamedTuple):
    """A token that a model lists for the first place of its answer."""

    token: str
    logprob: float
    begins: str
    """The label that it begins; empty for none."""


class Look(NamedTuple):
    """What a model sent, and what it was taken for."""

    written: str | None
    listed: Sequence[ListedToken] = ()
    ended: str = ""
    """Why the answer ends where it ends, as the server says it."""
    answer: Answer | None = None
    useless: str = ""
    """Why it cannot be used."""


@runtime_checkable
class Shows(Protocol):
    """A session that shows what came."""

    def look(self, prompt: str, labels: tuple[str, ...]) -> Look:
        """Ask one prompt and return everything that came.

        Raises:
            ModelError: nothing came.
        """
        ...


def look_at(session: Session, prompt: str, labels: tuple[str, ...]) -> Look:
    """Ask a model one prompt, whatever is kept, and return what came.

    Raises:
        ModelError: nothing came.
    """
    if isinstance(session, Shows):
        return session.look(prompt, labels)
    answers: list[Answer] = []
    texts: list[Writing] = []
    session.ask([prompt], labels, lambda _, answer: answers.append(answer))
    with suppress(ModelError):  # a recording holds answers to what was asked then, and nothing else
        session.write([prompt], TEXT_TOKENS, lambda _, text: texts.append(text))
    return Look(texts[0].text if texts else None, answer=answers[0])


def lines(look: Look, labels: tuple[str, ...]) -> Iterator[str]:
    """Yield a look in words, line by line."""
    if (answer := look.answer) is not None:
        said = f"answer: {answer.tokens_in:,} tokens in, {answer.tokens_out:,} out"
        said += f"; the server names the model {answer.model!r}" if answer.model else ""
        said += f", fingerprint {answer.fingerprint!r}" if answer.fingerprint else ""
        yield said + (f"; ended by {look.ended!r}" if look.ended else "")
    yield f"written: {'nothing' if look.written is None else repr(look.written)}"
    if look.listed:
        yield "listed for the first token:"
    for token, logprob, begins in look.listed:
        note = f"  begins {begins!r}" if begins else ""
        yield f"  {_probability(logprob):>10}  {token!r}{note}"
    if look.useless:
        yield f"of no use: {look.useless}"
    if answer is None:
        return
    yield "labels:"
    for place, label in enumerate(labels):
        listed = any(token.begins == label for token in look.listed)
        rule = "listed" if listed or answer.rule == "listed" else f"by the rule {answer.rule!r}"
        missing = ", not in the answer" if place in answer.unlisted else ""
        yield f"  {_probability(answer.logprobs[place]):>10}  {label!r}  {rule}{missing}"


def _probability(logprob: float) -> str:
    return f"{math.exp(logprob):.4g}" if logprob <= 0 else f"(log {logprob:.4g})"
