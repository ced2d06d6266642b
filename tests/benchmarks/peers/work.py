"""The work that every simulator does, and how it is measured; each runner is a program that uses this.

Softmax regression: 60 features, 10 classes and a bias, so 610 parameters; 20 samples a client; one update is
one SGD step on all of a client's samples, from zero weights on.

- synchronous: every client trains in every round, and the new model is the mean of theirs (FedAvg).
- asynchronous: every client always has a job under way, and the server steps at each message (FedAsync): it
  mixes a share 0.6 * (1 + staleness)^-0.5 of the client's model into its own.

Runners run in environments without fedsim, so there are only NumPy, torch and the standard library here.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

FEATURES, CLASSES, SAMPLES = 60, 10, 20
LEARNING_RATE = 0.1
MIXING, STALENESS_POWER = 0.6, 0.5


@dataclass(frozen=True)
class CommonWork:
    """What a runner is to do, with features (clients, 20, 60) in float32 and labels (clients, 20)."""

    mode: str
    updates: int
    features: np.ndarray
    labels: np.ndarray

    @property
    def clients(self) -> int:
        return len(self.labels)

    @property
    def rounds(self) -> int:
        """Server steps: one for all clients, or one for each update."""
        return self.updates // self.clients if self.mode == "sync" else self.updates


@dataclass(frozen=True)
class ReadyRunner:
    """A simulator that is set up, for one of the methods of `reference.py`.

    `run` does the updates and returns the weights, (60 + 1, 10) with the bias last. `warm_up`, if there is
    one, is called before and does the first of the updates, which are not measured: `warm_up_updates` of
    them. `differs` says what is not the same as elsewhere.
    """

    method: str
    run: Callable[[], np.ndarray]
    differs: tuple[str, ...] = ()
    warm_up: Callable[[], object] | None = None
    warm_up_updates: int = 0


def mean_loss(weights: np.ndarray, features: np.ndarray, labels: np.ndarray) -> float:
    """Mean cross-entropy in nats of weights (61, 10), the bias last, over all samples, in float64."""
    scores = features.reshape(-1, FEATURES).astype(float) @ weights[:-1] + weights[-1]
    scores -= scores.max(axis=1, keepdims=True)
    right = scores[np.arange(len(scores)), labels.reshape(-1)]
    return float(np.mean(np.log(np.exp(scores).sum(axis=1)) - right))


def main(simulator: str, package: str, prepare: Callable[[CommonWork], ReadyRunner]) -> None:
    """Read the command line, do the work, and print what it took as one line of JSON."""
    parser = argparse.ArgumentParser(description=f"The common work in {simulator}.")
    parser.add_argument("--data", type=Path, required=True, help="the .npz file with features and labels")
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--mode", choices=["sync", "async"], required=True)
    parser.add_argument("--updates", type=int, required=True)
    options = parser.parse_args()
    with np.load(options.data) as data:
        features, labels = data["features"][: options.clients], data["labels"][: options.clients]
    task = CommonWork(options.mode, options.updates, features, labels)
    load_torch()
    # FLGo reads the command line as well. What simulators print goes to the other stream: one line stands
    # alone.
    del sys.argv[1:]
    answer, sys.stdout = sys.stdout, sys.stderr
    print(json.dumps(measured(simulator, package, prepare, task)), file=answer)


def load_torch() -> None:
    """One thread, and what torch loads at the first use of an optimiser: nobody's set-up."""
    import torch

    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)


def measured(
    simulator: str, package: str, prepare: Callable[[CommonWork], ReadyRunner], task: CommonWork
) -> dict[str, Any]:
    """Do the task once, and say what it took: seconds of wall and processors, mebibytes at most."""
    began_s = time.perf_counter()
    ready = prepare(task)
    setup_s = time.perf_counter() - began_s
    if ready.warm_up is not None:
        ready.warm_up()
    began_s, cpu_began_s = time.perf_counter(), cpu_seconds()
    weights = ready.run()
    wall_s, cpu_s = time.perf_counter() - began_s, cpu_seconds() - cpu_began_s
    return {
        "simulator": simulator,
        "version": metadata.version(package),
        "method": ready.method,
        "mode": task.mode,
        "clients": task.clients,
        "updates": task.updates,
        "measured_updates": task.updates - ready.warm_up_updates,
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "setup_s": setup_s,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "loss": mean_loss(weights, task.features, task.labels),
        "differs": list(ready.differs),
    }


def cpu_seconds() -> float:
    """Seconds of processors so far, of this process and of its children that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system
