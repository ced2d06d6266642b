"""With which settings do cuts constrain? A search over the settings of AsynDBT's bilevel part.

Run as ``python -m fedsim_analysis.studies.constraint_search``; ends with `constraint_search.csv` below
`figures/`, a row per run, and prints what came of it. Points are those of a Latin hypercube, the same ones
for each problem: a quadratic one, synthetic tasks with 30 and 100 candidate words, two calibrated tasks, with
unlike data (Dirichlet 0.1) at six workers. What is finished already is found again.

Step sizes of the inner loop stand in the hypercube as what they do: `pull`, the share of its distance from z
that a worker's p goes in K rounds, ``K p_rate mu``; `follow`, the share of its distance from the mean p that
z goes in one, ``R z_rate mu``; `dual`, the rate of rho as a share of that of p.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fedsim import sweep
from fedsim.algorithms.dbt.settings import MOST
from fedsim.results import read_table
from fedsim.scenario import Scenario, load_variants
from fedsim.scenario.sweep_table import Draw, RandomPoints
from fedsim.sweep.sampling import random_points
from fedsim.terminal import say
from fedsim.whole_files import write_whole
from fedsim_analysis.studies.running import carry_out, finished

POINTS = 30
PROBLEMS = ("quadratic", "words30", "words100", "5g", "sst2")

FORMS: dict[str, dict[str, bool]] = {
    "relaxed": {"epsilon_in_cut": True, "only_if_violated": True},
    "printed": {"epsilon_in_cut": False, "only_if_violated": True},
    "always": {"epsilon_in_cut": False, "only_if_violated": False},
}
"""Of a cut: -epsilon in c as (30) demands; without it as (33) is printed; that at every update, as in ADBO's
code."""

RANGES = {
    "pull": Draw(low=0.02, high=0.5, log=True),
    "follow": Draw(low=0.2, high=1.0, log=True),
    "dual": Draw(low=0.03, high=1.0, log=True),
    "mu": Draw(low=3.0, high=50.0, log=True),
    "rounds": Draw(low=3, high=12, integer=True),
    "epsilon": Draw(low=0.15, high=1.0, log=True),
    "every": Draw(low=2, high=8, integer=True),
    "z_rate": Draw(low=0.01, high=0.2, log=True),
    "learning_rate": Draw(low=0.001, high=0.01, log=True),
    "n_samples": Draw(low=15, high=40, integer=True),
    "c1": Draw(low=0.3, high=10.0, log=True),
    "form": Draw(choices=tuple(FORMS)),
}
"""Around what a wider search pointed to."""

KEPT = (
    *("seed", "ended", "constraint_met", "words_within_epsilon", "h_over_epsilon", "consensus_gap"),
    *("accuracy", "accuracy_consensus", "loss", "p_max", "multiplier_max"),
)
"""Of a run's summary."""


def main(words: Sequence[str] | None = None) -> None:
    """Search, and print what was found."""
    carry_out(study, words, "constraint_search", __doc__, only=PROBLEMS, scenarios="consensus")


def study(options: argparse.Namespace) -> None:
    """Run what is not finished yet; write the table, and say how many points met the constraint."""
    points = random_points(RandomPoints(samples=POINTS, method="latin_hypercube", keys=RANGES))
    scenarios = load_variants(options.scenarios / "search.toml", [], options.only or PROBLEMS)
    places = [
        (scenario.variant, point, of_point)
        for scenario in scenarios
        for point in [*points, None]
        for of_point in sweep.replicates([at_point(scenario, point)], options.replicates)
    ]
    summaries = finished([(scenario, False) for *_, scenario in places], options.results, options.jobs)
    rows = []
    for problem, point, scenario in places:
        folder = sweep.folder_of(scenario, options.results, False)
        if summaries.get(folder):
            rows.append(
                {"problem": problem} | (point or {"form": "local"}) | _measured(folder, summaries[folder])
            )
    table = paired(pd.DataFrame(rows))
    file = options.output / "constraint_search.csv"
    write_whole(file, table.to_csv(index=False))
    say(summary(table).to_string(index=False))
    say(str(file))


def at_point(scenario: Scenario, point: Mapping[str, Any] | None) -> Scenario:
    """Return the scenario with the settings of a point; none: local tuning, without any exchange."""
    tunes_words = scenario.problem.kind == "icl"
    if point is None:
        off = {"unset": ["polyhedron", "inner", "multipliers", "z_rate"], "cuts": False}
        return scenario.replace("algorithm", off)
    rounds, mu = point["rounds"], point["mu"]
    p_rate = point["pull"] / rounds / mu
    inner = {
        "mu": _short(mu),
        "p_rate": _short(p_rate),
        "z_rate": _short(point["follow"] / scenario.n_workers / mu),
        "rho_rate": _short(point["dual"] * p_rate),
    }
    changes: dict[str, Any] = {
        "algorithm.cuts": {"every": point["every"], "rounds": rounds},
        "algorithm.inner": inner,
        "algorithm.polyhedron": FORMS[point["form"]] | {"epsilon": _short(point["epsilon"])},
        "algorithm.multipliers": {"c1": _short(point["c1"])},
        "algorithm.z_rate": _short(point["z_rate"]),
        "algorithm.optimizer.learning_rate": _short(point["learning_rate"]),
    }
    if tunes_words:
        changes["problem.n_samples"] = point["n_samples"]
    return scenario.replace(changes)


def paired(table: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with `gain_points`: their accuracy less that of local tuning with the same seed."""
    local = table[table["form"] == "local"].set_index(["problem", "seed"])["accuracy"]
    of_local = local.reindex(pd.MultiIndex.from_frame(table[["problem", "seed"]])).to_numpy()
    return table.assign(gain_points=100 * (table["accuracy"].astype(float) - of_local))


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return, per problem and form of the cut, how many runs did what, and what those that met it gained."""
    rows = []
    for (problem, form), runs in table.groupby(["problem", "form"], sort=False):
        if form == "local":
            continue
        met = runs[runs["constraint_met"] == 1]
        small = (runs["words_within_epsilon"] > MOST) & (runs["constraint_met"] == 0)
        rows.append(
            {
                "problem": problem,
                "cut": form,
                "runs": len(runs),
                "diverged": int((runs["ended"] == "diverged").sum()),
                "met": len(met),
                "small h, never at work": int(small.sum()),
                "median gap, met": met["consensus_gap"].median(),
                "median gap, others": runs["consensus_gap"].drop(met.index).median(),
                "median gain, met (points)": met["gain_points"].median(),
                "median gain, others (points)": runs["gain_points"].drop(met.index).median(),
            }
        )
    return pd.DataFrame(rows).round(2)


def _measured(folder: Path, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the table says of a run."""
    found = {key: summary.get(key) for key in KEPT}
    steps = read_table(folder, "steps")
    if "h_over_epsilon" not in steps:
        return found
    h = steps["h_over_epsilon"].dropna()
    return found | {
        "first_h_over_epsilon": h.iloc[0] if len(h) else math.nan,
        "largest_gap": steps["consensus_gap"].max(),
        "multipliers_above_0": steps["multipliers_above_0"].mean(),
    }


def _short(value: float) -> float:
    """Return a number to three digits, as a person would write it."""
    return float(f"{value:.3g}")


if __name__ == "__main__":
    main()
