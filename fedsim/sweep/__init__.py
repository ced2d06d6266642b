"""Many runs: replicates, processes, what is finished already."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Generator, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

from fedsim import results
from fedsim.errors import RunError
from fedsim.recorder import Progress
from fedsim.scenario import Scenario
from fedsim.simulation import raise_if_failed, run


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
    """Return each scenario `count` times, with seeds counting up from its own; equal ones only once."""
    repeated = [
        scenario.model_copy(update={"seed": scenario.seed + number})
        for scenario in scenarios
        for number in range(count)
    ]
    return list(dict.fromkeys(repeated))


def run_one(
    scenario: Scenario,
    out: Path,
    timing_only: bool = False,
    again: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Run a scenario and write its folder, or find it finished already.

    A timing-only run has its own place: it is not the run that the scenario describes.

    Raises:
        InputError: the scenario asks for something impossible, or `out` cannot be written to.
    """
    folder = _folder(scenario, out, timing_only)
    if not again and results.is_finished(folder):
        summary = results.read_summary(folder)
        return Outcome(scenario, folder, summary, failure(summary), reused=True)
    results.check_writable(folder)
    started = time.perf_counter()
    finished = run(scenario, timing_only=timing_only, progress=progress)
    results.write(finished, folder.parent.parent, time.perf_counter() - started)
    return Outcome(scenario, folder, finished.summary, failure(finished.summary))


def _folder(scenario: Scenario, out: Path, timing_only: bool) -> Path:
    return results.folder_of(scenario, out / results.TIMING_ONLY if timing_only else out)


def failure(summary: dict[str, Any]) -> str:
    """Return a sentence about a run that stalled or diverged, and nothing for one that ended well."""
    try:
        raise_if_failed(summary)
    except RunError as error:
        return str(error)
    return ""


def run_all(
    scenarios: list[Scenario], out: Path, jobs: int = 1, timing_only: bool = False, again: bool = False
) -> Generator[Outcome, None, None]:
    """Run scenarios in `jobs` processes and yield each outcome as it comes.

    Results do not depend on the number of processes. Stopping the iteration (Ctrl-C) ends what is running and
    leaves nothing half-written; what is finished stays and is found again next time.

    Raises:
        RunError: a process died.
    """
    if jobs == 1 or len(scenarios) == 1:
        for scenario in scenarios:
            yield run_one(scenario, out, timing_only, again)
        return
    others = set(active_children())
    context = get_context("spawn")
    pool = ProcessPoolExecutor(min(jobs, len(scenarios)), context, initializer=_leave_ctrl_c_to_the_parent)
    finished = False
    try:
        futures = [pool.submit(run_one, scenario, out, timing_only, again) for scenario in scenarios]
        for future in as_completed(futures):
            yield future.result()
        finished = True
    except BrokenProcessPool as error:
        raise RunError("a process was killed, perhaps for want of memory; try fewer --jobs") from error
    finally:
        if not finished:
            for process in set(active_children()) - others:
                process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)
        if not finished:
            for scenario in scenarios:
                shutil.rmtree(results.partial_of(_folder(scenario, out, timing_only)), ignore_errors=True)


def _leave_ctrl_c_to_the_parent() -> None:
    """A terminal sends Ctrl-C to every process; the parent alone knows what to say."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
