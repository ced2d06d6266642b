"""The scenario of a million workers, with fewer: `make bench` runs all of them."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from fedsim.scenario import load_scenario
from fedsim.simulation import Run, run

FILE = Path(__file__).parents[2] / "scenarios" / "scale" / "million.toml"


def with_workers(count: int, *overrides: str) -> Run:
    scenario = load_scenario(FILE, overrides=[f"workers.0.count={count}", *overrides])
    return run(scenario, timing_only=True)


def test_jobs_of_ten_minutes_come_six_times_an_hour() -> None:
    summary = with_workers(2000, "algorithm.wait_for=10").summary
    assert summary["ended"] == "budget"
    assert summary["simulated_time_s"] == 3600
    # A report waits for the rest of its ten, 4.5 of them on average; 2,000 / 600 of them come a second.
    wait_s = 4.5 * 600 / 2000
    expected = 2000 * 3600 / (600 + wait_s)
    assert abs(summary["worker_updates"] - expected) < 4 * expected**0.5  # Poisson's standard deviation


def peak_bytes(count: int) -> int:
    tracemalloc.start()
    try:
        with_workers(count, "budget.horizon_s=600")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_grows_by_less_than_three_kilobytes_for_each_worker() -> None:
    with_workers(1000)  # what is imported late is no worker's
    assert 500 < (peak_bytes(3000) - peak_bytes(1000)) / 2000 < 3000
