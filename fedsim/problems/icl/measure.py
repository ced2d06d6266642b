"""Measuring a state of the in-context-learning problem from outside: no simulated time, no counted call."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fedsim.icl.loss import accuracy, cross_entropy
from fedsim.icl.models.base import Prompts, Split
from fedsim.learning.categorical import draw
from fedsim.learning.device import from_numpy
from fedsim.learning.ties import argmax
from fedsim.streams import Stream

if TYPE_CHECKING:
    from fedsim.icl.tasks.base import Triggered
    from fedsim.problems.icl.oracle import IclOracle

WORKERS_AT_ONCE = 64
"""Workers measured together: bounds the memory, whatever the number of workers."""
SAMPLES, TIES = range(2)
"""The last part of an address of `Stream.EVALUATION`: drawn prompts, which of equally likely candidates."""


def evaluate(
    oracle: IclOracle, workers: list[int], P: Tensor, Q: Tensor, z: Tensor, time_s: float = 0.0
) -> dict[str, float]:
    """Return the measurements that `IclOracle.evaluate` describes."""
    sums: Counter[str] = Counter()
    for first in range(0, len(workers), WORKERS_AT_ONCE):
        part = slice(first, first + WORKERS_AT_ONCE)
        columns = _columns(oracle, workers[part], P[part], Q[part], z, time_s)
        sums.update({name: float(column.sum()) for name, column in columns.items()})
    return {name: total / len(workers) for name, total in sums.items()}


def _columns(
    oracle: IclOracle, workers: list[int], P: Tensor, Q: Tensor, z: Tensor, time_s: float
) -> dict[str, Tensor]:
    """Return every measurement of every worker, each (J,)."""
    measured = oracle.problem.measures
    rows = torch.tensor(oracle.rows(workers, [time_s] * len(workers)))
    own = prompts(oracle, workers, P, Q, "test")._replace(workers=rows)
    scores = oracle.scorer.scores(own)
    columns = dict(zip(("loss", "accuracy"), _loss_and_accuracy(oracle, own, scores), strict=True))
    if oracle.data.triggered is not None:
        columns |= _backdoor(oracle, own, scores, oracle.data.triggered)
    if "consensus" in measured:
        consensus = prompts(oracle, workers, z.expand(len(workers), -1, -1), Q, "test")
        consensus = consensus._replace(workers=rows)
        columns["loss_consensus"], columns["accuracy_consensus"] = _loss_and_accuracy(oracle, consensus)
    if "validation" in measured:
        columns["validation_loss"], _ = _loss_and_accuracy(oracle, own._replace(split="validation"))
    if "sampled" in measured:
        columns |= _sampled(oracle, drawn_prompts(oracle, workers, P, Q, "test")._replace(workers=rows))
    if oracle.problem.tunes_p:
        columns["p_max"] = P.amax(-1).mean(-1)
    if oracle.problem.tunes_q:
        columns["q_max"] = Q.amax(-1).mean(-1)
    shown_to_others = oracle.pooled > 1 or oracle.problem.pool.sharing == "shared"
    if oracle.data.poisoned is not None and oracle.problem.use_demonstrations and shown_to_others:
        poisoned = from_numpy(oracle.data.poisoned)[rows].double()
        columns["poison_mass"] = (Q * poisoned).sum(-1).mean(-1)
        columns["poison_share"] = poisoned.mean((1, 2))
    return columns


def prompts(oracle: IclOracle, workers: list[int], P: Tensor, Q: Tensor, split: Split) -> Prompts:
    """Return the prompts that stand for distributions P and Q, completed with all queries of a split.

    ``modal``: one prompt a worker, of the likeliest candidates. Of several that are equally likely, as all
    are at the start, each word and slot has drawn its own once and for all: the first of them at all places
    would be one word many times over, which is no typical fragment. ``sampled``: see `drawn_prompts`.
    """
    if oracle.problem.evaluation == "sampled":
        return drawn_prompts(oracle, workers, P, Q, split)
    words, demonstrations = likeliest(oracle, workers, P, Q)
    return _prompts(oracle, workers, words[..., None], demonstrations[..., None], split)


def likeliest(oracle: IclOracle, workers: list[int], P: Tensor, Q: Tensor) -> tuple[Tensor, Tensor]:
    """Return the likeliest words, (J, M), and demonstrations, (J, S), of each worker; ties: see `prompts`."""
    n_slots = Q.shape[1]
    drawn = oracle.streams.uniforms(Stream.EVALUATION, workers, [TIES] * len(workers), n_slots + P.shape[1])
    uniforms = from_numpy(drawn)
    return argmax(P, uniforms=uniforms[:, n_slots:]), argmax(Q, uniforms=uniforms[:, :n_slots])


def drawn_prompts(oracle: IclOracle, workers: list[int], P: Tensor, Q: Tensor, split: Split) -> Prompts:
    """Return prompts drawn from the distributions, completed with all queries of a split.

    The uniforms are the same at each measurement, so that measurements differ by what was learned alone.
    """
    n_slots, n_words, n_prompts = Q.shape[1], P.shape[1], oracle.problem.evaluation_samples
    size = (n_slots + n_words) * n_prompts
    drawn = oracle.streams.uniforms(Stream.EVALUATION, workers, [SAMPLES] * len(workers), size)
    uniforms = from_numpy(drawn).view(len(workers), -1, n_prompts)
    return _prompts(oracle, workers, draw(P, uniforms[:, n_slots:]), draw(Q, uniforms[:, :n_slots]), split)


def _prompts(
    oracle: IclOracle, workers: list[int], words: Tensor, demonstrations: Tensor, split: Split
) -> Prompts:
    problem = oracle.problem
    return Prompts(
        workers=torch.tensor(workers),
        words=words if problem.use_fragment else None,
        demonstrations=demonstrations if problem.use_demonstrations else None,
        split=split,
        queries=None,
    )


def _sampled(oracle: IclOracle, drawn: Prompts) -> dict[str, Tensor]:
    """Return mean and standard deviation of loss and accuracy over each worker's drawn prompts, each (J,)."""
    columns = {}
    for name, values in zip(("loss", "accuracy"), _by_prompt(oracle, drawn), strict=True):
        columns[f"{name}_sampled"] = values.mean(1)
        if values.shape[1] > 1:  # a single prompt has no spread
            columns[f"{name}_sampled_std"] = values.std(1)
    return columns


def _backdoor(oracle: IclOracle, own: Prompts, scores: Tensor, triggered: Triggered) -> dict[str, Tensor]:
    """Return how often a backdoor's target is answered, with its trigger and without, each (J,).

    Args:
        oracle: the problem.
        own: the workers' prompts with the test queries.
        scores: the black box's answers to them, (J, I, U, b).
        triggered: the queries with the trigger.
    """
    wanted = from_numpy(triggered.y)
    answered = oracle.scorer.scores(own._replace(split="triggered"))
    without = scores[..., from_numpy(triggered.rows)]
    return {
        "backdoor_success": accuracy(answered, wanted).mean(1),
        "backdoor_base": accuracy(without, wanted).mean(1),
    }


def _loss_and_accuracy(
    oracle: IclOracle, asked: Prompts, scores: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return each worker's mean loss and accuracy over its prompts, both (J,)."""
    losses, accuracies = _by_prompt(oracle, asked, scores)
    return losses.mean(1), accuracies.mean(1)


def _by_prompt(oracle: IclOracle, asked: Prompts, scores: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return loss and accuracy of each prompt, both (J, I)."""
    scores = oracle.scorer.scores(asked) if scores is None else scores
    y = from_numpy(getattr(oracle.data, asked.split).y)
    labels = y if asked.split == "test" else y[asked.workers]
    return cross_entropy(scores, labels, oracle.problem.loss_floor), accuracy(scores, labels)
