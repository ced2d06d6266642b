"""Who answered: whether kept answers are of the model that answers now, and whether all are of one model.

A server may get another model behind the same address and name. It says so in its answers, or it does not; so
one prompt whose answer is kept is asked anew, and both answers are compared.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from fedsim.errors import ModelError
from fedsim.icl.answers.answer import Answer, Writing
from fedsim.icl.answers.kept import Kept

TOLERANCE = 0.1
"""By how much the probability of a label may differ when the same model is asked again: servers that answer
several prompts at once compute sums in another order each time, and hosted models are not exact."""

MOST_PROMPTS = 3
"""How many prompts are asked anew where the first answer differs: one may be a close call."""

REMEDY = (
    "answers of both would be mixed. Name another folder in FEDSIM_CACHE to ask everything anew, or say "
    "control_prompt = false to use what is kept"
)


class AnswerOrigin(NamedTuple):
    """Who has answered, as the server says it; empty where it does not."""

    model: str
    fingerprint: str


class ServerCensus:
    """Counts the answers of a run by who gave them."""

    def __init__(self) -> None:
        self._answers = Counter[AnswerOrigin]()

    def add(self, kept: Kept) -> None:
        """Count an answer."""
        self._answers[AnswerOrigin(kept.model, kept.fingerprint)] += 1

    def counts(self) -> list[dict[str, Any]]:
        """Return who gave how many answers."""
        return [server._asdict() | {"answers": n} for server, n in sorted(self._answers.items())]

    def cautions(self) -> Iterator[str]:
        """Yield a sentence where the answers of one run are of several models or configurations."""
        for field, what in (("model", "models"), ("fingerprint", "configurations (system_fingerprint)")):
            by_name = Counter[str]()
            for server, n_answers in self._answers.items():
                by_name[getattr(server, field)] += n_answers
            del by_name[""]
            if len(by_name) > 1:
                told = ", ".join(f"{name!r} ({n:,} answers)" for name, n in sorted(by_name.items()))
                yield f"the server names several {what} in this run: {told}"


class Control:
    """Whether kept answers are of the model that answers now."""

    def __init__(self) -> None:
        self.model: str | None = None
        """The model that answers now, as the server says it; None before that is known."""
        self.caution = ""
        """A sentence, if something is not as it was, or could not be found out."""

    def compare(self, kept: Mapping[str, Kept], ask: Callable[[str], Kept], labels: Sequence[str]) -> None:
        """Ask a prompt anew and compare the answer with the kept one; where they differ, ask some more.

        Args:
            kept: answers by prompt.
            ask: asks a prompt anew.
            labels: the label words that were asked about; none for texts.

        Raises:
            ModelError: they are of different models, or `ask` raises it.
        """
        differences: list[str] = []
        some = list(islice(kept.items(), MOST_PROMPTS))
        for prompt, before in some:
            now = ask(prompt)
            self.model, self.caution = now.model, ""
            self.check(before)
            if _differ(before.fingerprint, now.fingerprint):
                self.caution = (
                    f"the server's configuration (system_fingerprint) is {now.fingerprint!r}, and was "
                    f"{before.fingerprint!r} when answers were kept"
                )
            if difference := _difference(before, now, labels):
                differences.append(difference)
            if not differences:
                return
        told = f"{len(differences)} of {len(some)} prompts asked anew have other answers: {differences[0]}"
        if 2 * len(differences) >= len(some):
            raise ModelError(f"the server does not answer as it did: {told}; {REMEDY}")
        self.caution = f"{self.caution}; {told}" if self.caution else told

    def check(self, kept: Kept) -> None:
        """Raise a `ModelError` where a kept answer is of another model than the one that answers now."""
        if self.model is not None and _differ(kept.model, self.model):
            raise ModelError(
                f"the server names its model {self.model!r} now, and kept answers are of {kept.model!r}; "
                f"{REMEDY}"
            )


def _difference(before: Kept, now: Kept, labels: Sequence[str]) -> str:
    """Return how an answer differs from a kept one to the same question; nothing where it does not."""
    if isinstance(before, Answer) and isinstance(now, Answer):
        for label, *logprobs in zip(labels, before.logprobs, now.logprobs, strict=True):
            was, found = map(math.exp, logprobs)
            if abs(found - was) > TOLERANCE:
                return f"{label!r} has the probability {found:.3g}, and had {was:.3g}"
    elif isinstance(before, Writing) and isinstance(now, Writing) and before.text != now.text:
        return "the text is another one"
    return ""


def _differ(one: str, other: str) -> bool:
    return bool(one and other and one != other)
