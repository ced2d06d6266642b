"""Measuring a state of the in-context-learning problem from outside: no simulated time, no counted call."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fedsim.icl.loss import accuracy, cross_entropy
from fedsim.icl.models.base import Prompts, Split
from fedsim.learning.categorical import draw
from fedsim.streams import Stream

if TYPE_CHECKING:
    from fedsim.icl.tasks.base import Triggered
    from fedsim.problems.icl.oracle import IclOracle

WORKERS_AT_ONCE = 64
"""Workers measured together: bounds the memory, whatever the number of workers."""


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
    measured = oracle.problem.also_measured
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
    if oracle.problem.tunes_p:
        columns["p_max"] = P.amax(-1).mean(-1)
    if oracle.problem.tunes_q:
        columns["q_max"] = Q.amax(-1).mean(-1)
    shown_to_others = oracle.pooled > 1 or oracle.problem.pool.sharing == "shared"
    if oracle.data.poisoned is not None and oracle.problem.use_demonstrations and shown_to_others:
        poisoned = torch.from_numpy(oracle.data.poisoned)[rows].double()
        columns["poison_mass"] = (Q * poisoned).sum(-1).mean(-1)
        columns["poison_share"] = poisoned.mean((1, 2))
    return columns


def prompts(oracle: IclOracle, workers: list[int], P: Tensor, Q: Tensor, split: Split) -> Prompts:
    """Return the prompts that stand for distributions P and Q, completed with all queries of a split.

    ``modal``: one prompt a worker, of the likeliest candidates. ``sampled``: drawn from the distributions,
    with the same uniforms at each measurement, so that measurements differ by what was learned alone.
    """
    problem = oracle.problem
    words, demonstrations = P.argmax(-1, keepdim=True), Q.argmax(-1, keepdim=True)
    if problem.evaluation == "sampled":
        n_slots, n_words, n_prompts = Q.shape[1], P.shape[1], problem.evaluation_samples
        size = (n_slots + n_words) * n_prompts
        drawn = oracle.streams.uniforms(Stream.EVALUATION, workers, [0] * len(workers), size)
        uniforms = torch.from_numpy(drawn).view(len(workers), -1, n_prompts)
        demonstrations, words = draw(Q, uniforms[:, :n_slots]), draw(P, uniforms[:, n_slots:])
    return Prompts(
        workers=torch.tensor(workers),
        words=words if problem.use_fragment else None,
        demonstrations=demonstrations if problem.use_demonstrations else None,
        split=split,
        queries=None,
    )


def _backdoor(oracle: IclOracle, own: Prompts, scores: Tensor, triggered: Triggered) -> dict[str, Tensor]:
    """Return how often a backdoor's target is answered, with its trigger and without, each (J,).

    Args:
        oracle: the problem.
        own: the workers' prompts with the test queries.
        scores: the black box's answers to them, (J, I, U, b).
        triggered: the queries with the trigger.
    """
    wanted = torch.from_numpy(triggered.y)
    answered = oracle.scorer.scores(own._replace(split="triggered"))
    without = scores[..., torch.from_numpy(triggered.rows)]
    return {
        "backdoor_success": accuracy(answered, wanted).mean(1),
        "backdoor_base": accuracy(without, wanted).mean(1),
    }


def _loss_and_accuracy(
    oracle: IclOracle, asked: Prompts, scores: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return each worker's mean loss and accuracy over its prompts, both (J,)."""
    scores = oracle.scorer.scores(asked) if scores is None else scores
    y = torch.from_numpy(getattr(oracle.data, asked.split).y)
    labels = y if asked.split == "test" else y[asked.workers]
    losses = cross_entropy(scores, labels, oracle.problem.loss_floor)
    return losses.mean(1), accuracy(scores, labels).mean(1)
