"""The accuracies to which a task is fitted, as functions of the surrogate's parameters.

Each is an expectation over test sets of the given class counts (closed form, so that it varies smoothly with
the parameters), averaged over draws of the training data from fixed addresses. All accuracies in %.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor

from fedsim.icl.models.base import Prompts
from fedsim.icl.models.linear_attention import LinearAttention
from fedsim.icl.tasks.base import Floats
from fedsim.icl.tasks.gaussian import SurrogateParameters, class_means
from fedsim.icl.tasks.synthetic import Synthetic
from fedsim.problems.icl.measure import prompts
from fedsim.problems.icl.oracle import IclOracle
from fedsim.problems.icl.problem import Estimator, IclProblem
from fedsim.streams import Streams
from fedsim_analysis.fitting.training import UPDATES, train


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


def random_pairs(task: Synthetic, n_draws: int, seed: int, pooled: int) -> MeanOfDraws:
    """Return the mean accuracy of all pairs of demonstrations of each draw's pool: that of a random one."""
    oracle = IclOracle(IclProblem(task=task, use_fragment=False), Streams(seed), n_draws, pooled)
    numbers = torch.arange(task.n_demonstrations)
    pairs = torch.cartesian_prod(numbers, numbers).T.expand(n_draws, -1, -1)
    shown = Prompts(torch.arange(n_draws), None, pairs, "test", None)
    return estimate(accuracies(oracle, shown).mean(1))


class Recipe(NamedTuple):
    """What is tuned, from which data and how: the settings of a row that need no cuts."""

    words: bool
    demonstrations: bool
    pooled: int
    """Clients whose data one machine holds."""
    estimator: Estimator = "zero"


def trained(
    task: Synthetic, recipe: Recipe, n_draws: int, seed: int, updates: int = UPDATES
) -> tuple[IclOracle, Tensor, Tensor]:
    """Return an oracle of `n_draws` machines that know nothing of each other, and the p and q they learn."""
    problem = IclProblem(
        task=task,
        use_fragment=recipe.words,
        use_demonstrations=recipe.demonstrations,
        estimator=recipe.estimator,
    )
    oracle = IclOracle(problem, Streams(seed), n_draws, recipe.pooled)
    return oracle, *train(oracle, list(range(n_draws)), updates=updates)


def tuned(task: Synthetic, recipe: Recipe, n_draws: int, seed: int) -> MeanOfDraws:
    """Return the accuracy of the likeliest words and demonstrations after training by the recipe."""
    oracle, P, Q = trained(task, recipe, n_draws, seed)
    return estimate(accuracies(oracle, prompts(oracle, list(range(n_draws)), P, Q, "test"))[:, 0])


@torch.no_grad()
def accuracies(oracle: IclOracle, asked: Prompts) -> Floats:
    """Return the expected accuracy of each prompt, (J, I)."""
    task, scorer = oracle.problem.task, oracle.scorer
    assert isinstance(task, Synthetic)
    assert isinstance(scorer, LinearAttention)  # the default model
    return expected_accuracy(scorer.classifiers(asked).numpy(), task.parameters, task.class_counts)


def estimate(values: Floats) -> MeanOfDraws:
    """Return the mean of independent values and its standard error."""
    return MeanOfDraws(float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5))
