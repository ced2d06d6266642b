"""The command that says which settings suit a scenario's workers, network and service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedsim.cli.options import Overrides, Processes, announce, n_processes
from fedsim.errors import InputError
from fedsim.terminal import give, say, show

if TYPE_CHECKING:
    from fedsim.scenario.files import ScenarioFile
    from fedsim_analysis.advice.search import Advice


def advise(
    file: Annotated[Path, typer.Argument(help="Scenario file (TOML).", show_default=False)],
    overrides: Overrides = None,
    only: Annotated[
        str | None, typer.Option("--only", metavar="VARIANT", help="Which variant of the file.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long to search, by the clock on the wall.")] = 60.0,
    seed: Annotated[int | None, typer.Option(min=0, help="The first seed; replaces the file's.")] = None,
    jobs: Processes = None,
    out: Annotated[Path, typer.Option(help="Folder for the runs.")] = Path("advice"),
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Scenario file with the advised settings, to write.")
    ] = None,
    learn: Annotated[
        bool | None,
        typer.Option(
            "--learn/--no-learn",
            help="Also make runs that learn; by default unless a real model would be asked.",
            show_default=False,
        ),
    ] = None,
    extensions: Annotated[
        bool, typer.Option("--extensions", help="Also try what is ours and not in the papers.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all as JSON and nothing else.")] = False,
) -> None:
    """Say what to set on these workers, this network and this service: method, S, tau, cut interval."""
    from fedsim import console, sweep
    from fedsim.scenario.files import read_file
    from fedsim.scenario.sizes import check_memory
    from fedsim_analysis.advice import telling, written
    from fedsim_analysis.advice.runs import Runs
    from fedsim_analysis.advice.search import Search

    if not 0 < seconds < float("inf"):
        raise InputError(f"--seconds: found {seconds:g}, expected a time above 0")
    origin = read_file(file)
    variant = _variant(origin, only)
    scenario = origin.scenario(variant, overrides or [])
    check_memory(scenario)
    if seed is not None:
        scenario = sweep.with_seed(scenario, seed)
    if output is not None and output.exists() and output.resolve() == file.resolve():
        raise InputError(f"-o {output}: is the file that is asked about, expected another one")

    with Runs(out, n_processes(jobs), seconds) as runs:
        with console.countdown(seconds, scenario.label) as runs.tell:
            search = Search(scenario, runs, extensions, learn)
        if not as_json:
            for sentence in telling.opening(search.advice):
                say(sentence)
        with console.countdown(seconds, scenario.label) as runs.tell:
            advice = search.carry_out()
    if as_json:
        give(json.dumps(telling.as_json(advice), indent=2) + "\n")
    else:
        _tell(advice)
    best = advice.best
    if output is None or best is None:
        if output is not None:
            say(f"fedsim: {output}: not written, as there was no time to compare anything", err=True)
            raise typer.Exit(1)
        return
    chosen = scenario.replace(dict(best.candidate.table)) if best.candidate.table else scenario
    words = f"Written by `fedsim advise {file}`: {best.candidate.words}"
    how = written.write(output, origin, variant, best.candidate.table, chosen, words)
    if not as_json:
        announce(output, f"{output}: {how}")


def _variant(origin: ScenarioFile, only: str | None) -> str:
    """Return the variant that is asked about."""
    if origin.sweep is not None:
        raise InputError(
            f'{origin.path}: states a sweep, expected one scenario; unset = ["sweep"] in a file that extends '
            "it takes the sweep away"
        )
    if only is not None:
        origin.check_variant(only)
        return only
    if len(origin.variants) > 1:
        names = ", ".join(origin.variants)
        raise InputError(f"{origin.path}: states variants ({names}), expected --only with one of them")
    return next(iter(origin.variants), "")


def _tell(advice: Advice) -> None:
    from fedsim_analysis.advice import telling

    for sentence in telling.closing(advice):
        say(sentence)
    if not advice.rows:
        return
    say("")
    show(telling.settings_table(advice))
    say("")
    for sentence in (*telling.verdict(advice), *telling.limits(advice)):
        say(sentence)
    if advice.helps:
        say("")
        show(telling.helps_table(advice))
        for sentence in telling.little_helps(advice):
            say(sentence)
