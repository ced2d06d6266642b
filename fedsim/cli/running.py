"""Commands that run scenarios, or look at what a run would do."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedsim.cli.logging import Log, LogBook
from fedsim.cli.options import Files, Only, Overrides, scenarios_of, warn
from fedsim.errors import InputError
from fedsim.terminal import give, say

if TYPE_CHECKING:
    from fedsim.scenario import Scenario
    from fedsim.scenario.files import ScenarioFile


def run(
    files: Files,
    overrides: Overrides = None,
    only: Only = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The first seed; replaces the file's.")] = None,
    replicates: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Runs of each scenario, seeds counting up.")
    ] = 1,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for results.")] = Path("results"),
    timing_only: Annotated[bool, typer.Option("--timing-only", help="Run the clock; learn nothing.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Run even what is finished already.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print summaries as JSON and nothing else.")
    ] = False,
    log: Log = None,
) -> None:
    """Run scenarios and write their results."""
    from fedsim import console, sweep
    from fedsim.scenario.files import read_file
    from fedsim.scenario.sizes import check_memory

    read = [read_file(file) for file in dict.fromkeys(files)]
    for file in read:
        if file.sweep is not None:
            raise InputError(f"{file.path}: states a sweep; `fedsim sweep {file.path}` runs it")
    scenarios = _of_different_names(read, overrides, only)

    for scenario in scenarios:
        check_memory(scenario)

    book = LogBook(log)
    if seed is not None:
        scenarios = [sweep.with_seed(scenario, seed) for scenario in scenarios]
    scenarios = sweep.replicates(scenarios, replicates)
    outcomes = []
    if len(scenarios) == 1:
        with console.watch(scenarios[0]) as on_step:
            outcomes.append(sweep.run_one(scenarios[0], out, timing_only, again, on_step, book.loggers))
        book.add(outcomes[0])
    else:
        running = sweep.run_all(scenarios, out, jobs, timing_only, again, loggers=book.loggers)
        with closing(running), console.bar(len(scenarios), "runs") as (progress, task):
            for outcome in running:
                outcomes.append(outcome)
                progress.update(task, advance=1, note=outcome.scenario.name)
                book.add(outcome)
    places = {scenario: place for place, scenario in enumerate(scenarios)}
    outcomes.sort(key=lambda outcome: places[outcome.scenario])
    if as_json:
        summaries = [outcome.summary for outcome in outcomes]
        give(json.dumps(summaries[0] if len(summaries) == 1 else summaries, indent=2) + "\n")
    else:
        console.show_outcomes(outcomes)
    warn(caution for outcome in outcomes for caution in outcome.cautions)
    for note in (note for outcome in outcomes for note in sweep.never_attacked(outcome)):
        say(f"fedsim: note: {note}", err=True)
    failures = [outcome.failure for outcome in outcomes if outcome.failure]
    for failure in failures:
        say(f"fedsim: {failure}", err=True)
    if book.tell() or failures:
        raise typer.Exit(1)


def _of_different_names(
    files: list[ScenarioFile], overrides: list[str] | None, only: list[str] | None
) -> list[Scenario]:
    """Return the scenarios of files; those of two files must not share a name, which is that of a folder."""
    found: list[Scenario] = []
    homes: dict[str, Path] = {}
    for file in files:
        for scenario in scenarios_of([file], overrides, only):
            home = homes.setdefault(scenario.name, file.path)
            if home != file.path:
                raise InputError(
                    f"{home} and {file.path} both have the name {scenario.name!r}: their results would lie "
                    "in one folder; give one of them another name, or run it with another --out"
                )
            found.append(scenario)
    return found


def serve(
    weights: Annotated[str, typer.Option(help="A GGUF file; the bundled small model if not given.")] = "",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where to listen, on 127.0.0.1.")] = 8089,
    slots: Annotated[int, typer.Option(min=1, max=256, help="Prompts answered at once, by one thread.")] = 2,
) -> None:
    """Serve a local model to OpenAI clients on this machine until Ctrl-C, to try out an endpoint.

    Programs on this machine may ask it, pages in a browser may not. Where the environment variable
    FEDSIM_SERVE_KEY holds a key, clients must send it.
    """
    import threading

    from fedsim.icl.models.local import Local

    try:
        from fedsim.icl.models.local.serving import serving
    except ModuleNotFoundError as error:
        raise InputError("`fedsim serve` needs the extra 'llm': pip install 'fedsim-icl[llm]'") from error

    with serving(Local(weights=weights) if weights else Local(), port, slots) as url:
        say(f"base_url = {url} (Ctrl-C stops it)")
        threading.Event().wait()


def prompt(
    path: Annotated[
        Path, typer.Argument(help="Scenario file (TOML), or a folder of results.", show_default=False)
    ],
    overrides: Overrides = None,
    only: Only = None,
    worker: Annotated[
        int | None, typer.Option(min=0, help="Whose call or prompt; of results, all if not given.")
    ] = None,
    query: Annotated[int, typer.Option(min=0, help="Of a file: which of its queries.")] = 0,
    sample: Annotated[
        int, typer.Option(min=0, help="Of a file: which of the first job's sampled prompts.")
    ] = 0,
    ask: Annotated[
        bool, typer.Option("--ask", help="Of a file: send it, show the answer and what each label gets.")
    ] = False,
) -> None:
    """Print a prompt: of a scenario file the exact text of a call, of results what was tuned.

    Of a file, --ask shows the model's answer too. Of results, the demonstrations and words of each worker and
    of the consensus are shown with their probabilities; `fedsim ask` puts them to a new text.
    """
    if path.is_dir():
        from fedsim.cli.tuned import show_tuned

        if only or query or sample or ask:
            raise InputError(
                f"{path} is a folder of results, of which --worker chooses; expected a scenario file for "
                "--only, --query, --sample and --ask"
            )
        show_tuned(path, worker, overrides or [])
        return
    from fedsim.faults import names_parts
    from fedsim.problems.icl.show_prompt import answer_to, exact_prompt
    from fedsim.scenario.files import read_file

    scenario, worker = scenarios_of([read_file(path)], overrides, only)[0], worker or 0
    give(names_parts(exact_prompt)(scenario, worker=worker, query=query, sample=sample) + "\n")
    if ask:
        _, told = names_parts(answer_to)(scenario, worker=worker, query=query, sample=sample)
        say("\n".join(["---", *told]))
