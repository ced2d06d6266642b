"""Demonstrations whose text has nothing to do with the task."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator

from fedsim.icl.attacks.base import DemonstrationAttack, PoisonPlan
from fedsim.icl.attacks.poison import with_texts
from fedsim.icl.tasks.base import Form, TaskData, Text, Texts

SENTENCES = (
    "The ferry leaves the northern harbour every day at seven.",
    "Two parts of sand and one of cement are mixed with water.",
    "The library opens on Saturday mornings only.",
    "Snow is expected above eight hundred metres tonight.",
    "The train to the coast departs from platform four.",
    "A hexagon has six sides and six corners.",
    "Water the tomato plants twice a week.",
    "The parcel weighs three kilograms and a half.",
)


class OffTopic(DemonstrationAttack):
    """Each poisoned demonstration shows a sentence about something else, under the label that it had.

    Both texts of a pair are replaced, by different sentences; a context is left out.

    Source: Min et al., "Rethinking the role of demonstrations: what makes in-context learning work?", EMNLP
    2022, section 5 (demonstrations whose input text is out of distribution).
    """

    kind: Literal["off_topic"] = "off_topic"
    needs: ClassVar[Form | None] = "text"

    sentences: tuple[str, ...] = Field(default=SENTENCES, min_length=2)
    """What the sentences are drawn from."""

    @field_validator("sentences")
    @classmethod
    def _not_empty(cls, sentences: tuple[str, ...]) -> tuple[str, ...]:
        if not all(sentence.strip() for sentence in sentences):
            raise ValueError("expected sentences, found an empty one")
        return sentences

    def _poisoned(self, data: TaskData[Texts], plan: PoisonPlan) -> TaskData[Texts]:
        n = len(self.sentences)
        texts = []
        for row, number in zip(
            data.demonstrations.x[plan.chosen], plan.numbers[plan.chosen].tolist(), strict=True
        ):
            first = number % n
            # One to n - 1 sentences further: another one.
            second = (first + 1 + number // n % (n - 1)) % n
            is_pair = bool(data.source.rows[row].b)
            texts.append(Text(self.sentences[first], self.sentences[second] if is_pair else ""))
        return with_texts(data, plan.chosen, texts)
