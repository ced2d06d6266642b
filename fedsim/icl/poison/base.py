"""The interface of poison: what a malicious worker does to the demonstrations that it holds."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fedsim.catalog import Part
from fedsim.errors import InputError
from fedsim.icl.tasks.base import Form, Longs, Task, TaskData, Text, Texts
from fedsim.streams import Stream, Streams

CHOICE, PAYLOAD = range(2)
"""The last part of an address of `Stream.POISON`: what a draw is for. Never renumber, only append."""


class Poison(Part):
    """What is done to some demonstrations, before the run, in the pools of some workers.

    Queries stay clean, the poisoned workers' own ones too: a poisoned worker tunes on honest questions.
    """

    needs: ClassVar[Form | None] = None
    """The only form of data that can be poisoned so; None for any."""

    workers: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    """The numbers of the poisoned workers, from 0; in the centralised form those that brought their data."""
    share: float = Field(default=1.0, ge=0, le=1)
    """The part of each class's candidates that is poisoned in their pools, rounded to whole candidates. Which
    ones depends on the run's seed and the worker alone: those of a small share are among those of a large
    one, and two kinds of poison meet in the same ones."""

    @model_validator(mode="after")
    def _check_workers(self) -> Poison:
        if len(set(self.workers)) < len(self.workers):
            raise ValueError(f"workers: found {list(self.workers)}, expected each number once")
        return self

    def check(self, task: Task) -> None:
        """Say, before anything runs, that a task's data cannot be poisoned so.

        Raises:
            ValueError: they cannot.
        """
        if self.needs not in (None, task.gives):
            raise ValueError(
                f"poison {self.kind!r} needs {self.needs}, but task {task.kind!r} gives {task.gives}"
            )

    def apply(self, data: TaskData[Any], streams: Streams, pooled: int = 1) -> TaskData[Any]:
        """Return poisoned data; those given stay as they are.

        Args:
            data: as drawn for W workers that compute.
            streams: the randomness of the run.
            pooled: clients merged in each of them, as in `Task.draw`; `workers` are numbers of clients.

        Raises:
            InputError: there is no such worker, or class.
        """
        n_workers, n_classes, n_candidates = data.demonstrations.y.shape
        n_clients = n_workers * pooled
        if max(self.workers) >= n_clients:
            raise InputError(
                f"poison {self.kind!r}: found worker {max(self.workers)}, expected 0 to {n_clients - 1}"
            )
        chosen = np.zeros((n_workers, n_classes, n_candidates), dtype=bool)
        numbers = np.zeros(chosen.shape, dtype=np.int64)
        n_poisoned = round(self.share * n_candidates)
        for client in self.workers:
            worker, place = divmod(client, pooled)
            # Candidate k of a pooled worker belongs to its client number k mod pooled.
            mine = slice(place, None, pooled)
            order = streams.seat(Stream.POISON, client, CHOICE).random(chosen.shape[1:]).argsort(-1)
            chosen[worker, :, mine] = (order.argsort(-1) < n_poisoned)[:, mine]
            payload = streams.seat(Stream.POISON, client, PAYLOAD)
            numbers[worker, :, mine] = payload.integers(2**32, size=chosen.shape[1:])[:, mine]
        return self._poisoned(data, chosen, numbers)

    @abstractmethod
    def _poisoned(self, data: TaskData[Any], chosen: NDArray[np.bool_], numbers: Longs) -> TaskData[Any]:
        """Return data with poison in some candidates.

        Args:
            data: the clean data, which must not be written to.
            chosen: which candidates, (W, U, V).
            numbers: a random number of each candidate, from 0 to 2**32 - 1, (W, U, V).
        """


def with_texts(data: TaskData[Texts], chosen: NDArray[np.bool_], texts: list[Text]) -> TaskData[Texts]:
    """Return data in which the chosen candidates show other texts, in the same order; rows are only added."""
    rows, demonstrations = data.source.rows, data.demonstrations
    places = {text: place for place, text in enumerate(dict.fromkeys(texts), len(rows))}
    x = demonstrations.x.copy()
    x[chosen] = [places[text] for text in texts]
    return data._replace(
        demonstrations=demonstrations._replace(x=x), source=data.source._replace(rows=[*rows, *places])
    )
