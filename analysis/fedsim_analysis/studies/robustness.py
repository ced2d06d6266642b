"""Malicious workers against the rules by which the server combines messages: five figures from one sweep.

Run as ``python -m fedsim_analysis.studies.robustness``; ends with `robustness`, `robustness_heatmap`,
`poison_mass`, `timing_attack` and `regularisation` below `figures/`, each as PDF, PNG and CSV, and with the
table `robustness_expulsions.csv` of whom FLDetector has expelled. What is finished already is found again.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from fedsim import sweep
from fedsim.results import read_table
from fedsim.scenario import Scenario, load_variants
from fedsim.terminal import say
from fedsim.whole_files import write_whole
from fedsim_analysis import figures
from fedsim_analysis.studies.running import carry_out, finished
from fedsim_analysis.style import CLEAN

TASKS = {"synthetic": "messages.toml", "5g": "calibrated.toml"}
"""Task: the scenario of its messages. On the first words decide; the second is a data set of the paper."""
WORDS = {"synthetic": 13, "5g": 63}
"""Task: its worst word, as `worst_words` finds it."""
MAIN = "synthetic"
"""The task of all figures but `poison_mass`."""
N_WORKERS = 10

ATTACKS = {
    # Nothing is flipped, but its workers count as malicious: both runs of a pair measure the same workers.
    CLEAN: ('kind = "flipped_queries", share = 0.0',),
    # As wide as a distribution is. The 10,000 of the source, undefended, make the multipliers diverge.
    "gaussian": ('kind = "gaussian", std = 1.0',),
    "random_simplex": ('kind = "random_simplex"',),
    "sign_flip": ('kind = "sign_flip"',),
    "flipped_update": ('kind = "sign_flip", of = "update"',),
    # Three of ten such messages outweigh seven honest ones: the mean update turns round.
    "inner_product": ('kind = "inner_product", knowledge = "all", epsilon = 4.0',),
    "worst_word": ('kind = "worst_word", word = WORST',),
    "alie": ('kind = "alie", knowledge = "all", z_max = 1.5',),
    "mimic": ('kind = "mimic", knowledge = "all"',),
    "min_max": ('kind = "min_max", knowledge = "all"',),
    "rushing+worst_word": ('kind = "worst_word", word = WORST', 'kind = "rushing"'),
}
"""Name: the tables that stand in the scenario, but for the fraction of malicious workers and the word."""

DEFENCES = {
    "none": None,
    "mean": None,
    "median": 4,
    "trimmed_mean": 4,
    "multi_krum": 3,
    "geometric_median": 4,
    "centred_clipping": None,
    "regularised": None,
    "fldetector": None,
}
"""A variant of `messages.toml`: the largest `f` that its rule takes with ten rows, where it has one. A rule
is told the true number of malicious workers, or that if they are more."""

# robustness: fractions of malicious workers, beside none at all, and what else is varied
FRACTIONS = (0.1, 0.2, 0.3, 0.4)
CURVE_DEFENCES = ("none", "mean", "trimmed_mean", "multi_krum", "geometric_median", "regularised")
WITH_CUTS, CUTS_OFF = "with cuts", "cuts off"
"""Without cuts only the rule is between malicious workers and z; `none` has no way to z at all then."""
CURVES = (
    ("worst_word", WITH_CUTS),
    ("inner_product", WITH_CUTS),
    ("inner_product", CUTS_OFF),
)

# robustness_heatmap: attacks and defences on each task; a run of the second takes three times as long
HEATMAP_FRACTION = 0.3
HEATMAP_ATTACKS = {
    "synthetic": tuple(name for name in ATTACKS if name not in (CLEAN, "rushing+worst_word")),
    "5g": ("gaussian", "sign_flip", "inner_product", "worst_word"),
}
HEATMAP_DEFENCES = {
    "synthetic": tuple(DEFENCES),
    "5g": ("none", "mean", "multi_krum"),
}

# poison_mass: calibrated tasks, and variants of `demonstrations.toml`
POISONED = ("5g", "sst2")
POISONS = ("flipped_labels", "random_labels", "out_of_class", "adversarial", "duplicates", "backdoor")

# timing_attack: S, and rules over the active set; `f` is what the fraction makes of S rows, rounded
TIMING_FRACTION = 0.2
TIMING_ATTACKS = ("worst_word", "rushing+worst_word")
TIMING_RULES = {"mean": '{kind = "mean"}', "trimmed_mean": '{kind = "trimmed_mean", f = %d}'}
WAIT_FOR = (3, 5, N_WORKERS)

# regularisation: `outer` and `inner` of `algorithm.robust`
PSI_FRACTION = 0.3
PSI_ATTACKS = ("worst_word",)
PSI = (0.01, 0.05, 0.2, 1.0)
OPTIONS = {"r1": ("R1", "R2"), "r3": ("R0", "R3"), "r4": ("R0", "R4"), "regularised": ("R1", "R3")}


class RobustnessPlace(NamedTuple):
    """A place in a figure, and the run that stands there."""

    labels: dict[str, Any]
    scenario: Scenario


def main(words: Sequence[str] | None = None) -> None:
    """Run the study and draw it."""
    carry_out(study, words, "robustness", __doc__, only=PLACES, scenarios="poisoning")


def study(options: argparse.Namespace) -> None:
    """Run what is not finished yet, then draw."""
    places = {
        name: [
            RobustnessPlace(place.labels, scenario)
            for place in PLACES[name](options.scenarios)
            for scenario in sweep.replicates([place.scenario], options.replicates)
        ]
        for name in options.only or PLACES
    }
    # Figures share runs: their places pass through the same defences without attack.
    runs = [(scenario, False) for of_one in places.values() for _, scenario in of_one]
    summaries = finished(runs, options.results, options.jobs)
    for name, of_one in places.items():
        rows = [
            (labels | {"seed": scenario.seed}, sweep.folder_of(scenario, options.results))
            for labels, scenario in of_one
        ]
        needed = "attacked_steps" if name == "poison_mass" else "attacked"
        table = _steps(rows) if needed == "attacked_steps" else _summaries(rows, summaries)
        for file in figures.draw(name, {needed: table}.__getitem__, options.output):
            say(file)
        if name == "robustness_heatmap":
            file = options.output / "robustness_expulsions.csv"
            write_whole(file, expulsions([scenario for _, scenario in of_one], table).to_csv(index=False))
            say(file)


def _summaries(
    rows: list[tuple[dict[str, Any], Path]], summaries: dict[Path, dict[str, Any]]
) -> pd.DataFrame:
    return pd.DataFrame({"run_id": folder.name} | summaries[folder] | labels for labels, folder in rows)


def expulsions(scenarios: Sequence[Scenario], runs: pd.DataFrame) -> pd.DataFrame:
    """Return whom each defence that expels workers has expelled, by task and attack.

    Args:
        scenarios: of the runs.
        runs: their summaries with `task, attack, defence`, in the same order.

    Returns:
        `task, attack, defence, runs, honest, honest_expelled, malicious, malicious_expelled, first_s`: how
        many workers there were and were expelled, means over the runs; `first_s` is when the first one was, a
        mean over the runs in which somebody was. Without an attack everybody is honest.
    """
    found = []
    for scenario, run in zip(scenarios, runs.to_dict("records"), strict=True):
        malicious = set() if run["attack"] == CLEAN else set(scenario.malicious_machines)
        out = {int(worker) for worker in run["expelled"]}
        found.append(
            {key: run[key] for key in ("task", "attack", "defence")}
            | {"runs": 1, "honest": scenario.n_machines - len(malicious)}
            | {"honest_expelled": len(out - malicious), "malicious": len(malicious)}
            | {"malicious_expelled": len(out & malicious)}
            | {"first_s": min(run["expelled"].values(), default=math.nan)}
        )
    places = pd.DataFrame(found).groupby(["task", "attack", "defence"], sort=False)
    table = places.mean().assign(runs=places["runs"].sum()).reset_index()
    expels = table.groupby("defence")[["honest_expelled", "malicious_expelled"]].sum().any(axis=1)
    return table[table["defence"].map(expels)].reset_index(drop=True)


def _steps(rows: list[tuple[dict[str, Any], Path]]) -> pd.DataFrame:
    tables = [read_table(folder, "steps").assign(run_id=folder.name, **labels) for labels, folder in rows]
    return pd.concat(tables, ignore_index=True)


def _robustness(folder: Path) -> Iterator[RobustnessPlace]:
    attacked = [(attack, fraction, setting) for attack, setting in CURVES for fraction in FRACTIONS]
    clean = [(CLEAN, 0.0, setting) for setting in (WITH_CUTS, CUTS_OFF)]
    for (attack, fraction, setting), defence in product([*clean, *attacked], CURVE_DEFENCES):
        cuts = setting == WITH_CUTS
        if cuts or defence != "none":
            place = _with_messages(folder, MAIN, attack, fraction, defence, cuts=cuts)
            yield place._replace(labels=place.labels | {"setting": setting})


def _robustness_heatmap(folder: Path) -> Iterator[RobustnessPlace]:
    for task, attacks in HEATMAP_ATTACKS.items():
        for defence, attack in product(HEATMAP_DEFENCES[task], (CLEAN, *attacks)):
            # Without attack the rule is as careful as with one: its price is part of the picture.
            yield _with_messages(folder, task, attack, HEATMAP_FRACTION, defence)


def _regularisation(folder: Path) -> Iterator[RobustnessPlace]:
    for attack in (CLEAN, *PSI_ATTACKS):
        without = _with_messages(folder, MAIN, attack, PSI_FRACTION, "none")
        yield without._replace(labels=without.labels | {"psi": 0.0})
        for (option, (outer, inner)), psi in product(OPTIONS.items(), PSI):
            robust = f'algorithm.robust={{psi = {psi}, outer = "{outer}", inner = "{inner}"}}'
            place = _with_messages(folder, MAIN, attack, PSI_FRACTION, "regularised", [robust])
            yield place._replace(labels=place.labels | {"defence": option, "psi": psi})


def _with_messages(
    folder: Path,
    task: str,
    attack: str,
    fraction: float,
    defence: str,
    more: Sequence[str] = (),
    cuts: bool = True,
) -> RobustnessPlace:
    """Return a place with false messages.

    Args:
        folder: of the scenarios.
        task: of `TASKS`.
        attack: of `ATTACKS`.
        fraction: of workers that attack, which the rule is told; without attack, of those not measured.
        defence: a variant of `messages.toml`.
        more: overrides.
        cuts: whether there are polyhedron updates.
    """
    overrides = [_attacks(attack, fraction, task), *more]
    most, malicious = DEFENCES[defence], round(fraction * N_WORKERS)
    places = ("outer", "inner") if cuts else ("outer",)
    if most is not None:
        overrides += [f"algorithm.aggregation.{at}.f={min(malicious, most)}" for at in places]
    if not cuts:
        unread = ["multipliers", "polyhedron", "inner"]
        if defence != "regularised":  # a rule sets z: no step along a gradient, and no inner loop
            unread += ["z_rate", "aggregation.inner"]
        overrides += ["algorithm.cuts=false", *(f"algorithm.{key}={{unset=true}}" for key in unread)]
    (scenario,) = load_variants(folder / TASKS[task], overrides, [defence])
    labels = _labels(task, attack, defence, fraction) | {"understated": most is not None and most < malicious}
    return RobustnessPlace(labels, scenario)


def _poison_mass(folder: Path) -> Iterator[RobustnessPlace]:
    for task in POISONED:
        for scenario in load_variants(folder / "demonstrations.toml", [f"problem.task.name={task}"], POISONS):
            yield RobustnessPlace({"task": task, "attack": scenario.variant}, scenario)


def _timing_attack(folder: Path) -> Iterator[RobustnessPlace]:
    for (defence, rule), wait_for in product(TIMING_RULES.items(), WAIT_FOR):
        f = round(TIMING_FRACTION * wait_for)
        for attack in (CLEAN, *TIMING_ATTACKS):
            overrides = [
                f"algorithm.wait_for={wait_for}",
                f"algorithm.aggregation.outer={rule % f if '%' in rule else rule}",
                _attacks(attack, TIMING_FRACTION, MAIN),
            ]
            (scenario,) = load_variants(folder / "timing.toml", overrides, ["asynchronous"])
            yield RobustnessPlace(
                _labels(MAIN, attack, defence, TIMING_FRACTION) | {"wait_for": wait_for}, scenario
            )


def _attacks(attack: str, fraction: float, task: str) -> str:
    tables = ", ".join(f"{{{settings}, fraction = {fraction}}}" for settings in ATTACKS[attack])
    return f"attacks=[{tables}]".replace("WORST", str(WORDS[task]))


def _labels(task: str, attack: str, defence: str, fraction: float) -> dict[str, Any]:
    fraction = 0.0 if attack == CLEAN else fraction
    return {"task": task, "attack": attack, "defence": defence, "fraction": fraction}


PLACES: dict[str, Callable[[Path], Iterator[RobustnessPlace]]] = {
    "robustness": _robustness,
    "robustness_heatmap": _robustness_heatmap,
    "poison_mass": _poison_mass,
    "timing_attack": _timing_attack,
    "regularisation": _regularisation,
}

if __name__ == "__main__":
    main()
