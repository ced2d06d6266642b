"""The arithmetic of the surrogate black box."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fedsim.icl.models.base import FOR_ALL, Prompts
from fedsim.icl.models.reading import DemonstrationReading, FragmentReading
from fedsim.icl.tasks.base import Demonstrations, Longs, Queries, TaskData, Triggered
from fedsim.icl.tasks.gaussian import Latent, class_means
from fedsim.learning.device import from_numpy

if TYPE_CHECKING:
    from fedsim.problems.base import Questions


class LinearAttention:
    """`Surrogate` with a task's data in place.

    Every classifier is one row of U * (d + 1) numbers. What each demonstration and each word adds is computed
    once, so that a prompt costs a few gathered rows and small products.
    """

    questions: Questions | None = None

    def __init__(
        self, data: TaskData[Latent], fragment: FragmentReading, demonstrations: DemonstrationReading
    ) -> None:
        self._fragment = fragment
        self._n_classes = len(data.source.base)
        self._base = from_numpy(data.source.base).flatten()
        self._words = from_numpy(data.source.words).flatten(1).contiguous()
        steps = demonstration_steps(data.source, data.demonstrations, demonstrations, data.order)
        self._steps = steps.reshape(-1, self._base.numel())
        n_rows, n_slots, n_candidates = steps.shape[:3]
        self._slots = torch.arange(n_rows * n_slots).view(n_rows, n_slots, 1) * n_candidates
        """Where the candidates of each slot begin among `_steps`."""
        self._columns = {
            "train": _columns(data.train),
            "validation": _columns(data.validation),
            "test": _columns(data.test),
        }
        if data.triggered is not None:
            self._columns["triggered"] = _columns(data.triggered)

    def scores(self, prompts: Prompts) -> Tensor:
        classifiers = self.classifiers(prompts)
        columns = self._queries(prompts)
        logits = classifiers.flatten(1, 2) @ columns
        return logits.view(*classifiers.shape[:3], columns.shape[-1]).softmax(2)

    def classifiers(self, prompts: Prompts) -> Tensor:
        """Return the classifier that each prompt induces, (J, I, U, d + 1)."""
        rows = self._base
        if prompts.demonstrations is not None:
            rows = rows + self._demonstrated(prompts.workers, prompts.demonstrations)
        if prompts.words is not None:
            rows = rows + self._worded(prompts.words)
        if rows is self._base:
            rows = rows.expand(prompts.workers.shape[0], 1, -1)
        return rows.view(*rows.shape[:2], self._n_classes, -1)

    def _demonstrated(self, workers: Tensor, demonstrations: Tensor) -> Tensor:
        """Return the sum over slots of each prompt's implicit steps, (J, I, U * (d + 1))."""
        return self._steps[self._slots[workers] + demonstrations].sum(1)

    def _worded(self, words: Tensor) -> Tensor:
        """Return what the words of each fragment add up to, (J, I, U * (d + 1))."""
        return self._fragment.effects(words, self._words)

    def _queries(self, prompts: Prompts) -> Tensor:
        """Return the queries as columns ``[x; 1]``, (J or 1, d + 1, b)."""
        columns = self._columns[prompts.split]
        if prompts.split not in FOR_ALL:
            columns = columns[prompts.workers]
        if prompts.queries is None:
            return columns
        index = prompts.queries[:, None, :].expand(-1, columns.shape[1], -1)
        return columns.expand(len(index), -1, -1).gather(2, index)


def demonstration_steps(
    latent: Latent,
    demonstrations: Demonstrations,
    reading: DemonstrationReading,
    order: Longs | None = None,
) -> Tensor:
    """Return what the candidates of each slot add to the classifier, (W, S, V / s, U, d + 1).

    Args:
        latent: the box's view of the task.
        demonstrations: the candidates.
        reading: what the box takes from them.
        order: the slots, as a prompt shows them; none: as they are numbered.
    """
    base, shares = from_numpy(latent.base), reading.shares
    n_slots = demonstrations.y.shape[1]
    per_class = n_slots // len(base)
    classes = torch.arange(n_slots) // per_class
    means = from_numpy(class_means(latent.parameters, len(base)))
    x = from_numpy(demonstrations.x)
    shown = functional.one_hot(from_numpy(demonstrations.y), len(base)).double()
    recognised = functional.one_hot((x @ means.T).argmax(-1), len(base)).double()
    # A step is linear in the label: labels and texts together are one step towards their mixture.
    steps = _step(base, x, shares.labels * shown + shares.texts * recognised, shares.labels + shares.texts)
    each = _step(base, means, shares.presence * torch.eye(len(base), dtype=torch.float64), shares.presence)
    steps = latent.parameters.demo_step * (steps + each[classes][:, None])
    # Independent biases of two labels differ by sqrt(2) times their deviation.
    assert demonstrations.bias is not None  # a source of vectors has drawn it
    steps[..., -1] += from_numpy(demonstrations.bias) * (latent.parameters.label_bias / 2**0.5)
    if reading.recency:
        places = np.arange(n_slots) if order is None else order
        pushes = latent.parameters.label_bias * from_numpy(reading.place_weights(places) - 1)
        steps[..., -1] += pushes[:, None, None] * shown
    return steps if per_class == 1 else steps / per_class**reading.shots_exponent


def _step(base: Tensor, x: Tensor, labels: Tensor, share: float) -> Tensor:
    """Return the part `share` of a step of gradient descent at each text x, (..., U, d + 1).

    Args:
        base: the classifier from which it goes, (U, d + 1).
        x: features, (..., d).
        labels: what is learned, (..., U), `share` in sum.
        share: how much of a whole step.
    """
    features = functional.pad(x, (0, 1), value=1.0)
    errors = labels - share * (features @ base.T).softmax(-1)
    return errors[..., None] * features[..., None, :]


def _columns(queries: Queries | Triggered) -> Tensor:
    features = functional.pad(from_numpy(queries.x), (0, 1), value=1.0)
    return features.transpose(1, 2).contiguous()
