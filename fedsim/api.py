"""What a person does from Python with runs and results: many runs, kept runs, comparisons, figures.

`fedsim` offers these under its own name: `fedsim.run_many`, `fedsim.compare` and so on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedsim import results, sweep
from fedsim.errors import InputError, ResultsError
from fedsim.scenario import Scenario, load_scenario
from fedsim.simulation import Run

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from fedsim_analysis.compare import Comparison


def save_run(run: Run, folder: str | Path = "results") -> Path:
    """Write a run into a folder of results as `fedsim run` does, and return its own folder.

    Args:
        run: what `run` returned.
        folder: of results; the run gets ``<folder>/<scenario>/<run id>``. One that lies there gives way.

    Raises:
        InputError: the place cannot be written to; nothing is left behind.
    """
    return results.write(run, Path(folder), run.duration_s)


def load_run(folder: str | Path) -> Run:
    """Return the run of a folder, with its scenario, summary and tables, as `run` returned it.

    Args:
        folder: of one run, or of results that hold a single one.

    Raises:
        ResultsError: nothing there, or it is damaged or of another format.
        InputError: there are several runs, or its scenario cannot be read here.
    """
    origins = results.found_runs(Path(folder))
    if len(origins) > 1:
        raise InputError(f"{folder}: found {len(origins):,} runs, expected the folder of one")
    ((place, origin),) = origins.items()
    results.check_contents(place, origin)
    kept: dict[str, Any] = {name: results.read_table(place, name) for name in ("steps", "workers")}
    kept |= {
        name: results.read_table(place, name)
        for name in results.NOT_ALWAYS
        if f"{name}.parquet" in origin["files"]
    }
    kept |= {
        key: (place / name).read_text(encoding="utf-8")
        for key, name in (("learned", "learned.json"), ("answers", "answers.jsonl"))
        if name in origin["files"]
    }
    return Run(
        load_scenario(place / "scenario.toml"),
        results.read_summary(place),
        **kept,
        usage=origin["model"],
        duration_s=origin["duration_s"],
    )


def run_many(
    scenarios: Iterable[Scenario],
    jobs: int = 1,
    *,
    out: str | Path | None = None,
    timing_only: bool = False,
    progress: bool = True,
) -> list[Run]:
    """Run scenarios side by side and return their runs, in the same order.

    Results do not depend on the number of processes. A script that asks for several must be guarded by
    ``if __name__ == "__main__"``.

    Args:
        scenarios: what to run; equal ones are run once.
        jobs: processes; one means this process.
        out: a folder of results, where what is finished is found again and what is run is kept; None keeps
            nothing.
        timing_only: run the clock alone.
        progress: whether to show a bar, in a terminal or a notebook.

    Raises:
        InputError: a scenario asks for something impossible, or `out` cannot be written to.
        RunError: a run broke off; those that were finished are kept in `out`.
    """
    wanted = list(scenarios)
    if jobs < 1:
        raise InputError(f"jobs: found {jobs}, expected at least 1")
    if out is not None:
        return _run_many(wanted, Path(out), jobs, timing_only, progress)
    with tempfile.TemporaryDirectory(prefix="fedsim-") as folder:
        return _run_many(wanted, Path(folder), jobs, timing_only, progress)


def _run_many(
    wanted: Sequence[Scenario], out: Path, jobs: int, timing_only: bool, progress: bool
) -> list[Run]:
    from fedsim import console

    places = [sweep.folder_of(scenario, out, timing_only) for scenario in wanted]
    each = dict(zip(places, wanted, strict=True))
    running = sweep.run_all(each.values(), out, min(jobs, max(1, len(each))), timing_only)
    with closing(running), console.bar(len(each), "runs", shown=progress) as (bar, task):
        for outcome in running:
            bar.update(task, advance=1, note=outcome.scenario.label)
    found = {place: load_run(place) for place in each}
    return [found[place] for place in places]


def compare(
    source: str | Path | Sequence[str | Path] | pd.DataFrame,
    *,
    baseline: str | None = None,
    by: Sequence[str] = (),
    metrics: Sequence[str] = (),
    where: str | None = None,
    correction: str = "holm",
) -> Comparison:
    """Compare methods and settings with a baseline, paired by seed, as `fedsim compare` does.

    Args:
        source: a folder of results, several of them, or the frame that `load_results` gives.
        baseline: a method or variant, or a setting with its value, as in ``algorithm.wait_for=10``.
        by: settings that make rows; all that vary within a method if not given.
        metrics: columns with numbers; the usual ones if not given.
        where: an expression that holds for the runs to be compared.
        correction: of p values: ``holm``, ``bonferroni``, ``fdr`` or ``none``.

    Returns:
        A comparison: its `table` is a frame, its `verdicts` say what is best, its `notes` how that was found.

    Raises:
        InputError: a name is unknown, or runs of one row differ in more than their seed.
        ResultsError: there are no results in a folder.
    """
    from fedsim_analysis import compare as comparing
    from fedsim_analysis.selecting import select

    runs = runs_of(source)
    if where is not None:
        runs = select(runs, where, "where")
    return comparing.compare(runs, baseline=baseline, by=by, metrics=metrics, correction=correction)


def figure(name: str, source: Any, *, where: str | None = None, **options: Any) -> Figure:
    """Return a figure as matplotlib has it.

    Args:
        name: one of `fedsim list figures`, or the place of your own, ``module:name``.
        source: a folder of results, several of them, the frame that `load_results` gives, or a mapping of
            such frames by the names of their tables.
        where: an expression that holds for the runs to be drawn.
        options: further arguments of the figure, such as `x` and `y` of ``grid``.

    Raises:
        InputError: there is no such figure, or the tables lack what it needs.
        ResultsError: there are no results in a folder.
    """
    from fedsim_analysis import figures

    return figures.figure(name, source, where, **options)


def runs_of(source: Any) -> pd.DataFrame:
    """Return the frame of runs of a source: a frame is taken as it is, a folder is read."""
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        if "run_id" not in source:
            raise ResultsError(
                "expected the frame that load_results gives, with a row per run: it has no run_id"
            )
        return source
    return results.load_results(source)
