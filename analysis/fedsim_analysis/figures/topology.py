"""The network of a run as a graph: its nodes, and the bandwidth and load of its links.

One panel per run. A link has the colour of its utilisation, what it has carried of what it could have in the
simulated time: of its two directions the busier one's (the table has both). Its width is its bandwidth, in
classes of a factor of ten; a link without a limit is never busy and is drawn dashed. A tree, and so a star,
has its centre in the middle and its leaves on circles; any other graph is laid out by the distances between
its nodes. Where places are says nothing about distance or latency. Nodes have names where there are few of
them: a worker its number, others their whole name.

Source: layouts by Kamada and Kawai, "An algorithm for drawing general undirected graphs", Information
Processing Letters, 1989; trees radially: Eades, "Drawing free trees", Bulletin of the ICA, 1992.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from fedsim.errors import InputError
from fedsim_analysis import style
from fedsim_analysis.frames import require
from fedsim_analysis.graphs import Places, places
from fedsim_analysis.panels import of_seed, panel_name, told_apart

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("runs", "links")

_MAX_PANELS = 6
_MAX_LABELS = 40  # nodes of a panel; more names would cover each other
_COLUMNS = ["source", "target", "mbps", "n_bytes", "busy_s", "utilisation"]
_PERCENT = Normalize(0, 100)
_COLOURS = ListedColormap(colormaps["viridis_r"](np.linspace(0.05, 1, 256)), "utilisation")

# Upper end of a class (Mbit/s, not included): its width in points.
_WIDTHS = {0.1: 0.5, 1.0: 0.9, 10.0: 1.5, 100.0: 2.2, math.inf: 3.0}
_UNLIMITED = 0.9
_ROLES: dict[str, dict[str, Any]] = {
    "server": {"marker": "s", "color": "black", "markeredgecolor": "black"},
    "worker": {"marker": "o", "color": "white", "markeredgecolor": "black"},
    "other node": {"marker": "D", "color": "#AAAAAA", "markeredgecolor": "black"},
}


def table(runs: pd.DataFrame, links: pd.DataFrame, seed: int | None = None) -> pd.DataFrame:
    """Return one row per run and direction of a link, in the order of the panels.

    Args:
        runs: one row per run. `network.server` and `network.workers`, where there, name the nodes of the
            server and of the workers; else the former is called "server" and each of the latter "worker" and
            its number.
        links: `run_id, source, target, mbps, n_bytes, busy_s, utilisation` (of 1), one row per direction; a
            half-duplex link has one row for both. An infinite `mbps`: no limit.
        seed: the only one to draw; None draws all.

    Returns:
        `scenario, variant, label, setting, seed, run_id, source, target, mbps, n_bytes, busy_s,
        utilisation_percent, drawn_percent`; the last one is that of the busier direction.

    Raises:
        InputError: no run has links, none has the seed, or there are more runs than fit.
    """
    if links.empty:
        raise InputError(
            'no links were recorded: the network of these runs is of kind "simple", which has none'
        )
    require(links, "links", ["run_id", *_COLUMNS])
    shown = _shown(told_apart(runs), links, seed)
    rows = shown.merge(links[["run_id", *_COLUMNS]], on="run_id")
    rows["utilisation_percent"] = 100 * rows.pop("utilisation")
    of_link = rows.groupby([rows["run_id"], _ends(rows)])
    rows["drawn_percent"] = of_link["utilisation_percent"].transform("max")
    return rows


def figure(runs: pd.DataFrame, links: pd.DataFrame, seed: int | None = None) -> Figure:
    """Draw the rows of `table`."""
    rows = table(runs, links, seed)
    names = list(dict.fromkeys(rows["run_id"]))
    told = {run["run_id"]: _told(run) for run in runs.to_dict("records")}
    columns = min(len(names), 3)
    lines = math.ceil(len(names) / columns)
    width = {1: 4.2, 2: 6.0, 3: style.PAGE_IN}[columns]
    with style.look():
        picture = Figure(figsize=(width, 0.6 + lines * (width / columns - 0.2)), layout="constrained")
        panels = picture.subplots(lines, columns, squeeze=False).flatten()
        roles: set[str] = set()
        for panel, name in zip(panels, names, strict=False):
            of_run = rows[rows["run_id"] == name]
            roles |= _panel(panel, of_run, *told[name])
            panel.set_title(_title(of_run, rows), loc="left")
        for panel in panels:
            panel.set_axis_off()
        bar = picture.colorbar(ScalarMappable(_PERCENT, _COLOURS), ax=list(panels), shrink=0.7, aspect=25)
        bar.set_label("Utilisation of the busier direction (%)")
        picture.legend(handles=_entries(rows, roles), loc="outside lower center", ncols=4)
    return picture


def _shown(runs: pd.DataFrame, links: pd.DataFrame, seed: int | None) -> pd.DataFrame:
    runs = runs[runs["run_id"].isin(links["run_id"])]
    runs = of_seed(runs, seed)
    if len(runs) > _MAX_PANELS:
        raise InputError(
            f"these results hold {len(runs)} runs with links, and at most {_MAX_PANELS} fit in one picture: "
            "give the folder of one scenario or, since seeds and variants have runs of their own, of one run"
        )
    return runs[["scenario", "variant", "label", "setting", "seed", "run_id"]]


def _ends(links: pd.DataFrame) -> pd.Series[Any]:
    """Return the two ends of each link, the same for both its directions."""
    pairs = zip(links["source"], links["target"], strict=True)
    return pd.Series([tuple(sorted(pair)) for pair in pairs], links.index)


def _told(run: Mapping[Any, Any]) -> tuple[str, set[str]]:
    """Return the server's node, and those of the workers that the settings of a run name."""
    server, workers = run.get("network.server"), run.get("network.workers")
    return (
        server if isinstance(server, str) else "server",
        # A list among the settings; NaN where a run has none.
        set() if workers is None or isinstance(workers, str | float) else {str(node) for node in workers},
    )


def _panel(axes: Axes, links: pd.DataFrame, server: str, workers: set[str]) -> set[str]:
    """Draw one network and return the roles of its nodes."""
    place = places(list(zip(links["source"], links["target"], strict=True)), server)
    roles = {node: _role(node, server, workers) for node in place}
    _draw_links(axes, links, place)
    for role, look in _ROLES.items():
        nodes = [node for node in place if roles[node] == role]
        if nodes:
            size = _marker_size(role, len(place))
            x, y = zip(*(place[node] for node in nodes), strict=True)
            edge = min(0.5, 0.15 * size)
            axes.plot(x, y, linestyle="", markersize=size, markeredgewidth=edge, zorder=3, **look)
    if len(place) <= _MAX_LABELS:
        _write_names(axes, place, roles)
    axes.set_aspect("equal")
    axes.margins(0.1)
    return set(roles.values())


def _draw_links(axes: Axes, links: pd.DataFrame, place: Places) -> None:
    # One line per link, as wide as its wider direction; the busiest on top.
    single = links.assign(ends=_ends(links)).sort_values("mbps").drop_duplicates("ends", keep="last")
    single = single.sort_values("drawn_percent", kind="stable")
    for unlimited, group in single.groupby(np.isinf(single["mbps"])):
        lines = [[place[one], place[other]] for one, other in group["ends"]]
        widths = [_width(mbps) for mbps in group["mbps"]]
        dashes = (0, (2, 1.5)) if unlimited else "-"
        outline = LineCollection(
            lines, linewidths=[width + 0.5 for width in widths], colors="#555555", linestyles=dashes
        )
        inside = LineCollection(lines, linewidths=widths, cmap=_COLOURS, norm=_PERCENT, linestyles=dashes)
        inside.set_array(group["drawn_percent"])
        axes.add_collection(outline)
        if not unlimited:
            axes.add_collection(inside)


def _width(mbps: float) -> float:
    if math.isinf(mbps):
        return _UNLIMITED
    return next(width for end, width in _WIDTHS.items() if mbps < end)


def _marker_size(role: str, n_nodes: int) -> float:
    """Return the diameter of a node (points): the server is found among many, too."""
    if role == "server":
        return 7.0
    return float(np.clip(40 / math.sqrt(n_nodes), 1.2, 6))


def _role(node: str, server: str, workers: set[str]) -> str:
    if node == server:
        return "server"
    return "worker" if node in workers or node.startswith("worker ") else "other node"


def _write_names(axes: Axes, place: Places, roles: dict[str, str]) -> None:
    for node, at in place.items():
        above = 1 + _marker_size(roles[node], len(place)) / 2
        name = axes.annotate(
            style.literal(node.removeprefix("worker ")),
            at,
            xytext=(0, above),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=5,
            zorder=4,
        )
        name.set_path_effects([withStroke(linewidth=1.5, foreground="white")])


def _title(of_run: pd.DataFrame, rows: pd.DataFrame) -> str:
    first = of_run.iloc[0]
    alone = rows["scenario"].nunique() == 1
    name = panel_name(first["scenario"], first["label"], alone, first["setting"])
    return f"{name}, seed {first['seed']}" if rows["seed"].nunique() > 1 else name


def _entries(rows: pd.DataFrame, roles: set[str]) -> list[Line2D]:
    entries = [
        Line2D([], [], linestyle="", markersize=4, markeredgewidth=0.5, label=role, **look)
        for role, look in _ROLES.items()
        if role in roles
    ]
    low = 0.0
    for high, width in _WIDTHS.items():
        if ((rows["mbps"] >= low) & (rows["mbps"] < high)).any():
            label = f"{low:g} Mbit/s or more" if math.isinf(high) else f"{low:g} to {high:g} Mbit/s"
            entries.append(Line2D([], [], color="#555555", linewidth=width, label=label))
        low = high
    if np.isinf(rows["mbps"]).any():
        entries.append(
            Line2D([], [], color="#555555", linewidth=_UNLIMITED, linestyle=(0, (2, 1.5)), label="no limit")
        )
    return entries
