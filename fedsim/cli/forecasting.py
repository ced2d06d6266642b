"""What `fedsim sweep --dry-run` shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fedsim.sweep.forecast import Effort
from fedsim.terminal import plain_table, say, show

if TYPE_CHECKING:
    from rich.table import Table

    from fedsim.sweep.plan import Plan, Planned

LONGEST_SETTING = 400
MOST_LISTED = 1000
"""Runs in the list; the numbers below it are about all of them."""


class Forecast:
    """Adds up what the runs of a sweep will cost."""

    def __init__(self, out: Path, timing_only: bool, again: bool) -> None:
        self.n_runs = 0
        self.finished: list[Path] = []
        self.failed = 0
        self.calls = 0
        self.unknown = 0
        """Runs whose calls nobody can tell."""
        self.exact, self.at_most = True, False
        self.updates: list[int | None] = []
        """Worker updates of each run that is to be run."""
        self.first: Planned | None = None
        """The first of these runs."""
        self._place = out, timing_only
        self._again = again

    def add(self, planned: Planned) -> tuple[str, Effort]:
        """Count a run; return how it stands, and its work."""
        from fedsim import results, sweep
        from fedsim.sweep.forecast import work_of

        work, folder = work_of(planned.scenario), sweep.folder_of(planned.scenario, *self._place)
        self.n_runs += 1
        self.unknown += work.llm_calls is None
        self.calls += work.llm_calls or 0
        self.exact, self.at_most = self.exact and work.exact, self.at_most or work.at_most
        if results.is_finished(folder):
            self.finished.append(folder)
            if not self._again:
                return "finished", work
        elif results.read_failure(folder) is not None:
            self.failed += 1
            return "failed before", work
        self.first = self.first or planned
        self.updates.append(work.updates)
        return "", work


def show_plan(plan: Plan, total: int, out: Path, jobs: int, timing_only: bool, again: bool) -> None:
    """Print the runs of a sweep, what is finished of them, LLM calls, and an estimate of time."""

    forecast, table = Forecast(out, timing_only, again), _table(plan)
    for planned in plan.runs():
        state, work = forecast.add(planned)
        if forecast.n_runs <= MOST_LISTED:
            table.add_row(*_cells(plan, planned, work, state))
    show(table)
    if total > MOST_LISTED:
        say(f"... and {total - MOST_LISTED:,} more")
    n_left = len(forecast.updates)
    states = f"{len(forecast.finished):,} finished" + (
        f", {forecast.failed:,} failed before" if forecast.failed else ""
    )
    say(f"{total:,} runs: {states}, {n_left:,} to run")
    say(f"LLM calls in all: {_calls(forecast)}")
    say(f"time: {_time(forecast, jobs, timing_only)}")


def _table(plan: Plan) -> Table:
    table = plain_table()
    for column in (*(["variant"] if plan.varies_variant else []), *plan.keys, "seed"):
        table.add_column(column, overflow="fold")
    table.add_column("LLM calls", justify="right")
    table.add_column("")
    return table


def _cells(plan: Plan, planned: Planned, work: Effort, state: str) -> list[str]:
    settings = planned.point.settings
    varied = [_setting(settings[key]) if key in settings else "" for key in plan.keys]
    variant = [planned.point.variant] if plan.varies_variant else []
    calls = "?" if work.llm_calls is None else f"{work.llm_calls:,}"
    return [*variant, *varied, str(planned.scenario.seed), calls, state]


def _setting(value: object) -> str:
    """Return a value of a sweep: whole, as what differs may stand anywhere in it, unless it is very long."""
    from fedsim.scenario.explain import shown

    if not isinstance(value, str):
        return shown(value)
    if len(value) <= LONGEST_SETTING:
        return value
    return f"{value[: LONGEST_SETTING // 2]} ... {value[-LONGEST_SETTING // 2 :]} ({len(value):,} characters)"


def _calls(forecast: Forecast) -> str:
    """Say how many calls all runs make, and how well that is known."""
    unknown = f"unknown for {forecast.unknown:,} runs with a budget in seconds"
    if forecast.unknown == forecast.n_runs:
        return unknown
    how = ("at most " if forecast.at_most else "") + ("" if forecast.exact else "about ")
    why = " (a target, a horizon or early stopping may end runs before)" if forecast.at_most else ""
    return f"{how}{forecast.calls:,}{why}" + (f"; {unknown}" if forecast.unknown else "")


def _time(forecast: Forecast, jobs: int, timing_only: bool) -> str:
    """Say how long the rest will take."""
    from fedsim.sweep.forecast import TRIAL_S, seconds_by_runs, trial

    n_left = len(forecast.updates)
    if not forecast.first:
        return "nothing to run"
    jobs = min(jobs, n_left)
    with_jobs = "one process" if jobs == 1 else f"{jobs} processes"
    mean_s = seconds_by_runs(forecast.finished)
    if mean_s is not None:
        seconds = mean_s * n_left / jobs
        return f"about {_spoken(seconds)} with {with_jobs}, going by {len(forecast.finished):,} finished runs"
    measured = trial(forecast.first.scenario, timing_only)
    if measured is None:
        return "unknown until a run is finished"
    known = [updates for updates in forecast.updates if updates is not None]
    if not known:
        return "unknown until a run is finished (a budget in seconds)"
    mean_updates = sum(known) / len(known)
    seconds = (measured.start_s + measured.update_s * mean_updates) * n_left / jobs
    return f"about {_spoken(seconds)} with {with_jobs}, going by {TRIAL_S:g} s of the first run"


def _spoken(seconds: float) -> str:
    """Return a time as a person says it.

    >>> [_spoken(seconds) for seconds in (0.4, 90, 5000, 200000)]
    ['1 s', '90 s', '83 min', '56 h']
    """
    if seconds < 120:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 7200 else f"{round(seconds / 3600)} h"
