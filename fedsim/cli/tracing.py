"""The command that turns finished runs into a trace that others can open."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedsim.errors import InputError
from fedsim.terminal import say


def trace(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders, or folders above some.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON to write.")] = Path("trace.json"),
) -> None:
    """Write spans and tickets as trace events, for Perfetto or chrome://tracing."""
    from fedsim import console
    from fedsim.results import find_runs
    from fedsim_analysis.trace_events.files import write

    folders = list(dict.fromkeys(folder for path in runs for folder in find_runs(path)))
    n_events = 0
    with console.bar(None, "events") as (progress, task):

        def tell(folder: Path, written: int) -> None:
            nonlocal n_events
            n_events += written
            progress.update(task, completed=n_events, note=folder.name)

        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            write(folders, output, tell)
        except OSError as error:
            raise InputError(f"cannot write {output}: {error.strerror or error}") from error
    n_runs = "1 run" if len(folders) == 1 else f"{len(folders)} runs"
    say(f"{output}: {n_events:,} events of {n_runs}; open it at https://ui.perfetto.dev")
