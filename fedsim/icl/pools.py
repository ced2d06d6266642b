"""Whose demonstrations a worker may show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedsim.catalog import Strict
from fedsim.icl.tasks.base import Demonstrations, TaskData


class Pool(Strict):
    """Whether workers see only their own demonstrations or also some of all others.

    In a shared pool a worker's candidates of a class are its own V, then k of every other worker, in order of
    worker number: V + (R - 1) k columns of q. Everybody offers its first k candidates of a class; a malicious
    worker offers those that it poisoned first. Where attacks start or stop, offers change with them. Where
    one machine holds all data the pools are merged anyway, and nothing changes. Of s slots of a class each
    has the s-th part of this: V / s own candidates and k / s of every other worker.

    What is offered is there when the run starts: neither time nor bytes are charged for it.
    """

    sharing: Literal["private", "shared"] = "private"
    offered_per_class: int = Field(default=5, ge=1)
    """k."""

    def idle(self) -> Mapping[str, str]:
        shared = self.sharing == "shared"
        return {} if shared else {"offered_per_class": 'nobody offers anything (sharing = "private")'}

    def joined(self, data: TaskData[Any]) -> TaskData[Any]:
        """Return data in which the workers' pools hold what this table says."""
        n_workers = len(data.demonstrations.y)
        if self.sharing == "private" or n_workers == 1:
            return data
        offered = _offered(data, self.offered_per_class)
        workers = np.arange(n_workers)
        others = np.stack([np.delete(workers, worker) for worker in workers])

        def joined(table: NDArray[Any]) -> NDArray[Any]:
            offers = table[workers[:, None, None], np.arange(table.shape[1])[:, None], offered]
            theirs = np.moveaxis(offers[others], 1, 2)
            return np.concatenate([table, theirs.reshape(*theirs.shape[:2], -1, *table.shape[3:])], 2)

        x, y, bias = data.demonstrations
        whole = Demonstrations(joined(x), joined(y), None if bias is None else joined(bias))
        poisoned = None if data.poisoned is None else joined(data.poisoned)
        return data._replace(demonstrations=whole, poisoned=poisoned)


def _offered(data: TaskData[Any], n_offered: int) -> NDArray[np.int64]:
    """Return the numbers of the candidates that each worker offers, (W, U, k)."""
    shape = data.demonstrations.y.shape
    clean = np.ones(shape, dtype=bool) if data.poisoned is None else ~data.poisoned
    return np.argsort(clean, axis=-1, kind="stable")[:, :, :n_offered]
