"""The arithmetic of a black box that was fitted to a real model's answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fedsim.errors import InputError
from fedsim.icl.models.base import FOR_ALL, Prompts
from fedsim.icl.models.fitted.parameters import FittedParameters, address
from fedsim.learning.device import from_numpy

if TYPE_CHECKING:
    from fedsim.icl.encoders import Encoder
    from fedsim.icl.tasks.base import Longs, TaskData, Text, Texts
    from fedsim.problems.base import Questions


def logits(
    base: Tensor,
    step: Tensor,
    queries: Tensor,
    own: Tensor,
    demonstrations: Tensor | None,
    errors: Tensor | None,
    added: Tensor,
) -> Tensor:
    """Return the label scores of b queries under a prompt with S demonstrations, (..., b, U).

    Args:
        base: W0, (U, d + 1).
        step: size of the implicit gradient step, ().
        queries: ``[x; 1]``, (..., b, d + 1).
        own: each query's own scores, (..., b, U).
        demonstrations: ``[x; 1]``, (..., S, d + 1); None for a prompt without.
        errors: `errors_of` these demonstrations, (..., S, U).
        added: scores that the prompt adds whatever the query is, and last the gain by which the query's own
            scores grow, (..., U + 1).
    """
    shift, gain = added[..., None, :-1], added[..., None, -1:]
    scores = (queries @ base.mT + own) * (1 + gain) + shift
    if demonstrations is None or errors is None:
        return scores
    return scores + step * (queries @ demonstrations.mT) @ errors


def errors_of(base: Tensor, demonstrations: Tensor, labels: Tensor) -> Tensor:
    """Return ``onehot(y) - softmax(W0 [x; 1])`` of demonstrations and the labels they show, (..., S, U)."""
    return functional.one_hot(labels, len(base)) - (demonstrations @ base.mT).softmax(-1)


class FittedScorer:
    """`Fitted` with a task's data in place."""

    questions: Questions | None = None

    def __init__(self, parameters: FittedParameters, data: TaskData[Texts]) -> None:
        rows, template, words = data.source
        if template.labels != parameters.labels:
            raise InputError(
                f"the fitted model knows the labels {', '.join(parameters.labels)}, but the prompt has "
                f"{', '.join(template.labels)}"
            )
        self._base = torch.tensor(parameters.base, dtype=torch.float64)
        self._step = torch.tensor(parameters.step, dtype=torch.float64)
        used = rows_used(data)
        texts = [rows[row] for row in used]
        centre = torch.tensor(parameters.centre, dtype=torch.float64)
        projection = torch.tensor(parameters.projection, dtype=torch.float64)
        points = features(parameters.encoder, centre, projection, texts)
        own = self._effects(parameters.queries, texts)
        self._queries = {}
        for split, x in _query_tables(data).items():
            places = from_numpy(np.searchsorted(used, x))
            self._queries[split] = points[places], own[places]
        places = from_numpy(np.searchsorted(used, data.demonstrations.x))
        self._pools = points[places]
        self._errors = errors_of(self._base, self._pools, from_numpy(data.demonstrations.y))
        gains = {name: (gain,) for name, gain in parameters.gains.items()}
        self._pool_effects = torch.cat(
            [self._effects(parameters.demonstrations, texts), self._effects(gains, texts, 1)], dim=1
        )[places]
        self._fragment = parameters.fragment
        self._words = torch.cat(
            [self._effects(parameters.words, words), self._effects(gains, words, 1)], dim=1
        )

    def scores(self, prompts: Prompts) -> Tensor:
        queries, own = self._asked(prompts)
        added = self._base.new_zeros(len(prompts.workers), 1, len(self._base) + 1)
        demonstrations = errors = None
        if prompts.demonstrations is not None:
            chosen = self._chosen(prompts.workers, prompts.demonstrations)
            demonstrations, errors = self._pools[chosen], self._errors[chosen]
            added = added + self._pool_effects[chosen].sum(2)
        if prompts.words is not None:
            added = added + self._fragment.effects(prompts.words, self._words)
        found = logits(self._base, self._step, queries, own, demonstrations, errors, added)
        return found.softmax(-1).transpose(2, 3)

    def _chosen(self, workers: Tensor, demonstrations: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return where the demonstrations of each prompt stand in the pools, (J, I, S) together."""
        slots = torch.arange(self._pools.shape[1])
        return workers[:, None, None], slots, demonstrations.transpose(1, 2)

    def _asked(self, prompts: Prompts) -> tuple[Tensor, Tensor]:
        """Return the queries' points, (J or 1, 1, b, d + 1), and their own scores, (J or 1, 1, b, U)."""
        points, own = self._queries[prompts.split]
        if prompts.split not in FOR_ALL:
            points, own = points[prompts.workers], own[prompts.workers]
        if prompts.queries is not None:
            jobs = torch.arange(len(points))[:, None]  # one row for all jobs where there is one test set
            points, own = points[jobs, prompts.queries], own[jobs, prompts.queries]
        return points[:, None], own[:, None]

    def _effects(
        self, table: Mapping[str, Sequence[float]], texts: Sequence[Text | str], size: int | None = None
    ) -> Tensor:
        """Return the fitted numbers of each text or word, (n, size); zero for one that the fit never saw."""
        nothing = (0.0,) * (size or len(self._base))
        return torch.tensor([table.get(address(text), nothing) for text in texts], dtype=torch.float64)


def rows_used(data: TaskData[Texts]) -> Longs:
    """Return the numbers of all texts that are a query or demonstration of the run, rising."""
    tables = (*_query_tables(data).values(), data.demonstrations.x)
    return np.unique(np.concatenate([table.ravel() for table in tables]))


def _query_tables(data: TaskData[Texts]) -> dict[str, Longs]:
    """Return the numbers of the texts of each split's queries."""
    tables = {"train": data.train.x, "validation": data.validation.x, "test": data.test.x}
    return tables if data.triggered is None else tables | {"triggered": data.triggered.x}


def features(encoder: Encoder, centre: Tensor, projection: Tensor, texts: Sequence[Text]) -> Tensor:
    """Return the points ``[x; 1]`` of texts, (n, d + 1), from the mean (D,) and the projection (D, d)."""
    embeddings = from_numpy(encoder.encode([text.joined() for text in texts]))
    return functional.pad((embeddings - centre) @ projection, (0, 1), value=1.0)
