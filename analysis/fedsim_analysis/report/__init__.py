"""The report: one page about a folder of results that needs no network and no other file."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedsim.errors import InputError
from fedsim.terminal import visible
from fedsim.whole_files import check_file, is_folder, write_whole

if TYPE_CHECKING:
    from fedsim_analysis.report.material import Material
    from fedsim_analysis.report.pictures import Picture

PARTS = Path(__file__).parent / "page"
AT_ONCE = ("theme.js", "tables.js", "copy.js", "unpack.js")
WITH_PLOTS = ("timeline.js", "means.js", "explorer.js")
"""What is run once the plot library is unpacked."""


def write(results: Path, output: Path, run_id: str | None = None) -> Path:
    """Write the report on a folder of results, whole or not at all, and return its path.

    Args:
        results: a run folder, or any folder above some.
        output: the page, or a folder that exists and gets `report.html`.
        run_id: the address of the run that the timeline shows first.

    Raises:
        ResultsError: nothing there, or a folder is damaged or of another format.
        InputError: no such run, it kept no spans, the output cannot be written, or plotly is not installed.
    """
    file = output / "report.html" if is_folder(output) else output
    check_file(file)
    write_whole(file, page(results, file, run_id))
    return file


def page(results: Path, output: Path, run_id: str | None = None) -> str:
    """Return the page as HTML; the same results give the same page.

    Args:
        results: a run folder, or any folder above some.
        output: the file that the page will be; the page names it in the command that makes it again.
        run_id: the address of the run that the timeline shows first.

    Raises:
        ResultsError: nothing there, or a folder is damaged or of another format.
        InputError: no such run, it kept no spans, or plotly is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise InputError("a report needs the extra 'report': pip install 'fedsim-icl[report]'") from error
    from fedsim_analysis.report import material
    from fedsim_analysis.report.pictures import pictures

    found = material.read(results, run_id)
    templates = Environment(
        loader=FileSystemLoader(PARTS),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda cell: (
            visible(cell) if isinstance(cell, str) and not isinstance(cell, Markup) else cell
        ),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawn = pictures(found.load)
    return templates.get_template("page.html").render(
        **_contents(found, drawn, output),
        # Our own files and plotly's: the only text of the page that is not escaped, beside matplotlib's SVG.
        style=Markup((PARTS / "page.css").read_text(encoding="utf-8")),
        plotly=packed(get_plotlyjs()),
        at_once=Markup(_joined(AT_ONCE)),
        with_plots=Markup(_joined(WITH_PLOTS)),
        svgs={picture.name: Markup(picture.svg) for picture in drawn if picture.svg},
    )


def packed(text: str) -> str:
    """Return a text as the page carries it: compressed, the same each time, in letters without escapes."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _joined(names: Iterable[str]) -> str:
    return "\n".join((PARTS / name).read_text(encoding="utf-8") for name in names)


def _contents(found: Material, drawn: list[Picture], output: Path) -> dict[str, Any]:
    """Return what the page says, in plain values; the template writes and escapes them."""
    from fedsim_analysis.frames import named
    from fedsim_analysis.report import compared, differences, explorer, headline, origin, spans
    from fedsim_analysis.words import ranges, short_list

    runs = found.runs
    ended = runs["ended"].value_counts().sort_index()
    first = found.chosen or str(runs["run_id"].iloc[0])
    comparison = compared.compared(named(found.load("runs")))
    return {
        "title": short_list(dict.fromkeys(runs["scenario"]), most=4),
        "descriptions": found.descriptions(),
        "n_runs": len(runs),
        "n_places": runs["place"].nunique(),
        "methods": list(dict.fromkeys(runs["method"])),
        "seeds": ranges(sorted(set(runs["seed"]))),
        "ended": [(str(how), int(count)) for how, count in ended.items()],
        "timing_only": found.timing_only,
        "cautions": found.cautions(),
        "failures": found.failures(),
        "differences": differences.differences(runs),
        "first": first,
        "scenario": found.scenario(first),
        "headings": headline.headings(runs),
        "rows": headline.rows(runs),
        "names_wide": headline.name_columns(runs),
        "missed": headline.any_missed(runs),
        "compared": comparison,
        "drawn": [picture for picture in drawn if picture.svg],
        "left_out": [picture for picture in drawn if picture.refusal],
        "facts": origin.facts(found.origins),
        "commands": origin.commands(found.origins, found.path, output),
        "data": {
            "timeline": spans.timelines(found),
            "explorer": explorer.explorer(runs),
            "comparison": comparison.csv,
        },
    }
