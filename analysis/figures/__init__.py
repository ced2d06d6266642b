"""The figures: each module makes one picture, and the table behind it, from the tables of finished runs.

A figure module has `NEEDS`, the tables it needs; `figure(**tables)`, the picture; and `table(**tables)`, the
numbers in the picture. It is imported only when it is drawn, so that this list costs no matplotlib.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.style import PNG_DPI, look
from fedsim.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Entry:
    """A figure of the list: where it is made, and what it shows in one line."""

    module: str
    summary: str
    study: str = ""
    """The module that draws it, where the tables of results are not enough."""


_ROBUSTNESS = "analysis.studies.robustness"

FIGURES = {
    "figure1": Entry("analysis.figures.figure1", "training time per task and method, by where it went"),
    "curves": Entry("analysis.figures.curves", "accuracy and cross-entropy against iterations and time"),
    "timeline": Entry("analysis.figures.timeline", "what server and workers did when, as a Gantt picture"),
    "speedup": Entry(
        "analysis.figures.speedup",
        "saving and time to target against straggler, S, tau and workers",
        study="analysis.studies.speedup",
    ),
    "idle": Entry("analysis.figures.idle", "where each worker's time goes, as shares of the run"),
    "sensitivity": Entry("analysis.figures.sensitivity", "where AsynDBT saves time and where it loses"),
    "surrogate_validation": Entry(
        "analysis.figures.surrogate_validation",
        "a fitted surrogate beside the real model",
        study="analysis.studies.surrogate_validation",
    ),
    "robustness": Entry(
        "analysis.figures.robustness",
        "honest workers' loss against the share of malicious ones",
        study=_ROBUSTNESS,
    ),
    "robustness_heatmap": Entry(
        "analysis.figures.robustness_heatmap",
        "attack against defence, and the worst of all attacks",
        study=_ROBUSTNESS,
    ),
    "poison_mass": Entry(
        "analysis.figures.poison_mass",
        "mass on poisoned demonstrations over simulated time",
        study=_ROBUSTNESS,
    ),
    "timing_attack": Entry(
        "analysis.figures.timing_attack",
        "places that rushing liars take, and the damage they do",
        study=_ROBUSTNESS,
    ),
    "regularisation": Entry(
        "analysis.figures.regularisation",
        "what the weight psi buys under attack, and its price",
        study=_ROBUSTNESS,
    ),
    "rate_limit": Entry(
        "analysis.figures.rate_limit", "time against requests a minute, and where workers stop helping"
    ),
    "topology": Entry("analysis.figures.topology", "the network as a graph, links coloured by utilisation"),
    "queue": Entry("analysis.figures.queue", "calls that wait at the LLM service, over time"),
    "straggler_sweep": Entry(
        "analysis.figures.straggler_sweep", "saving over SDBT against the stragglers' factor and number"
    ),
    "poisoning_sweep": Entry(
        "analysis.figures.poisoning_sweep",
        "honest workers' loss against malicious fraction, attack by attack",
    ),
    "pareto": Entry("analysis.figures.pareto", "time against accuracy and cost, and who is beaten by none"),
    "scaling": Entry("analysis.figures.scaling", "time to the target against the number of workers"),
    "staleness": Entry("analysis.figures.staleness", "how stale the messages of server steps are"),
}

SUFFIXES = (".pdf", ".png", ".csv")


def draw(name: str, load: Callable[[str], pd.DataFrame], output: Path, **options: Any) -> list[Path]:
    """Draw a figure and write it as PDF and PNG, with the table behind it as CSV beside them.

    Args:
        name: a name of `FIGURES`.
        load: gives the table of a name ("runs", "steps", "workers" or "spans").
        output: the path of the picture, with or without one of the three suffixes, or a folder that exists.
        options: further arguments of the figure, such as `window` of the timeline.

    Returns:
        The three paths. Either all of them are written anew or none is.

    Raises:
        InputError: the name is unknown, the tables lack what the figure needs, or the output is unwritable.
    """
    if name not in FIGURES:
        known = ", ".join(FIGURES)
        raise InputError(f"unknown figure {name!r}{nearest(name, FIGURES)} (known: {known})")
    module = importlib.import_module(FIGURES[name].module)
    tables = {needed: load(needed) for needed in module.NEEDS}
    picture = module.figure(**tables, **options)
    numbers = module.table(**tables, **options)
    stem = output / name if output.is_dir() else output
    if stem.suffix in SUFFIXES:
        stem = stem.with_suffix("")
    try:
        return _write(stem, picture, numbers)
    except OSError as error:
        raise InputError(f"cannot write the figure to {stem}: {error.strerror or error}") from error


def _write(stem: Path, picture: Figure, numbers: pd.DataFrame) -> list[Path]:
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(stem.name + suffix) for suffix in SUFFIXES]
    partial = [path.with_name(f".{path.name}.partial") for path in paths]
    pdf, png, csv = partial
    try:
        with look():
            # Without its date and maker a file depends on its content alone.
            picture.savefig(pdf, format="pdf", metadata={"CreationDate": None, "Producer": None})
            picture.savefig(png, format="png", dpi=PNG_DPI, metadata={"Software": None})
        numbers.to_csv(csv, index=False)
        for written, path in zip(partial, paths, strict=True):
            written.replace(path)
    finally:
        for path in partial:
            path.unlink(missing_ok=True)
    return paths
