"""One cell of the table: one simulator doing the work once, as a process of its own."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.peers import reference
from tests.benchmarks.peers.simulators import PeerError, Simulator, last_line
from tests.benchmarks.peers.work import CommonWork, mean_loss

# float32 in some simulators and float64 in others: losses agree to so much of their value.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class PeerCell:
    """How much of which work: `updates` for the peers; fedsim does more, as its `share` says."""

    mode: str
    clients: int
    updates: int

    def updates_of(self, simulator: Simulator) -> int:
        """Whole rounds, at least two: the first is not always measured."""
        updates = int(self.updates * simulator.share)
        return max(updates - updates % self.clients, 2 * self.clients) if self.mode == "sync" else updates


CELLS = (
    PeerCell("sync", 100, 5_000),
    PeerCell("sync", 1_000, 5_000),
    PeerCell("sync", 10_000, 20_000),
    PeerCell("async", 100, 2_000),
    PeerCell("async", 1_000, 2_000),
    PeerCell("async", 10_000, 2_000),
)


def measure(simulator: Simulator, cell: PeerCell, data: Path, limit_s: float) -> dict[str, Any]:
    """What the runner's line says, once its loss is found right. Raises PeerError with the reason."""
    command = [
        *simulator.program(),
        *("--data", str(data), "--mode", cell.mode, "--clients", str(cell.clients)),
        *("--updates", str(cell.updates_of(simulator))),
    ]
    # One thread in every library that could take more.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    try:
        # In the data's folder: APPFL writes a log where it stands.
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=limit_s,
            cwd=data.parent,
            env={**os.environ, **threads},
        )
    except subprocess.TimeoutExpired:
        raise PeerError(f"took more than {limit_s:g} s") from None
    if done.returncode:
        raise PeerError(f"failed: {last_line(done.stderr)}")
    found = json.loads(last_line(done.stdout))
    check_loss(found, expected_loss(data, found["method"], cell.mode, cell.clients, found["updates"]))
    return found


@functools.cache
def expected_loss(data: Path, method: str, mode: str, clients: int, updates: int) -> float:
    """The loss after so many updates of a method, of the plain program in `reference.py`."""
    with np.load(data) as arrays:
        task = CommonWork(mode, updates, arrays["features"][:clients], arrays["labels"][:clients])
    return mean_loss(reference.weights_after(task, method), task.features, task.labels)


def check_loss(found: Mapping[str, Any], expected: float) -> None:
    """Raises PeerError if a simulator has not learned what the work would have it learn."""
    if abs(found["loss"] - expected) > TOLERANCE * expected:
        raise PeerError(f"learned something else: its loss is {found['loss']:.6g} and not {expected:.6g}")
