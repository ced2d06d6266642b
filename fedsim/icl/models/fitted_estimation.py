"""Estimate the numbers of `Fitted` from a model's answers: ridge-regularised cross entropy.

The targets are the model's own label probabilities. One ridge draws the queries' own effects to zero, another
W0 (its bias apart) and the effects of demonstrations and words; a word's effect by as much less as a prompt
has positions, so that a whole fragment is drawn as a demonstration is. The step and the bias of W0 are free.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from fedsim.icl.models.base import Prompts
from fedsim.icl.models.fitted_math import errors_of, features, logits, rows_used
from fedsim.icl.models.fitted_parameters import FittedParameters, address, joined

if TYPE_CHECKING:
    from fedsim.icl.encoders import Encoder
    from fedsim.icl.tasks.base import Longs, TaskData, Texts

RIDGES_OF_QUERIES = (0.03, 0.1, 0.3, 1.0)
RIDGES_OF_PROMPTS = (0.1, 0.3, 1.0, 3.0, 10.0)
FOLDS = 5
MAX_ITERATIONS = 500

Vector = np.ndarray[tuple[int], np.dtype[np.float64]]
Matrix = np.ndarray[tuple[int, int], np.dtype[np.float64]]


class Ridges(NamedTuple):
    """Weights of the squares of effects; where cross-validation starts from."""

    queries: float = 0.3
    prompts: float = 1.0


class Asked(NamedTuple):
    """P prompts, one a job, and a model's answers to them."""

    prompts: Prompts
    answers: Tensor
    """Label probabilities, (P, U, b)."""


class Answers(NamedTuple):
    """P prompts by numbers of texts and words, with the features of the texts, ready for arithmetic."""

    queries: Tensor
    """Numbers of texts, (P, b)."""
    shown: Tensor | None
    """Numbers of texts, (P, S); None for prompts without demonstrations."""
    labels: Tensor | None
    """What the demonstrations show, (P, S)."""
    words: Tensor | None
    """Numbers of words, (P, M); None for prompts without a fragment."""
    targets: Tensor
    """The model's label probabilities, (P, b, U)."""

    def part(self, chosen: Tensor) -> Answers:
        """Return some of the prompts."""
        return Answers(
            self.queries[chosen],
            None if self.shown is None else self.shown[chosen],
            None if self.labels is None else self.labels[chosen],
            None if self.words is None else self.words[chosen],
            self.targets[chosen],
        )


class Estimate(NamedTuple):
    """The numbers that are fitted; the n texts and N words by their numbers."""

    base: Tensor
    """(U, d + 1)."""
    step: Tensor
    """()."""
    queries: Tensor
    """(n, U)."""
    demonstrations: Tensor
    """(n, U)."""
    words: Tensor
    """(N, U)."""


def estimate(
    asked: Sequence[Asked],
    data: TaskData[Texts],
    encoder: Encoder,
    n_features: int,
    ridges: Ridges | None = None,
    said: dict[str, object] | None = None,
) -> FittedParameters:
    """Return the parameters that fit a model's answers best.

    Args:
        asked: the same prompts, asked about queries of one split after another.
        data: whose texts and words the prompts hold.
        encoder: of texts.
        n_features: d, or as many as the texts span.
        ridges: None to choose them by cross-validation.
        said: what the parameters' `fitted_to` says besides the ridges.
    """
    used = rows_used(data)
    texts = [data.source.rows[row] for row in used]
    centre, projection = principal_components(encoder.encode([joined(text) for text in texts]), n_features)
    points = features(encoder, centre, projection, texts)
    answers = _gathered(asked, data, used)
    n_words = len(data.source.words)
    ridges = ridges or cross_validated(answers, points, n_words)
    found = minimise(answers, points, n_words, ridges)

    def by_address(
        table: Tensor, names: Sequence[object], seen: Tensor | None
    ) -> dict[str, tuple[float, ...]]:
        numbers = [] if seen is None else np.unique(seen.numpy()).tolist()
        return {address(names[i]): tuple(table[i].tolist()) for i in numbers}

    return FittedParameters(
        labels=data.source.template.labels,
        encoder=encoder,
        centre=tuple(centre.tolist()),
        projection=tuple(map(tuple, projection.tolist())),
        base=tuple(map(tuple, found.base.tolist())),
        step=float(found.step),
        queries=by_address(found.queries, texts, answers.queries),
        demonstrations=by_address(found.demonstrations, texts, answers.shown),
        words=by_address(found.words, data.source.words, answers.words),
        fitted_to={**(said or {}), "ridges": ridges._asdict()},
    )


def principal_components(embeddings: Matrix, n_features: int) -> tuple[Vector, Matrix]:
    """Return the mean, (D,), and the projection on the first components, (D, d).

    Projected embeddings have mean square length one, so that step and ridge mean the same for any encoder.
    """
    centre = embeddings.mean(0)
    _, _, directions = np.linalg.svd(embeddings - centre, full_matrices=False)
    projection = directions[:n_features].T
    length = np.sqrt((((embeddings - centre) @ projection) ** 2).sum(1).mean())
    return centre, projection / (length if length > 0 else 1.0)


def cross_validated(answers: Answers, points: Tensor, n_words: int) -> Ridges:
    """Return the ridges whose fit to some prompts answers the others best, `prompts` chosen first."""
    fold = torch.arange(len(answers.targets)) % FOLDS

    def loss(ridges: Ridges) -> float:
        total = 0.0
        for left_out in range(FOLDS):
            found = minimise(answers.part(fold != left_out), points, n_words, ridges)
            total += float(cross_entropy(found, answers.part(fold == left_out), points))
        return total

    best = min((Ridges(prompts=ridge) for ridge in RIDGES_OF_PROMPTS), key=loss)
    return min((best._replace(queries=ridge) for ridge in RIDGES_OF_QUERIES), key=loss)


def minimise(answers: Answers, points: Tensor, n_words: int, ridges: Ridges) -> Estimate:
    """Return the numbers that minimise cross entropy plus ridge; all start at zero.

    Source: Byrd, Lu, Nocedal, Zhu, "A limited memory algorithm for bound constrained optimization", SIAM J.
    Sci. Comput. 16, 1995 (here without bounds), as scipy has it.
    """
    n_classes, n_texts = answers.targets.shape[-1], len(points)
    sizes = [(n_classes, points.shape[1]), (), *((n, n_classes) for n in (n_texts, n_texts, n_words))]
    n_positions = 1 if answers.words is None else answers.words.shape[1]

    def objective(point: Vector) -> tuple[float, Vector]:
        flat = torch.from_numpy(point).requires_grad_()
        with torch.enable_grad():
            found = _unpacked(flat, sizes)
            drawn = (found.base[:, :-1], found.demonstrations, found.words / n_positions**0.5)
            squares = torch.stack([(table**2).sum() for table in drawn]).sum()
            loss = cross_entropy(found, answers, points) + ridges.prompts * squares
            loss = loss + ridges.queries * (found.queries**2).sum()
            (gradient,) = torch.autograd.grad(loss, flat)
        return float(loss.detach()), gradient.numpy()

    start = np.zeros(sum(math.prod(size) for size in sizes))
    # A thousand numbers that hardly depend on one another: a longer memory than usual saves a third.
    done = minimize(
        objective,
        start,
        method="L-BFGS-B",
        jac=True,
        options={"maxiter": MAX_ITERATIONS, "maxcor": 30, "ftol": 1e-7, "gtol": 1e-5},
    )
    return _unpacked(torch.from_numpy(done.x), sizes)


def _unpacked(flat: Tensor, sizes: Sequence[tuple[int, ...]]) -> Estimate:
    ends = np.cumsum([math.prod(size) for size in sizes])
    parts = flat.tensor_split(ends[:-1].tolist())
    return Estimate(*(part.view(size) for part, size in zip(parts, sizes, strict=True)))


def cross_entropy(found: Estimate, answers: Answers, points: Tensor) -> Tensor:
    """Return the cross entropy of the closed form against the model's probabilities, summed, ()."""
    shift = found.base.new_zeros(1, len(found.base))
    shown = errors = None
    if answers.shown is not None and answers.labels is not None:
        shown = points[answers.shown]
        errors = errors_of(found.base, shown, answers.labels)
        shift = shift + found.demonstrations[answers.shown].sum(1)
    if answers.words is not None:
        shift = shift + found.words[answers.words].mean(1)
    own = found.queries[answers.queries]
    scores = logits(found.base, found.step, points[answers.queries], own, shown, errors, shift)
    return -(answers.targets * scores.log_softmax(-1)).sum()


def _gathered(asked: Sequence[Asked], data: TaskData[Texts], used: Longs) -> Answers:
    """Return the prompts with all their queries, each text by its place in `used`."""

    def places(rows: Longs) -> Tensor:
        return torch.from_numpy(np.searchsorted(used, rows))

    queries = torch.cat([places(query_rows(some.prompts, data)) for some in asked], dim=1)
    targets = torch.cat([some.answers for some in asked], dim=2).transpose(1, 2)
    workers, words, demonstrations, _, _ = asked[0].prompts
    shown = labels = None
    if demonstrations is not None:
        slots = torch.arange(demonstrations.shape[1])
        chosen = tuple(index.numpy() for index in (workers[:, None], slots, demonstrations[:, :, 0]))
        shown = places(data.demonstrations.x[chosen])
        labels = torch.from_numpy(data.demonstrations.y[chosen])
    return Answers(queries, shown, labels, None if words is None else words[:, :, 0], targets)


def query_rows(prompts: Prompts, data: TaskData[Texts]) -> Longs:
    """Return the numbers of the texts of all queries, (P, b)."""
    return _of_queries(prompts, getattr(data, prompts.split).x)


def query_labels(prompts: Prompts, data: TaskData[Texts]) -> Longs:
    """Return the classes of all queries, (P, b)."""
    return _of_queries(prompts, getattr(data, prompts.split).y)


def _of_queries(prompts: Prompts, table: Longs) -> Longs:
    assert prompts.queries is not None  # they are drawn
    rows = np.minimum(prompts.workers.numpy(), len(table) - 1)  # one test set for all
    return table[rows[:, None], prompts.queries.numpy()]
