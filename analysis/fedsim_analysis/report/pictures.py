"""The figures of `fedsim_analysis.figures` as pieces of a page."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pandas as pd

from fedsim.errors import InputError
from fedsim_analysis.drawing import ready
from fedsim_analysis.figures import FIGURES, Entry
from fedsim_analysis.style import look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"


@dataclass(frozen=True)
class Picture:
    """A figure: its name, what it shows, and its SVG; or, where it could not be drawn, why."""

    name: str
    summary: str
    svg: str = ""
    refusal: str = ""

    @property
    def title(self) -> str:
        """The name as a person writes it."""
        words = self.name.replace("_", " ")
        return words[:1].upper() + words[1:]


def pictures(load: Callable[[str], pd.DataFrame]) -> list[Picture]:
    """Draw every figure of the list that these results have what it needs for; the others say why not."""
    ready()
    return [_drawn(name, entry, load) for name, entry in FIGURES.items()]


def _drawn(name: str, entry: Entry, load: Callable[[str], pd.DataFrame]) -> Picture:
    if entry.study:
        return Picture(name, entry.summary, refusal=f"drawn by its study alone: python -m {entry.study}")
    module = importlib.import_module(entry.module)
    try:
        picture = module.figure(**{table: load(table) for table in module.NEEDS})
    except InputError as error:
        return Picture(name, entry.summary, refusal=str(error))
    return Picture(name, entry.summary, svg_of(picture, name, f"{name.replace('_', ' ')}: {entry.summary}"))


def svg_of(picture: Figure, name: str, label: str) -> str:
    """Return a figure as SVG that may stand in a page beside others.

    Args:
        picture: the figure.
        name: comes before every id inside, so that no two figures of a page share one.
        label: what a screen reader says of the picture.
    """
    written = io.StringIO()
    with look():
        picture.savefig(written, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    root = ElementTree.fromstring(written.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            # Inside a page its rules would hold for the whole page; as attributes of the root they do not.
            if child.tag == f"{{{SVG}}}style":
                parent.remove(child)
        _rename(parent, f"{name}-")
    width, height = (float(size) for size in root.attrib["viewBox"].split()[2:])
    root.attrib |= {
        "role": "img",
        "aria-label": label,
        "style": f"stroke-linejoin: round; stroke-linecap: butt; --points: {width:g}",
        "width": f"{width:g}",
        "height": f"{height:g}",
    }
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    return ElementTree.tostring(root, encoding="unicode")


def _rename(element: ElementTree.Element, prefix: str) -> None:
    """Put a prefix before an element's id and before the ids that it refers to."""
    for key, value in element.attrib.items():
        if key == "id":
            element.attrib[key] = prefix + value
        elif key in ("href", f"{{{XLINK}}}href") and value.startswith("#"):
            element.attrib[key] = f"#{prefix}{value[1:]}"
        elif "url(#" in value:
            element.attrib[key] = value.replace("url(#", f"url(#{prefix}")
