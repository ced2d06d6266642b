"""The training that the ablations of the fit go through: projected Adam at each worker alone."""

from __future__ import annotations

import torch
from torch import Tensor

from fedsim.learning.optimizers.adam import Adam
from fedsim.learning.simplex import project
from fedsim.problems.icl.oracle import IclOracle

LEARNING_RATE = 2e-3
UPDATES = 500


def train(
    oracle: IclOracle, workers: list[int], learning_rate: float = LEARNING_RATE, updates: int = UPDATES
) -> tuple[Tensor, Tensor]:
    """Return p, (W, M, N), and q, (W, U, V), of workers that learn by themselves, without server or cuts.

    What the problem does not tune stays at its start.

    Source: Kingma, Ba, "Adam", ICLR 2015, Algorithm 1, each step followed by the projection on the simplex.
    """
    tables = [start.expand(len(workers), -1, -1).clone() for start in (oracle.start_p, oracle.start_q)]
    adam = Adam(learning_rate=learning_rate)
    tuned = [i for i, tunes in enumerate((oracle.problem.tunes_p, oracle.problem.tunes_q)) if tunes]
    moments = [tuple(torch.zeros_like(table) for _ in range(adam.n_moments)) for table in tables]
    for job in range(updates):
        gradients = oracle.upper(workers, [job] * len(workers), tables[0], tables[1])
        count = torch.full((len(workers),), job + 1)
        for i in tuned:
            tables[i] = project(tables[i] - adam.update(gradients[i], moments[i], count))
    return tables[0], tables[1]
