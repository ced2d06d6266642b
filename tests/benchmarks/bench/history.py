"""What was measured before: one line of JSON a saved run, and what has got slower since.

A line has the figures of one run of the benchmarks, each a list with a value for every turn, smaller is
better: ``times`` and ``yardsticks`` in any unit of time, ``memory`` in any unit of size.

The rule: a figure is worse if its best value is above the best one before by more than its noise. Noise is
the larger spread (largest over smallest value, less 1) of the two lists, and at least `LEAST_NOISE`. A single
time says nothing of its spread: `UNKNOWN_NOISE` is taken. Times are first divided by how much longer than
before the yardsticks took, which are the work of others: that is the machine, not fedsim.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[3]
HISTORY = Path(__file__).parents[1] / "history.jsonl"
LEAST_NOISE = 0.05
UNKNOWN_NOISE = 0.25
PACKAGES = ("torch", "numpy", "simpy")

Figures = Mapping[str, Mapping[str, Sequence[float]]]
"""By sort (``times``, ``yardsticks``, ``memory``) and name."""


class Worse(NamedTuple):
    """A figure that has got worse by more than its noise."""

    name: str
    times: float
    """The best value now over the best one before, the machine's part taken out."""
    noise: float


class Comparison(NamedTuple):
    """What a run says beside an earlier one of the same machine."""

    worse: list[Worse]
    machine: float
    """How many times as long as before the yardsticks took."""
    compared: int


def machine() -> dict[str, Any]:
    """Return what tells one machine from another."""
    names = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory_bytes / 2**30),
    }


def versions() -> dict[str, str]:
    """Return the versions that speed depends on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def commit() -> str:
    """Return the commit of this checkout, with a mark if files differ from it; empty outside of git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def append(line: Mapping[str, Any], file: Path = HISTORY) -> dict[str, Any]:
    """Add a line, with date, commit, versions and machine, and return it.

    Args:
        line: ``bench``, which benchmarks these are, and ``figures``.
        file: where the lines are.
    """
    about = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit()}
    whole = {**about, "versions": versions(), "machine": machine(), **line}
    with file.open("a") as history:
        history.write(json.dumps(whole) + "\n")
    return whole


def last(bench: str, file: Path = HISTORY) -> tuple[dict[str, Any] | None, str]:
    """Return the newest line of these benchmarks on this machine; if there is none, the reason."""
    lines = [json.loads(line) for line in _lines(file)]
    lines = [line for line in lines if line["bench"] == bench]
    if not lines:
        return None, "nothing was saved before"
    here = machine()
    of_here = [line for line in lines if line["machine"] == here]
    if not of_here:
        known = sorted({f"{line['machine']['cpu']}, {line['machine']['cores']} cores" for line in lines})
        return None, f"nothing was saved on this machine, only on: {'; '.join(known)}"
    return of_here[-1], ""


def compared(new: Figures, old: Figures) -> Comparison:
    """Compare the figures that both have; see the rule above."""
    factors = [
        min(values) / min(before) for _, values, before in _shared(new, old, "yardsticks") if min(before) > 0
    ]
    slowness = statistics.median(factors) if factors else 1.0
    worse, count = [], 0
    for sort, divisor, unknown in (("times", slowness, UNKNOWN_NOISE), ("memory", 1.0, LEAST_NOISE)):
        for name, values, before in _shared(new, old, sort):
            count += 1
            noise = max(_noise(values, unknown), _noise(before, unknown))
            times = min(values) / divisor / min(before) if min(before) > 0 else 1.0
            if times > 1 + noise:
                worse.append(Worse(name, times, noise))
    return Comparison(sorted(worse, key=lambda one: -one.times), slowness, count)


def _shared(new: Figures, old: Figures, sort: str) -> list[tuple[str, Sequence[float], Sequence[float]]]:
    ours, theirs = new.get(sort, {}), old.get(sort, {})
    return [(name, values, theirs[name]) for name, values in ours.items() if values and theirs.get(name)]


def _noise(values: Sequence[float], unknown: float) -> float:
    if len(values) < 2 or min(values) <= 0:
        return unknown
    return max(LEAST_NOISE, max(values) / min(values) - 1)


def _lines(file: str | Path) -> list[str]:
    path = Path(file)
    return path.read_text().splitlines() if path.exists() else []
