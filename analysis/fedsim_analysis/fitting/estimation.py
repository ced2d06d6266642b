"""Estimate the numbers of `Fitted` from a model's answers: ridge-regularised cross entropy.

The targets are the model's own label probabilities. W0 (its bias apart), the queries' own effects and those
of demonstrations and words are each drawn to zero by a ridge of their own; a word's effect by as much as its
share in a random fragment, so that a whole fragment is drawn as a demonstration is; all gains are by one
more. The step and the bias of W0 are free. Ridges are chosen one after the other by cross-validation over
prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedsim.icl.models.fitted.arithmetic import errors_of, features, logits, rows_used
from fedsim.icl.models.fitted.parameters import FittedParameters, address
from fedsim.icl.models.reading import FragmentReading
from fedsim.learning.one_thread import one_thread
from fedsim_analysis.fitting.answers import Answers, Asked, gathered

if TYPE_CHECKING:
    from fedsim.icl.encoders import Encoder
    from fedsim.icl.tasks.base import TaskData, Text, Texts

TRIED_RIDGES = {
    "demonstrations": (0.1, 0.3, 1.0, 3.0, 10.0),
    "words": (0.1, 0.3, 1.0, 3.0, 10.0),
    "gains": (0.3, 1.0, 3.0, 10.0),
    "base": (0.1, 1.0, 10.0),
    "queries": (0.03, 0.1, 0.3),
}
"""Which ridges are tried, in the order in which they are chosen."""
FOLDS = 5
MAX_ITERATIONS = 500
TOLERANCE = 1e-6
"""Change of every number or of the loss at which the search ends."""


class Ridges(NamedTuple):
    """Weights of the squares of effects; where cross-validation starts from."""

    queries: float = 0.3
    base: float = 1.0
    demonstrations: float = 1.0
    words: float = 1.0
    gains: float = 3.0


class FittedEffects(NamedTuple):
    """The numbers that are fitted; the n texts and N words by their numbers."""

    base: Tensor
    """(U, d + 1)."""
    step: Tensor
    """()."""
    queries: Tensor
    """(n, U)."""
    demonstrations: Tensor
    """Scores, and last the gain, (n, U + 1)."""
    words: Tensor
    """Scores, and last the gain, (N, U + 1)."""


@one_thread()
def estimate(
    asked: Sequence[Asked],
    data: TaskData[Texts],
    encoder: Encoder,
    n_features: int,
    ridges: Ridges | None = None,
    said: dict[str, object] | None = None,
    fragment: FragmentReading | None = None,
) -> FittedParameters:
    """Return the parameters that fit a model's answers best.

    Args:
        asked: the same prompts, asked about queries of one split after another.
        data: whose texts and words the prompts hold.
        encoder: of texts.
        n_features: d, or as many as the texts span.
        ridges: None to choose them by cross-validation.
        said: what the parameters' `fitted_to` says besides the ridges.
        fragment: how the effects of words add up; None for the default.
    """
    used = rows_used(data)
    texts = [data.source.rows[row] for row in used]
    embeddings = torch.from_numpy(encoder.encode([text.joined() for text in texts]))
    centre, projection = principal_components(embeddings, n_features)
    points = features(encoder, centre, projection, texts)
    answers = gathered(asked, data, used, texts)
    n_words = len(data.source.words)
    fragment = fragment or FragmentReading()
    fitting = Fitting(points, n_words, fragment)
    ridges = ridges or cross_validated(answers, fitting)
    found = minimise(answers, fitting, ridges)

    def by_address(
        table: Tensor, names: Sequence[Text | str], seen: Tensor | None
    ) -> dict[str, tuple[float, ...]]:
        numbers = [] if seen is None else np.unique(seen.numpy()).tolist()
        return {address(names[i]): tuple(table[i].tolist()) for i in numbers}

    demonstrations = by_address(found.demonstrations, texts, answers.shown)
    words = by_address(found.words, data.source.words, answers.words)
    return FittedParameters(
        labels=data.source.template.labels,
        encoder=encoder,
        centre=tuple(centre.tolist()),
        projection=tuple(map(tuple, projection.tolist())),
        base=tuple(map(tuple, found.base.tolist())),
        step=float(found.step),
        queries=by_address(found.queries, texts, answers.queries),
        demonstrations={name: row[:-1] for name, row in demonstrations.items()},
        fragment=fragment,
        words={name: row[:-1] for name, row in words.items()},
        gains={name: row[-1] for name, row in (demonstrations | words).items()},
        fitted_to={**(said or {}), "ridges": ridges._asdict()},
    )


def principal_components(embeddings: Tensor, n_features: int) -> tuple[Tensor, Tensor]:
    """Return the mean, (D,), and the projection on the first components, (D, d).

    Projected embeddings have mean square length one, so that step and ridge mean the same for any encoder.
    """
    centre = embeddings.mean(0)
    _, _, directions = torch.linalg.svd(embeddings - centre, full_matrices=False)
    projection = directions[:n_features].T
    length = ((embeddings - centre) @ projection).square().sum(1).mean().sqrt()
    return centre, projection / (length if length > 0 else 1.0)


class Fitting(NamedTuple):
    """What all prompts of a fit share."""

    points: Tensor
    """``[x; 1]`` of the n texts, (n, d + 1)."""
    n_words: int
    """N."""
    fragment: FragmentReading


def cross_validated(answers: Answers, fitting: Fitting) -> Ridges:
    """Return the ridges whose fit to some prompts answers the others best, chosen one after the other."""
    fold = torch.arange(len(answers.targets)) % FOLDS

    def loss(ridges: Ridges) -> float:
        total = 0.0
        for left_out in range(FOLDS):
            found = minimise(answers.part(fold != left_out), fitting, ridges)
            total += float(cross_entropy(found, answers.part(fold == left_out), fitting))
        return total

    best = Ridges()
    for name, tried in TRIED_RIDGES.items():
        best = min((best._replace(**{name: ridge}) for ridge in tried), key=loss)
    return best


def minimise(answers: Answers, fitting: Fitting, ridges: Ridges) -> FittedEffects:
    """Return the numbers that minimise cross entropy plus ridge; all start at zero.

    Source: Liu, Nocedal, "On the limited memory BFGS method for large scale optimization", Mathematical
    Programming 45, 1989, with a line search under the strong Wolfe conditions.
    """
    n_classes, (n_texts, n_features) = answers.targets.shape[-1], fitting.points.shape
    sizes: list[tuple[int, ...]] = [(n_classes, n_features), (), (n_texts, n_classes)]
    sizes += [(n, n_classes + 1) for n in (n_texts, fitting.n_words)]
    found = FittedEffects(*(torch.zeros(size, dtype=torch.float64, requires_grad=True) for size in sizes))
    n_positions = 1 if answers.words is None else answers.words.shape[1]
    of_one_word = n_positions ** (0.5 - fitting.fragment.length_exponent)
    optimiser = torch.optim.LBFGS(
        list(found), max_iter=MAX_ITERATIONS, tolerance_change=TOLERANCE, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        with torch.enable_grad():
            words = found.words * of_one_word
            drawn = {
                "queries": found.queries,
                "base": found.base[:, :-1],
                "demonstrations": found.demonstrations[:, :-1],
                "words": words[:, :-1],
                "gains": torch.cat([found.demonstrations[:, -1], words[:, -1]]),
            }
            squares = [ridge * drawn[name].square().sum() for name, ridge in ridges._asdict().items()]
            loss = cross_entropy(found, answers, fitting) + torch.stack(squares).sum()
            gradients = torch.autograd.grad(loss, list(found), allow_unused=True)
        for table, gradient in zip(found, gradients, strict=True):
            table.grad = gradient
        return loss

    optimiser.step(objective)  # type: ignore[no-untyped-call]  # torch ships no type for it
    return FittedEffects(*(table.detach() for table in found))


def cross_entropy(found: FittedEffects, answers: Answers, fitting: Fitting) -> Tensor:
    """Return the cross entropy of the closed form against the model's probabilities, summed, ()."""
    points = fitting.points
    added = found.base.new_zeros(1, len(found.base) + 1)
    shown = errors = None
    if answers.shown is not None and answers.labels is not None:
        shown = points[answers.shown]
        errors = errors_of(found.base, shown, answers.labels)
        added = added + found.demonstrations[answers.shown].sum(1)
    if answers.words is not None:
        amounts = fitting.fragment.weights(answers.words[:, :, None], fitting.n_words)[:, 0]
        added = added + amounts @ found.words
    own = found.queries[answers.queries]
    scores = logits(found.base, found.step, points[answers.queries], own, shown, errors, added)
    return -(answers.targets * scores.log_softmax(-1)).sum()
