"""A model's answers to prompts, by numbers of texts and words, ready for arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedsim.icl.models.base import Prompts

if TYPE_CHECKING:
    from fedsim.icl.tasks.base import Longs, TaskData, Text, Texts


class Asked(NamedTuple):
    """P prompts, one per job, and a model's answers to them."""

    prompts: Prompts
    answers: Tensor
    """Label probabilities, (P, U, b)."""


class Answers(NamedTuple):
    """P prompts by numbers of texts and words, with the features of the texts, ready for arithmetic."""

    queries: Tensor
    """Numbers of texts, (P, b)."""
    shown: Tensor | None
    """Numbers of texts, (P, S); None for prompts without demonstrations."""
    labels: Tensor | None
    """What the demonstrations show, (P, S)."""
    words: Tensor | None
    """Numbers of words, (P, M); None for prompts without a fragment."""
    targets: Tensor
    """The model's label probabilities, (P, b, U)."""

    def part(self, chosen: Tensor) -> Answers:
        """Return some of the prompts."""
        return Answers(
            self.queries[chosen],
            None if self.shown is None else self.shown[chosen],
            None if self.labels is None else self.labels[chosen],
            None if self.words is None else self.words[chosen],
            self.targets[chosen],
        )


def gathered(asked: Sequence[Asked], data: TaskData[Texts], used: Longs, texts: Sequence[Text]) -> Answers:
    """Return the prompts with all their queries, each text by its place among `texts`.

    Args:
        asked: the same prompts, asked about queries of one split after another.
        data: whose texts and words the prompts hold.
        used: numbers of the data's rows, rising.
        texts: what stands in these rows; a text that stands in two of them is one text, at its first place.
    """
    first: dict[Text, int] = {}
    place = np.array([first.setdefault(text, number) for number, text in enumerate(texts)])

    def places(rows: Longs) -> Tensor:
        return torch.from_numpy(place[np.searchsorted(used, rows)])

    queries = torch.cat([places(query_rows(some.prompts, data)) for some in asked], dim=1)
    targets = torch.cat([some.answers for some in asked], dim=2).transpose(1, 2)
    workers, words, demonstrations, _, _ = asked[0].prompts
    shown = labels = None
    if demonstrations is not None:
        slots = torch.arange(demonstrations.shape[1])
        chosen = tuple(index.numpy() for index in (workers[:, None], slots, demonstrations[:, :, 0]))
        shown = places(data.demonstrations.x[chosen])
        labels = torch.from_numpy(data.demonstrations.y[chosen])
    return Answers(queries, shown, labels, None if words is None else words[:, :, 0], targets)


def query_rows(prompts: Prompts, data: TaskData[Texts]) -> Longs:
    """Return the numbers of the texts of all queries, (P, b)."""
    return _of_queries(prompts, getattr(data, prompts.split).x)


def query_labels(prompts: Prompts, data: TaskData[Texts]) -> Longs:
    """Return the classes of all queries, (P, b)."""
    return _of_queries(prompts, getattr(data, prompts.split).y)


def _of_queries(prompts: Prompts, table: Longs) -> Longs:
    assert prompts.queries is not None  # they are drawn
    rows = np.minimum(prompts.workers.numpy(), len(table) - 1)  # one test set for all
    return table[rows[:, None], prompts.queries.numpy()]
