"""The sweeps of the project: how many runs, paired by seed, and drawn by the figure that they are for."""

import importlib
from itertools import pairwise
from pathlib import Path

import pytest

from fedsim.results import load_results
from fedsim.sweep import run_all
from fedsim.sweep.plan import read_plan

FOLDER = Path(__file__).parents[2] / "scenarios" / "sweeps"
RUNS = {"straggler": 300, "poisoning": 150, "pareto": 75, "scaling": 120, "staleness": 30}
RUNS |= {"stragglers-and-attackers": 160}
FIGURES = {"straggler": "straggler_sweep", "poisoning": "poisoning_sweep", "stragglers-and-attackers": "grid"}
SHORT = ["budget.epochs=1", "budget.horizon_s=20"]
"""What makes a run of each file take some milliseconds, the target of `scaling` apart."""


def plan(name, *overrides):
    return list(read_plan(FOLDER / f"{name}.toml", overrides).runs())


def test_all_sweeps_are_here():
    assert {file.stem for file in FOLDER.glob("*.toml")} == set(RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_every_point_has_the_same_seeds(name):
    runs = plan(name)
    assert len(runs) == RUNS[name]
    seeds: dict[int, list[int]] = {}
    for scenario, point in runs:
        seeds.setdefault(point.number, []).append(scenario.seed)
    assert len({tuple(of_point) for of_point in seeds.values()}) == 1


def test_there_are_ten_workers_however_many_stragglers():
    assert {scenario.n_workers for scenario, _ in plan("straggler")} == {10}
    assert {scenario.workers[1].count for scenario, _ in plan("straggler")} == {1, 2, 3}


def test_the_malicious_of_few_are_among_those_of_many():
    found = {}
    for scenario, _ in plan("poisoning", "sweep.replicates=1"):
        found.setdefault(len(scenario.malicious), set()).add(scenario.malicious)
    assert set(found) == {0, 2, 4}
    nested = [only for count in sorted(found) for (only,) in [found[count]]]
    assert all(fewer < more for fewer, more in pairwise(nested))


def few(name, scenarios):
    """Return a small part of a sweep's runs that has what its figure needs."""
    if name == "straggler":
        return [one for one in scenarios if one.workers[1].slow_down in (1, 16) and one.workers[1].count < 3]
    if name == "poisoning":
        return [one for one in scenarios if one.attacks[0].fraction in (0.0, 0.4)]
    if name == "stragglers-and-attackers":
        return [one for one in scenarios if one.workers[1].slow_down in (1, 8)]
    return [one for one in scenarios if one.n_workers < 20]


@pytest.mark.parametrize("name", RUNS)
def test_its_figure_can_be_drawn(name, tmp_path):
    soon = ["target.value=0.53", "target.window=1"]  # a little below where they start
    overrides = soon if name == "scaling" else SHORT
    # Two seeds where a figure needs them; a point of one seed has no interval, but it has a place.
    n_seeds = 2 if name == "pareto" else 1
    runs = [scenario for scenario, _ in plan(name, f"sweep.replicates={n_seeds}", *overrides)]
    ended = {outcome.summary["ended"] for outcome in run_all(few(name, runs), tmp_path)}
    assert ended <= {"budget", "target", "no update"}  # some need more than `SHORT` for a single update
    module = importlib.import_module(f"fedsim_analysis.figures.{FIGURES.get(name, name)}")
    tables = {table: load_results(tmp_path, table) for table in module.NEEDS}
    assert len(module.table(**tables)) > 0
    assert module.figure(**tables).axes
