"""How many demonstrations of each class a prompt shows, and in which order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedsim.catalog import Strict
from fedsim.icl.tasks.base import Demonstrations, Longs, TaskData
from fedsim.streams import Stream, Streams

if TYPE_CHECKING:
    from fedsim.icl.pools import Pool
    from fedsim.icl.tasks.base import Task

Order = Literal["by_class", "by_class_reversed", "alternating", "shuffled"]


class Shots(Strict):
    """The slots of a prompt: s for each of the U classes, each with a distribution of its own.

    A class's V candidates are shared out among its slots: slot r of s gets candidates r V/s to (r+1) V/s - 1,
    and so with the k of every other worker in shared pools. So no prompt shows a candidate twice, and the
    pools are the same for every s. Slots are numbered class by class, whatever the order in which a prompt
    shows them.
    """

    per_class: int = Field(default=1, ge=1)
    """s, demonstrations of each class in a prompt. V must be a multiple of it, and so must what a worker
    offers in shared pools."""
    order: Order = "alternating"
    """Which demonstration stands where: one of each class in turn ("alternating"), all of class 0 first
    ("by_class") or last ("by_class_reversed"), or an order that is drawn once from the run's seed, the same
    for all prompts ("shuffled"). Small models repeat the labels that stand last; see docs/validation.md."""

    def idle(self) -> Mapping[str, str]:
        if self.per_class == 1 and self.order == "by_class":
            return {"order": "with one demonstration of each class it is alternating (per_class = 1)"}
        return {}

    def check(self, task: Task, pool: Pool) -> None:
        """Make sure that the candidates can be shared out.

        Raises:
            ValueError: they cannot.
        """
        held = {"task.n_demonstrations": task.n_demonstrations}
        if pool.sharing == "shared":
            held["pool.offered_per_class"] = pool.offered_per_class
        for name, count in held.items():
            if count % self.per_class:
                raise ValueError(
                    f"{name}: found {count}, expected a multiple of shots.per_class = {self.per_class}, "
                    "because the slots of a class share its candidates out"
                )

    def slots(self, n_classes: int) -> int:
        """Return S = U s, how many demonstrations a prompt shows."""
        return n_classes * self.per_class

    def shared_out(
        self, data: TaskData[Any], streams: Streams, n_own: int, n_offered: int = 1
    ) -> TaskData[Any]:
        """Return data whose pools, (W, U, V), are those of slots, (W, S, V / s), and the order of these.

        Args:
            data: with pools of classes.
            streams: the randomness of the run.
            n_own: candidates of a class that are a worker's own; those of others follow.
            n_offered: how many each other worker offers.
        """
        x, y, bias = data.demonstrations
        _, n_classes, n_all = y.shape
        own = np.arange(n_own).reshape(self.per_class, -1)
        # (workers that offer, s, k / s); where nobody offers, there is none of the first.
        offers = np.arange(n_own, n_all).reshape(-1, self.per_class, max(1, n_offered // self.per_class))
        columns = np.concatenate([own, *offers], axis=1)

        def split(table: NDArray[Any]) -> NDArray[Any]:
            return table[:, :, columns].reshape(len(table), self.slots(n_classes), -1, *table.shape[3:])

        return data._replace(
            demonstrations=Demonstrations(split(x), split(y), None if bias is None else split(bias)),
            poisoned=None if data.poisoned is None else split(data.poisoned),
            order=self.sequence(n_classes, streams),
        )

    def sequence(self, n_classes: int, streams: Streams) -> Longs:
        """Return the numbers of the slots in the order in which a prompt shows them, (S,)."""
        of_class = np.arange(self.slots(n_classes)).reshape(n_classes, self.per_class)
        match self.order:
            case "by_class":
                return of_class.ravel()
            case "by_class_reversed":
                return of_class[::-1].ravel()
            case "alternating":
                return of_class.T.ravel()
            case "shuffled":
                return streams.generator(Stream.ORDER).permutation(of_class.ravel())
