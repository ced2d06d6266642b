"""The four accuracies to which a task is fitted, as functions of the surrogate's parameters.

Each is an expectation over test sets of the given class counts (closed form, so that it varies smoothly with
the parameters), averaged over draws of the training data from fixed addresses. All accuracies in %.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import norm

from fedsim.icl.models.linear_attention import LinearAttention, demonstration_steps
from fedsim.icl.models.reading import DemonstrationReading
from fedsim.icl.tasks.base import Floats
from fedsim.icl.tasks.gaussian import SurrogateParameters, class_means
from fedsim.icl.tasks.synthetic import Synthetic
from fedsim.problems.icl.measure import prompts
from fedsim.problems.icl.oracle import IclOracle
from fedsim.problems.icl.problem import IclProblem
from fedsim.streams import Streams
from fedsim_analysis.fitting.training import train


class MeanOfDraws(NamedTuple):
    """A mean over draws and its standard error."""

    mean: float
    standard_error: float


def expected_accuracy(
    classifiers: Floats, parameters: SurrogateParameters, counts: tuple[int, ...]
) -> Floats:
    """Return the chance of a right answer, in %, of two-class classifiers (..., 2, d + 1).

    The margin of a Gaussian query is Gaussian: its class is found with probability Phi(mean / deviation).
    """
    difference = classifiers[..., 1, :] - classifiers[..., 0, :]
    weights, bias = difference[..., :-1], difference[..., -1]
    margins = (weights @ class_means(parameters, 2).T + bias[..., None]) * (-1, 1)
    right = norm.cdf(margins / np.linalg.norm(weights, axis=-1)[..., None])
    return 100 * right @ (np.array(counts) / sum(counts))


def plain(parameters: SurrogateParameters) -> float:
    """Return the accuracy without context; exact, whatever the class counts."""
    return float(100 * norm.cdf(parameters.base_alignment * parameters.separation / 2))


def base_alignment(accuracy: float, separation: float) -> float:
    """Return the alignment at which `plain` gives an accuracy (in %)."""
    return float(2 * norm.ppf(accuracy / 100) / separation)


def in_context(task: Synthetic, n_draws: int, seed: int) -> tuple[MeanOfDraws, MeanOfDraws]:
    """Return the accuracy of a random pair of demonstrations, and of the best pair of each draw's pool.

    The best of the V * V pairs has the smallest cross entropy on the draw's training queries: what the tuning
    of q alone works towards.
    """
    data = task.draw(Streams(seed), n_draws)
    base = data.source.base
    steps = demonstration_steps(data.source, data.demonstrations, DemonstrationReading()).numpy()
    features = np.append(data.train.x, np.ones((*data.train.x.shape[:2], 1)), axis=-1)
    sign = 2.0 * data.train.y - 1
    random, best = np.empty(n_draws), np.empty(n_draws)
    for i in range(n_draws):
        signed = features[i] * sign[i][:, None]
        margins = (steps[i, ..., 1, :] - steps[i, ..., 0, :]) @ signed.T
        pairs = margins[0][:, None] + margins[1][None] + signed @ (base[1] - base[0])
        losses = np.logaddexp(0, -pairs).mean(-1)
        first, second = np.unravel_index(losses.argmin(), losses.shape)
        classifiers = base + steps[i, 0][:, None] + steps[i, 1][None]
        accuracies = expected_accuracy(classifiers, task.parameters, task.class_counts)
        random[i], best[i] = accuracies.mean(), accuracies[first, second]
    return _estimate(random), _estimate(best)


def fragment_only(task: Synthetic, n_draws: int, seed: int) -> MeanOfDraws:
    """Return the accuracy of the likeliest words after training p alone by the recipe, a draw per worker."""
    problem = IclProblem(task=task, use_demonstrations=False)
    oracle = IclOracle(problem, Streams(seed), n_draws, 1)
    workers = list(range(n_draws))
    P, Q = train(oracle, workers)
    scorer = oracle.scorer
    assert isinstance(scorer, LinearAttention)  # the default model
    with torch.no_grad():
        classifiers = scorer.classifiers(prompts(oracle, workers, P, Q, "test"))[:, 0].numpy()
    return _estimate(expected_accuracy(classifiers, task.parameters, task.class_counts))


def _estimate(values: Floats) -> MeanOfDraws:
    return MeanOfDraws(float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5))
