"""What figures with a panel per run share: which runs are drawn, and what a panel is called."""

from __future__ import annotations

import pandas as pd

from analysis import style
from fedsim.errors import InputError


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


def panel_name(scenario: str, variant: str, alone: bool) -> str:
    """Return the name of a scenario's variant; where it is the only scenario, its variant's name says enough.

    >>> panel_name("sst2", "asyndbt", alone=False), panel_name("queue", "half_duplex", alone=True)
    ('SST-2, AsynDBT', 'half duplex')
    """
    parts = [] if alone and variant else [style.task_name(scenario)]
    return ", ".join(parts + ([style.method_name(variant).replace("_", " ")] if variant else []))
