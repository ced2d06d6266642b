"""The figures: each module makes one picture, and the table behind it, from the tables of finished runs.

A figure is a module with three names: `NEEDS`, the names of the tables it needs (of `fedsim.results.TABLES`);
`figure(**tables)`, which returns the picture (a `matplotlib.figure.Figure`); and `table(**tables)`, which
returns the numbers in the picture (a `pandas.DataFrame`). It is imported only when it is drawn, so that this
list costs no matplotlib.

A stranger's figure is such a module, or any other object with these three names. It is an entry point of the
group ``fedsim.figures`` in an installed package, and `fedsim list` shows the first line of its docstring; or
it is named by its place: ``fedsim figure mypackage.mymodule:thing results``, or ``mypackage.mymodule:`` for
the module itself.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedsim.catalog import what_raised
from fedsim.errors import STRAY, FedsimError, InputError, PartError, first_line, nearest
from fedsim.importing import imported
from fedsim.whole_files import check_file, is_folder, is_special, whole
from fedsim_analysis import style
from fedsim_analysis.drawing import ready
from fedsim_analysis.frames import named
from fedsim_analysis.selecting import select
from fedsim_analysis.style import PNG_DPI, look
from fedsim_analysis.varied import shortened
from fedsim_analysis.words import counted, ranges, short_list

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


_ROBUSTNESS = "fedsim_analysis.studies.robustness"

FIGURES = {
    "grid": Entry(
        "fedsim_analysis.figures.grid",
        "any sweep: a measurement against a setting, in groups and panels, as lines, bars or a heat map",
    ),
    "figure1": Entry(
        "fedsim_analysis.figures.figure1", "training time per task and method, by where it went"
    ),
    "curves": Entry(
        "fedsim_analysis.figures.curves", "accuracy and cross-entropy against iterations and time"
    ),
    "timeline": Entry(
        "fedsim_analysis.figures.timeline", "what server and workers did when, as a Gantt picture"
    ),
    "speedup": Entry(
        "fedsim_analysis.figures.speedup",
        "saving and time to target against straggler, S, tau and workers",
        study="fedsim_analysis.studies.speedup",
    ),
    "asynchrony": Entry(
        "fedsim_analysis.figures.asynchrony",
        "AsynDBT and its extensions against the straggler: time to target, saving, accuracy",
    ),
    "idle": Entry("fedsim_analysis.figures.idle", "where each worker's time goes, as shares of the run"),
    "sensitivity": Entry(
        "fedsim_analysis.figures.sensitivity", "where AsynDBT saves time and where it loses"
    ),
    "surrogate_validation": Entry(
        "fedsim_analysis.figures.surrogate_validation",
        "a fitted surrogate beside the real model",
        study="fedsim_analysis.studies.surrogate_validation",
    ),
    "fragment_effects": Entry(
        "fedsim_analysis.figures.fragment_effects",
        "how the effects of a fragment's words add up on a real model",
        study="fedsim_analysis.studies.fragment_effects",
    ),
    "demonstrations": Entry(
        "fedsim_analysis.figures.demonstrations",
        "wrong labels against the number of demonstrations, measured and simulated",
        study="fedsim_analysis.studies.demonstrations",
    ),
    "robustness": Entry(
        "fedsim_analysis.figures.robustness",
        "accuracy of the agreed words against the share of malicious workers",
        study=_ROBUSTNESS,
    ),
    "robustness_heatmap": Entry(
        "fedsim_analysis.figures.robustness_heatmap",
        "attack against defence, and the worst of all attacks",
        study=_ROBUSTNESS,
    ),
    "poison_mass": Entry(
        "fedsim_analysis.figures.poison_mass",
        "mass on poisoned demonstrations over simulated time",
        study=_ROBUSTNESS,
    ),
    "timing_attack": Entry(
        "fedsim_analysis.figures.timing_attack",
        "places that rushing workers take, and the damage they do",
        study=_ROBUSTNESS,
    ),
    "regularisation": Entry(
        "fedsim_analysis.figures.regularisation",
        "what the weight psi buys under attack, and its price",
        study=_ROBUSTNESS,
    ),
    "rate_limit": Entry(
        "fedsim_analysis.figures.rate_limit",
        "time against requests per minute, and where workers stop helping",
    ),
    "topology": Entry(
        "fedsim_analysis.figures.topology", "the network as a graph, links coloured by utilisation"
    ),
    "queue": Entry("fedsim_analysis.figures.queue", "calls that wait at the LLM service, over time"),
    "comparison": Entry(
        "fedsim_analysis.figures.comparison",
        "all methods on several networks: accuracy against time, and what they cost",
        study="fedsim_analysis.studies.comparison",
    ),
    "consensus": Entry(
        "fedsim_analysis.figures.consensus", "what agreeing on words is worth, against how alike data are"
    ),
    "straggler_sweep": Entry(
        "fedsim_analysis.figures.straggler_sweep",
        "saving over SDBT against the stragglers' factor and number",
    ),
    "poisoning_sweep": Entry(
        "fedsim_analysis.figures.poisoning_sweep",
        "honest workers' loss against malicious fraction, attack by attack",
    ),
    "pareto": Entry(
        "fedsim_analysis.figures.pareto", "time against accuracy and cost, and who is beaten by none"
    ),
    "scaling": Entry("fedsim_analysis.figures.scaling", "time to the target against the number of workers"),
    "fedone": Entry(
        "fedsim_analysis.figures.fedone", "LLM calls and time to the target against participants of a round"
    ),
    "staleness": Entry("fedsim_analysis.figures.staleness", "how stale the messages of server steps are"),
}

NAMES = ("NEEDS", "figure", "table")
"""What a figure has."""

SUFFIXES = (".pdf", ".png", ".csv")


def summaries() -> dict[str, str]:
    """Return what each figure shows in one line, also those that installed packages offer.

    Raises:
        InputError: one of those is broken.
    """
    ours = {name: entry.summary for name, entry in FIGURES.items()}
    theirs = _offered()
    return ours | {name: (inspect.getdoc(found) or "").partition("\n")[0] for name, found in theirs.items()}


def find(name: str) -> Any:
    """Return a figure: a module or an object with the three names.

    Args:
        name: of the list, of an installed figure, or a place.

    Raises:
        InputError: there is no such figure, or it is broken, or matplotlib is.
    """
    ready()
    theirs = _offered(name)
    if name in FIGURES:
        return importlib.import_module(FIGURES[name].module)
    if name in theirs:
        return theirs[name]
    if ":" in name:
        return _checked(imported(name), name)
    known = summaries()
    raise InputError(f"unknown figure {name!r}{nearest(name, known)} (known: {', '.join(known)})")


def _offered(name: str | None = None) -> dict[str, Any]:
    """Return the figures that installed packages offer, or the one of this name; others are not imported.

    Raises:
        InputError: one of them cannot be imported, is no figure, or has a name that is taken.
    """
    found: dict[str, Any] = {}
    for point in entry_points(group="fedsim.figures"):
        if name not in (None, point.name):
            continue
        try:
            if point.name in FIGURES or point.name in found:
                raise InputError(f"the name {point.name!r} is taken")
            found[point.name] = _checked(point.load(), point.value)
        except STRAY as error:  # a stranger's module may fail in any way
            package = point.dist.name if point.dist else point.module
            why = f"offers a broken part (fedsim.figures): {first_line(error)}"
            raise InputError(f"the installed package {package!r} {why}") from error
    return found


def _checked(found: Any, place: str) -> Any:
    missing = [name for name in NAMES if not hasattr(found, name)]
    if missing:
        what = "`NEEDS`, `figure(**tables)` and `table(**tables)`"
        raise InputError(f"{place!r} has no {missing[0]!r}: a figure has {what}")
    if isinstance(found.NEEDS, str):
        raise InputError(f"NEEDS of {place!r} is {found.NEEDS!r}; expected names of tables, as in ('steps',)")
    return found


def draw(
    name: str, load: Callable[[str], pd.DataFrame], output: Path, where: str = "", **options: Any
) -> list[Path]:
    """Draw a figure and write it as PDF and PNG, with the table behind it as CSV beside them.

    Args:
        name: what `find` takes.
        load: gives the table of a name ("runs", "steps", "workers" or "spans").
        output: the path of the picture, with or without one of the three suffixes, or a folder that exists.
        where: an expression that holds for the runs to be drawn; all of them if not given.
        options: further arguments of the figure, such as `window` of the timeline.

    Returns:
        The three paths. Either all of them are written anew or none is.

    Raises:
        InputError: the name is unknown, the tables lack what the figure needs, or the output is unwritable.
        PartError: a stranger's figure raised what it did not mean to.
    """
    drawing = find(name)
    paths = _paths(output, re.split("[.:]", name.rstrip(":"))[-1])
    _check_options(name, drawing, options)
    tables, looks = _chosen(drawing.NEEDS, load, where)
    with _blames(name), style.all_methods(looks):
        picture = drawing.figure(**tables, **options)
        numbers = drawing.table(**tables, **options)
        _sign(picture, tables, where)
        contents = _contents(picture, numbers)
    with ExitStack() as files:  # they get their names together, when all of them are complete
        streams = [files.enter_context(whole(path)) for path in paths]
        for stream, content in zip(streams, contents, strict=True):
            stream.write(content)
    return paths


def figure(name: str, results: Callable[[str], pd.DataFrame], where: str = "", **options: Any) -> Figure:
    """Return a figure as matplotlib has it, for a notebook.

    Args:
        name: what `find` takes.
        results: gives the table of a name, as `draw` takes it.
        where: an expression that holds for the runs to be drawn.
        options: further arguments of the figure.

    Raises:
        InputError: as `draw` does.
    """
    drawing = find(name)
    _check_options(name, drawing, options)
    tables, looks = _chosen(drawing.NEEDS, results, where)
    with _blames(name), style.all_methods(looks):
        picture: Figure = drawing.figure(**tables, **options)
        _sign(picture, tables, where)
    return picture


def _check_options(name: str, drawing: Any, options: dict[str, Any]) -> None:
    """Raise an InputError for an option that a figure does not take."""
    taken = inspect.signature(drawing.figure).parameters
    if any(one.kind is one.VAR_KEYWORD for one in taken.values()):
        return
    known = [one for one in taken if one not in drawing.NEEDS]
    for option in options:
        if option not in known:
            told = ", ".join(f"--{one.replace('_', '-')}" for one in known) or "no options"
            raise InputError(
                f"figure {name!r} takes no --{option.replace('_', '-')} "
                f"(it takes: {told}); figure 'grid' draws any sweep"
            )


def _chosen(
    needs: Iterable[str], load: Callable[[str], pd.DataFrame], where: str
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Return the tables of the runs to be drawn, and all methods: one that is hidden keeps its look."""
    tables = {needed: load(needed) for needed in needs}
    if not where:
        return tables, []
    everything = load("runs")
    runs = select(everything, where)
    if runs.empty:
        raise InputError(f"--where {where!r}: no run is left")
    kept = {
        name: table[table["run_id"].isin(runs["run_id"])].reset_index(drop=True)
        if "run_id" in table
        else table
        for name, table in tables.items()
    }
    return kept, list(named(everything)["method"].unique())


def _sign(picture: Figure, tables: dict[str, pd.DataFrame], where: str) -> None:
    """Write below a figure which runs it shows."""
    runs = next((one for one in tables.values() if {"run_id", "seed", "scenario"} <= set(one)), None)
    if runs is None or runs.empty or picture.get_layout_engine() is None:
        return
    scenarios = list(dict.fromkeys(map(str, runs["scenario"])))
    seeds = sorted({int(seed) for seed in runs["seed"]})
    parts = [
        f"{counted(runs['run_id'].nunique(), 'run')} of {short_list(scenarios, 4)}",
        f"seed{'s' if len(seeds) > 1 else ''} {ranges(seeds)}",
    ]
    parts += [where] if where else []
    # On edge, as pictures in newspapers say whose they are: below stand the names of axes.
    share = 0.11 / picture.get_figwidth()
    picture.get_layout_engine().set(rect=(0, 0, 1 - share, 1))  # type: ignore[call-arg, union-attr]
    text = shortened(["; ".join(parts)], round(28 * picture.get_figheight()))[0]
    with look():
        picture.text(
            1 - share / 4,
            0.02,
            style.literal(text),
            rotation=90,
            ha="right",
            va="bottom",
            fontsize=4.5,
            color="#777777",
        )


@contextmanager
def _blames(name: str) -> Iterator[None]:
    """Let what a stranger's figure raises become one sentence that names it."""
    try:
        yield
    except FedsimError:
        raise
    except STRAY as error:
        if name in FIGURES:
            raise
        raise PartError(f"figure {name!r} {what_raised(error)}") from error


def _paths(output: Path, name: str) -> list[Path]:
    """Return the three files of a figure.

    Raises:
        InputError: one of them cannot be written.
    """
    stem = output / name if is_folder(output) else output
    if stem.suffix in SUFFIXES:
        stem = stem.with_suffix("")
    elif is_special(stem):
        raise InputError(f"cannot write {stem}: a figure is three files; expected a name for them")
    paths = [stem.with_name(stem.name + suffix) for suffix in SUFFIXES]
    for path in paths:
        check_file(path)
    return paths


def _contents(picture: Figure, numbers: pd.DataFrame) -> tuple[bytes, bytes, bytes]:
    """Return what is in the three files."""
    pdf, png = BytesIO(), BytesIO()
    with look():
        # Without its date and maker a file depends on its content alone.
        picture.savefig(pdf, format="pdf", metadata={"CreationDate": None, "Producer": None})
        picture.savefig(png, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return pdf.getvalue(), png.getvalue(), numbers.to_csv(index=False).encode()
