"""Which runs are to be run, which are finished already, and how each run ended."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedsim import results
from fedsim.errors import ResultsError, RunError
from fedsim.scenario import Scenario
from fedsim.simulation import raise_if_failed
from fedsim.sweep.agreement import UnfitWorkerError
from fedsim.sweep.work import Broken, Done
from fedsim.whole_files import is_folder


@dataclass(frozen=True)
class Outcome:
    """What became of one run."""

    scenario: Scenario
    folder: Path
    summary: dict[str, Any]
    """The headline numbers; empty for a run that broke off."""
    failure: str = ""
    """A sentence, when the run stalled or diverged, and its folder holds what it had; or when it broke off,
    and there is a note beside the place of its folder."""
    reused: bool = False
    """Found, and not run now."""
    redone: str = ""
    """Half a sentence: what was wrong with the folder that lay there before."""
    complaints: dict[str, str] = field(default_factory=dict)
    """A sentence for each logger that failed at a step."""

    @property
    def cautions(self) -> list[str]:
        """Sentences on what makes the results mean less than they seem to, beside the failure."""
        found = results.cautions(self.summary) if self.summary else []
        return [sentence for sentence in found if sentence.partition(": ")[2] not in self.failure]


@dataclass
class RunTask:
    """A run on its way."""

    scenario: Scenario
    folder: Path
    redone: str = ""
    breaks: int = 0
    """How many pools of processes broke while it was in there."""


@dataclass
class RunLedger:
    """Tells what is to be run from what need not be, and writes down what comes back.

    Args:
        out: the folder of results.
        timing_only: whether only the clock is run; such runs have their own place.
        again: whether to run even what is finished.
        keep_going: whether a run that breaks off is noted and left aside; otherwise its error is raised.
        retry_failed: whether to run even what is noted to have broken off.
    """

    out: Path
    timing_only: bool = False
    again: bool = False
    keep_going: bool = False
    retry_failed: bool = False
    _cleared: set[Path] = field(default_factory=set)
    _tried: set[Path] = field(default_factory=set)

    def sorted(self, scenarios: Iterable[Scenario]) -> Iterator[RunTask | Outcome]:
        """Yield a task for each scenario that is to be run, and the outcome of each that is not.

        Raises:
            InputError: results cannot be written.
        """
        for scenario in scenarios:
            folder = folder_of(scenario, self.out, self.timing_only)
            if folder.parent not in self._cleared:
                self._cleared.add(folder.parent)
                results.clear_left_overs(folder.parent)
            yield self.found(scenario, folder) or self.task(scenario, folder)

    def task(self, scenario: Scenario, folder: Path) -> RunTask:
        """Return the task of running a scenario.

        Raises:
            InputError: its results cannot be written.
        """
        results.check_writable(folder, tried=folder.parent in self._tried)
        self._tried.add(folder.parent)
        return RunTask(scenario, folder, "" if self.again else _wrong_with(folder))

    def found(self, scenario: Scenario, folder: Path) -> Outcome | None:
        """Return the outcome of a run that need not be run: it is finished, or has broken off before."""
        if self.again:
            return None
        try:
            if results.is_finished(folder):
                summary = results.read_summary(folder)
                return Outcome(scenario, folder, summary, failure(summary), reused=True)
        except ResultsError:  # of the right size, but not what it should be
            return None
        if not self.keep_going or self.retry_failed or (note := results.read_failure(folder)) is None:
            return None
        reason = _labelled(scenario, note["reason"])
        return Outcome(scenario, folder, {}, f"{reason} (failed before; --retry-failed runs it again)", True)

    def taken(self, task: RunTask, result: Done | Broken, command: str) -> Outcome:
        """Write what a run has found, or note that it broke off.

        Raises:
            InputError: results cannot be written.
            FedsimError: the run broke off and `keep_going` is false, or whoever computed it will fail for
                all others as well.
        """
        scenario, folder = task.scenario, task.folder
        if isinstance(result, Done):
            results.write_files(folder, result.files, replace=self.again or bool(task.redone))
            results.forget_failure(folder)
            failed = failure(result.summary)
            return Outcome(
                scenario, folder, result.summary, failed, redone=task.redone, complaints=result.complaints
            )
        if not self.keep_going or isinstance(result.error, UnfitWorkerError):
            error = result.error or RunError(_labelled(scenario, result.reason))
            if result.trace:  # an exception leaves its stack behind on its way from another process
                error.add_note(result.trace)
            raise error
        results.write_failure(folder, scenario, result.reason, result.trace, command)
        return Outcome(scenario, folder, {}, _labelled(scenario, result.reason), redone=task.redone)


def folder_of(scenario: Scenario, out: Path, timing_only: bool = False) -> Path:
    """Return where the results of a run go."""
    return results.folder_of(scenario, out, timing_only)


def never_attacked(outcome: Outcome) -> list[str]:
    """Return a sentence for each attack of a run that had yet to begin when the run ended."""
    scenario, ended_s = outcome.scenario, outcome.summary.get("simulated_time_s", math.inf)
    return [
        f"{scenario.label}: attacks.{number}: {attack.kind!r} begins at {attack.begins_s():g} s, but the run "
        f"ended at {ended_s:g} s: nobody was attacked so"
        for number, (attack, workers) in enumerate(scenario.assigned)
        if workers and attack.begins_s() >= ended_s
    ]


def failure(summary: dict[str, Any]) -> str:
    """Return a sentence about a run that stalled or diverged, and nothing for one that ended well."""
    try:
        raise_if_failed(summary)
    except RunError as error:
        return str(error)
    return ""


def _wrong_with(folder: Path) -> str:
    """Return why what is at a run's address has to be made again, in half a sentence."""
    if not is_folder(folder):
        return ""
    try:
        if not (wrong := results.why_not_finished(folder)):
            results.read_summary(folder)
        return wrong
    except ResultsError as error:
        return str(error).removeprefix(f"{folder}/")


def _labelled(scenario: Scenario, reason: str) -> str:
    """Say whose reason it is, unless it says so itself."""
    return reason if reason.startswith(scenario.label) else f"{scenario.label}: {reason}"
