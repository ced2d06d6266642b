"""Commands that pack a study as one file, and run such a file again."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from fedsim.cli.options import Processes, announce, n_processes
from fedsim.terminal import say

if TYPE_CHECKING:
    from fedsim.sharing import Repeated

MOST_TOLD = 5
"""So many runs that differ are told one by one."""


def pack(
    results: Annotated[Path, typer.Argument(help="A folder of results.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.")] = Path("study.zip"),
    data_mb: Annotated[
        float, typer.Option("--data-mb", min=0, help="Larger files of data go in by their hash alone.")
    ] = 20.0,
) -> None:
    """Pack results with all that is needed to make them again: scenarios, data, answers, versions."""
    from fedsim.sharing import pack_study
    from fedsim.whole_files import check_file

    check_file(output)
    packed = pack_study(results, output, round(data_mb * 1e6))
    for sentence in packed.left_out:
        say(f"fedsim: note: {sentence}; whoever repeats the study needs it", err=True)
    size = f", {output.stat().st_size / 1e6:,.2f} MB" if output.is_file() else ""
    files = "1 file" if packed.n_data == 1 else f"{packed.n_data:,} files"
    announce(output, f"{output}: {_runs(packed.n_runs)}, {files} of data{size}")


def repeat(
    study: Annotated[Path, typer.Argument(help="A file that `fedsim pack` has written.")],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="A new folder to keep it in; none: nothing is kept."),
    ] = None,
    jobs: Processes = None,
    ask: Annotated[
        bool, typer.Option("--ask", help="Ask real models again whose answers are not in it.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option("--data", help="A folder with data that it names and does not hold.")
    ] = None,
) -> None:
    """Run a packed study again, and say what differs: a stranger's only with `fedsim --safe`."""
    from fedsim import console
    from fedsim.sharing import repeat_study

    place = TemporaryDirectory(prefix="fedsim-") if out is None else nullcontext(str(out))
    with place as folder, console.bar(None, "runs") as (progress, task):

        def tell(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        found = repeat_study(study, Path(folder), n_processes(jobs), ask, data, tell)
    _show(found)
    if not found.equal:
        raise typer.Exit(1)


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count:,} runs"


def _show(found: Repeated) -> None:
    """Print what is equal, what is not, and what may be why."""
    equal = sum(run.equal for run in found.runs)
    failed = [run for run in found.runs if run.why_not]
    others = [run for run in found.runs if not run.equal and not run.why_not]
    counts = [f"{equal:,} equal, byte by byte"]
    counts += [f"{len(others):,} not equal"] if others else []
    counts += [f"{len(failed):,} not run again"] if failed else []
    say(f"{_runs(len(found.runs))}: {', '.join(counts)}")
    for run in others[:MOST_TOLD]:
        say(f"  {run.label}: {', '.join(run.differing) or 'only headline numbers differ'}")
    if len(others) > MOST_TOLD:
        say(f"  ... and {len(others) - MOST_TOLD:,} more")
    for key, (apart, label, before, now) in found.largest().items():
        by = f" by up to {apart:.3g}" if apart < float("inf") else ""
        say(f"  {key} differs{by}: {before} before, {now} now, in {label}")
    for run in failed[:MOST_TOLD]:
        say(f"fedsim: {run.label}: not run again: {run.why_not}", err=True)
    if len(failed) > MOST_TOLD:
        say(f"fedsim: ... and {len(failed) - MOST_TOLD:,} more runs that were not run again", err=True)
    if replayed := sum(run.replayed for run in found.runs):
        say(f"fedsim: note: {replayed:,} runs took a real model's answers from their recording", err=True)
    for package, (theirs, ours) in found.versions.items():
        say(f"fedsim: note: made with {package} {theirs}, here is {ours}", err=True)
    if found.other_code:
        say("fedsim: note: made with other code of fedsim than is installed here", err=True)
