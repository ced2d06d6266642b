"""Does a surrogate agree with a real model? Fit one to the model's answers, and run a scenario with both.

Run as ``python -m fedsim_analysis.studies.surrogate_validation SCENARIO``: its task gives texts, its model is
real. A seed of the scenario has data of its own, so that every seed gets a fit of its own. Writes below
``--out`` the runs, the fitted parameters (``fitted/``) and the comparison on held-out prompts (``ranks.csv``,
``calibration.csv``, ``reliability.csv``, ``prompts.csv``, ``curves.csv``); ends with
`figures/surrogate_validation.pdf`, PNG and CSV. Answers of the real model are cached: a second start goes on
from there.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fedsim import console, sweep
from fedsim.errors import FedsimError, InputError
from fedsim.icl.models.fitted import Fitted
from fedsim.icl.models.fitted.parameters import write
from fedsim.problems.icl.problem import IclProblem
from fedsim.results import load_results
from fedsim.scenario import Scenario, load_scenario
from fedsim.terminal import plain_table, say, show
from fedsim.whole_files import write_whole
from fedsim_analysis import agreement, figures
from fedsim_analysis.fitting.surrogate import Fit, HeldOut, fit

PREDICTORS = ("fitted", "query_mean", "zero_shot", "constant")


def main(words: Sequence[str] | None = None) -> None:
    """Run the study and draw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--variant", default="", help="of the scenario")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--prompts", type=int, default=200, help="prompts to fit to")
    parser.add_argument("--held-out", type=int, default=100, help="prompts to compare on")
    parser.add_argument("--queries", type=int, default=8, help="training and test queries per prompt")
    parser.add_argument("--replicates", type=int, default=1, help="seeds")
    parser.add_argument("--out", type=Path, default=Path("results/surrogate_validation"))
    parser.add_argument("--figure", type=Path, default=Path("figures/surrogate_validation.pdf"))
    options = parser.parse_args(words)
    try:
        study(options)
    except FedsimError as error:
        parser.exit(error.exit_code, f"{error}\n")


def study(options: argparse.Namespace) -> None:
    """Fit, run, compare, draw."""
    base = load_scenario(options.scenario, options.variant, options.overrides)
    scenarios = sweep.replicates([base], options.replicates)
    fits, answered, outcomes = [], {}, []
    with console.bar(3 * len(scenarios), "fits and runs") as (progress, task):
        for scenario in scenarios:
            fits.append(_fit(scenario, options))
            progress.advance(task)
            file = options.out / "fitted" / f"{scenario.label.replace(' ', '-')}-{scenario.seed}.json"
            write(fits[-1].parameters, file)
            for who, one in (("real", scenario), ("fitted", _with_model(scenario, Fitted(file=str(file))))):
                outcomes.append(sweep.run_one(one, options.out))
                answered[outcomes[-1].folder.name] = who
                progress.advance(task)
    tables = compared(merged(fits), _problem(base).loss_floor) | _of_runs(options.out, answered)
    tables["curves"] = curves(tables["runs"], tables["steps"])
    for name in ("ranks", "calibration", "reliability", "prompts", "curves"):
        write_whole(options.out / f"{name}.csv", tables[name].to_csv(index=False))
    files = figures.draw("surrogate_validation", tables.__getitem__, options.figure)
    _show(tables, fits)
    console.show_outcomes(outcomes)
    for file in files:
        say(file)


def _problem(scenario: Scenario) -> IclProblem:
    if not isinstance(scenario.problem, IclProblem) or scenario.schedule.machine is not None:
        raise InputError(
            "the study needs a problem of kind 'icl' and an algorithm in which every worker computes"
        )
    return scenario.problem


def _fit(scenario: Scenario, options: argparse.Namespace) -> Fit:
    return fit(
        _problem(scenario),
        scenario.seed,
        scenario.n_workers,
        n_prompts=options.prompts,
        held_out=options.held_out,
        n_queries=options.queries,
    )


def _with_model(scenario: Scenario, model: Fitted) -> Scenario:
    return scenario.model_copy(update={"problem": scenario.problem.model_copy(update={"model": model})})


def merged(fits: Sequence[Fit]) -> list[HeldOut]:
    """Return the held-out prompts of all seeds together, split by split; a worker is one of one seed."""
    import torch

    found = []
    for parts in zip(*(one.held_out for one in fits), strict=True):
        n_workers = max(int(part.workers.max()) for part in parts) + 1
        found.append(
            HeldOut(
                parts[0].split,
                torch.cat([part.workers + number * n_workers for number, part in enumerate(parts)]),
                torch.cat([part.labels for part in parts]),
                torch.cat([part.real for part in parts]),
                {name: torch.cat([part.predicted[name] for part in parts]) for name in PREDICTORS},
            )
        )
    return found


def compared(held: Sequence[HeldOut], floor: float) -> dict[str, pd.DataFrame]:
    """Return the tables of the comparison on held-out prompts."""
    return {
        "ranks": agreement.ranks(held, floor),
        "calibration": agreement.calibration(held),
        "reliability": agreement.reliability(held),
        "prompts": agreement.prompts(held, floor),
    }


def _of_runs(out: Path, answered: dict[str, str]) -> dict[str, pd.DataFrame]:
    """Return the tables of this study's runs, with who answered; other runs may be in the folder too."""
    tables = {}
    for name in ("runs", "steps"):
        found = load_results(out, name)
        found = found[found["run_id"].isin(list(answered))].reset_index(drop=True)
        tables[name] = found.assign(answered=found["run_id"].map(answered))
    return tables


def curves(runs: pd.DataFrame, steps: pd.DataFrame) -> pd.DataFrame:
    """Return one row per seed: what the run with either model lost at the start and the end, and how alike.

    Args:
        runs: one row per run, with `run_id`, `seed` and `answered`.
        steps: one row per server step, with `run_id`, `seed`, `answered`, `step` and `loss`.

    Returns:
        `seed, start_real, end_real, start_fitted, end_fitted, distance, spearman`: `distance` is the mean
        absolute difference of the two losses over the steps where both were evaluated, and `spearman` their
        rank correlation there.
    """
    rows = []
    for seed in runs["seed"].unique():
        of_seed = steps[steps["seed"] == seed].dropna(subset=["loss"])
        pair = of_seed.pivot(index="step", columns="answered", values="loss").dropna()
        real, fitted = pair["real"].to_numpy(), pair["fitted"].to_numpy()
        ends: dict[str, Any] = {
            f"{place}_{who}": pair[who].iloc[row]
            for who in ("real", "fitted")
            for place, row in (("start", 0), ("end", -1))
        }
        distance = float(np.abs(real - fitted).mean())
        rows.append(
            {"seed": seed} | ends | {"distance": distance, "spearman": agreement.spearman(real, fitted)}
        )
    return pd.DataFrame(rows)


def _show(tables: dict[str, pd.DataFrame], fits: Sequence[Fit]) -> None:
    """Print the comparison."""
    ranks, calibration = tables["ranks"], tables["calibration"]
    shown = plain_table("queries", "predictor")
    for column in ("loss", "loss within workers", "margin", "Brier", "ECE", "same answer"):
        shown.add_column(column, justify="right")
    spearmen = {
        (row["split"], row["predictor"], row["quantity"]): _cell(row["value"], row["low"], row["high"])
        for row in ranks[ranks["measure"] == "spearman"].to_dict("records")
    }
    for row in calibration.to_dict("records"):
        split, predictor = row["split"], row["predictor"]
        cells = [spearmen[split, predictor, what] for what in agreement.QUANTITIES]
        numbers = f"{row['brier']:.4f}", f"{row['ece']:.3f}", f"{row['agreement']:.2f}"
        shown.add_row(split, predictor, *cells, *numbers)
    say("Held-out prompts: Spearman's rank correlation (95 % interval), and calibration")
    show(shown)
    for number, one in enumerate(fits):
        said = one.parameters.fitted_to
        say(f"fit {number}: step {one.parameters.step:.4f}, ridges {said['ridges']}")
    for row in tables["curves"].to_dict("records"):
        say(
            f"seed {row['seed']}: test loss {row['start_real']:.4f} to {row['end_real']:.4f} with the real "
            f"model, {row['start_fitted']:.4f} to {row['end_fitted']:.4f} with the surrogate; mean distance "
            f"{row['distance']:.4f}, rank correlation {row['spearman']:.2f}"
        )


def _cell(value: float, low: float, high: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f} ({low:.2f}, {high:.2f})"


if __name__ == "__main__":
    main()
