"""Gaussian classes: the features, demonstrations and words from which the surrogate black box answers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pydantic import Field

from fedsim.catalog import Strict
from fedsim.icl.tasks.base import Demonstrations, Floats, Queries, Task, TaskData, TestSet
from fedsim.icl.tasks.split import POOL, TRAIN, VALIDATION, draw_classes, merged
from fedsim.icl.tasks.typical import typical
from fedsim.streams import Stream, Streams


class SurrogateParameters(Strict):
    """The numbers that make one task of the surrogate differ from another.

    A text is a point x of R^d: its class mean plus standard normal noise. Means of two classes are
    `separation` apart, so the best possible classifier of two equal classes is right with probability
    ``Phi(separation / 2)``.
    """

    base_alignment: float = Field(ge=-1, le=1)
    """Cosine between the classifier without context and the best one: 1 is perfect, 0 is chance."""
    demo_step: float = Field(ge=0)
    """Step of the implicit gradient descent: how much the box learns from a demonstration."""
    label_bias: float = Field(ge=0)
    """Standard deviation of a demonstration's push of one label against another, whatever the query."""
    word_gain: float = Field(ge=0)
    """Standard deviation of a word's effect along the directions in which the classifier can improve."""
    demo_noise: float = Field(default=0.1, ge=0)
    """Standard deviation of demonstrations around their class mean, queries having 1: how much the box takes
    from the particular text rather than from its class."""
    word_noise: float = Field(default=0.2, ge=0)
    """Standard deviation of a word's effect along every other direction, where nothing can be gained."""
    n_features: int = Field(default=8, ge=4)
    """d, at least 2 U. The first U span the class means, the next U the error of the base classifier, and the
    rest is noise."""
    separation: float = Field(default=4.0, gt=0)
    base_confidence: float = Field(default=1.0, gt=0)
    """Length of the difference between the rows of two classes in the base classifier."""


class Latent(NamedTuple):
    """What a run does not draw: the black box's own view of a task. Rows act on ``[x; 1]``."""

    parameters: SurrogateParameters
    base: Floats
    """The classifier without context, (U, d + 1)."""
    words: Floats
    """What each candidate word adds to it, (N, U, d + 1); zero on average over the candidates."""
    task_seed: int = 0
    """The number of the task, which is part of the address of all that a run draws for it."""


def class_means(parameters: SurrogateParameters, n_classes: int) -> Floats:
    """Return the class means, (U, d): corners of a centred regular simplex with edges `separation`."""
    corners = np.eye(n_classes, parameters.n_features)
    return parameters.separation / np.sqrt(2) * (corners - corners.mean(0))


def draw_latent(parameters: SurrogateParameters, n_classes: int, n_candidates: int, task_seed: int) -> Latent:
    """Return the black box's view of a task; the words are drawn from `task_seed`, not from a run's seed."""
    d, aligned = parameters.n_features, parameters.base_alignment
    base = np.zeros((n_classes, d + 1))
    rows = np.arange(n_classes)
    # Orthonormal rows are sqrt(2) apart; the division makes the difference of two rows base_confidence long.
    base[rows, rows] = aligned * parameters.base_confidence / np.sqrt(2)
    base[rows, n_classes + rows] = np.sqrt(1 - aligned**2) * parameters.base_confidence / np.sqrt(2)
    scale = np.full(d + 1, parameters.word_noise)
    scale[: 2 * n_classes] = parameters.word_gain
    generator = Streams(task_seed).generator(Stream.TASK)
    words = generator.standard_normal((n_candidates, n_classes, d + 1)) * scale / np.sqrt(2)
    return Latent(parameters, base, words - words.mean(0), task_seed)


def draw_data(
    task: Task,
    latent: Latent,
    streams: Streams,
    n_workers: int,
    pooled: int = 1,
    dirichlet_alpha: float | None = None,
    test_set: TestSet = "fixed",
) -> TaskData[Latent]:
    """Draw the data of one run; see `Task.draw` and, for the non-iid split, `draw_classes`.

    Pools keep V candidates per class, because a prompt has a slot for each class. A fixed test set is the
    `typical` one, so that it is no lucky or unlucky draw.
    """
    streams = streams.of_task(latent.task_seed)
    means = class_means(latent.parameters, task.n_classes)
    demo_noise = latent.parameters.demo_noise
    n_clients = n_workers * pooled
    train_y, validation_y = draw_classes(task, streams, n_clients, dirichlet_alpha)
    # Slot u, candidate k of a pooled worker belongs to its client number k mod pooled.
    slots_y = np.broadcast_to(np.arange(task.n_classes)[:, None], (task.n_classes, task.n_demonstrations))
    pool_x = np.empty((n_workers, *slots_y.shape, means.shape[1]))
    bias = np.empty((n_workers, *slots_y.shape, task.n_classes))
    train_x = np.empty((*train_y.shape, means.shape[1]))
    validation_x = np.empty((*validation_y.shape, means.shape[1]))
    for client in range(n_clients):
        worker, place = divmod(client, pooled)
        streams.seat(Stream.DATA, client, TRAIN).standard_normal(out=train_x[client])
        streams.seat(Stream.DATA, client, VALIDATION).standard_normal(out=validation_x[client])
        pool = streams.seat(Stream.DATA, client, POOL)
        mine = slice(place, None, pooled)
        pool_x[worker, :, mine] = pool.standard_normal(pool_x.shape[1:])[:, mine] * demo_noise
        bias[worker, :, mine] = pool.standard_normal(bias.shape[1:])[:, mine]
    train = Queries(train_x + means[train_y], train_y)
    validation = Queries(validation_x + means[validation_y], validation_y)
    shown_y = np.broadcast_to(slots_y, pool_x.shape[:-1]).copy()
    return TaskData(
        train=merged(train, n_workers),
        validation=merged(validation, n_workers),
        test=_test(task.class_counts, means, latent, streams if test_set == "redrawn" else None),
        demonstrations=Demonstrations(pool_x + means[slots_y], shown_y, bias),
        source=latent,
    )


def _test(class_counts: tuple[int, ...], means: Floats, latent: Latent, streams: Streams | None) -> Queries:
    y = np.repeat(np.arange(len(class_counts)), class_counts)[None]
    if streams is None:
        return Queries(typical(class_counts, means, latent.base, latent.task_seed)[None], y)
    noise = streams.generator(Stream.TASK).standard_normal((*y.shape, means.shape[1]))
    return Queries(noise + means[y], y)
