"""Malicious workers that choose when to report: their places in active sets, and the damage they do there.

One column of panels per task. Above: the share of places that malicious workers have in the active sets of a
run, against S, the size of the sets; the dotted line is their share of all workers, what they would hold if
everybody answered equally often. Below: what the attack costs against the same server and rule without it.
The last S is the synchronous server, S = R, in which everybody has one place in every step. Line styles are
attacks, colours defences; the upper row is the same for all defences, since timing does not depend on
messages. Points are means over seeds, whiskers their 95 % intervals. The values of S stand at equal
distances.

Source: ours; that fast malicious workers fill the buffer of an asynchronous server follows from its step rule
(Damaskinos et al., "Asynchronous Byzantine machine learning (the case of SGD)", ICML 2018, section 2, on
rushing).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fedsim_analysis import style, trials
from fedsim_analysis.frames import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEEDS: tuple[str, ...] = ("attacked",)

_KEYS = ("task", "attack", "defence", "fraction", "wait_for", "n_workers")
_LINES: tuple[style.Line, ...] = (":", "-", "--", "-.")
_SHARE = "places_percent"


def table(attacked: pd.DataFrame, measure: str = trials.DEFAULT) -> pd.DataFrame:
    """Return one row per task, attack, defence, S and quantity: the mean over seeds and its interval.

    Args:
        attacked: one row per trial, with `wait_for` (S), `n_workers` (R) and of the summary `worker_updates`,
            `drained` and `malicious_updates`.
        measure: the one whose damage is drawn, of `trials.MEASURES`.

    Returns:
        `task, attack, defence, fraction, wait_for, n_workers, measure, drawn, mean, mean_low, mean_high,
        runs, runs_measured`: `measure` is ``places_percent`` for the share of places, and a measure's name
        for the damage by it (accuracies in percent). Runs without attack serve as partners alone.

    Raises:
        InputError: a column is missing, the measure is unknown, two trials share place and seed, or an
            attacked run has no partner without attack.
    """
    require(attacked, "attacked", [*_KEYS, "worker_updates", "drained", "malicious_updates"])
    damage = trials.damaged(trials.measured(attacked, _KEYS, measure), _KEYS)
    trial = attacked[attacked["attack"] != style.CLEAN]
    places = trial["worker_updates"] - trial["drained"]
    share = trial[[*_KEYS, "seed"]].assign(
        measure=_SHARE, value=100 * trial["malicious_updates"] / places, drawn=True
    )
    return trials.estimates(pd.concat([share, damage]), [*_KEYS, "measure", "drawn"])


def figure(attacked: pd.DataFrame, measure: str = trials.DEFAULT) -> Figure:
    """Draw the rows of `table`: the share of places, and the damage by one measure."""
    rows = table(attacked, measure)
    tasks = style.in_order(rows["task"], style.TASKS)
    with style.look():
        width = min(style.PAGE_IN, 0.6 + 2.9 * len(tasks))
        picture = Figure(figsize=(width, 3.6), layout="constrained")
        panels = picture.subplots(2, len(tasks), squeeze=False, sharex=True, sharey="row")
        for column, task in zip(panels.T, tasks, strict=True):
            of_task = rows[rows["task"] == task]
            first = style.in_order(of_task["defence"], style.DEFENCES)[:1]
            shares = of_task[(of_task["measure"] == _SHARE) & of_task["defence"].isin(first)]
            _panel(column[0], shares, rows, plain=True)
            for fraction in shares["fraction"].unique():
                column[0].axhline(100 * fraction, color="#555555", linestyle=(0, (1, 3)), linewidth=0.9)
            _panel(column[1], of_task[of_task["measure"] == measure], rows)
            column[1].axhline(0, color="black", linewidth=0.6)
            column[1].set_xlabel("Tickets that the server waits for ($S$)")
            column[0].set_title(style.task_name(task), loc="left", fontweight="bold")
        panels[0, 0].set_ylabel("Places of malicious\nworkers (%)")
        panels[0, 0].set_ylim(bottom=0)
        panels[1, 0].set_ylabel(trials.MEASURES[measure].damage)
        entries = _entries(rows)
        columns = trials.columns(len(entries), most=2 * len(tasks))
        picture.legend(handles=entries, loc="outside upper center", ncols=columns)
    return picture


def _panel(axes: Axes, points: pd.DataFrame, rows: pd.DataFrame, plain: bool = False) -> None:
    """Draw one quantity; `rows` are those of the whole picture: all S on the axis, all attacks in order."""
    values = sorted(rows["wait_for"].unique())
    names = points[["defence", "attack"]].drop_duplicates().to_dict("records")
    for number, name in enumerate(names):
        mine = (points["defence"] == name["defence"]) & (points["attack"] == name["attack"])
        line = points[mine].set_index("wait_for").reindex(values)
        shift = 0.16 * (number - 0.5 * (len(names) - 1)) / max(len(names) - 1, 1)
        look = style.defence(name["defence"])
        axes.errorbar(
            [place + shift for place in range(len(values))],
            line["mean"],
            trials.whiskers(line),
            color="black" if plain else look.colour,
            marker="o" if plain else look.marker,
            linestyle=_line(name["attack"], rows),
            markersize=3.5,
            elinewidth=0.7,
            capsize=1.5,
        )
    n_workers = int(rows["n_workers"].max())
    labels = [f"{value:g}\n(synchronous)" if value == n_workers else f"{value:g}" for value in values]
    axes.set_xticks(range(len(values)), labels)
    axes.set_xlim(-0.3, len(values) - 0.7)
    axes.grid(axis="y")


def _line(attack: str, rows: pd.DataFrame) -> style.Line:
    return _LINES[list(dict.fromkeys(rows["attack"])).index(attack) % len(_LINES)]


def _entries(rows: pd.DataFrame) -> list[Line2D]:
    attacks = [
        Line2D([], [], color="black", linestyle=_line(name, rows), label=style.attack_name(name))
        for name in dict.fromkeys(rows["attack"])
    ]
    looks = [style.defence(name) for name in style.in_order(rows["defence"], style.DEFENCES)]
    defences = [
        Line2D([], [], color=look.colour, linestyle="", marker=look.marker, markersize=4, label=look.label)
        for look in looks
    ]
    return attacks + defences
