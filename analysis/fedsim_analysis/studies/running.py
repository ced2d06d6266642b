"""What the studies share: their options, and their runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedsim import sweep
from fedsim.console import bar
from fedsim.errors import FedsimError
from fedsim.scenario import Scenario
from fedsim.stopping import undisturbed
from fedsim.sweep.engines import Engine, LocalPool
from fedsim.terminal import visible

STOPPED = 130
"""The exit code after Ctrl-C, as of `fedsim`."""


def carry_out(
    study: Callable[[argparse.Namespace], None],
    words: Sequence[str] | None,
    name: str,
    description: str | None,
    only: Collection[str] = (),
    scenarios: str = "",
) -> None:
    """Read the options of a study and carry it out; what goes wrong becomes a sentence.

    Args:
        study: gets `jobs`, `replicates`, and the folders `scenarios`, `results` and `output`, which is made;
            `only` where there is a choice.
        words: of the command line.
        name: the study's; its folders are called by it.
        description: what `--help` says.
        only: what may be chosen by `--only`.
        scenarios: the folder of its scenarios, where it is called otherwise.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--replicates", type=int, default=5, help="seeds")
    if only:
        parser.add_argument("--only", choices=only, action="append", help="this figure; may be repeated")
    parser.add_argument("--scenarios", type=_folder, default=Path("scenarios") / (scenarios or name))
    parser.add_argument("--results", type=_folder, default=Path("results") / name)
    parser.add_argument("--output", type=_folder, default=Path("figures"), help="folder of the figures")
    options = parser.parse_args(words)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        study(options)
    except FedsimError as error:
        parser.exit(error.exit_code, visible(f"{error}\n"))
    except KeyboardInterrupt:
        parser.exit(STOPPED, "stopped; finished runs are kept and will not be run again\n")


def _folder(text: str) -> Path:
    """Read the name of a folder; no name is not the folder where one works."""
    if not text.strip():
        raise argparse.ArgumentTypeError("found an empty text, expected a folder")
    return Path(text)


@contextmanager
def processes(jobs: int) -> Iterator[Engine | None]:
    """Give what several calls of `finished` share, so that processes start, and import torch, once.

    With one job there is nothing to share: the runs are then made in this process.
    """
    if jobs == 1:
        yield None
        return
    engine = LocalPool(jobs)
    try:
        yield engine
    finally:
        with undisturbed():
            engine.stop()


def finished(
    runs: Collection[tuple[Scenario, bool]], results: Path, jobs: int, engine: Engine | None = None
) -> dict[Path, dict[str, Any]]:
    """Run what is not finished yet, and return the summaries by folder.

    Args:
        runs: scenarios, each with whether only its clock runs; what stands there twice is run once.
        results: the study's folder.
        jobs: processes.
        engine: of `processes`, where several calls share them; none: processes of this call's own.
    """
    if engine is None:
        with processes(jobs) as own:
            return _finished(runs, results, own)
    return _finished(runs, results, engine)


def _finished(
    runs: Collection[tuple[Scenario, bool]], results: Path, engine: Engine | None
) -> dict[Path, dict[str, Any]]:
    distinct = {
        sweep.folder_of(scenario, results, of_clock): (scenario, of_clock) for scenario, of_clock in runs
    }
    summaries = {}
    with bar(len(distinct), "runs") as (progress, task):
        for timing_only in (True, False):
            scenarios = [scenario for scenario, of_clock in distinct.values() if of_clock == timing_only]
            for outcome in sweep.run_all(scenarios, results, timing_only=timing_only, executor=engine):
                summaries[outcome.folder] = outcome.summary
                progress.advance(task)
                if outcome.failure:
                    progress.console.print(f"{outcome.folder}: {outcome.failure}", highlight=False)
    return summaries
