"""The command that runs sweeps."""

from __future__ import annotations

from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedsim.cli.logging import Log, LogBook
from fedsim.cli.options import Only, Overrides, Processes, n_processes, warn
from fedsim.terminal import say

if TYPE_CHECKING:
    from fedsim.sweep.plan import Plan, Survey


def sweep(
    file: Annotated[
        Path, typer.Argument(help="Scenario file (TOML) that states a sweep.", show_default=False)
    ],
    overrides: Overrides = None,
    only: Only = None,
    jobs: Processes = None,
    out: Annotated[Path, typer.Option(help="Folder for results.")] = Path("results"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the runs, and what they will cost.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run even what broke off before.")
    ] = False,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Compute on a Dask cluster: tcp://HOST:PORT.")
    ] = None,
    timing_only: Annotated[bool, typer.Option("--timing-only", help="Run the clock; learn nothing.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Run even what is finished already.")] = False,
    log: Log = None,
) -> None:
    """Run all points of a sweep; what is finished is kept, what broke off is noted."""
    from fedsim.results import source_texts
    from fedsim.sweep.plan import read_plan

    plan = read_plan(file, overrides or [], only or [])
    survey = plan.survey(here=scheduler is None)
    jobs = n_processes(jobs)
    if dry_run:
        from fedsim.cli.forecasting import show_plan

        show_plan(plan, survey.n_runs, out, jobs, timing_only, again)
        return
    texts = source_texts(file, overrides or [], only or [])
    failed = _run(plan, survey, out, jobs, timing_only, again, retry_failed, scheduler, LogBook(log), texts)
    if failed:
        raise typer.Exit(1)


def _run(
    plan: Plan,
    survey: Survey,
    out: Path,
    jobs: int,
    timing_only: bool,
    again: bool,
    retry_failed: bool,
    scheduler: str | None,
    book: LogBook,
    texts: dict[str, str],
) -> bool:
    """Run what is to be run; whether anything went wrong."""
    from fedsim import console, sweep
    from fedsim.results import write_sources
    from fedsim.sweep.agreement import code_base
    from fedsim.sweep.cluster import dask_executor
    from fedsim.sweep.engines import workers_of
    from fedsim.sweep.tally import Tally

    tally = Tally()
    code = code_base(survey.parts)
    with nullcontext() if scheduler is None else dask_executor(scheduler, code) as executor:
        running = sweep.run_all(
            (planned.scenario for planned in plan.runs()),
            out,
            min(jobs, survey.n_runs),
            timing_only,
            again,
            executor=executor,
            keep_going=True,
            retry_failed=retry_failed,
            loggers=book.loggers,
        )
        workers = workers_of(executor) if executor else jobs
        with closing(running), console.watch_sweep(survey.n_runs, workers) as tell:
            for outcome in running:
                if outcome.folder.parent not in tally.places:
                    write_sources(texts, outcome.folder.parent)
                tally.add(outcome)
                tell(tally)
                book.add(outcome)
    console.show_tally(tally)
    warn(tally.cautions)
    for sentence in (*tally.redone, *tally.reasons):
        say(f"fedsim: {sentence}", err=True)
    return book.tell() or bool(tally.failed)
