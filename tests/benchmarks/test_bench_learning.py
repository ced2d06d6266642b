"""What learning costs: a worker update at the paper's sizes, the quadratic problem, and very many workers.

`python tests/benchmarks/test_bench_learning.py` prints all figures in a table.
"""

from __future__ import annotations

import functools
import json
import resource
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import perf_counter, process_time
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from fedsim import simulation
from fedsim.algorithms.base import Bench
from fedsim.algorithms.dbt.polyhedron import Polyhedron
from fedsim.algorithms.dbt.settings import Cuts, Rules
from fedsim.algorithms.dbt.tuner import Tuner
from fedsim.icl.tasks.calibrated import Calibrated
from fedsim.learning.batching import Job
from fedsim.learning.optimizers.adam import Adam
from fedsim.messages import Snapshot, Ticket
from fedsim.problems.icl import oracle as icl_oracle
from fedsim.problems.icl.problem import IclProblem
from fedsim.scenario.files import parse
from fedsim.streams import Streams

R = 100
MEMORY_TARGET_MIB = 4096


@pytest.fixture(autouse=True)
def _as_in_a_run() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(before)


class PaperSizes:
    """The learning half at M = 75, N = 100, I_s = 20, b = 20 on SST-2, with R = 100 workers and no clock.

    Args:
        columns: polyhedron updates made beforehand, each with a cut of every word; none is ever dropped.
        wait_for: S; workers report in turn.
    """

    def __init__(self, columns: int, wait_for: int = R) -> None:
        problem = IclProblem(task=Calibrated(name="sst2"))
        always = {"polyhedron": {"drop": "never", "only_if_violated": False}}
        self.tuner = Tuner(Bench(problem, R, Streams(0)), Rules.model_validate(always))
        self.job = 0
        self.wait_for = wait_for
        for worker in range(R):
            self._hand_out(worker, "outer")
        for _ in range(columns):
            self._cut()
        self.every_worker()

    def every_worker(self) -> None:
        """Take the steps in which each worker reports once."""
        for first in range(0, R, self.wait_for):
            active = list(range(first, min(first + self.wait_for, R)))
            self.tuner.take_step([self._ticket(worker) for worker in active])
            for worker in active:
                self._hand_out(worker, "outer")

    def _cut(self) -> None:
        everyone = list(range(R))
        self.tuner.rules = self.tuner.rules.model_copy(update={"cuts": Cuts(rounds=1)})
        inside = self.tuner.interlude([self._ticket(worker) for worker in everyone], everyone)
        next(inside)
        for worker in everyone:
            self._hand_out(worker, "inner")
        with suppress(StopIteration):
            inside.send([self._ticket(worker, "inner") for worker in everyone])
        for worker in everyone:
            self._hand_out(worker, "outer")

    def _hand_out(self, worker: int, kind: str) -> None:
        self.job += 1
        self.tuner.hand_out(Job(worker, self.job, kind, self.tuner.state))

    def _ticket(self, worker: int, kind: str = "outer") -> Ticket:
        return Ticket(worker, self.job, kind, Snapshot(0, None), 0.0, 0.0)


Meter = dict[str, float]


def metered(call: Callable[..., Any], name: str, meter: Meter) -> Callable[..., Any]:
    """Return `call` with its processor time (s) added to the meter, and taken off the part that called it."""

    @functools.wraps(call)
    def timed(*args: Any, **kwargs: Any) -> Any:
        inside_before = meter["inside"]
        meter["inside"] = 0.0
        start_s = process_time()
        result = call(*args, **kwargs)
        spent_s = process_time() - start_s
        meter[name] += spent_s - meter["inside"]
        meter["inside"] = inside_before + spent_s
        return result

    return timed


PARTS = (
    (icl_oracle.IclOracle, "_uniforms", "sampling"),
    (icl_oracle, "draw", "sampling"),
    (icl_oracle.IclOracle, "_losses", "black box"),
    (icl_oracle, "gradient", "gradient"),
    (icl_oracle.IclOracle, "upper", "rest of the oracle"),
    (Polyhedron, "pull", "pull of the cuts"),
    (Adam, "update", "optimizer"),
    (Tuner, "work", "rest of the workers"),
    (Tuner, "take_step", "server step"),
)
"""Where the time of an update goes: calls to meter, and the name of their part."""


def breakdown_ms(columns: int, wait_for: int = R, repeats: int = 10) -> dict[str, float]:
    """Return the milliseconds of the processor that a worker update spends in each part."""
    meter: Meter = defaultdict(float)
    with pytest.MonkeyPatch.context() as patch:
        for owner, attribute, name in PARTS:
            patch.setattr(owner, attribute, metered(getattr(owner, attribute), name, meter))
        sizes = PaperSizes(columns, wait_for)
        tables = sizes.tuner.tables
        patch.setattr(tables, "_project", metered(tables._project, "projection", meter))
        meter.clear()
        for _ in range(repeats):
            sizes.every_worker()
    meter.pop("inside")
    return {name: 1e3 * spent_s / (repeats * R) for name, spent_s in meter.items()}


def quadratic(wait_for: int, cuts: bool = True, n_workers: int = 1000, updates: int = 20_000) -> float:
    """Run the quadratic problem under the clock; return worker updates per second, building it included."""
    scenario = parse(
        {
            "name": "quadratic",
            "algorithm": {
                "kind": "asyndbt",
                "wait_for": wait_for,
                "tau": 10**6,
                "optimizer": {"kind": "sgd", "learning_rate": 0.005},
                **({"z_rate": 1e-5} if cuts else {"cuts": False}),
            },
            "problem": {"kind": "quadratic"},
            "workers": [{"count": n_workers, "upload": {"kind": "exponential", "mean_s": 0.05}}],
            "llm": {"kind": "independent", "latency": {"kind": "constant", "value_s": 0.1}},
            "budget": {"worker_updates": updates},
            "evaluation": {"every_steps": 10**6, "max_workers": 1},
        }
    )
    start_s = perf_counter()
    run = simulation.run(scenario)
    return float(run.summary["worker_updates"]) / (perf_counter() - start_s)


SURROGATE = {
    "base_alignment": 0.5,
    "demo_step": 0.3,
    "label_bias": 0.8,
    "word_gain": 0.7,
    "word_noise": 0.4,
    "demo_noise": 0.5,
}


def small_task(n_workers: int, steps: int, wait_for: int = 10) -> float:
    """Return the milliseconds of a step with 4 words of 8 candidates, once every worker has been evaluated.

    The first result asked for evaluates every worker's first job; that is not a step's own cost, so steps are
    timed after it, over one round of all those jobs and more.
    """
    task = {
        "kind": "synthetic",
        "parameters": SURROGATE,
        "n_words": 4,
        "n_candidates": 8,
        "n_demonstrations": 4,
    }
    scenario = parse(
        {
            "name": "many",
            "algorithm": {"kind": "asyndbt", "wait_for": wait_for, "tau": 10**6, "cuts": False},
            "problem": {"kind": "icl", "task": task | {"train_per_class": 2, "validation_per_class": 1}},
            "workers": [{"count": n_workers, "upload": {"kind": "exponential", "mean_s": 0.05}}],
            "llm": {"kind": "independent", "latency": {"kind": "constant", "value_s": 0.001}},
            "budget": {"server_steps": steps},
            "evaluation": {"every_steps": 10**6, "max_workers": 1},
        }
    )
    times_s: list[float] = []
    simulation.run(scenario, progress=lambda *_: times_s.append(perf_counter()))
    return 1e3 * (times_s[-1] - times_s[1]) / (len(times_s) - 2)


def many_workers_in_a_fresh_process(n_workers: int, steps: int) -> tuple[float, float]:
    """Return the milliseconds of a step and the peak memory (MiB)."""
    command = [sys.executable, __file__, str(n_workers), str(steps)]
    step_ms, peak_mib = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return step_ms, peak_mib


@pytest.mark.parametrize("wait_for", [R, 1], ids=["S=R", "S=1"])
@pytest.mark.parametrize("columns", [0, 1, 5, 10])
def test_worker_update_at_the_papers_sizes(benchmark: BenchmarkFixture, columns: int, wait_for: int) -> None:
    sizes = PaperSizes(columns, wait_for)
    benchmark(sizes.every_worker)
    benchmark.extra_info["worker_updates"] = R


@pytest.mark.parametrize("cuts", [False, True], ids=["no_cuts", "cuts"])
@pytest.mark.parametrize("wait_for", [1, 1000], ids=["S=1", "S=R"])
def test_quadratic_with_learning(benchmark: BenchmarkFixture, wait_for: int, cuts: bool) -> None:
    benchmark.extra_info["worker_updates"] = 20_000
    benchmark.pedantic(quadratic, args=[wait_for, cuts], rounds=2)


def test_a_hundred_thousand_workers_fit_in_memory(benchmark: BenchmarkFixture) -> None:
    step_ms, peak_mib = benchmark.pedantic(many_workers_in_a_fresh_process, args=[100_000, 2_000], rounds=1)
    benchmark.extra_info.update(step_ms=step_ms, peak_mib=peak_mib)
    assert peak_mib < MEMORY_TARGET_MIB


def test_breakdown(benchmark: BenchmarkFixture) -> None:
    parts = benchmark.pedantic(breakdown_ms, args=[5], kwargs={"repeats": 2}, rounds=1)
    benchmark.extra_info.update(parts)


def main() -> None:
    """Print every figure."""
    write = sys.stdout.write
    torch.set_num_threads(1)
    write(f"one worker update at the paper's sizes, R = {R} (target: 0.5 ms)\n")
    for wait_for in (R, 1):
        for columns in (0, 1, 5, 10):
            with torch.no_grad():
                parts = breakdown_ms(columns, wait_for)
            write(f"  S = {wait_for}, {columns} columns of cuts: {sum(parts.values()):.3f} ms\n")
            for name, spent_ms in sorted(parts.items(), key=lambda part: -part[1]):
                write(f"      {name:20} {spent_ms:.3f}\n")
    write("the quadratic problem with learning, R = 1,000 (target: 10,000 updates/s)\n")
    for wait_for in (1, 1000):
        for cuts in (False, True):
            per_s = quadratic(wait_for, cuts, updates=60_000)
            write(f"  S = {wait_for}, {'default' if cuts else 'no'} cuts: {per_s:,.0f} worker updates/s\n")
    write("a small task, S = 10 (target: 4 GiB, and the same cost per step)\n")
    for n_workers, steps in ((1_000, 2_000), (100_000, 20_000)):
        step_ms, peak_mib = many_workers_in_a_fresh_process(n_workers, steps)
        write(f"  R = {n_workers:,}: {step_ms:.3f} ms per step, peak {peak_mib:,.0f} MiB\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        step = small_task(int(sys.argv[1]), int(sys.argv[2]))
        json.dump([step, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024], sys.stdout)
    else:
        main()
