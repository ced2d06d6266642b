"""The targets of Figure 1, by one rule: half of the way that the loss of drawn prompts falls under cenDBT.

``python -m fedsim_analysis.studies.figure1_targets results/figure1`` prints them for the results of the
scenarios in `scenarios/figure1`, whose files state what it prints. Whether those have a target makes no
difference.

The loss is that of prompts drawn from what was learned, for that of the likeliest prompt jumps at the first
updates. It settles at its mean over the last tenth of the measurements. A task on which the fall is not sure
to be above 0 has no target: a time to one would tell of chance.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from fedsim.results import load_results
from fedsim.terminal import say
from fedsim_analysis import style
from fedsim_analysis.frames import BASELINE, named
from fedsim_analysis.statistics import estimate


def table(runs: pd.DataFrame, steps: pd.DataFrame) -> pd.DataFrame:
    """Return one row per task: `task, start, settled, fall, fall_low, target`, means over the seeds.

    Args:
        runs: one row per run.
        steps: one row per server step, with `loss_sampled` where the model was evaluated.

    Returns:
        `fall_low` is the lower end of the fall's 95 % interval. `target` has three digits after the point;
        NaN where that interval holds 0, or where there is a single seed.
    """
    runs = named(runs)
    of_baseline = runs.loc[runs["method"] == BASELINE, ["run_id", "scenario"]]
    measured = steps[["run_id", "step", "loss_sampled"]].dropna().merge(of_baseline).sort_values("step")
    rows = []
    for task in style.in_order(measured["scenario"], style.TASKS):
        losses = [
            run["loss_sampled"].to_numpy(float)
            for _, run in measured[measured["scenario"] == task].groupby("run_id")
        ]
        start = estimate([run[0] for run in losses]).mean
        settled = estimate([run[-max(1, len(run) // 10) :].mean() for run in losses]).mean
        fall = estimate([run[0] - run[-max(1, len(run) // 10) :].mean() for run in losses])
        target = round(start - fall.mean / 2, 3) if fall.low > 0 else math.nan
        rows.append(
            {
                "task": task,
                "start": start,
                "settled": settled,
                "fall": fall.mean,
                "fall_low": fall.low,
                "target": target,
            }
        )
    return pd.DataFrame(rows)


def main(words: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path, help="folder of the results of scenarios/figure1")
    folder = parser.parse_args(words).results
    rows = table(load_results(folder), load_results(folder, "steps"))
    say(rows.round(4).to_string(index=False))


if __name__ == "__main__":
    main()
