"""Multinomial logistic regression: the small model on which simulators of federated learning are compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fedsim.attack import Assigned
from fedsim.messages import JobCost
from fedsim.problems.base import Oracle, Problem, Questions, RealisationRule, Sent
from fedsim.streams import Stream, Streams

if TYPE_CHECKING:
    from torch import Tensor

FLOAT32_BYTES = 4
FLOAT64_BYTES = 8


class Softmax(Problem):
    """Each worker holds labelled vectors, and all look for one linear classifier.

    A sample of class c is the mean of its class plus standard normal noise. The means of classes are drawn
    once, each of length `separation` on average. With `dirichlet_alpha` the class proportions of a worker are
    Dirichlet(alpha / classes for each class); without it each label is drawn evenly. p is the model,
    (classes, features + 1), the bias last, and starts at zero; there is nothing else to tune. It is float64
    where it is computed; on the wire a number has four bytes.

    ``loss`` is the mean cross-entropy (nats) of the workers' own samples, each at its own p; ``accuracy`` and
    ``loss_test`` are those of the consensus on samples that no worker holds.

    Source: the textbook model (Bishop, "Pattern recognition and machine learning", 2006, section 4.3.4); the
    split of labels is that of Hsu, Qi, Brown, "Measuring the effects of non-identical data distribution for
    federated visual classification", 2019, section 3.
    """

    kind: Literal["softmax"] = "softmax"
    on_device: ClassVar[bool] = True
    features: int = Field(60, ge=1)
    classes: int = Field(10, ge=2)
    samples_per_worker: int = Field(20, ge=1)
    batch_size: int | None = Field(default=None, ge=1)
    """Samples of one gradient, drawn anew each time without replacement; none: all that the worker holds."""
    separation: float = Field(3.0, ge=0)
    dirichlet_alpha: float | None = Field(default=None, gt=0)
    """Concentration of a worker's class proportions; none: labels are alike everywhere."""
    test_samples: int = Field(1000, ge=1)
    """Samples that no worker holds, in equal parts of all classes."""

    @model_validator(mode="after")
    def _check_batch(self) -> Softmax:
        if self.batch_size is not None and self.batch_size >= self.samples_per_worker:
            raise ValueError(
                f"batch_size: found {self.batch_size}, expected less than samples_per_worker = "
                f"{self.samples_per_worker}, or none: all samples"
            )
        return self

    @property
    def tunes_p(self) -> bool:
        return True

    @property
    def tunes_q(self) -> bool:
        return False

    @property
    def sends(self) -> Sent:
        return "numbers"

    def cost(self, pooled: int = 1) -> JobCost:
        model_bytes = FLOAT32_BYTES * self.classes * (self.features + 1)
        return JobCost(0, 0, 0, model_bytes, model_bytes)

    def memory(self, n_workers: int, pooled: int = 1) -> dict[str, int]:
        n_samples, width = n_workers * pooled * self.samples_per_worker, self.features + 1
        samples = f"{self.samples_per_worker:,} samples at each of {n_workers * pooled:,} workers"
        return {
            f"problem.samples_per_worker: {samples}": FLOAT64_BYTES * n_samples * (width + self.classes),
            f"problem.features, problem.classes: the models of {n_workers:,} workers": (
                2 * FLOAT64_BYTES * n_workers * width * self.classes  # p, and what was sent
            ),
        }

    def prepare(
        self, streams: Streams, n_workers: int, pooled: int = 1, attacks: Sequence[Assigned] = ()
    ) -> Oracle:
        """Draw the data; one worker with the data of many has their samples, and batches of their sizes."""
        data = draw_samples(self, streams, n_workers * pooled)
        batch_size = None if self.batch_size is None else self.batch_size * pooled
        return SoftmaxOracle(data.pooled(pooled), self.classes, streams, batch_size)


class Samples(NamedTuple):
    """The data of a run."""

    features: NDArray[np.float64]
    """(R, n, d)"""
    labels: NDArray[np.int64]
    """(R, n), from 0."""
    test_features: NDArray[np.float64]
    """(T, d)"""
    test_labels: NDArray[np.int64]
    """(T,)"""

    def pooled(self, each: int) -> Samples:
        """Give every worker the samples of so many, one after the other."""
        n_workers, n_samples = len(self.labels) // each, each * self.labels.shape[1]
        features = self.features.reshape(n_workers, n_samples, -1)
        return self._replace(features=features, labels=self.labels.reshape(n_workers, n_samples))


def draw_samples(settings: Softmax, streams: Streams, n_workers: int) -> Samples:
    """Return the data of so many workers: those of a worker depend on its number alone."""
    n, d, n_classes = settings.samples_per_worker, settings.features, settings.classes
    means = streams.generator(Stream.TASK).normal(size=(n_classes, d)) * settings.separation / np.sqrt(d)
    features, labels = np.empty((n_workers, n, d)), np.empty((n_workers, n), dtype=np.int64)
    for worker in range(n_workers):
        labels[worker] = _labels(settings, streams.seat(Stream.SPLIT, worker))
        features[worker] = streams.seat(Stream.DATA, worker).normal(size=(n, d))
        features[worker] += means[labels[worker]]
    test_labels = np.arange(settings.test_samples) % n_classes
    noise = streams.generator(Stream.EVALUATION).normal(size=(settings.test_samples, d))
    return Samples(features, labels, means[test_labels] + noise, test_labels)


def _labels(settings: Softmax, generator: np.random.Generator) -> NDArray[np.int64]:
    n, n_classes = settings.samples_per_worker, settings.classes
    if settings.dirichlet_alpha is None:
        return generator.integers(n_classes, size=n)
    proportions = generator.dirichlet(np.full(n_classes, settings.dirichlet_alpha / n_classes))
    return np.repeat(np.arange(n_classes), generator.multinomial(n, proportions))


class SoftmaxOracle:
    """Gradients of the mean cross-entropy on given data; q is a single number that nothing depends on.

    Args:
        samples: of each worker, and those for testing.
        n_classes: C.
        streams: where batches are drawn.
        batch_size: samples of one gradient; none: all.
    """

    on_simplex = False
    questions: Questions | None = None

    def __init__(
        self, samples: Samples, n_classes: int, streams: Streams, batch_size: int | None = None
    ) -> None:
        import torch

        self._streams = streams
        self._batch_size = batch_size
        self._x = _with_ones(samples.features)
        self._labels = _to_tensor(samples.labels)
        # (R, C, n), classes before samples: a softmax over a short last axis takes three times as long.
        self._y = torch.nn.functional.one_hot(self._labels, n_classes).mT.double()
        self._test_x = _with_ones(samples.test_features)
        self._test_labels = _to_tensor(samples.test_labels)
        self.start_p = torch.zeros(n_classes, self._x.shape[2], dtype=torch.float64)
        self.start_q = torch.zeros(1, 1, dtype=torch.float64)

    def upper(
        self, workers: list[int], jobs: list[int], P: Tensor, Q: Tensor, starts_s: Sequence[float] = ()
    ) -> tuple[Tensor, Tensor]:
        return self.lower(workers, jobs, P, Q, starts_s), Q.new_zeros(Q.shape)

    def lower(
        self,
        workers: list[int],
        jobs: list[int],
        P: Tensor,
        realised: Tensor,
        starts_s: Sequence[float] = (),
    ) -> Tensor:
        import torch

        rows = torch.tensor(workers)
        x, y = self._x[rows], self._y[rows]
        if self._batch_size is not None:
            chosen = self._batches(workers, jobs, self._batch_size)
            x = x.take_along_dim(chosen[:, :, None], 1)
            y = y.take_along_dim(chosen[:, None], 2)
        errors = torch.softmax(P @ x.mT, dim=1).sub_(y)
        return (errors @ x).div_(x.shape[1])

    def realise(self, workers: list[int], Q: Tensor, rule: RealisationRule, update: int) -> Tensor:
        """Return q itself: nothing depends on it."""
        return Q.clone()

    def evaluate(
        self, workers: list[int], P: Tensor, Q: Tensor, z: Tensor, time_s: float = 0.0
    ) -> dict[str, float]:
        import torch
        from torch.nn.functional import cross_entropy

        from fedsim.learning.chunks import chunks

        total, n_samples = 0.0, self._labels.shape[1]
        for part in chunks(len(workers), self._x[0].numel()):
            rows = torch.tensor(workers[part])
            logits = P[part] @ self._x[rows].mT
            total += float(cross_entropy(logits, self._labels[rows], reduction="sum"))
        logits = self._test_x @ z.mT
        right = logits.argmax(1) == self._test_labels
        return {
            "loss": total / (n_samples * len(workers)),
            "accuracy": float(right.double().mean()),
            "loss_test": float(cross_entropy(logits, self._test_labels)),
        }

    def _batches(self, workers: list[int], jobs: list[int], size: int) -> Tensor:
        """Return the places of the samples that each job takes, (J, size): the first of a random order."""
        order = self._streams.uniforms(Stream.QUERIES, workers, jobs, self._labels.shape[1])
        return _to_tensor(order.argsort(axis=1)[:, :size].copy())


def _to_tensor(array: NDArray[np.int64] | NDArray[np.float64]) -> Tensor:
    from fedsim.learning.device import from_numpy

    return from_numpy(array)


def _with_ones(features: NDArray[np.float64]) -> Tensor:
    """Return features with a last one of 1, by which the bias is multiplied."""
    ones = np.ones((*features.shape[:-1], 1))
    return _to_tensor(np.concatenate((features, ones), axis=-1))
