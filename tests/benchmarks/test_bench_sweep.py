"""What sweeps cost besides their runs, how they use two cores, and how long their results take to load.

Targets: less than 5 ms per run with a warm pool of processes; two cores do at least 1.8 times the work of
one; the summaries of 10,000 runs are loaded in less than 5 s.
`python tests/benchmarks/test_bench_sweep.py` prints all figures.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import fedsim
from fedsim import results, sweep
from fedsim.scenario import Scenario, load_scenario
from fedsim.sweep.engines import _start_worker
from fedsim.sweep.plan import read_plan

ROOT = Path(__file__).parents[2]
STRAGGLER = ROOT / "scenarios" / "speedup" / "straggler.toml"
IDLE = ROOT / "scenarios" / "features" / "quadratic.toml"
JOBS = 2


def idle(n_runs: int) -> list[Scenario]:
    """Return runs of next to no work: one server step of the clock alone."""
    no_cuts = ["algorithm.cuts=false", "algorithm.unset=['inner', 'multipliers', 'z_rate']"]
    one = load_scenario(IDLE, overrides=["budget={ server_steps = 1 }", *no_cuts])
    return sweep.replicates([one], n_runs)


@contextmanager
def warm_pool(jobs: int = JOBS) -> Iterator[Executor]:
    """Processes that have all imports behind them."""
    with (
        ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_start_worker) as pool,
        tempfile.TemporaryDirectory() as out,
    ):
        list(sweep.run_all(idle(8 * jobs), Path(out), executor=pool))
        list(sweep.run_all(idle(8 * jobs), Path(out), executor=pool, timing_only=True))
        yield pool


def overhead_ms(pool: Executor, n_runs: int = 300) -> tuple[float, float]:
    """Return what a run costs in all, and besides its own work: wall time of one of the processes (ms)."""
    scenarios = idle(n_runs)
    with tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        for _ in sweep.run_all(scenarios, Path(out), executor=pool, timing_only=True):
            pass
        took_s = time.perf_counter() - started
        inside_s = sum(results.check_folder(folder)["duration_s"] for folder in results.find_runs(Path(out)))
    return 1000 * took_s / n_runs, 1000 * (took_s - inside_s / JOBS) / n_runs


def straggler_runs() -> list[Scenario]:
    """Return some runs of the straggler study."""
    scenario = load_scenario(STRAGGLER, "asyndbt", ["budget.epochs=60", "target.stop=false"])
    return sweep.replicates([scenario], 12)


def seconds_for(scenarios: list[Scenario], jobs: int) -> float:
    """Return how long a warm pool of so many processes takes for these runs (s)."""
    with warm_pool(jobs) as pool, tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        for _ in sweep.run_all(scenarios, Path(out), executor=pool):
            pass
        return time.perf_counter() - started


def many_results(out: Path, n_runs: int = 10_000) -> Path:
    """Make a folder of results of so many runs: copies of one, with seeds and factors of their own."""
    folder = sweep.run_one(load_scenario(STRAGGLER, "asyndbt", ["budget.epochs=2"]), out / "one", True).folder
    files = {name: (folder / name).read_bytes() for name in results.FILES}
    summary, origin = json.loads(files["summary.json"]), json.loads(files["provenance.json"])
    for number in range(n_runs):
        copy = out / "many" / "straggler" / f"{number:012x}"
        copy.mkdir(parents=True)
        settings = origin["settings"] | {"seed": number, "workers.1.slow_down": float(number % 7)}
        files["summary.json"] = json.dumps(summary | {"seed": number}).encode()
        sizes = {name: len(content) for name, content in files.items() if name != "provenance.json"}
        changed = origin | {"run_id": copy.name, "settings": settings, "files": sizes}
        files["provenance.json"] = json.dumps(changed).encode()
        for name, content in files.items():
            (copy / name).write_bytes(content)
    return out / "many"


def test_overhead_of_a_run(benchmark: BenchmarkFixture) -> None:
    with warm_pool() as pool:
        benchmark.pedantic(overhead_ms, (pool,), rounds=2)
        benchmark.extra_info["ms per run in all, besides its work"] = overhead_ms(pool)


@pytest.mark.parametrize("jobs", [1, 2])
def test_straggler_runs(benchmark: BenchmarkFixture, jobs: int) -> None:
    benchmark.pedantic(seconds_for, (straggler_runs(), jobs), rounds=1)


@pytest.fixture(scope="module")
def ten_thousand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    out = tmp_path_factory.mktemp("bench")
    yield many_results(out)
    shutil.rmtree(out)


@pytest.mark.parametrize("table", ["runs", "workers"])
def test_loading(benchmark: BenchmarkFixture, ten_thousand: Path, table: str) -> None:
    benchmark.pedantic(fedsim.load_results, (ten_thousand, table), rounds=2)


def test_planning_ten_thousand_runs(benchmark: BenchmarkFixture) -> None:
    file = ROOT / "scenarios" / "features" / "sweep.toml"
    benchmark.pedantic(read_plan(file, ["sweep.replicates=2500"]).count, rounds=2)


def main() -> None:
    """Print all figures."""
    write = sys.stdout.write
    with warm_pool() as pool:
        for _ in range(3):
            write(
                "a run of no work: {:.2f} ms in all, {:.2f} ms besides its work\n".format(*overhead_ms(pool))
            )
    one, two = (seconds_for(straggler_runs(), jobs) for jobs in (1, 2))
    write(f"12 straggler runs: {one:.2f} s on one core, {two:.2f} s on two: {one / two:.2f} times\n")
    with tempfile.TemporaryDirectory() as out:
        many = many_results(Path(out))
        for table in ("runs", "runs", "workers", "steps"):
            started = time.perf_counter()
            rows = len(fedsim.load_results(many, table))
            write(f"{table} of 10,000 runs: {time.perf_counter() - started:.2f} s, {rows:,} rows\n")
    started = time.perf_counter()
    n_runs = read_plan(ROOT / "scenarios" / "features" / "sweep.toml", ["sweep.replicates=2500"]).count()
    write(f"{n_runs:,} runs planned and checked: {time.perf_counter() - started:.2f} s\n")


if __name__ == "__main__":
    main()
