"""The rule by which Figure 1 gets its targets, by hand."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from tiny_tables import run

from fedsim_analysis.studies import figure1_targets


def tables(curves: dict[tuple[str, str, int], list[float]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return runs and steps from the losses of each task, method and seed; every second step is measured."""
    runs = pd.DataFrame([run(*place, 100.0) for place in curves])
    steps = [
        {
            "run_id": f"{task}-{method}-{seed}",
            "step": 2 * place + half,
            "loss_sampled": loss if not half else None,
        }
        for (task, method, seed), losses in curves.items()
        for place, loss in enumerate(losses)
        for half in (0, 1)
    ]
    return runs, pd.DataFrame(steps)


def test_half_of_the_way_to_where_it_settles():
    falling = [1.0, 0.9, *[0.8] * 16, 0.5, 0.3]  # settles at 0.4, the mean of the last two
    rows = figure1_targets.table(
        *tables(
            {
                ("sst2", "cendbt", 0): falling,
                ("sst2", "cendbt", 1): [loss + 0.1 * (loss == 1.0) for loss in falling],
                ("sst2", "asyndbt", 0): [9.0] * 20,
                ("5g", "cendbt", 0): [0.5, 0.4],
                ("5g", "cendbt", 1): [0.4, 0.5],
            }
        )
    ).set_index("task")
    assert list(rows.index) == ["5g", "sst2"]
    assert rows.loc["sst2"]["start"] == pytest.approx(1.05)
    assert rows.loc["sst2"]["settled"] == pytest.approx(0.4)
    # Falls of 0.6 and 0.7: Student's t of two values makes 0.65 - 12.7062 * 0.05.
    assert rows.loc["sst2"]["fall_low"] == pytest.approx(0.65 - 12.7062 * 0.05, abs=1e-5)
    assert rows.loc["sst2"]["target"] == pytest.approx(0.725)
    # One seed rises, one falls: nothing to reach.
    assert math.isnan(rows.loc["5g"]["target"])
