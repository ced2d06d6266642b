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
from collections.abc import Iterator, Mapping
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
from fedsim_analysis.drawing import ready
from fedsim_analysis.feet import box_with_foot, origin_told, write_at_foot
from fedsim_analysis.sources import Source, chosen
from fedsim_analysis.style import PNG_DPI, all_methods, look

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
        "fedsim_analysis.figures.grid", "any sweep: a measurement against settings, with intervals"
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


def figure(name: str, source: Source, where: str | None = None, **options: Any) -> Figure:
    """Return a figure, which a notebook shows.

    Args:
        name: what `find` takes.
        source: a folder of results or several, the table of runs, or tables by name.
        where: which runs, as in ``workers.1.slow_down > 2 and seed < 5``; all if not given.
        options: further arguments of the figure, such as `window` of the timeline, or `x` and `y` of the
            grid.

    Raises:
        InputError: the name or an option is unknown, or the tables lack what the figure needs.
        PartError: a stranger's figure raised what it did not mean to.
    """
    return _picture(name, _Asked.of(name, source, where, options))


def draw(name: str, source: Source, output: Path, where: str | None = None, **options: Any) -> list[Path]:
    """Draw a figure and write it as PDF and PNG, with the table behind it as CSV beside them.

    Args:
        name: what `find` takes.
        source: as for `figure`, or what gives the table of a name ("runs", "steps", "workers", ...).
        output: the path of the picture, with or without one of the three suffixes, or a folder that exists.
        where: as for `figure`.
        options: as for `figure`.

    Returns:
        The three paths. Either all of them are written anew or none is.

    Raises:
        InputError: as `figure`; or the output is unwritable.
        PartError: as `figure`.
    """
    find(name)
    paths = _paths(output, re.split("[.:]", name.rstrip(":"))[-1])
    asked = _Asked.of(name, source, where, options)
    picture = _picture(name, asked)
    with _blames(name):
        contents = _contents(picture, asked.drawing.table(**asked.arguments), asked.origin)
    with ExitStack() as files:  # they get their names together, when all of them are complete
        streams = [files.enter_context(whole(path)) for path in paths]
        for stream, content in zip(streams, contents, strict=True):
            stream.write(content)
    return paths


def options_of(name: str) -> list[str]:
    """Return the names of the options that a figure takes besides its tables.

    Raises:
        InputError: as `find`.
    """
    drawing = find(name)
    return [option for option in inspect.signature(drawing.figure).parameters if option not in drawing.NEEDS]


@dataclass(frozen=True)
class _Asked:
    """A figure with what it is made from: its tables and options, and where they come from in words."""

    drawing: Any
    arguments: dict[str, Any]
    methods: tuple[str, ...]
    origin: str

    @classmethod
    def of(cls, name: str, source: Source, where: str | None, options: dict[str, Any]) -> _Asked:
        drawing = find(name)
        _check_options(name, options)
        tables = chosen(source, where)
        needed = {table: tables.load(table) for table in drawing.NEEDS}
        return cls(drawing, needed | options, tables.methods, origin_told(needed.get("runs"), where))


def _picture(name: str, asked: _Asked) -> Figure:
    with _blames(name), all_methods(asked.methods):
        picture: Figure = asked.drawing.figure(**asked.arguments)
        with look():
            write_at_foot(picture, asked.origin)
    return picture


def _check_options(name: str, options: Mapping[str, Any]) -> None:
    """Check that a figure takes some options.

    Raises:
        InputError: it does not; says which figures do.
    """
    known = options_of(name) if options else []
    for option in options:
        if option not in known and "options" not in known:
            takers = [other for other in FIGURES if not FIGURES[other].study and option in options_of(other)]
            hint = nearest(option, known)
            who = f" (figures with it: {', '.join(takers)})" if takers and not hint else hint
            raise InputError(f"figure {name!r} has no option {option.replace('_', '-')!r}{who}")


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


def _contents(picture: Figure, numbers: pd.DataFrame, origin: str) -> tuple[bytes, bytes, bytes]:
    """Return what is in the three files."""
    pdf, png = BytesIO(), BytesIO()
    box = box_with_foot(picture)
    with look():
        # Without its date and maker a file depends on its content alone.
        told = {"CreationDate": None, "Producer": None, "Subject": origin or None}
        picture.savefig(pdf, format="pdf", bbox_inches=box, metadata=told)
        told = {"Software": None} | ({"Description": origin} if origin else {})
        picture.savefig(png, format="png", dpi=PNG_DPI, bbox_inches=box, metadata=told)
    return pdf.getvalue(), png.getvalue(), numbers.to_csv(index=False).encode()
