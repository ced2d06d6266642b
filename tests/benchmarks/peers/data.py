"""The common data: Gaussian clouds around a centre for each class, alike for all clients."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.benchmarks.peers.work import CLASSES, FEATURES, SAMPLES

SEED = 1
# Classes overlap a little, so that a few hundred updates have something to learn and do not learn it all.
SPREAD = 0.5


def write(path: Path, clients: int) -> Path:
    """Write features (clients, 20, 60) in float32 and labels (clients, 20); returns the path.

    The first clients are the same, however many there are.
    """
    centres = SPREAD * np.random.default_rng([SEED, 0]).normal(size=(CLASSES, FEATURES))
    random = np.random.default_rng([SEED, 1])
    features = np.empty((clients, SAMPLES, FEATURES), np.float32)
    labels = np.empty((clients, SAMPLES), np.int64)
    for client in range(clients):
        labels[client] = random.integers(0, CLASSES, SAMPLES)
        features[client] = centres[labels[client]] + random.normal(size=(SAMPLES, FEATURES))
    np.savez(path, features=features, labels=labels)
    return path
