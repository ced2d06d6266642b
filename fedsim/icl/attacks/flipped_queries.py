"""Training queries with wrong answers."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

from fedsim.icl.attacks.base import QUERIES, Access, DataAttack
from fedsim.icl.tasks.base import TaskData
from fedsim.streams import Stream, Streams


class FlippedQueries(DataAttack):
    """Attacked training queries expect the label of the next class, the last class's that of the first.

    The worker then tunes its words and demonstrations to be wrong there. `share` is the part of all its
    training queries; its validation queries and its pool stay clean.

    Source: label flipping, Biggio, Nelson, Laskov, "Support vector machines under adversarial label noise",
    ACML 2011; by malicious workers, Tolpegin et al., "Data poisoning attacks against federated learning
    systems", ESORICS 2020, section 3.
    """

    kind: Literal["flipped_queries"] = "flipped_queries"

    def apply(
        self,
        data: TaskData[Any],
        clients: Collection[int],
        streams: Streams,
        pooled: int = 1,
        access: Access | None = None,
    ) -> TaskData[Any]:
        y, n_classes = data.train.y.copy(), data.demonstrations.y.shape[1]
        n_own = y.shape[1] // pooled
        for client in clients:
            # A worker holds the queries of its clients one client after the other.
            worker, place = divmod(client, pooled)
            order = streams.seat(Stream.POISON, client, QUERIES).random(n_own).argsort()
            flipped = place * n_own + order[: round(self.share * n_own)]
            y[worker, flipped] = (y[worker, flipped] + 1) % n_classes
        return data._replace(train=data.train._replace(y=y))
