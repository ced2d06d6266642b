"""What a real model answers when something about its demonstrations is changed.

All changes are made to the same draws of demonstrations and asked about the same queries, and of more
demonstrations a class the first ones are those of fewer: differences are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from fedsim.icl.answers.asking import Asking
from fedsim.icl.attacks.backdoor import Backdoor
from fedsim.icl.attacks.base import Access
from fedsim.icl.attacks.off_topic import SENTENCES
from fedsim.icl.attacks.poison import ending_in
from fedsim.icl.models.label_probabilities import probabilities
from fedsim.icl.models.text_scorer import TextScorer
from fedsim.icl.shots import Order, Shots
from fedsim.icl.tasks.base import Text
from fedsim.icl.tasks.text import TextTask
from fedsim.streams import Stream, Streams

if TYPE_CHECKING:
    from fedsim.icl.attacks import DemonstrationAttack
    from fedsim.icl.models.language import LanguageModel
    from fedsim.icl.tasks.base import TaskData, Texts

Labelled = tuple[Text, int]
Change = Callable[[list[Labelled], np.random.Generator, int], list[Labelled]]
"""Changes demonstrations, given randomness and the number of classes."""

OTHER_WORDS = ("table", "river", "orange", "winter", "pencil", "garden", "silver", "engine")
"""Labels that say nothing about any class."""
TRIGGER: str = Backdoor.model_fields["trigger"].default
TARGET = 1
"""The class that a backdoor is to lead to."""


def _right(shown: list[Labelled], generator: np.random.Generator, n_classes: int) -> list[Labelled]:
    return shown


def _random_labels(shown: list[Labelled], generator: np.random.Generator, n_classes: int) -> list[Labelled]:
    drawn = generator.integers(n_classes, size=len(shown))
    return [(text, int(label)) for (text, _), label in zip(shown, drawn, strict=True)]


def _flipped_labels(shown: list[Labelled], generator: np.random.Generator, n_classes: int) -> list[Labelled]:
    return [(text, (label + 1) % n_classes) for text, label in shown]


def _off_topic(shown: list[Labelled], generator: np.random.Generator, n_classes: int) -> list[Labelled]:
    drawn = generator.integers(len(SENTENCES), size=len(shown))
    return [(Text(SENTENCES[i]), label) for i, (_, label) in zip(drawn, shown, strict=True)]


def _backdoor(shown: list[Labelled], generator: np.random.Generator, n_classes: int) -> list[Labelled]:
    return [(ending_in(TRIGGER, text), TARGET) for text, _ in shown]


def _backdoor_right_labels(
    shown: list[Labelled], generator: np.random.Generator, n_classes: int
) -> list[Labelled]:
    return [(ending_in(TRIGGER, text) if label == TARGET else text, label) for text, label in shown]


CHANGES: dict[str, Change] = {
    "right": _right,
    "random_labels": _random_labels,
    "flipped_labels": _flipped_labels,
    "off_topic": _off_topic,
    "other_words": _right,
    "backdoor": _backdoor,
    "backdoor_right_labels": _backdoor_right_labels,
}


class PromptKind(NamedTuple):
    """One kind of prompt."""

    change: str
    """One of `CHANGES`, or "none" for no demonstrations."""
    per_class: int
    order: Order = "shuffled"


PLAN = (
    PromptKind("none", 0),
    *(PromptKind(change, s) for change in ("right", "random_labels", "flipped_labels") for s in (1, 2, 4, 8)),
    *(PromptKind(change, s) for change in ("off_topic", "other_words") for s in (1, 4)),
    PromptKind("right", 4, "by_class"),
    PromptKind("right", 4, "by_class_reversed"),
    *(PromptKind(change, 4, "alternating") for change in ("right", "random_labels", "flipped_labels")),
    *(PromptKind(change, 8, "alternating") for change in ("right", "flipped_labels")),
    PromptKind("backdoor", 4),
    PromptKind("backdoor_right_labels", 4),
)
"""What is asked, besides a choice of the worst demonstrations."""


class Amounts(NamedTuple):
    """How much is asked."""

    draws: int = 6
    queries_per_class: int = 8
    ranked_per_class: int = 8
    """Candidates of a class among which the worst are looked for."""
    held_per_class: int = 48
    """Candidates of a class from which demonstrations are drawn."""


class Measuring:
    """A real model, a task's texts, and the draws that all changes share.

    Raises:
        InputError: the texts do not suffice.
    """

    def __init__(self, task: TextTask, model: LanguageModel, seed: int, sizes: Amounts) -> None:
        n_test = tuple(4 * sizes.queries_per_class for _ in range(task.n_classes))
        larger = {"n_demonstrations": sizes.held_per_class, "test_counts": n_test}
        self._task = task.model_copy(update=larger)
        self._model, self._sizes, self._streams = model, sizes, Streams(seed)
        self._data = self._task.without_fragment().draw(self._streams, 1)
        self.asking = Asking(model)

    def answers(self, plan: Sequence[PromptKind] = PLAN) -> pd.DataFrame:
        """Return one row per draw and kind of prompt.

        Returns:
            `change, per_class, order, draw, accuracy, margin, answered_last, base, classes`: `margin` is the
            mean log-odds of the right label against the likeliest other one, `answered_last` the part of the
            answers that name the last class. For a backdoor `accuracy` is the part of the queries of other
            classes that get its target with the trigger, and `base` the part without. `classes` is U.

        Raises:
            ModelError: the model did not answer; its answers so far are in the cache.
        """
        rows = [row for draw in range(self._sizes.draws) for row in self._of_draw(draw, plan)]
        return pd.DataFrame([*rows, *self._of_worst()]).assign(classes=self._task.n_classes)

    def _of_draw(self, draw: int, plan: Sequence[PromptKind]) -> Iterator[dict[str, object]]:
        generator = self._streams.generator(Stream.PROMPTS, 0, draw)
        queries = self._queries(generator)
        pools = self._data.demonstrations.x[0]
        order = [generator.permutation(pool) for pool in pools]
        for asked in plan:
            # Of its own for each kind, so that another plan changes no answers.
            number = [*CHANGES, "none"].index(asked.change)
            own = self._streams.generator(Stream.BASELINE, 100 * number + asked.per_class, draw)
            slots = [
                (self._text(row), label)
                for label, rows in enumerate(order)
                for row in rows[: asked.per_class]
            ]
            yield self._row(asked, draw, slots, queries, own)

    def _row(
        self,
        asked: PromptKind,
        draw: int,
        slots: list[Labelled],
        queries: list[Labelled],
        generator: np.random.Generator,
    ) -> dict[str, object]:
        template, n_classes = self._data.source.template, self._task.n_classes
        if asked.change != "none":
            slots = CHANGES[asked.change](slots, generator, n_classes)
            shots = Shots(per_class=asked.per_class, order=asked.order)
            slots = [slots[i] for i in shots.sequence(n_classes, Streams(draw))]
        said = template
        if asked.change == "other_words":
            words = tuple(generator.permutation(OTHER_WORDS)[:n_classes].tolist())
            said = template.model_copy(update={"labels": words})
        row: dict[str, object] = {
            "change": asked.change,
            "per_class": asked.per_class,
            "order": asked.order,
            "draw": draw,
        }
        head = said.head(slots, "")
        if asked.change.startswith("backdoor"):
            others = [text for text, label in queries if label != TARGET]
            triggered = self._ask(head, [ending_in(TRIGGER, text) for text in others])
            base = self._ask(head, others)
            found = [float((scores.argmax(-1) == TARGET).mean()) for scores in (triggered, base)]
            return row | {"accuracy": found[0], "base": found[1]}
        return row | _measures(self._ask(head, [text for text, _ in queries]), [y for _, y in queries])

    def _of_worst(self) -> Iterator[dict[str, object]]:
        """Yield rows of one demonstration a class, from a pool as it is and from one of its worst ones."""
        from fedsim.icl.attacks.adversarial import Adversarial

        task = self._task.model_copy(update={"n_demonstrations": self._sizes.ranked_per_class})
        streams = Streams(self._streams.seed + 1)
        clean = task.without_fragment().draw(streams, 1)
        access = Access(lambda data: TextScorer(self._model, data, self.asking), 0.01)
        attack: DemonstrationAttack = Adversarial()
        pools = {"unranked": clean, "adversarial": attack.apply(clean, [0], streams, access=access)}
        for change, data in pools.items():
            for draw in range(self._sizes.draws):
                generator = streams.generator(Stream.PROMPTS, 0, draw)
                queries = self._queries(generator)
                numbers = generator.integers(task.n_demonstrations, size=task.n_classes)
                slots = _chosen(data, numbers)
                slots = [slots[i] for i in generator.permutation(len(slots))]
                head = data.source.template.head(slots, "")
                scores = self._ask(head, [text for text, _ in queries])
                row = {"change": change, "per_class": 1, "order": "shuffled", "draw": draw}
                yield row | _measures(scores, [y for _, y in queries])

    def _queries(self, generator: np.random.Generator) -> list[Labelled]:
        """Return test queries, equally many of each class."""
        x, y = self._data.test.x[0], self._data.test.y[0]
        count = self._sizes.queries_per_class
        picked = [generator.permutation(np.flatnonzero(y == label))[:count] for label in np.unique(y)]
        return [(self._text(x[i]), int(y[i])) for i in np.concatenate(picked)]

    def _text(self, row: int) -> Text:
        return self._data.source.rows[row]

    def _ask(self, head: str, queries: Sequence[Text]) -> np.ndarray:
        """Return the label probabilities of queries after one head, (n, U)."""
        import torch

        template = self._data.source.template
        answers = self.asking.ask([head + template.tail(query, "") for query in queries], template.labels)
        table = torch.tensor([answer.logprobs for answer in answers], dtype=torch.float64)
        return probabilities(table, None).numpy()


def _chosen(data: TaskData[Texts], numbers: np.ndarray) -> list[Labelled]:
    """Return the candidate of each class with this number in the one pool that there is."""
    pools, rows = data.demonstrations, data.source.rows
    return [(rows[pools.x[0, u, k]], int(pools.y[0, u, k])) for u, k in enumerate(numbers)]


def _measures(scores: np.ndarray, labels: Sequence[int]) -> dict[str, float]:
    right = scores[np.arange(len(labels)), labels]
    others = scores.copy()
    others[np.arange(len(labels)), labels] = 0
    answered = scores.argmax(-1)
    return {
        "accuracy": float((answered == labels).mean()),
        "margin": float(np.log(right / others.max(-1)).mean()),
        "answered_last": float((answered == scores.shape[1] - 1).mean()),
    }
