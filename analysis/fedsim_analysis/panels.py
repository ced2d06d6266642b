"""What figures with one panel per run share: which runs are drawn, and what a panel is called."""

from __future__ import annotations

import pandas as pd

from fedsim.errors import InputError
from fedsim_analysis import style
from fedsim_analysis.frames import named
from fedsim_analysis.varied import with_settings


def of_seed(runs: pd.DataFrame, seed: int | None) -> pd.DataFrame:
    """Return the runs of one seed, or all for None.

    Raises:
        InputError: no run has the seed.
    """
    if seed is None:
        return runs
    found = runs[runs["seed"] == seed]
    if found.empty:
        present = ", ".join(map(str, sorted(runs["seed"].unique())))
        raise InputError(f"seed {seed}: no run that can be drawn has it (seeds: {present})")
    return found


def told_apart(runs: pd.DataFrame) -> pd.DataFrame:
    """Return runs with `label`, how their method is written, and `setting`; by scenario, then by method.

    The label is empty where the scenario's name says enough: its runs are of no variant, and of one method.
    """
    runs = with_settings(named(runs))
    looks = style.methods(runs["method"])
    labels = runs["method"].map({name: look.label for name, look in looks.items()})
    alone = (runs.groupby("scenario")["method"].transform("nunique") == 1) & (runs["variant"] == "")
    scenarios, methods = list(dict.fromkeys(runs["scenario"])), list(looks)
    places = pd.DataFrame(
        {"scenario": runs["scenario"].map(scenarios.index), "method": runs["method"].map(methods.index)}
    )
    order = places.sort_values(["scenario", "method"], kind="stable").index
    return runs.assign(label=labels.where(~alone, "")).loc[order]


def panel_name(scenario: str, label: str, alone: bool, setting: str = "") -> str:
    """Return the name of a panel: its scenario, unless that is the only one, its method and what varies.

    >>> panel_name("sst2", "AsynDBT", alone=False), panel_name("queue", "half duplex", True, "tau = 3")
    ('SST-2, AsynDBT', 'half duplex, tau = 3')
    """
    scenarios = [] if alone and label else [style.task_name(scenario)]
    return ", ".join(filter(None, [*scenarios, label, style.literal(setting)]))
