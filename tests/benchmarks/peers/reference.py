"""The common work once more, as plain as it can be: what every simulator's weights must do as well as.

Sources: McMahan et al., AISTATS 2017, Algorithm 1 (FedAvg); Xie, Koyejo, Gupta, OPT 2020, Algorithm 1
(FedAsync); Nguyen et al., AISTATS 2022, Algorithm 1 (FedBuff), with a buffer of one and a server rate of 1.
"""

from __future__ import annotations

import numpy as np

from tests.benchmarks.peers.work import CLASSES, FEATURES, LEARNING_RATE, MIXING, STALENESS_POWER, CommonWork


def gradient(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of the mean cross-entropy over samples x (n, 60) and labels y (n,); weights (61, 10), the bias last."""
    scores = x @ weights[:-1] + weights[-1]
    chances = np.exp(scores - scores.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    chances[np.arange(len(y)), y] -= 1.0
    return np.vstack([x.T @ chances, chances.sum(axis=0)]) / len(y)


def weights_after(task: CommonWork, method: str) -> np.ndarray:
    """Weights (61, 10) after the task's updates; method is one of `METHODS`."""
    return METHODS[method](task)


def _fedavg(task: CommonWork) -> np.ndarray:
    # All clients have as many samples, so the mean of their models is one step on all samples.
    x, y = task.features.reshape(-1, FEATURES).astype(float), task.labels.reshape(-1)
    weights = np.zeros((FEATURES + 1, CLASSES))
    for _ in range(task.rounds):
        weights -= LEARNING_RATE * gradient(weights, x, y)
    return weights


def _fedasync(task: CommonWork) -> np.ndarray:
    """Clients answer in turn; each reads the model again right after its own message was used."""
    weights = np.zeros((FEATURES + 1, CLASSES))
    read = [(0, weights)] * task.clients
    for step in range(task.updates):
        client = step % task.clients
        version, theirs = read[client]
        trained = theirs - LEARNING_RATE * gradient(
            theirs, task.features[client].astype(float), task.labels[client]
        )
        share = MIXING * (1 + step - version) ** -STALENESS_POWER
        weights = (1 - share) * weights + share * trained
        read[client] = (step + 1, weights)
    return weights


def _fedbuff(task: CommonWork) -> np.ndarray:
    """As `_fedasync`, but the server adds the change that a client made, however stale."""
    weights = np.zeros((FEATURES + 1, CLASSES))
    read = [weights] * task.clients
    for step in range(task.updates):
        client = step % task.clients
        x, y = task.features[client].astype(float), task.labels[client]
        weights = weights - LEARNING_RATE * gradient(read[client], x, y)
        read[client] = weights
    return weights


def _one_by_one(task: CommonWork) -> np.ndarray:
    weights = np.zeros((FEATURES + 1, CLASSES))
    for step in range(task.updates):
        client = step % task.clients
        weights = weights - LEARNING_RATE * gradient(
            weights, task.features[client].astype(float), task.labels[client]
        )
    return weights


METHODS = {
    "fedavg": _fedavg,
    "fedasync": _fedasync,
    "fedbuff": _fedbuff,
    "one client a round": _one_by_one,
}
