"""How data are shared out: the addresses of draws, class proportions, merged clients.

A client is a worker of the scenario. In the centralised form one worker holds the data of several clients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedsim.icl.tasks.base import Floats, Longs, Queries, Task
from fedsim.streams import Stream, Streams

TRAIN, VALIDATION, POOL, ROWS, TEST, OWN_ROWS, HELD_OUT = range(7)
"""The last part of an address of `Stream.DATA`: what a client's draw is for. Never renumber, only append."""


def draw_classes(
    task: Task,
    streams: Streams,
    n_clients: int,
    dirichlet_alpha: float | None,
    rows: Longs | None = None,
    reuse: bool = False,
) -> tuple[Longs, Longs]:
    """Return the classes of every client's training and validation queries, each in rising order.

    Where a client's proportions ask for more queries of a class than there are rows, the rest is drawn from
    its other classes, in the proportions that it has of them.

    Args:
        task: says how many queries a client has, and of how many classes.
        streams: the randomness of the run.
        n_clients: how many clients.
        dirichlet_alpha: concentration of the class proportions; None for equal classes.
        rows: how many rows of each class there are for queries, (U,); None: any number. Of no use where
            classes are equal.
        reuse: whether all of them are there for each client, or only those that clients before it left.

    Source: the non-iid split is that of Hsu, Qi, Brown, "Measuring the effects of non-identical data
    distribution for federated visual classification", 2019, section 3: a client's class proportions are
    Dirichlet(alpha * prior), with equal classes as the prior here, and its classes are drawn from them.
    """
    n_classes = task.n_classes
    sizes = (n_classes * task.train_per_class, n_classes * task.validation_per_class)
    if dirichlet_alpha is None:
        equal = [np.repeat(np.arange(n_classes), size // n_classes) for size in sizes]
        return np.tile(equal[0], (n_clients, 1)), np.tile(equal[1], (n_clients, 1))
    train, validation = (np.empty((n_clients, size), dtype=np.int64) for size in sizes)
    left = rows
    for client in range(n_clients):
        generator = streams.seat(Stream.SPLIT, client)
        proportions = generator.dirichlet(np.full(n_classes, dirichlet_alpha / n_classes))
        left = rows if reuse else left
        for classes, size in zip((train, validation), sizes, strict=True):
            counts = generator.multinomial(size, proportions)
            if left is not None:
                counts = _within(counts, left, proportions, generator)
                left = left - counts
            classes[client] = np.repeat(np.arange(n_classes), counts)
    return train, validation


def _within(counts: Longs, most: Longs, proportions: Floats, generator: np.random.Generator) -> Longs:
    """Return as many queries with no more of a class than there are, if all together suffice."""
    most = most.clip(0)
    if counts.sum() > most.sum():
        return counts
    while (beyond := int((counts - most).clip(0).sum())) > 0:
        counts = np.minimum(counts, most)
        weights = np.where(counts < most, proportions, 0.0)
        if weights.sum() == 0:  # of the classes that are left this client had none at all
            weights = (counts < most).astype(float)
        counts = counts + generator.multinomial(beyond, weights / weights.sum())
    return counts


def merged(queries: Queries, n_workers: int) -> Queries:
    """Give each worker the queries of its clients, one client after the other."""
    x, y = queries
    n_each = len(y) // n_workers * y.shape[1]  # said in full: there may be none
    return Queries(x.reshape(n_workers, n_each, *x.shape[2:]), y.reshape(n_workers, n_each))


class Share(NamedTuple):
    """The rows that one client holds, by their numbers."""

    train: Longs
    """In rising order of their classes, (B,)."""
    validation: Longs
    """In rising order of their classes, (B,)."""
    pool: Longs
    """Candidate demonstrations of each class, (U, V)."""


def held_out(labels: Longs, n_classes: int, share: float, streams: Streams) -> NDArray[np.bool_]:
    """Return which rows are for testing, (n,): the same part of each class, at least one row.

    Args:
        labels: of all rows, (n,).
        n_classes: U.
        share: the part of a class's rows, rounded to the nearest number of rows (a half: up).
        streams: whose draw it is.
    """
    chosen = np.zeros(len(labels), dtype=bool)
    for label in range(n_classes):
        rows = np.flatnonzero(labels == label)
        n_test = max(1, int(share * len(rows) + 0.5))
        chosen[streams.seat(Stream.DATA, label, HELD_OUT).permutation(rows)[:n_test]] = True
    return chosen


def counts_by_class(y: Longs, n_classes: int) -> Longs:
    """Return how many of each client's labels (W, B) are of each class, (W, U)."""
    return (y[..., None] == np.arange(n_classes)).sum(1)


def share_out(streams: Streams, of_class: Sequence[Longs], sizes: Longs, reuse: bool = False) -> list[Share]:
    """Return what each client holds.

    Each class is shuffled once per run and clients take from it one after the other, so that no row goes to
    two clients and one client more changes nobody's rows. With `reuse` each client draws its rows of a class
    from all of them, without replacement.

    Args:
        streams: the randomness of the run.
        of_class: the numbers of the rows of each class, which must suffice.
        sizes: how many rows of each class each client takes for training, validation and pool, (3, W, U).
        reuse: whether clients may hold the same rows.
    """
    if reuse:
        return [_own(streams, client, of_class, sizes[:, client]) for client in range(sizes.shape[1])]
    shuffled = [
        streams.seat(Stream.DATA, label, ROWS).permutation(rows) for label, rows in enumerate(of_class)
    ]
    needs = sizes.sum(0)
    starts = needs.cumsum(0) - needs
    return [
        _cut([rows[first:] for rows, first in zip(shuffled, firsts, strict=True)], sizes[:, client])
        for client, firsts in enumerate(starts)
    ]


def _own(streams: Streams, client: int, of_class: Sequence[Longs], sizes: Longs) -> Share:
    generator = streams.seat(Stream.DATA, client, OWN_ROWS)
    return _cut([generator.permutation(rows) for rows in of_class], sizes)


def _cut(of_class: Sequence[Longs], sizes: Longs) -> Share:
    """Cut a client's rows, first those for training; `sizes` is (3, U)."""
    parts = [np.split(rows, n.cumsum()) for rows, n in zip(of_class, sizes.T, strict=True)]
    train, validation, pool, _ = zip(*parts, strict=True)
    return Share(np.concatenate(train), np.concatenate(validation), np.stack(pool))
