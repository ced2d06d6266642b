"""What the timing half costs: against a bare SimPy model with the same events, and as workers grow in number.

`python tests/benchmarks/test_bench_timing.py` prints all figures in a table.
"""

from __future__ import annotations

import gc
import json
import resource
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator
from time import perf_counter
from typing import Any

import pytest
import simpy
from pytest_benchmark.fixture import BenchmarkFixture

from fedsim.messages import JobCost
from fedsim.schedule import Schedule, Steps, Work
from fedsim.streams import Stream, Streams
from fedsim.timing.delays import Delay
from fedsim.timing.delays.constant import Constant
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.loop import Timeline, run_timeline
from fedsim.timing.settings import ServerSettings
from fedsim.timing.worker import WorkerGroup, drawn

FREE = JobCost(0, 0, 0, 0, 0)
NEVER = 10**9
EXPONENTIAL, CONSTANT = Exponential(mean_s=1.0), Constant(value_s=1.0)


class Nothing:
    """Learns nothing."""

    finished = False
    expelled = ()

    def first(self) -> None: ...

    def hand_out(self, *job: Any) -> None: ...

    def take_step(self, *step: Any) -> None: ...

    def interlude(self, *update: Any) -> Generator[None, Any, None]:
        yield from ()

    def evict(self, worker: int) -> None: ...

    def admit(self, worker: int) -> None: ...

    def forget(self, worker: int) -> None: ...


def fedsim_s(n_workers: int, wait_for: int, steps: int, delay: Delay = EXPONENTIAL) -> float:
    """Run fedsim's timing half and return the simulated time (s)."""
    timeline = Timeline(
        groups=[WorkerGroup(count=n_workers, compute=delay)],
        service=None,
        server=ServerSettings(step_s=0.0),
        schedule=Schedule(Steps(wait_for, NEVER), {"job": Work(FREE)}, "job"),
        max_steps=steps,
    )
    return run_timeline(timeline, Nothing(), Streams(0)).time_s


def bare_s(n_workers: int, wait_for: int, steps: int, delay: Delay = EXPONENTIAL) -> float:
    """Run the same events in bare SimPy, without books, tickets, counters or a staleness bound."""
    env, streams = simpy.Environment(), Streams(0)
    inbox: deque[simpy.Event] = deque()
    wake: simpy.Event | None = None

    def worker(number: int) -> Generator[simpy.Event, object, None]:
        nonlocal wake
        delay_s = drawn(delay, streams, Stream.COMPUTE, number)
        job = 0
        while True:
            yield env.timeout(delay_s(job))
            reply = env.event()
            inbox.append(reply)
            if wake is not None:
                wake.succeed()
                wake = None
            yield reply
            job += 1

    def server() -> Generator[simpy.Event, object, None]:
        nonlocal wake
        for _ in range(steps):
            active: list[simpy.Event] = []
            while len(active) < wait_for:
                if inbox:
                    active.append(inbox.popleft())
                else:
                    wake = env.event()
                    yield wake
            for reply in active:
                reply.succeed()

    process = env.process(server())
    gc.disable()  # the same courtesy that fedsim grants itself
    for number in range(n_workers):
        env.process(worker(number))
    gc.freeze()
    gc.enable()
    env.run(until=process)
    gc.unfreeze()
    return env.now


def seconds_of(run: Callable[[], object]) -> float:
    """Return how long a run takes (s)."""
    started = perf_counter()
    run()
    return perf_counter() - started


def share_of_bare(
    n_workers: int, wait_for: int, updates: int, repeats: int = 5
) -> tuple[float, float, float]:
    """Return fedsim's and the bare model's worker updates per second, and the ratio of the best of each.

    The two take turns, so that a busy machine slows both.
    """
    steps = updates // wait_for
    assert fedsim_s(n_workers, wait_for, steps) == bare_s(n_workers, wait_for, steps)
    ours, bare = [], []
    for _ in range(repeats):
        ours.append(seconds_of(lambda: fedsim_s(n_workers, wait_for, steps)))
        bare.append(seconds_of(lambda: bare_s(n_workers, wait_for, steps)))
    return steps * wait_for / min(ours), steps * wait_for / min(bare), min(bare) / min(ours)


def step_s(n_workers: int, wait_for: int, steps: int = 3000) -> float:
    """Return what a server step costs (s), the making of the workers left out."""
    start_s = min(seconds_of(lambda: fedsim_s(n_workers, wait_for, 1)) for _ in range(2))
    return (seconds_of(lambda: fedsim_s(n_workers, wait_for, steps)) - start_s) / steps


def peak_gib(n_workers: int, wait_for: int, steps: int) -> float:
    """Return the peak memory of a fresh process that does one run (GiB)."""
    work = f"bench.fedsim_s({n_workers}, {wait_for}, {steps})"
    code = f"import test_bench_timing as bench; {work}; bench.own_peak()"
    folder = __file__.rpartition("/")[0]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, check=True, text=True
    )
    return float(json.loads(done.stdout))


def own_peak() -> None:
    """Write this process's peak memory (GiB) to standard output."""
    json.dump(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, sys.stdout)


@pytest.mark.parametrize("wait_for", [1, 1000], ids=["S=1", "S=R"])
@pytest.mark.parametrize("run", [fedsim_s, bare_s], ids=["fedsim", "bare_simpy"])
def test_a_thousand_workers(
    benchmark: BenchmarkFixture, run: Callable[[int, int, int], float], wait_for: int
) -> None:
    updates = 20_000
    benchmark.extra_info["worker_updates"] = updates
    benchmark.pedantic(run, (1000, wait_for, updates // wait_for), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("delay", [CONSTANT, EXPONENTIAL], ids=["constant", "exponential"])
@pytest.mark.parametrize("n_workers", [3, 100, 10_000, 100_000])
def test_updates_as_workers_grow_in_number(benchmark: BenchmarkFixture, n_workers: int, delay: Delay) -> None:
    updates = max(20_000, 2 * n_workers)
    benchmark.extra_info["worker_updates"] = updates
    benchmark.pedantic(fedsim_s, (n_workers, 1, updates, delay), rounds=2)


@pytest.mark.parametrize("n_workers", [1000, 100_000])
def test_a_step_of_ten(benchmark: BenchmarkFixture, n_workers: int) -> None:
    """The making of the workers is in it; `main` takes it out."""
    benchmark.pedantic(fedsim_s, (n_workers, 10, 3000), rounds=2)


def main() -> None:
    """Print all figures."""
    write = sys.stdout.write
    for wait_for in (1, 1000):
        ours, bare, share = share_of_bare(1000, wait_for, 40_000)
        write(f"R 1,000, S {wait_for}: {ours:,.0f} updates/s, bare SimPy {bare:,.0f}: {share:.0%}\n")
    for n_workers in (3, 100, 10_000, 100_000):
        for delay in (CONSTANT, EXPONENTIAL):
            updates = max(40_000, 2 * n_workers)
            took_s = seconds_of(lambda n=n_workers, d=delay, u=updates: fedsim_s(n, 1, u, d))  # type: ignore[misc]
            write(f"R {n_workers:,}, S 1, {delay.kind}: {updates / took_s:,.0f} updates/s, start included\n")
    for n_workers in (1000, 100_000):
        write(f"R {n_workers:,}, S 10: {1e6 * step_s(n_workers, 10):.0f} us per step, start left out\n")
    write(f"R 100,000, S 10, 10,000 steps: peak memory {peak_gib(100_000, 10, 10_000):.2f} GiB\n")


if __name__ == "__main__":
    main()
