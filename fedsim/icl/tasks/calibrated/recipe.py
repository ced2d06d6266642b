"""The training that the ablations of the fit go through: projected Adam at each worker alone."""

from __future__ import annotations

import torch
from torch import Tensor

from fedsim.learning.oracle import Oracle
from fedsim.learning.simplex import project

LEARNING_RATE = 2e-3
UPDATES = 500


def train(
    oracle: Oracle, workers: list[int], learning_rate: float = LEARNING_RATE, updates: int = UPDATES
) -> tuple[Tensor, Tensor]:
    """Return p, (W, M, N), and q, (W, U, V), of workers that learn by themselves, without server or cuts.

    Source: Kingma, Ba, "Adam", ICLR 2015, Algorithm 1, each step followed by the projection on the simplex.
    """
    tables = [start.expand(len(workers), -1, -1).clone() for start in (oracle.start_p, oracle.start_q)]
    moments = [(torch.zeros_like(table), torch.zeros_like(table)) for table in tables]
    for update in range(1, updates + 1):
        gradients = oracle.upper(workers, [update] * len(workers), *tables)
        for i, (gradient, (first, second)) in enumerate(zip(gradients, moments, strict=True)):
            first.lerp_(gradient, 0.1)
            second.lerp_(gradient.square(), 0.001)
            scale = (second / (1 - 0.999**update)).sqrt() + 1e-8
            tables[i] = project(tables[i] - learning_rate * first / (1 - 0.9**update) / scale)
    return tables[0], tables[1]
