"""A language model whose answers are a formula of the prompt's text, for tests; it can be told to fail."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import Field, PrivateAttr

from fedsim.errors import ModelError
from fedsim.icl.models.language import Answer, LanguageModel, Writing


class FakeModel(LanguageModel):
    """Answers at once: the probability of a label is a number made of a hash of prompt and label.

    Source: no paper; a stand-in for tests.
    """

    kind: Literal["fake"] = "fake"
    name: str = "one"
    """Part of what answers depend on: models of other names answer otherwise."""
    fail_at: int | None = Field(default=None, ge=1)
    """The call, counted from 1 over all sessions of this model, that fails instead of answering."""
    fails_with: Literal["error", "interrupt"] = "error"
    told: dict[str, tuple[float, ...]] = Field(default={}, exclude=True)
    """Label probabilities after some prompts, instead of the formula's."""
    seconds: float = 0.001
    """What a call is said to have taken."""
    _asked: list[str] = PrivateAttr(default_factory=list)
    _sessions: list[FakeSession] = PrivateAttr(default_factory=list)

    @property
    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind, "name": self.name}

    @property
    def asked(self) -> list[str]:
        """Every prompt that was answered, in order."""
        return self._asked

    @property
    def sessions(self) -> list[FakeSession]:
        """Every session that was opened, in order."""
        return self._sessions

    def connect(self) -> FakeSession:
        self._sessions.append(FakeSession(self))
        return self._sessions[-1]


class FakeSession:
    """`FakeModel`, ready to answer."""

    def __init__(self, model: FakeModel) -> None:
        self.model = model
        self.batches: list[int] = []
        """How many prompts each call of `ask` or `write` brought."""
        self.closed = False

    def ask(
        self, prompts: Sequence[str], labels: tuple[str, ...], done: Callable[[int, Answer], None]
    ) -> None:
        self.batches.append(len(prompts))
        for place, prompt in enumerate(prompts):
            self._count(prompt)
            found = self.model.told.get(prompt) or [probability(self.model.name, prompt, x) for x in labels]
            logprobs = tuple(math.log(p) if p > 0 else -math.inf for p in found)
            done(place, Answer(logprobs, len(prompt.split()), 1, self.model.seconds, self.model.seconds))

    def write(self, prompts: Sequence[str], max_tokens: int, done: Callable[[int, Writing], None]) -> None:
        self.batches.append(len(prompts))
        for place, prompt in enumerate(prompts):
            self._count(prompt)
            words = hashlib.sha256(f"{self.model.name} {prompt}".encode()).hexdigest()[:max_tokens]
            done(place, Writing(f"Thus {words}", len(prompt.split()), max_tokens, 0.0, self.model.seconds))

    def close(self) -> None:
        self.closed = True

    def _count(self, prompt: str) -> None:
        model = self.model
        if len(model.asked) + 1 == model.fail_at:
            raise KeyboardInterrupt if model.fails_with == "interrupt" else ModelError("the model broke down")
        model.asked.append(prompt)


def probability(name: str, prompt: str, label: str) -> float:
    """Return the probability of a label word after a prompt, from 0.01 to 0.49."""
    digest = hashlib.sha256("\0".join((name, prompt, label)).encode()).digest()
    return 0.01 + 0.48 * int.from_bytes(digest[:6], "big") / 2**48
