"""Colours for light and for dark pages, made from those of all figures."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Iterable
from typing import Any

from fedsim_analysis import style

DARK_PAGE = "#14181F"
READABLE = 4.0
"""The least contrast with a dark page that a mixed colour is brought to; the Web Content Accessibility
Guidelines ask 3 of the parts of a picture."""
GREY = 0.12
"""Below this saturation a colour is a grey."""

DASHES = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}
SYMBOLS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "v": "triangle-down",
    "<": "triangle-left",
    ">": "triangle-right",
    "d": "diamond-tall",
    "D": "diamond",
    "x": "x",
    "P": "cross",
    "X": "x",
    "p": "pentagon",
    "*": "star",
    "h": "hexagon",
}


def method_looks(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return how methods are called and drawn: `text`, colours `light` and `dark`, `dash` and `symbol`.

    Args:
        names: of all methods of the results.
    """
    return {
        name: {"text": mark.label.replace(r"\$", "$")} | _drawn(mark)
        for name, mark in style.marks(names).items()
    }


def look(name: str, place: int) -> dict[str, str]:
    """Return how runs with one value of a setting are drawn: colours `light` and `dark`, `dash` and `symbol`.

    Args:
        name: the value.
        place: its place among the values; decides where `fedsim_analysis.style` knows nothing of it.
    """
    return _drawn(style.level(name, place))


def _drawn(mark: style.Mark) -> dict[str, str]:
    return colours(mark.colour) | {"dash": DASHES[mark.line], "symbol": SYMBOLS[mark.marker]}


def activity(name: str) -> dict[str, Any]:
    """Return how an activity is drawn: its name in words, colours and the pattern of its bars."""
    known = style.activity(name)
    return colours(known.colour) | {"label": known.label, "pattern": known.hatch[:1]}


def colours(colour: str) -> dict[str, str]:
    """Return a colour for light pages and its likeness for dark ones.

    >>> colours("#FFFFFF"), colours("#0072B2")["light"]
    ({'light': '#FFFFFF', 'dark': '#2b2b2b'}, '#0072B2')
    """
    return {"light": colour, "dark": on_dark(colour)}


def on_dark(colour: str) -> str:
    """Return the likeness of a colour on a dark page: greys change places, dark colours become lighter."""
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    _, value, saturation = colorsys.rgb_to_hls(red, green, blue)
    if saturation < GREY:
        return style.tinted("#000000", 1 - 0.83 * value)
    share = 0.0
    while contrast(style.tinted(colour, share), DARK_PAGE) < READABLE:
        share += 0.05
    return style.tinted(colour, share)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 (none) to 21 (black and white).

    Source: W3C, Web Content Accessibility Guidelines 2.2, 2023: relative luminance and contrast ratio.

    >>> contrast("#000000", "#FFFFFF")
    21.0
    """
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else math.pow((part + 0.055) / 1.055, 2.4) for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
