"""The training that the ablations of the fit go through: projected Adam at each worker alone."""

from __future__ import annotations

import torch
from torch import Tensor

from fedsim.learning.optimizers.adam import Adam
from fedsim.learning.simplex import project
from fedsim.problems.base import Oracle

LEARNING_RATE = 2e-3
UPDATES = 500


def train(
    oracle: Oracle, workers: list[int], learning_rate: float = LEARNING_RATE, updates: int = UPDATES
) -> tuple[Tensor, Tensor]:
    """Return p, (W, M, N), and q, (W, U, V), of workers that learn by themselves, without server or cuts.

    Source: Kingma, Ba, "Adam", ICLR 2015, Algorithm 1, each step followed by the projection on the simplex.
    """
    tables = [start.expand(len(workers), -1, -1).clone() for start in (oracle.start_p, oracle.start_q)]
    adam = Adam(learning_rate=learning_rate)
    moments = [tuple(torch.zeros_like(table) for _ in range(adam.n_moments)) for table in tables]
    for update in range(1, updates + 1):
        gradients = oracle.upper(workers, [update] * len(workers), tables[0], tables[1])
        count = torch.full((len(workers),), update)
        tables = [
            project(table - adam.update(gradient, own, count))
            for table, gradient, own in zip(tables, gradients, moments, strict=True)
        ]
    return tables[0], tables[1]
