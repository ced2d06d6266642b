"""Many runs: replicates, processes, what is finished already."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from fedsim import results
from fedsim.errors import RunError
from fedsim.scenario import Scenario
from fedsim.simulation import Progress, raise_if_failed, run


@dataclass(frozen=True)
class Outcome:
    """What became of one run."""

    scenario: Scenario
    folder: Path
    summary: dict[str, Any]
    failure: str = ""
    """A sentence, when the run stalled or diverged; its folder holds what it had."""
    reused: bool = False


def replicates(scenarios: Iterable[Scenario], count: int) -> list[Scenario]:
    """Return each scenario `count` times, with seeds counting up from its own."""
    return [
        scenario.model_copy(update={"seed": scenario.seed + number})
        for scenario in scenarios
        for number in range(count)
    ]


def run_one(
    scenario: Scenario,
    out: Path,
    timing_only: bool = False,
    again: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Run a scenario and write its folder, or find it finished already.

    A timing-only run has its own place: it is not the run that the scenario describes.
    """
    out = out / "timing-only" if timing_only else out
    folder = results.folder_of(scenario, out)
    if not again and results.is_finished(folder):
        return Outcome(scenario, folder, results.read_summary(folder), reused=True)
    started = time.perf_counter()
    finished = run(scenario, timing_only=timing_only, progress=progress)
    folder = results.write(finished, out, time.perf_counter() - started)
    failure = ""
    try:
        raise_if_failed(finished)
    except RunError as error:
        failure = str(error)
    return Outcome(scenario, folder, finished.summary, failure)


def run_all(
    scenarios: list[Scenario], out: Path, jobs: int = 1, timing_only: bool = False, again: bool = False
) -> Iterator[Outcome]:
    """Run scenarios in `jobs` processes and yield each outcome as it comes.

    Results do not depend on the number of processes. Stopping the iteration (Ctrl-C) cancels what has not
    started; what is finished stays and is found again next time.
    """
    if jobs == 1 or len(scenarios) == 1:
        for scenario in scenarios:
            yield run_one(scenario, out, timing_only, again)
        return
    pool = ProcessPoolExecutor(min(jobs, len(scenarios)), mp_context=get_context("spawn"))
    try:
        waiting: set[Future[Outcome]] = {
            pool.submit(run_one, scenario, out, timing_only, again) for scenario in scenarios
        }
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
