"""A million workers, timing only.

`python -m tests.benchmarks.bench.million FILE` prints the figures as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from fedsim import simulation
from fedsim.scenario import load_scenario
from tests.benchmarks.bench.history import ROOT
from tests.benchmarks.bench.meter import now
from tests.benchmarks.bench.turns import peak_mib

FILE = ROOT / "scenarios" / "scale" / "million.toml"


def measured(file: Path) -> dict[str, Any]:
    """Run a scenario by the clock alone and return its seconds, updates, workers and peak memory (MiB)."""
    begun = now()
    scenario = load_scenario(file)
    run = simulation.run(scenario, timing_only=True)
    ended = now()
    return {
        "wall_s": ended.wall_s - begun.wall_s,
        "cpu_s": ended.cpu_s - begun.cpu_s,
        "updates": run.summary["worker_updates"],
        "workers": scenario.n_workers,
        "simulated_s": run.summary["simulated_time_s"],
        "peak_mib": peak_mib(),
    }


def in_a_fresh_process(file: Path = FILE) -> dict[str, Any]:
    """Return the same, measured in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.bench.million", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    json.dump(measured(Path(sys.argv[1])), sys.stdout)
