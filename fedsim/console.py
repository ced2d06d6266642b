"""What the command line shows: progress, tables, errors. Everything but results goes to stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from fedsim.progress import shown_by
from fedsim.recorder import Progress as OnStep
from fedsim.scenario import Scenario
from fedsim.sweep import Outcome
from fedsim.sweep.tally import Tally
from fedsim.terminal import aside, plain_table, say, show, words


@contextmanager
def bar(total: int | None, label: str, shown: bool = True) -> Iterator[tuple[Progress, Any]]:
    """Show a progress bar in a terminal or a notebook; none where stderr is neither."""
    columns = (
        words("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        words("{task.fields[note]}"),
    )
    err = aside()
    with Progress(
        *columns, console=err, disable=not (shown and (err.is_terminal or err.is_jupyter)), transient=True
    ) as progress:
        yield progress, progress.add_task(label, total=total, note="")


@contextmanager
def watch(scenario: Scenario) -> Iterator[OnStep]:
    """Show one run as it goes: simulated time, step and loss, and what takes long between two steps."""
    budget = scenario.budget
    updates = budget.updates(scenario.n_machines)
    total = budget.server_steps if updates is None else updates
    with bar(total, scenario.label) as (progress, task):
        loss = ""

        def on_step(row: dict[str, Any]) -> None:
            nonlocal loss
            done = row["step"] if updates is None else row["worker_updates"]
            loss = f"loss {row['loss']:.4g}" if "loss" in row else loss
            progress.update(
                task, completed=done, note=f"t {row['time_s']:,.0f} s  step {row['step']}  {loss}"
            )

        def between(what: str, done: int, total: int) -> None:
            progress.update(task, note=f"{done:,} of {total:,} {what}")

        with shown_by(between):
            yield on_step


@contextmanager
def watch_sweep(total: int, workers: int) -> Iterator[Callable[[Tally], None]]:
    """Show a sweep as it goes: runs done, failed, running, and the time left."""
    with bar(total, "runs") as (progress, task):

        def tell(tally: Tally) -> None:
            # Runs found finished took no time: counted, they would make the rest look quick.
            left = total - tally.total
            note = f"{tally.failed:,} failed, {min(left, workers)} running"
            note += f", {tally.kept:,} found finished" if tally.kept else ""
            progress.update(task, total=total - tally.kept, completed=tally.done + tally.failed, note=note)

        yield tell


@contextmanager
def countdown(seconds: float, label: str) -> Iterator[Callable[[float, int], None]]:
    """Show how much of a time is over; it is told the seconds that have passed, and the number of runs."""
    with bar(round(seconds), f"{label}, seconds") as (progress, task):

        def tell(passed_s: float, n_runs: int) -> None:
            progress.update(task, completed=min(round(passed_s), round(seconds)), note=f"{n_runs:,} runs")

        yield tell


def show_tally(tally: Tally) -> None:
    """Print how many runs went how, and where the results are."""
    counts = [f"{tally.done:,} done"]
    counts += [f"{tally.kept:,} found finished"] if tally.kept else []
    counts += [f"{tally.failed:,} failed"] if tally.failed else []
    say(f"{tally.total:,} runs: {', '.join(counts)}")
    for folder in sorted(tally.places):
        say(f"results: {folder}")


def show_outcomes(outcomes: list[Outcome]) -> None:
    """Print one line per run."""
    table = plain_table()
    for column in ("scenario", "variant", "seed", "ended"):
        table.add_column(column)
    for column in ("time", "steps", "updates", "LLM calls", "accuracy", "loss"):
        table.add_column(column, justify="right")
    for outcome in outcomes:
        found = outcome.summary
        table.add_row(
            found["scenario"],
            found["variant"],
            str(found["seed"]),
            found["ended"] + (" (kept)" if outcome.reused else ""),
            f"{found['simulated_time_s']:,.1f} s",
            f"{found['server_steps']:,}",
            f"{found['worker_updates']:,}",
            f"{found['llm_calls']:,}",
            _number(found.get("accuracy")),
            _number(found.get("loss")),
        )
    show(table)
    for note in _fallbacks(outcomes):
        say(note)
    for note in _beside(outcomes):
        say(note)
    for note in _bill(outcomes):
        say(note)
    folders = {outcome.folder.parent for outcome in outcomes}
    for folder in sorted(folders):
        say(f"results: {folder}")


def _fallbacks(outcomes: list[Outcome]) -> Iterator[str]:
    """Yield a sentence for each run in which a rule could not be applied."""
    for found in (outcome.summary for outcome in outcomes):
        if found.get("fallbacks"):
            label = " ".join(part for part in (found["scenario"], found["variant"]) if part)
            yield (
                f"{label}, seed {found['seed']}: {found['fallbacks']:,} times a rule had too few rows and z "
                "stayed (fallbacks in steps.parquet)"
            )


def _beside(outcomes: list[Outcome]) -> Iterator[str]:
    """Yield a sentence for each run whose method has something to compare its accuracy with."""
    for outcome in outcomes:
        found = outcome.summary
        told = [
            f"{found[column]:.4f} {what}"
            for column, what in outcome.scenario.algorithm.beside.items()
            if found.get(column) is not None
        ]
        if told:
            label = " ".join(part for part in (found["scenario"], found["variant"]) if part)
            reached = _number(found["accuracy"])
            yield f"{label}, seed {found['seed']}: accuracy {reached}, beside {', '.join(told)}"


def _bill(outcomes: list[Outcome]) -> Iterator[str]:
    """Yield what was really sent to language models in the runs made now, which simulated calls are not."""
    asked = [
        outcome.summary for outcome in outcomes if "real_calls" in outcome.summary and not outcome.reused
    ]
    if not asked:
        return
    calls, tokens_in, tokens_out, cost, kept = (
        None if None in (each := [found[f"real_{key}"] for found in asked]) else sum(each)
        for key in ("calls", "tokens_in", "tokens_out", "cost", "answers_kept")
    )
    words = [f"{calls:,} calls sent" if calls is not None else "an unknown number of calls sent"]
    known = tokens_in is not None and tokens_out is not None
    words.append(f"{tokens_in:,} tokens in and {tokens_out:,} out" if known else "tokens not reported")
    words += [f"cost {cost:.6g} in the currency of its prices"] if cost is not None else []
    words += [f"{kept:,} answers kept from before, for nothing"] if kept else []
    yield f"real model: {', '.join(words)} (the calls of the table are simulated ones)"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
