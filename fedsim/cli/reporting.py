"""The command that writes the report on results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedsim.cli.options import announce


def report(
    results: Annotated[Path, typer.Argument(help="A folder of results.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="HTML page to write.")] = Path("report.html"),
    run: Annotated[
        str | None,
        typer.Option(
            metavar="RUN_ID", help="The run that the timeline shows first; it must have kept spans."
        ),
    ] = None,
) -> None:
    """Write one page about results, for any browser: numbers, figures, timelines, and a plot to play with."""
    from fedsim.whole_files import is_special
    from fedsim_analysis.report import write

    file = write(results, output, run)
    size = "" if is_special(file) else f"{file.stat().st_size / 1e6:.1f} MB, "
    announce(file, f"{file}: {size}opens in any browser without a network")
