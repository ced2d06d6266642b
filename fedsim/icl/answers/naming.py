"""Whether a model's answers name the labels at all: without this a run's numbers mean nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from fedsim.errors import ModelError
from fedsim.icl.answers.answer import Answer

EARLY = 50
"""By so many answers without a label more than the share that is allowed a run is ended before its end."""

LOOK = "`fedsim prompt FILE --ask` shows an answer"

REASONS = {
    "no_text": "had no text (a model that thinks before it answers needs a larger text_tokens)",
    "cut_off": "were cut off after text_tokens",
    "refused": "were refused by a filter",
}
"""What the rules of answers say about why no label is named."""


class Judgement(NamedTuple):
    """Whether the answers that a run has used mean something."""

    nothing: str = ""
    """A sentence, if its results mean nothing."""
    cautions: tuple[str, ...] = ()
    """Sentences on what makes them mean less than they seem to."""


class LabelCensus:
    """Counts which labels the answers of a run name: they list a token of it with a probability, or write it.

    Args:
        warn_share: share of answers that name no label above which a sentence says so.
        most_share: share above which the run is an error.
    """

    def __init__(self, warn_share: float, most_share: float) -> None:
        self._warn_share = warn_share
        self._most_share = most_share
        self._asked = Counter[str]()
        """Answers by label that was asked about."""
        self._named = Counter[str]()
        """Answers by label that they name."""
        self._reasons = Counter[str]()
        """Answers that name no label, by rule."""
        self.n_answers = 0
        self.n_silent = 0
        """Answers that name no label."""

    def add(self, answer: Answer, labels: Sequence[str]) -> None:
        """Count an answer about labels."""
        self.n_answers += 1
        self._asked.update(labels)
        if answer.says_nothing:
            self.n_silent += 1
            self._reasons[answer.rule] += 1
        else:
            unlisted = set(answer.unlisted)
            self._named.update(label for place, label in enumerate(labels) if place not in unlisted)

    def check(self) -> None:
        """Raise a `ModelError` once it is plain that too many answers name no label: no more are paid for."""
        if self.n_silent > self._most_share * self.n_answers + EARLY:
            raise ModelError(self._verdict())

    def too_many(self) -> str:
        """Return a sentence where more answers name no label than may be, at the end of a run."""
        return self._verdict() if self.n_silent > self._most_share * self.n_answers else ""

    def cautions(self) -> Iterator[str]:
        """Yield a sentence on each thing that makes results mean less than they seem to."""
        if self.n_silent > self._warn_share * self.n_answers and not self.too_many():
            yield f"{self._share()}: for those all labels were taken as equally likely. {LOOK}"
        if self.n_silent < self.n_answers:
            for label in self._asked:
                if not self._named[label]:
                    n_asked = self._asked[label]
                    yield f"none of the {n_asked:,} answers of the model names the label {label!r}. {LOOK}"

    def counts(self) -> dict[str, Any]:
        """Return how many answers were scored, and how many of them name no label."""
        return {"scored": self.n_answers, "without_label": self.n_silent}

    def _verdict(self) -> str:
        return (
            f"{self._share()}, more than max_unnamed_share = {self._most_share:g} allows: results would mean "
            f"nothing. {LOOK}"
        )

    def _share(self) -> str:
        labels = ", ".join(map(repr, self._asked))
        why = [f"{self._reasons[rule]:,} {reason}" for rule, reason in REASONS.items() if self._reasons[rule]]
        return (
            f"{self.n_silent:,} of {self.n_answers:,} answers of the model "
            f"({self.n_silent / self.n_answers:.0%}) name none of the labels {labels}"
            + (f" ({'; '.join(why)})" if why else "")
        )
