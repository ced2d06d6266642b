"""The interface of an attack on data: what malicious workers do to the data that they hold."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedsim.answering import answers, refuse
from fedsim.attack import Attack
from fedsim.icl.tasks.base import Form, Longs, Task, TaskData
from fedsim.streams import Stream, Streams

if TYPE_CHECKING:
    from fedsim.icl.models.base import Scorer

CHOICE, PAYLOAD, NOISE, QUERIES = range(4)
"""The last part of an address of `Stream.POISON`: what a draw is for. Never renumber, only append."""


class Access(NamedTuple):
    """How an attacker asks the black box before the run."""

    attach: Callable[[TaskData[Any]], Scorer]
    """Returns the black box with some data in place."""
    loss_floor: float
    """The smallest probability that counts in a loss."""


class PoisonPlan(NamedTuple):
    """Where one attack puts poison in one run, and what it draws and asks for that."""

    chosen: NDArray[np.bool_]
    """Which candidates, (W, U, V)."""
    numbers: Longs
    """A random number of each candidate, from 0 to 2**32 - 1, (W, U, V)."""
    clients: tuple[int, ...]
    """Who attacks."""
    streams: Streams
    pooled: int
    access: Access | None
    """None where nobody may ask."""

    def own(self, client: int) -> tuple[int, slice]:
        """Return the worker that holds a client's candidates, and which of each class they are there."""
        worker, place = divmod(client, self.pooled)
        # Candidate k of a pooled worker belongs to its client number k mod pooled.
        return worker, slice(place, None, self.pooled)


def _attacked(part: Attack, name: str, given: list[Any], answer: Any) -> TaskData[Any]:
    before = given[0]
    if not isinstance(answer, TaskData):
        refuse(name, answer, "a TaskData")
    for table in ("train", "validation", "test", "demonstrations"):
        for column, (was, now) in enumerate(zip(getattr(before, table), getattr(answer, table), strict=True)):
            if was is None and now is None:
                continue
            alike = isinstance(now, np.ndarray) and was is not None and now.dtype.kind == was.dtype.kind
            if not alike or now.shape != was.shape or not np.isfinite(now).all():
                refuse(f"{name}, {table}[{column}]", now, "finite numbers of the shape and type of before")
    return answer


class DataAttack(Attack):
    """What malicious workers do to the demonstrations and queries that they hold.

    A job is attacked when it starts between `start_s` and `stop_s`: at other times the data are clean. Test
    and validation queries always are.
    """

    needs: ClassVar[Form | None] = None
    """The only form of data that can be attacked so; None for any."""
    asks_model: ClassVar[bool] = False
    """Whether the attacker asks the black box before the run."""

    share: float = Field(default=1.0, ge=0, le=1)
    """The part that is attacked of each class's candidates in their pools (or, of an attack on queries, of
    their queries), rounded to whole ones. Which ones depends on the run's seed and the worker alone: those of
    a small share are among those of a large one, and two attacks on candidates meet in the same ones."""

    def check(self, task: Task) -> None:
        """Say, before anything runs, that a task's data cannot be attacked so.

        Raises:
            ValueError: they cannot.
        """
        if self.needs not in (None, task.gives):
            raise ValueError(
                f"attack {self.kind!r} needs {self.needs}, but task {task.kind!r} gives {task.gives}"
            )
        what, n_things = self.attacked(task)
        if self.share > 0 and not round(self.share * n_things):
            raise ValueError(
                f"share: found {self.share:g}, which of {n_things} {what} is none; expected more than "
                f"{0.5 / n_things:g}, or 0 to say so"
            )

    def attacked(self, task: Task) -> tuple[str, int]:
        """Return what `share` is a part of, and how many of them a worker has."""
        return "training queries", task.n_train

    def unread(self, task: Task) -> Mapping[str, str]:
        """Return the settings that have no effect on data of this task, each with the reason."""
        return {}

    @abstractmethod
    @answers(_attacked)
    def apply(
        self,
        data: TaskData[Any],
        clients: Collection[int],
        streams: Streams,
        pooled: int = 1,
        access: Access | None = None,
    ) -> TaskData[Any]:
        """Return attacked data; those given stay as they are.

        Args:
            data: as drawn for W workers that compute, or as an earlier attack left them.
            clients: the numbers of those that attack what they hold.
            streams: the randomness of the run.
            pooled: clients merged in each worker, as in `Task.draw`.
            access: to the black box, for an attack that asks it.

        Raises:
            InputError: these data cannot be attacked so.
        """

    def add_tests(self, data: TaskData[Any]) -> TaskData[Any]:
        """Return data with the further test queries, if any, by which the attack's success is measured."""
        return data


class DemonstrationAttack(DataAttack):
    """What malicious workers do to candidates in their pools; they tune on honest questions."""

    def attacked(self, task: Task) -> tuple[str, int]:
        return "candidates of a class", task.n_demonstrations

    def apply(
        self,
        data: TaskData[Any],
        clients: Collection[int],
        streams: Streams,
        pooled: int = 1,
        access: Access | None = None,
    ) -> TaskData[Any]:
        shape = data.demonstrations.y.shape
        chosen, numbers = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=np.int64)
        plan = PoisonPlan(chosen, numbers, tuple(sorted(clients)), streams, pooled, access)
        n_poisoned = round(self.share * shape[2])
        for client in plan.clients:
            worker, mine = plan.own(client)
            order = streams.seat(Stream.POISON, client, CHOICE).random(shape[1:]).argsort(-1)
            chosen[worker, :, mine] = (order.argsort(-1) < n_poisoned)[:, mine]
            payload = streams.seat(Stream.POISON, client, PAYLOAD)
            numbers[worker, :, mine] = payload.integers(2**32, size=shape[1:])[:, mine]
        poisoned = chosen if data.poisoned is None else data.poisoned | chosen
        return self._poisoned(data, plan)._replace(poisoned=poisoned)

    @abstractmethod
    def _poisoned(self, data: TaskData[Any], plan: PoisonPlan) -> TaskData[Any]:
        """Return data with poison in the chosen candidates; those given must not be written to."""
