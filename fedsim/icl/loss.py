"""The loss of a prompt."""

from __future__ import annotations

from torch import Tensor

from fedsim.learning.ties import argmax


def cross_entropy(scores: Tensor, labels: Tensor, floor: float) -> Tensor:
    """Return the mean over queries of ``-log max(score of the right label, floor)``, (J, I).

    The floor stands for a label that the black box does not list among its likeliest answers.

    Args:
        scores: probabilities of the label words, (J, I, U, b).
        labels: right answers, (J or 1, b).
        floor: the smallest probability that counts.

    Source: Ma et al., "AsynDBT", Scientific Reports 16:9381 (2026), (1).
    """
    n_jobs, n_prompts, _, n_queries = scores.shape
    index = labels[:, None, None, :].expand(n_jobs, n_prompts, 1, n_queries)
    return scores.gather(2, index).squeeze(2).clamp_(min=floor).log_().mean(-1).neg_()


def accuracy(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the share of queries whose right label scores highest, (J, I); a tie goes to the lower class."""
    return (argmax(scores, 2) == labels[:, None, :]).double().mean(-1)
