"""A language model with a task's texts in place: from numbers of words and texts to label probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedsim.icl.answers.asking import Asking
from fedsim.icl.models.base import FOR_ALL, Prompts
from fedsim.icl.models.label_probabilities import content_free, probabilities
from fedsim.icl.tasks.base import TaskData, Texts
from fedsim.learning.device import to_numpy

if TYPE_CHECKING:
    from fedsim.icl.models.language import LanguageModel
    from fedsim.problems.base import Questions

CALLS_AT_ONCE = 2**14
"""Calls handed to the model together: far more than any endpoint answers at once; bounds the memory."""


class PromptTexts(NamedTuple):
    """One prompt in words: the exact text of a call is the head followed by one of the tails."""

    head: str
    """The demonstrations."""
    tails: list[str]
    """Each query, where the label word is to follow."""
    content_free: list[str]
    """The tail that the correction of each query asks about; empty unless wanted."""


class TextScorer:
    """A `LanguageModel` with a task's data in place.

    Source: Ma et al., "AsynDBT", Scientific Reports 16:9381 (2026), section 3.1 (the prompt and the scores of
    the label words); Zhao et al., "Calibrate before use", ICML 2021, section 4 (the correction).

    Args:
        model: who answers.
        data: what prompts are made of.
        asking: the questions put to the model so far in this run; none: these are the first.
    """

    def __init__(self, model: LanguageModel, data: TaskData[Texts], asking: Asking | None = None) -> None:
        self._data = data
        self._corrected = model.correction == "content_free"
        self.asking = asking or Asking(model)
        self.questions: Questions | None = self.asking

    def scores(self, prompts: Prompts) -> Tensor:
        """Return the probabilities of the label words, (J, I, U, b): over U they sum to one.

        Raises:
            ModelError: the model, its budget or the disk gave out; answers had by then are kept.
        """
        labels = self._data.source.template.labels
        logprobs: list[tuple[float, ...]] = []
        n_queries = 0
        for part in _parts(texts_of(prompts, self._data, self._corrected)):
            calls = [each.head + tail for each in part for tail in (*each.tails, *each.content_free)]
            logprobs += [answer.logprobs for answer in self.asking.ask(calls, labels)]
            n_queries = len(part[0].tails)
        answered = torch.tensor(logprobs, dtype=torch.float64).view(
            -1, 1 + self._corrected, n_queries, len(labels)
        )
        prior = answered[:, 1].reshape(-1, len(labels)) if self._corrected else None
        found = probabilities(answered[:, 0].reshape(-1, len(labels)), prior)
        return found.view(len(prompts.workers), -1, n_queries, len(labels)).transpose(2, 3)

    def usage(self) -> dict[str, Any]:
        """Return what was asked and what it cost; see `Asking.usage`."""
        return self.asking.usage()


def texts_of(
    prompts: Prompts, data: TaskData[Texts], with_content_free: bool = False
) -> Iterator[PromptTexts]:
    """Yield the texts of each prompt: all I of the first worker, then those of the next.

    Demonstrations stand in the order that the data name, with the label that is shown. They and the query
    carry the fragment, its words joined by spaces. Heads are rendered once per prompt, tails once per query
    and fragment.
    """
    rows, template, words = data.source
    tail_of = cache(template.tail)
    bags = None if prompts.words is None else prompts.words.transpose(1, 2).tolist()
    shown = None if prompts.demonstrations is None else _shown(prompts, data)
    n_prompts = next(len(each[0]) for each in (bags, shown, [[()]]) if each is not None)
    for j, numbers in enumerate(_query_rows(prompts, data)):
        queries = [rows[number] for number in numbers]
        blanks = [content_free(query) for query in queries] if with_content_free else []
        for i in range(n_prompts):
            fragment = "" if bags is None else " ".join(words[number] for number in bags[j][i])
            demonstrations = [] if shown is None else [(rows[x], y) for x, y in shown[j][i]]
            yield PromptTexts(
                head=template.head(demonstrations, fragment),
                tails=[tail_of(query, fragment) for query in queries],
                content_free=[tail_of(blank, fragment) for blank in blanks],
            )


def _shown(prompts: Prompts, data: TaskData[Texts]) -> list[list[list[tuple[int, int]]]]:
    """Return the demonstrations of each prompt, (J, I, S), as they follow each other: text and label."""
    assert prompts.demonstrations is not None
    numbers = prompts.demonstrations.transpose(1, 2).numpy()
    order = np.arange(numbers.shape[2]) if data.order is None else data.order
    place = (to_numpy(prompts.workers)[:, None, None], order, numbers[:, :, order])
    pools = data.demonstrations
    return np.stack([pools.x[place], pools.y[place]], -1).tolist()


def _query_rows(prompts: Prompts, data: TaskData[Texts]) -> list[list[int]]:
    """Return the numbers of the texts that each worker's prompts are completed with, (J, b)."""
    x = getattr(data, prompts.split).x
    workers = to_numpy(prompts.workers)
    rows = x[np.zeros_like(workers) if prompts.split in FOR_ALL else workers]
    return (
        rows if prompts.queries is None else np.take_along_axis(rows, to_numpy(prompts.queries), 1)
    ).tolist()


def _parts(texts: Iterator[PromptTexts]) -> Iterator[list[PromptTexts]]:
    """Yield the prompts in lists of about `CALLS_AT_ONCE` calls."""
    part: list[PromptTexts] = []
    n_calls = 0
    for each in texts:
        part.append(each)
        n_calls += len(each.tails) + len(each.content_free)
        if n_calls >= CALLS_AT_ONCE:
            yield part
            part, n_calls = [], 0
    if part:
        yield part
