"""Prompts like those of a run, for measuring how long they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from fedsim.icl.tasks.base import Longs
from fedsim.icl.vocabulary import agree, offer
from fedsim.streams import Stream, Streams

if TYPE_CHECKING:
    from fedsim.icl.tasks.text import TextTask

DRAWS, PROMPTS = 8, 32
"""So many draws of the data, and prompts of each: their mean is within about 1 % of that over all prompts."""
WORKERS = 3
"""Whose texts give the candidate words, as many as in the paper: of more texts other words are frequent."""


@lru_cache(maxsize=64)
def likely_prompts(
    task: TextTask, n_words: int, n_demonstrations: int, n_draws: int = DRAWS, n_prompts: int = PROMPTS
) -> tuple[str, ...]:
    """Return prompts of a task of texts, of which no run's seed is asked.

    Queries and demonstrations are training rows, of one class after the other; words are drawn evenly from
    the candidates, as at the start of a run. The candidates are those that the task states, or those on which
    three workers of its sizes agree; each draw has other workers.

    Args:
        task: the task.
        n_words: of the fragment; 0: none.
        n_demonstrations: before the query.
        n_draws: how many draws of the data.
        n_prompts: of each draw.
    """
    of_class = [task.corpus().numbers(label, test=False) for label in range(task.n_classes)]
    of_class = [rows for rows in of_class if len(rows)]
    if not of_class:  # no run can begin
        return ("",)
    prompts: list[str] = []
    for draw in range(n_draws):
        generator = Streams(0).generator(Stream.LIKELY, draw)
        rows = [generator.permutation(numbers) for numbers in of_class]
        words = _candidates(task, rows) if n_words else ()
        turns = [_in_turn(numbers.tolist()) for numbers in rows]
        for number in range(n_prompts):
            drawn = generator.integers(len(words), size=n_words) if words else ()
            shown = [next(turns[slot % len(turns)]) for slot in range(n_demonstrations)]
            query = next(turns[number % len(turns)])
            prompts.append(_prompt(task, shown, query, " ".join(words[i] for i in drawn)))
    return tuple(prompts)


def _prompt(task: TextTask, shown: Sequence[int], query: int, fragment: str) -> str:
    corpus = task.corpus()
    demonstrations = [(corpus.texts[row], int(corpus.labels[row])) for row in shown]
    return task.prompt.prompt(demonstrations, corpus.texts[query], fragment)


def _in_turn(rows: Sequence[int]) -> Iterator[int]:
    while True:
        yield from rows


def _candidates(task: TextTask, rows: Sequence[Longs]) -> tuple[str, ...]:
    """Return the candidate words, or as many as there are, for rows of each class in a random order."""
    if task.words is not None:
        return task.words
    corpus, held = task.corpus(), task.train_per_class + task.n_demonstrations
    offers = []
    for worker in range(max(1, min(WORKERS, *(len(numbers) // held for numbers in rows)))):
        own = np.concatenate([numbers[worker * held : (worker + 1) * held] for numbers in rows])
        texts = [text for row in own for text in corpus.texts[row] if text]
        offers.append(offer(texts, task.vocabulary))
    return agree(offers, min(task.n_candidates, len({word for one in offers for word in one})))
