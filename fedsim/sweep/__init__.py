"""Many runs: the points of a sweep, replicates, processes and clusters, what is finished already."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import Executor
from pathlib import Path

from fedsim import results
from fedsim.errors import STRAY
from fedsim.loggers import Logger
from fedsim.loggers.live import packed
from fedsim.recorder import Progress
from fedsim.scenario import Scenario
from fedsim.stopping import undisturbed
from fedsim.sweep.engines import Engine, LocalPool, workers_of
from fedsim.sweep.many import Crew
from fedsim.sweep.outcome import Outcome, RunLedger, RunTask, failure, folder_of, never_attacked
from fedsim.sweep.seeds import with_seed
from fedsim.sweep.work import broken_by, done, order_of

__all__ = [
    "Outcome",
    "failure",
    "folder_of",
    "never_attacked",
    "replicates",
    "run_all",
    "run_one",
    "with_seed",
]


def replicates(scenarios: Iterable[Scenario], count: int) -> list[Scenario]:
    """Return each scenario `count` times, with seeds counting up from its own; equal ones only once."""
    repeated = [
        with_seed(scenario, scenario.seed + number) for scenario in scenarios for number in range(count)
    ]
    return list(dict.fromkeys(repeated))


def run_one(
    scenario: Scenario,
    out: Path,
    timing_only: bool = False,
    again: bool = False,
    progress: Progress | None = None,
    loggers: Mapping[str, Logger] | None = None,
) -> Outcome:
    """Run a scenario and write its folder, or find it finished already.

    A timing-only run has its own place: it is not the run that the scenario describes. Of the `loggers`, each
    under a name, copies are told of each step; the run once finished is the caller's to log.

    Raises:
        InputError: the scenario asks for something impossible, or `out` cannot be written to.
    """
    ledger, command = RunLedger(out, timing_only, again), results.command_line()
    folder = folder_of(scenario, out, timing_only)
    if found := ledger.found(scenario, folder):
        return found
    task = ledger.task(scenario, folder)
    return ledger.taken(task, done(scenario, timing_only, command, packed(loggers or {}), progress), command)


def run_all(
    scenarios: Iterable[Scenario],
    out: Path,
    jobs: int = 1,
    timing_only: bool = False,
    again: bool = False,
    *,
    executor: Executor | Engine | None = None,
    keep_going: bool = False,
    retry_failed: bool = False,
    loggers: Mapping[str, Logger] | None = None,
) -> Generator[Outcome, None, None]:
    """Run scenarios side by side and yield each outcome as it comes.

    Results do not depend on the number of processes. Stopping the iteration (Ctrl-C) ends what is running and
    leaves nothing half-written; what is finished stays and is found again next time.

    Args:
        scenarios: asked for one by one, as there is room for them: they may be many.
        out: the folder of results. This process alone writes there.
        jobs: processes; one means this process.
        timing_only: run the clock alone.
        again: run even what is finished already.
        executor: who computes, in the place of processes of our own; it is not shut down. It may be an engine
            that several calls share, so that processes start once.
        keep_going: a run that breaks off is noted beside the run folders, and is not run the next time; the
            others go on. Otherwise its error ends the iteration.
        retry_failed: run even what such a note is there of.
        loggers: as of `run_one`; a run is given those that are there when it is handed out.

    Raises:
        InputError: results cannot be written.
        RunError: a process died again and again, and `keep_going` is false.
    """
    ledger, command = RunLedger(out, timing_only, again, keep_going, retry_failed), results.command_line()
    loggers = {} if loggers is None else loggers
    if executor is None and jobs == 1:
        for task in ledger.sorted(scenarios):
            yield task if isinstance(task, Outcome) else _run_here(task, ledger, command, loggers)
        return
    if isinstance(executor, Engine):
        engine = executor
    else:
        engine = LocalPool(jobs) if executor is None else Engine(executor, workers_of(executor))
    crew = Crew(
        engine,
        ledger.sorted(scenarios),
        lambda task: order_of(task.scenario, timing_only, command, packed(loggers)),
        lambda task, result: ledger.taken(task, result, command),
    )
    try:
        yield from crew.outcomes()
    finally:
        with undisturbed():
            crew.cancel()
            if engine is not executor:
                engine.stop()


def _run_here(task: RunTask, ledger: RunLedger, command: str, loggers: Mapping[str, Logger]) -> Outcome:
    """Run a task in this process."""
    try:
        return run_one(task.scenario, ledger.out, ledger.timing_only, ledger.again, loggers=loggers)
    except results.UnwritableError:
        raise
    except STRAY as error:
        if not ledger.keep_going:
            raise
        return ledger.taken(task, broken_by(error), command)
