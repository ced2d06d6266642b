"""Fit the closed form of `Fitted` to a real model's answers, and set prompts aside to judge it by.

Prompts are drawn from one run's data, in two rounds. Those of the first are random: words and demonstrations
uniform, workers too. A tuned prompt is nothing like them: it holds the best words, and maybe one of them
several times. So a first fit picks those of the second round from many random ones with repeated words, by
what it says of their loss: the best and, as many, the worst. The model is asked each prompt about some
training queries of the prompt's worker and some test queries. The answers decide everything that `Fitted`
lists, by cross entropy against the model's own label probabilities; true answers of the task pick prompts,
but never enter a fit. The ridges that keep effects near zero are chosen by cross-validation over prompts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fedsim.errors import InputError
from fedsim.icl.encoders import Encoder, WordLlama
from fedsim.icl.loss import cross_entropy
from fedsim.icl.models.base import Prompts, Split
from fedsim.icl.models.fitted.arithmetic import FittedScorer
from fedsim.icl.models.fitted.parameters import FittedParameters
from fedsim.learning.categorical import draw
from fedsim.problems.icl.oracle import IclOracle
from fedsim.streams import Stream, Streams
from fedsim_analysis.fitting.answers import Asked, query_labels, query_rows
from fedsim_analysis.fitting.estimation import FOLDS, Ridges, estimate

if TYPE_CHECKING:
    from fedsim.icl.models.base import Scorer
    from fedsim.icl.tasks.base import TaskData, Texts
    from fedsim.problems.icl.problem import IclProblem

SPLITS: tuple[Split, ...] = ("train", "test")
SOUGHT_SHARE = 0.4
"""How many of the prompts are those of the second round."""
TRIED = 25
"""Random prompts from which each one of the second round is picked."""
SPREAD = 0.3
"""Concentration of the distributions from which their words are drawn: few words, often repeated."""
FIT_SEED = 1_000
"""Apart from the seeds of runs, so that prompts are not those that a run samples."""


class HeldOut(NamedTuple):
    """Prompts that the fit has not seen, about queries of one split; all of a worker share their queries."""

    split: Split
    workers: Tensor
    """(P,)."""
    labels: Tensor
    """True classes of the queries, (P, b)."""
    real: Tensor
    """The model's label probabilities, (P, U, b)."""
    predicted: dict[str, Tensor]
    """The same by each predictor: ``fitted``; ``query_mean``, the mean of the answers about the same query
    that the fit saw in its first round; ``zero_shot``, the model's own answer to the query alone;
    ``constant``, the mean of all answers of that round."""


class Fit(NamedTuple):
    """Parameters, and what to judge them by."""

    parameters: FittedParameters
    held_out: tuple[HeldOut, ...]


def fit(
    problem: IclProblem,
    data_seed: int,
    n_workers: int,
    n_prompts: int = 200,
    held_out: int = 100,
    n_queries: int = 8,
    n_features: int = 16,
    seed: int = FIT_SEED,
    encoder: Encoder | None = None,
    ridges: Ridges | None = None,
) -> Fit:
    """Fit to the model of a problem and compare on held-out prompts.

    Args:
        problem: its task gives texts, its model answers.
        data_seed: seed of the run whose data are drawn.
        n_workers: W, workers of that run.
        n_prompts: prompts to fit to.
        held_out: prompts to compare on.
        n_queries: b, training queries and as many test queries that each prompt is completed with.
        n_features: d, principal components of the embeddings.
        seed: of the prompts.
        encoder: of texts; None for `WordLlama`.
        ridges: None to choose them by cross-validation.

    Raises:
        InputError: the task gives no texts, or there are too few prompts for the cross-validation.
        ModelError: the model did not answer; its answers so far are in the cache.
    """
    if problem.task.gives != "text":
        raise InputError(f"a fit needs a task of texts, but task {problem.task.kind!r} gives features")
    if n_prompts < FOLDS:
        raise InputError(f"a fit needs at least {FOLDS} prompts, got {n_prompts}")
    oracle = IclOracle(problem, Streams(data_seed), n_workers, 1)
    data, streams = oracle.data, Streams(seed)
    encoder = encoder or WordLlama()
    n_sought = round(SOUGHT_SHARE * n_prompts)
    fitted_to = random_prompts(problem, data, streams, 0, n_prompts - n_sought, n_queries)
    judged_by = random_prompts(problem, data, streams, 1, held_out, n_queries, shared=True)
    try:
        seen, unseen = ([_ask(oracle.scorer, some) for some in prompts] for prompts in (fitted_to, judged_by))
        alone = [_ask(oracle.scorer, some._replace(words=None, demonstrations=None)) for some in judged_by]
        first = estimate(seen, data, encoder, n_features, ridges or Ridges())
        many = random_prompts(problem, data, streams, 2, TRIED * n_sought, n_queries, spread=SPREAD)
        scores = FittedScorer(first, data).scores(many[0]._replace(queries=None))
        labels = torch.from_numpy(data.train.y)[many[0].workers]
        losses = cross_entropy(scores, labels, problem.loss_floor)[:, 0]
        chosen = extremes(losses, many[0].workers, n_sought)
        both = [
            _joined(known, _ask(oracle.scorer, _part(some, chosen)))
            for known, some in zip(seen, many, strict=True)
        ]
    finally:
        if oracle.questions is not None:
            oracle.questions.close()
    said = {
        "model": getattr(problem.model, "identity", {"kind": problem.model.kind}),
        "prompts": n_prompts,
        "of_the_second_round": n_sought,
        "queries_a_prompt": sum(some.answers.shape[-1] for some in both),
        "seed": seed,
    }
    parameters = estimate(both, data, encoder, n_features, ridges, said)
    scorer = FittedScorer(parameters, data)
    parts = zip(unseen, seen, alone, strict=True)
    return Fit(parameters, tuple(_held_out(*part, scorer, data) for part in parts))


def _held_out(
    asked: Asked, known: Asked, bare: Asked, scorer: FittedScorer, data: TaskData[Texts]
) -> HeldOut:
    """Return the answers to unseen prompts beside all predictions of them.

    Args:
        asked: the prompts to judge by.
        known: what the first round of the fit saw of the same split.
        bare: the model's answers to the queries of `asked` alone.
        scorer: the fitted model.
        data: whose queries they are.
    """
    predicted = {
        "fitted": scorer.scores(asked.prompts)[:, 0],
        "query_mean": _means_by_query(asked.prompts, known, data),
        "zero_shot": bare.answers,
        "constant": known.answers.mean((0, 2))[:, None].expand_as(asked.answers),
    }
    labels = torch.from_numpy(query_labels(asked.prompts, data))
    return HeldOut(asked.prompts.split, asked.prompts.workers, labels, asked.answers, predicted)


def random_prompts(
    problem: IclProblem,
    data: TaskData[Texts],
    streams: Streams,
    number: int,
    count: int,
    n_queries: int,
    shared: bool = False,
    spread: float | None = None,
) -> list[Prompts]:
    """Return `count` random prompts, once for training queries and once for test queries.

    Args:
        problem: says which parts a prompt has.
        data: whose words, demonstrations and queries.
        streams: the randomness.
        number: of this draw; part of its address.
        count: P.
        n_queries: b, or all queries of a split that has fewer.
        shared: whether all prompts of a worker are asked about the same queries.
        spread: concentration of the Dirichlet distribution from which the word distribution of each prompt is
            drawn; None where every word is as likely.
    """
    generator = streams.generator(Stream.PROMPTS, number)
    n_workers, n_slots, n_candidates = data.demonstrations.x.shape
    workers = generator.integers(n_workers, size=count)
    shown = torch.from_numpy(generator.integers(n_candidates, size=(count, n_slots, 1)))
    n_words, sizes = len(data.source.words), (count, problem.task.n_words, 1)
    if spread is None:
        words = torch.from_numpy(generator.integers(n_words, size=sizes))
    else:
        likely = torch.from_numpy(generator.dirichlet(np.full(n_words, spread), size=count))
        uniforms = torch.from_numpy(generator.random(sizes))
        words = draw(likely[:, None].expand(-1, problem.task.n_words, -1), uniforms)
    drawn = []
    for split in SPLITS:
        n_held, n_all = getattr(data, split).x.shape
        order = generator.random((n_held if shared else count, n_all)).argsort(-1)[:, :n_queries]
        rows = order[np.minimum(workers, n_held - 1)] if shared else order  # one test set for all
        drawn.append(
            Prompts(
                torch.from_numpy(workers),
                words if problem.use_fragment else None,
                shown if problem.use_demonstrations else None,
                split,
                torch.from_numpy(rows),
            )
        )
    return drawn


def extremes(losses: Tensor, workers: Tensor, count: int) -> Tensor:
    """Return the numbers of the prompts with the lowest and, as many, with the highest loss, (count,).

    Args:
        losses: (P,).
        workers: whose prompts they are, (P,); some have harder queries, so that losses count from the mean
            of the worker.
        count: how many; of an odd number one more of the lowest.
    """
    totals = torch.zeros(int(workers.max()) + 1, dtype=losses.dtype).index_add(0, workers, losses)
    order = (losses - (totals / workers.bincount())[workers]).argsort()
    return torch.cat([order[: count - count // 2], order[len(order) - count // 2 :]])


def _part(prompts: Prompts, chosen: Tensor) -> Prompts:
    """Return some of the prompts."""
    workers, words, demonstrations, split, queries = prompts
    return Prompts(
        workers[chosen],
        None if words is None else words[chosen],
        None if demonstrations is None else demonstrations[chosen],
        split,
        None if queries is None else queries[chosen],
    )


def _joined(known: Asked, more: Asked) -> Asked:
    """Return the prompts of two rounds together."""

    def both(one: Tensor | None, other: Tensor | None) -> Tensor | None:
        return None if one is None or other is None else torch.cat([one, other])

    (workers, words, demonstrations, split, queries), answers = known
    prompts = Prompts(
        torch.cat([workers, more.prompts.workers]),
        both(words, more.prompts.words),
        both(demonstrations, more.prompts.demonstrations),
        split,
        both(queries, more.prompts.queries),
    )
    return Asked(prompts, torch.cat([answers, more.answers]))


def _ask(scorer: Scorer, prompts: Prompts) -> Asked:
    return Asked(prompts, scorer.scores(prompts)[:, 0])


def _means_by_query(prompts: Prompts, known: Asked, data: TaskData[Texts]) -> Tensor:
    """Return the mean of the known answers about each query, of all known answers where there are none."""
    rows, known_rows = query_rows(prompts, data), query_rows(known.prompts, data)
    answers = known.answers.transpose(1, 2)
    by_row = {row: answers[torch.from_numpy(known_rows == row)].mean(0) for row in np.unique(known_rows)}
    means = torch.stack([by_row.get(row, answers.mean((0, 1))) for row in rows.ravel()])
    return means.view(*rows.shape, -1).transpose(1, 2)
