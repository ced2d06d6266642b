"""A method, or a variant of one, has one name and one colour in every figure, in tables and in the report."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from matplotlib.colors import to_hex
from tiny_tables import run

from fedsim_analysis import style
from fedsim_analysis.figures import curves, figure1, grid, idle, pareto, scaling, straggler_sweep
from fedsim_analysis.frames import named
from fedsim_analysis.report.headline import rows as headline
from fedsim_analysis.report.looks import method_looks
from fedsim_analysis.report.places import in_places
from fedsim_analysis.tables import figure1 as figure1_table

VARIANTS = ("sdbt", "asyndbt", "asyndbt_s4", "asyndbt_s8", "half")
LABELS = ["SDBT", "AsynDBT", "AsynDBT, s4", "AsynDBT, s8", "half"]


def runs(**others):
    """Return two seeds of each variant; `others` are columns, a value for each of two places."""
    places = [dict(zip(others, cells, strict=True)) for cells in zip(*others.values(), strict=True)] or [{}]
    return pd.DataFrame(
        [
            run("one", name, seed, 100.0 + seed, algorithm=name.partition("_")[0], n_workers=9, cost=1.0)
            | {"llm_calls": 5, "ended": "budget", "algorithm.wait_for": math.nan if name == "sdbt" else 4.0}
            | place
            | {"run_id": f"{name}-{seed}-{number}"}
            for name in VARIANTS
            for seed in (0, 1)
            for number, place in enumerate(places)
        ]
    )


def steps():
    rows = [(one, step, 10.0 * step, 1.0, 0.5) for one in runs()["run_id"] for step in (0, 5)]
    return pd.DataFrame(rows, columns=["run_id", "step", "time_s", "loss", "accuracy"])


def workers():
    table = runs()
    seconds = table[[name for name in table if name.startswith("seconds_")]]
    return table[["run_id"]].assign(worker=0, group="workers", malicious=False).join(seconds)


PICTURES = {
    "figure1": lambda: figure1.figure(runs()),
    "curves": lambda: curves.figure(runs(), steps()),
    "pareto": lambda: pareto.figure(runs()),
    "grid": lambda: grid.figure(runs(n_workers=(9, 18)), x="n_workers"),
    "scaling": lambda: scaling.figure(runs(n_workers=(9, 18))),
    "straggler_sweep": lambda: straggler_sweep.figure(
        runs(**{"workers.1.slow_down": (1.0, 4.0), "workers.1.count": (1, 1)})
    ),
}


@pytest.mark.parametrize("name", PICTURES)
def test_all_pictures_agree(name):
    picture = PICTURES[name]()
    looks = {look.label: look.colour.lower() for look in style.methods(VARIANTS).values()}
    assert list(looks) == LABELS
    legends = [*picture.legends, *(axes.get_legend() for axes in picture.axes if axes.get_legend())]
    shown = {}
    for legend in legends:
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True):
            colour = handle.get_facecolor() if hasattr(handle, "get_facecolor") else handle.get_color()
            shown[text.get_text()] = to_hex(colour)
    assert {label: shown[label] for label in LABELS} == looks


def test_titles_and_tables_agree():
    titles = [axes.get_title(loc="left") for axes in idle.figure(runs(), workers()).axes]
    assert {title.rpartition("\n")[2].partition(":")[0] for title in titles if title} == set(LABELS)
    assert [look["text"] for look in method_looks(VARIANTS).values()] == LABELS
    placed = in_places(named(runs())).assign(has_target=False)
    assert [row[0].text for row in headline(placed)] == LABELS
    cells = figure1_table.render(figure1_table.table(runs())).renderables[0].columns[1]._cells
    assert cells == LABELS
