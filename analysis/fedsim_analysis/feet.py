"""Which runs a figure was made from, in small type below it."""

from __future__ import annotations

import textwrap
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

import pandas as pd

from fedsim_analysis import style
from fedsim_analysis.words import counted, ranges, short_list

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

_POINTS = 4.5
_LINE_IN = 1.35 * _POINTS / 72
_LETTER_IN = 0.62 * _POINTS / 72
_MARGIN_IN = 0.03
_GID = "runs"


def origin_told(runs: pd.DataFrame | None, where: str | None = None) -> str:
    """Return which runs these are: how many, of which scenarios, with which seeds, and how they were chosen.

    >>> runs = pd.DataFrame({"scenario": ["one"] * 4, "seed": [0, 1, 2, 7]})
    >>> origin_told(runs, "seed < 9")
    'from 4 runs of one, seeds 0 to 2, 7; where seed < 9'
    """
    if runs is None or not {"scenario", "seed"} <= set(runs):
        return ""
    names = short_list(dict.fromkeys(map(str, runs["scenario"])), most=4)
    seeds = sorted({int(seed) for seed in runs["seed"]})
    told = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {ranges(seeds)}"
    return f"from {counted(len(runs), 'run')} of {names}, {told}" + (f"; where {where}" if where else "")


def write_at_foot(picture: Figure, words: str) -> None:
    """Write words below a figure, which itself stays as it is.

    They lie outside it: `box_with_foot` has room for them, and so has a notebook.
    """
    if not words:
        return
    width = picture.get_size_inches()[0]
    lines = textwrap.wrap(style.literal(words), max(20, int(width / _LETTER_IN)))
    picture.text(
        1 - _MARGIN_IN / width,
        0,
        "\n".join(lines),
        fontsize=_POINTS,
        color="#808080",
        ha="right",
        va="top",
        linespacing=1.1,
        gid=_GID,
    )
    # A figure that was made without pyplot is shown by a notebook only if it says how.
    picture.__dict__["_repr_png_"] = partial(_png, picture)


def box_with_foot(picture: Figure) -> Bbox | None:
    """Return the box of a figure and what is written below it, in inches; nothing if nothing is."""
    from matplotlib.transforms import Bbox

    feet = [text for text in picture.texts if text.get_gid() == _GID]
    if not feet:
        return None
    width, height = picture.get_size_inches()
    below = sum(_LINE_IN * len(text.get_text().splitlines()) for text in feet) + _MARGIN_IN
    return Bbox.from_extents(0, -below, width, height)


def _png(picture: Figure) -> bytes:
    written = BytesIO()
    with style.look():
        picture.savefig(written, format="png", dpi=style.PNG_DPI, bbox_inches=box_with_foot(picture))
    return written.getvalue()
