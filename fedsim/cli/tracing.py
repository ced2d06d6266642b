"""The command that turns finished runs into a trace that others can open."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedsim.cli.options import announce


def trace(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders, or folders above some.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="JSON to write.")] = Path("trace.json"),
) -> None:
    """Write spans and tickets as trace events, for Perfetto or chrome://tracing."""
    from fedsim import console
    from fedsim.results import find_runs
    from fedsim.whole_files import check_file
    from fedsim_analysis.trace_events.files import write

    check_file(output)
    folders = find_runs(*runs)
    n_events = 0
    with console.bar(None, "events") as (progress, task):

        def tell(folder: Path, written: int) -> None:
            nonlocal n_events
            n_events += written
            progress.update(task, completed=n_events, note=folder.name)

        write(folders, output, tell)
    n_runs = "1 run" if len(folders) == 1 else f"{len(folders)} runs"
    announce(output, f"{output}: {n_events:,} events of {n_runs}; open it at https://ui.perfetto.dev")
