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

from fedsim.icl.loss import cross_entropy
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

MANY = 5
"""How many times the paper's test queries stand for all queries, where there is no closed form."""


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


def pairs(task: Synthetic, n_draws: int, seed: int, pooled: int) -> tuple[MeanOfDraws, MeanOfDraws]:
    """Return the accuracy of a random pair of demonstrations, and of the best pair of each draw's pool.

    The best of the V * V pairs has the smallest loss on the draw's training queries: what the tuning of q
    alone works towards.
    """
    oracle = IclOracle(IclProblem(task=task, use_fragment=False), Streams(seed), n_draws, pooled)
    numbers = torch.arange(task.n_demonstrations)
    every = torch.cartesian_prod(numbers, numbers).T[None]
    labels = torch.from_numpy(oracle.data.train.y)
    random, best = np.empty(n_draws), np.empty(n_draws)
    for draw in range(n_draws):
        shown = Prompts(torch.tensor([draw]), None, every, "train", None)
        losses = cross_entropy(oracle.scorer.scores(shown), labels[draw][None], oracle.problem.loss_floor)
        right = accuracies(oracle, shown)[0]
        random[draw], best[draw] = right.mean(), right[losses[0].argmin()]
    return estimate(random), estimate(best)


def nearest(task: Synthetic, n_draws: int, seed: int, pooled: int) -> MeanOfDraws:
    """Return the accuracy with the demonstration of each class that is nearest to the query, by features.

    What KATE comes to where a prompt shows one demonstration a class: the form has no other likeness of texts
    than the distance of their features. Each query has a prompt of its own, so this one is measured, on many
    test queries.

    Source: Liu et al., "What makes good in-context examples for GPT-3?", DeeLIO 2022, Algorithm 1.
    """
    first, second = task.class_counts
    many = task.model_copy(update={"test_counts": (MANY * first, MANY * second)})
    oracle = IclOracle(IclProblem(task=many, use_fragment=False), Streams(seed), n_draws, pooled)
    assert isinstance(oracle.scorer, LinearAttention)  # the default model
    x, y = oracle.data.test.x[0], oracle.data.test.y[0]
    columns = np.append(x, np.ones((len(x), 1)), axis=1)
    right = np.empty(n_draws)
    for draw, pool in enumerate(oracle.data.demonstrations.x):
        shown = np.stack([((x[:, None] - of_class) ** 2).sum(-1).argmin(-1) for of_class in pool])
        asked = Prompts(torch.tensor([draw]), None, torch.from_numpy(shown)[None], "test", None)
        classifiers = oracle.scorer.classifiers(asked)[0].numpy()
        right[draw] = 100 * (np.einsum("nuf,nf->nu", classifiers, columns).argmax(-1) == y).mean()
    return estimate(right)


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
