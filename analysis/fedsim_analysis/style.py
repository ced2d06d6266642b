"""One style for all figures: widths, fonts, and a colour for every method, activity, defence and poison.

A colour belongs to one of them in every figure: the sets of colours do not overlap, and each can be told
apart with the common kinds of colour blindness; hatches, line styles and markers say the same thing a second
time, for print in black and white. Defences of one idea have colours of one hue: blue works coordinate by
coordinate, red and orange choose among messages, green and purple bound distances, pink is the regularised
family.

Source: Okabe and Ito, "Color Universal Design", 2008 (the first eight colours); Tol, "Colour Schemes",
SRON/EPS/TN/09-002, 2021 (the muted colours for the remaining methods; bright, vibrant and high-contrast ones
for defences); IBM Design Language, 2016, colour-blind safe set (poisons).
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Any, Literal

from fedsim.terminal import visible

COLUMN_IN = 3.35  # one column of a journal page: 85 mm
PAGE_IN = 7.09  # both columns: 180 mm
PNG_DPI = 200

Line = Literal["-", "--", "-.", ":"]
_LINES: tuple[Line, ...] = ("-", "--", "-.", ":")
_MOST_LOOKS = 24  # as many as the lines and the spare colours make

SETTINGS = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so that a figure looks the same everywhere
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.columnspacing": 1.3,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "hatch.linewidth": 0.5,
    "pdf.fonttype": 42,  # TrueType: journals do not take Type 3 fonts
    "svg.hashsalt": "fedsim",
}


@dataclass(frozen=True)
class Method:
    """How a method is called and drawn."""

    label: str
    colour: str
    line: Line = "-"


@dataclass(frozen=True)
class ActivityLook:
    """How an activity is called and drawn.

    `colour` serves where colours mean activities; where they mean methods, the method's colour is mixed with
    white by the share `tint` (0: the pure colour, 1: white). `hatch` is a matplotlib hatch, in both cases.
    """

    label: str
    colour: str
    tint: float
    hatch: str


@dataclass(frozen=True)
class Mark:
    """How a defence or a poison is called and drawn: as a line with markers."""

    label: str
    colour: str
    line: Line = "-"
    marker: str = "o"

    @property
    def settings(self) -> dict[str, Any]:
        """The matplotlib settings of the line."""
        return {"color": self.colour, "linestyle": self.line, "marker": self.marker, "label": self.label}


METHODS = {
    "cendbt": Method("cenDBT", "#D55E00", "--"),
    "sdbt": Method("SDBT", "#009E73", "-."),
    "asyndbt": Method("AsynDBT", "#0072B2", "-"),
    "local": Method("local, no exchange", "#CC6677", ":"),
    "bdpl": Method("BDPL", "#882255", ":"),
    "fedbdpl": Method("Fed-BDPL", "#999933", "--"),
    "demonstrations_only": Method("demos only", "#332288", "-."),
    "fragment_only": Method("fragment only", "#AA4499", ":"),
    "random_icl": Method("Random ICL", "#DDCC77", "--"),
    "plain": Method("plain", "#661100", ":"),
    "fedone": Method("FedOne", "#A6761D", ":"),
    "fedicl": Method("Fed-ICL", "#E7298A", "-."),
    "ifedicl": Method("IFed-ICL", "#7570B3", "-"),
    "i2cl": Method("I2CL", "#B3A2D9", ":"),
    "fedavg_lora": Method("FedAvg-LoRA", "#525252", "--"),
    "fedavg": Method("FedAvg", "#543005", "-"),
    "fedasync": Method("FedAsync", "#01665E", "-."),
    "fedbuff": Method("FedBuff", "#C51B7D", "--"),
}
# Extensions of AsynDBT: variants of this name, in shades of its colour.
FORMS = {
    "asyndbt_updates": Mark("AsynDBT, cuts by updates", "#4D9CC9", "--", "s"),
    "asyndbt_rolling": Mark("AsynDBT, cuts without a barrier", "#00416A", "-.", "^"),
    "asyndbt_adapt": Mark("AsynDBT, S adapted", "#7FBDE0", ":", "D"),
    "asyndbt_all": Mark("AsynDBT, all three", "#012A45", "-", "v"),
}
SPARE_COLOURS = ("#117733", "#44AA99", "#6699CC", "#997700", "#EE99AA", "#994455")
SERIES = (*SPARE_COLOURS, "#CC6677", "#332288", "#DDCC77", "#88CCEE")
"""Colours of what is neither a method nor a defence nor a poison, one after the other."""
MARKERS = "osD^vPX"

# In the order in which they are stacked and listed.
ACTIVITIES = {
    "calling": ActivityLook("LLM calls", "#56B4E9", 0.0, ""),
    "queueing": ActivityLook("LLM queue", "#C7A76C", 0.4, "++++"),
    "computing": ActivityLook("computing", "#777777", 0.35, "||||"),
    "uploading": ActivityLook("uploading", "#F0E442", 0.5, "\\\\\\\\"),
    "downloading": ActivityLook("downloading", "#CC79A7", 0.5, "----"),
    "cutting": ActivityLook("polyhedron updates", "#E69F00", 0.55, "//////"),
    "waiting": ActivityLook("waiting for the server", "#E4E4E4", 0.85, ""),
    "holding": ActivityLook("holding a report back", "#B2182B", 0.45, "...."),
    "down": ActivityLook("down", "#FFFFFF", 1.0, "xxxx"),
    "stepping": ActivityLook("server step", "#000000", 0.0, ""),
}

# What combines the messages of a step; `none` is the algorithm as the paper prints it, without psi.
DEFENCES = {
    "none": Mark("none", "#222222", "--", "x"),
    "mean": Mark("mean", "#999999", "-.", "P"),
    "median": Mark("median", "#4477AA", "-", "o"),
    "trimmed_mean": Mark("trimmed mean", "#66CCEE", "--", "s"),
    "meamed": Mark("MeaMed", "#004488", "-.", "v"),
    "krum": Mark("Krum", "#CC3311", ":", "d"),
    "multi_krum": Mark("multi-Krum", "#EE7733", "-", "D"),
    "minimum_diameter": Mark("min. diameter", "#EECC66", "--", ">"),
    "geometric_median": Mark("geometric median", "#228833", "-", "^"),
    "centred_clipping": Mark("centred clipping", "#AA3377", "--", "p"),
    "caf": Mark("CAF", "#BBCC33", "-.", "<"),
    "regularised": Mark("regularised (R1, R3)", "#EE3377", "-", "*"),
    "fldetector": Mark("FLDetector", "#8C510A", ":", "8"),
    "r1": Mark("R1 alone", "#C2A5CF", "--", "h"),
    "r3": Mark("R3 alone", "#762A83", "-", "v"),
    "r4": Mark("R4 alone", "#AAAA00", "-.", "^"),
}

CLEAN = "none"
"""The name of no attack."""
ATTACKS = {
    CLEAN: "no attack",
    "gaussian": "Gaussian",
    "random_simplex": "random point",
    "flipped_update": "flipped update",
    "alie": "ALIE",
    "min_max": "min-max",
    "min_sum": "min-sum",
    "slow_rolling": "slow-rolling",
}
POISONS = {
    "flipped_labels": Mark("flipped labels", "#648FFF", "-", "o"),
    "random_labels": Mark("random labels", "#785EF0", "--", "s"),
    "out_of_class": Mark("out of class", "#DC267F", "-.", "^"),
    "adversarial": Mark("adversarial", "#FE6100", "-", "D"),
    "duplicates": Mark("near-duplicates", "#FFB000", "--", "v"),
    "backdoor": Mark("backdoor", "#1B7837", ":", "P"),
}

TASKS = {
    "synthetic": "Synthetic",
    "5g": "5G",
    "cola": "CoLA",
    "sst2": "SST-2",
    "mrpc": "MRPC",
    "qqp": "QQP",
    "qnli": "QNLI",
    "movie_reviews": "Movie reviews",
    "subj": "SUBJ",
}


_ALL: ContextVar[frozenset[str]] = ContextVar("all methods of some results", default=frozenset())
_SHADES = (0.35, -0.45, 0.55, -0.25, 0.2)
"""Shares of white, or of black where negative, by which variants differ from their method's colour."""


def method(name: str) -> Method:
    """Return the look of a method, or of a study's variant under this name; it depends on the name alone.

    A variant called after its method has a shade of its colour; one called after a defence or a poison has
    the colour of that.

    >>> [method(name).label for name in ("asyndbt", "asyndbt_s4", "trimmed_mean", "my_own")]
    ['AsynDBT', 'AsynDBT, s4', 'trimmed mean', 'my own']
    """
    return next(_looks(name))


def methods(names: Iterable[str]) -> dict[str, Method]:
    """Return the looks of all methods of some results: each has a colour and a name of its own.

    Args:
        names: all of them, also those that a figure does not show, so that each figure gives one method one
            look; those that `all_methods` has told need not be named.
    """
    shown = set(names)
    ordered = methods_in_order([*shown, *_ALL.get()])
    found: dict[str, Method] = {}
    for name in sorted(ordered, key=lambda name: name not in METHODS):
        looks = list(islice(_looks(name), _MOST_LOOKS))
        colours = {one.colour for one in found.values()}
        pairs = {(one.colour, one.line) for one in found.values()}
        # Bars have no lines: only where the colours are used up do lines tell methods apart.
        fresh = [one for one in looks if one.colour not in colours]
        fresh += [one for one in looks if (one.colour, one.line) not in pairs]
        found[name] = (fresh or looks)[0]
    labels = Counter(one.label for one in found.values())
    alike = {name: _quoted(name) for name, one in found.items() if labels[one.label] > 1}
    return {
        name: replace(found[name], label=alike.get(name, found[name].label))
        for name in ordered
        if name in shown
    }


@contextmanager
def all_methods(names: Iterable[str]) -> Iterator[None]:
    """Let methods look in this block as where all of these are shown too, some of which are hidden."""
    before = _ALL.set(_ALL.get() | frozenset(names))
    try:
        yield
    finally:
        _ALL.reset(before)


def marks(names: Iterable[str]) -> dict[str, Mark]:
    """Return the looks of `methods` for lines with markers; each depends on all names, as those do.

    >>> [mark.marker for mark in marks(["krum", "sdbt", "asyndbt"]).values()]
    ['o', 's', 'd']
    """
    wanted = methods_in_order(names)
    everybody = methods_in_order([*wanted, *_ALL.get()])
    own = FORMS | DEFENCES | POISONS
    markers = {
        name: own[name].marker if name in own else MARKERS[place % len(MARKERS)]
        for place, name in enumerate(everybody)
    }
    return {
        name: Mark(look.label, look.colour, look.line, markers[name])
        for name, look in methods(wanted).items()
    }


def level(value: str, place: int) -> Mark:
    """Return the look of a value of a setting; a method, an attack or a rule keeps its own.

    Args:
        value: as `fedsim_analysis.words.setting` writes it.
        place: among all values of the setting, in order.
    """
    if mark := DEFENCES.get(value) or POISONS.get(value):
        return mark
    if value in METHODS:
        return marks([value])[value]
    line = _LINES[place // len(SERIES) % len(_LINES)]
    label = text(ATTACKS.get(value, value))
    return Mark(label, SERIES[place % len(SERIES)], line, MARKERS[place % len(MARKERS)])


def methods_in_order(names: Iterable[str]) -> list[str]:
    """Return the distinct methods in the order of legends: ours, each before its variants, then all others.

    >>> methods_in_order(["mine", "asyndbt_s10", "asyndbt_s2", "asyndbt", "sdbt", "krum"])
    ['sdbt', 'asyndbt', 'asyndbt_s2', 'asyndbt_s10', 'krum', 'mine']
    """
    known, forms = [*METHODS, *DEFENCES], list(FORMS)

    def place(name: str) -> tuple[int, bool, int, list[tuple[int, str]]]:
        origin = name if name in known else origin_of(name)
        form = forms.index(name) if name in forms else len(forms)
        parts = [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
        return known.index(origin) if origin else len(known), origin != name, form, parts

    return sorted(set(names), key=place)


def origin_of(name: str) -> str:
    """Return the method of which a study has a variant under this name; nothing if there is none.

    >>> origin_of("asyndbt_s5"), origin_of("asyndbt"), origin_of("other")
    ('asyndbt', '', '')
    """
    return next((method for method in METHODS if re.match(f"{method}[-_.]+[^-_.]", name)), "")


def _looks(name: str) -> Iterator[Method]:
    """Yield how a method may be drawn, the look that it has first, for where others look the same."""
    number = zlib.crc32(name.encode())
    if name in METHODS:
        yield METHODS[name]
    elif mark := FORMS.get(name) or DEFENCES.get(name) or POISONS.get(name):
        yield Method(mark.label, mark.colour, mark.line)
    elif origin := origin_of(name):
        own = METHODS[origin]
        label = f"{own.label}, {text(name.removeprefix(origin))}"
        for turn in count(number):
            line = _LINES[(_LINES.index(own.line) + turn // len(_SHADES)) % len(_LINES)]
            yield Method(label, _shade(own.colour, _SHADES[turn % len(_SHADES)]), line)
    else:
        for turn in count(number):
            line = _LINES[turn // len(SPARE_COLOURS) % len(_LINES)]
            yield Method(text(name), SPARE_COLOURS[turn % len(SPARE_COLOURS)], line)


def text(name: object) -> str:
    """Return a name or another text of a person as a figure may write it: no formula, and nothing hidden.

    >>> text("my_own"), text("_a$b$"), text("-_-")
    ('my own', 'a\\\\$b\\\\$', "'-_-'")
    """
    words = visible(name, one_line=True).replace("_", " ").strip(" -.")
    return _no_formula(words) or _quoted(name)  # a legend leaves out what begins with an underscore


def literal(name: object) -> str:
    """Return a text of a person letter by letter, as a figure may write it."""
    return _no_formula(visible(name, one_line=True))


def _quoted(name: object) -> str:
    return f"'{literal(name)}'"


def _no_formula(words: str) -> str:
    return words.replace("$", r"\$")  # two dollars would make one


def defence(name: str) -> Mark:
    """Return the look of a defence; one unknown here gets a look that depends on its name alone."""
    return DEFENCES[name] if name in DEFENCES else _spare(name)


def poison(name: str) -> Mark:
    """Return the look of an attack on demonstrations; one unknown here gets a look of its own."""
    return POISONS[name] if name in POISONS else _spare(name)


def attack_name(name: str) -> str:
    """Return how an attack is written, or several joined by ``+``.

    >>> attack_name("rushing+min_max")
    'rushing + min-max'
    """
    return " + ".join(ATTACKS.get(part, text(part)) for part in name.split("+"))


def _spare(name: str) -> Mark:
    look, marker = method(name), MARKERS[zlib.crc32(name.encode()) // 31 % 7]
    return Mark(look.label, look.colour, look.line, marker)


def activity(name: str) -> ActivityLook:
    """Return the look of an activity; one unknown here is drawn in grey, crossed."""
    return ACTIVITIES.get(name, ActivityLook(text(name), "#BBBBBB", 0.7, "++++"))


def bar(activity_name: str, method_colour: str | None = None) -> dict[str, Any]:
    """Return the matplotlib settings of a bar or patch that stands for an activity.

    Args:
        activity_name: the activity.
        method_colour: the colour of the method, where colours mean methods; None where they mean activities.
    """
    look = activity(activity_name)
    if method_colour is None:
        colours = {"facecolor": look.colour, "edgecolor": "#333333"}
    else:
        colours = {"facecolor": tinted(method_colour, look.tint), "edgecolor": method_colour}
    return colours | {"hatch": look.hatch, "linewidth": 0.35}


def task_name(scenario: str) -> str:
    """Return how the paper writes a task.

    >>> task_name("sst2")
    'SST-2'
    """
    return TASKS.get(scenario) or literal(scenario)


def method_name(name: str) -> str:
    """Return how the paper writes a method.

    >>> method_name("asyndbt")
    'AsynDBT'
    """
    return method(name).label


def in_order(names: Iterable[str], order: Iterable[str]) -> list[str]:
    """Return the distinct names: first those of `order`, in that order, then the others by alphabet.

    >>> in_order(["zebra", "sdbt", "cendbt", "sdbt"], METHODS)
    ['cendbt', 'sdbt', 'zebra']
    """
    present = set(names)
    known = [name for name in order if name in present]
    return known + sorted(present - set(known))


def tinted(colour: str, share: float) -> str:
    """Mix a colour `#RRGGBB` with white.

    >>> tinted("#000000", 0.2), tinted("#D55E00", 1.0)
    ('#333333', '#ffffff')
    """
    parts = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(part + (255 - part) * share):02x}" for part in parts)


def shades(colour: str, count: int) -> list[str]:
    """Return shades of a colour `#RRGGBB` from dark to light, for lines of one method; one is itself.

    >>> shades("#0072B2", 1), shades("#808080", 3)
    (['#0072B2'], ['#4d4d4d', '#808080', '#c0c0c0'])
    """
    if count == 1:
        return [colour]
    darkest, lightest = -0.4, 0.5
    shares = [darkest + (lightest - darkest) * place / (count - 1) for place in range(count)]
    if count == 3:
        shares[1] = 0.0
    return [_shade(colour, share) for share in shares]


def _shade(colour: str, share: float) -> str:
    return tinted(colour, share) if share >= 0 else _darkened(colour, -share)


def _darkened(colour: str, share: float) -> str:
    parts = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(part * (1 - share)):02x}" for part in parts)


def time_unit(longest_s: float) -> tuple[float, str]:
    """Return the seconds in a fitting unit of time and its symbol.

    >>> time_unit(90.0), time_unit(900.0), time_unit(9000.0)
    ((1.0, 's'), (60.0, 'min'), (3600.0, 'h'))
    """
    if longest_s > 2 * 3600:
        return 3600.0, "h"
    return (60.0, "min") if longest_s > 180 else (1.0, "s")


@contextmanager
def look() -> Iterator[None]:
    """Give the figures made or saved inside this block the project's look, whatever the user's settings."""
    from matplotlib import style

    with style.context(["default", SETTINGS]):
        yield
