"""What the shipped study of malicious workers shows: attacks that do harm, and rules that differ."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from fedsim import sweep
from fedsim_analysis.figures import robustness_heatmap
from fedsim_analysis.studies import robustness

SCENARIOS = Path(__file__).parents[2] / "scenarios" / "poisoning"
SEEDS = 4
SMALL = {"budget.epochs": 20, "problem.n_samples": 10, "problem.task.test_counts": [50, 50]}
SHOWN = {
    "none": ("none", "random_simplex", "sign_flip", "inner_product", "worst_word"),
    "mean": ("none", "inner_product"),
    "multi_krum": ("none", "inner_product"),
}
"""Defence: the cells of the heat map that are looked at here."""


@pytest.fixture(scope="module")
def damage(tmp_path_factory) -> pd.DataFrame:
    """Return these cells: the lost points of accuracy of the agreed words, with their 95 % interval."""
    folder = tmp_path_factory.mktemp("robustness")
    places = [
        (place.labels, scenario)
        for place in robustness.PLACES["robustness_heatmap"](SCENARIOS)
        if place.labels["task"] == robustness.MAIN
        and place.labels["attack"] in SHOWN.get(place.labels["defence"], ())
        for scenario in sweep.replicates([place.scenario.replace(SMALL)], SEEDS)
    ]
    summaries = {one.folder: one.summary for one in sweep.run_all([run for _, run in places], folder)}
    rows = [{"run_id": run.seed} | summaries[sweep.folder_of(run, folder)] | labels for labels, run in places]
    found = robustness_heatmap.table(pd.DataFrame(rows), "accuracy_consensus")
    cells = found[found["drawn"] & (found["quantity"] == "damage") & (found["attack"] != "worst")]
    return cells.set_index(["defence", "attack"])


def test_at_least_four_attacks_do_visible_harm_without_a_defence(damage):
    assert len(damage.loc["none"]) == 4
    assert (damage.loc["none", "mean_low"] > 0).all()


def test_rules_differ_under_attack(damage):
    """Three of ten workers turn the mean round, and multi-Krum does not notice them."""
    broken, held = (damage.loc[(name, "inner_product")] for name in ("mean", "multi_krum"))
    assert broken["mean_low"] > 30
    assert held["mean_high"] < 5


def test_whom_a_defence_has_expelled():
    """Two runs under an attack by workers 0 and 1 of three, and one without, in which all are honest."""
    scenario = SimpleNamespace(n_machines=3, malicious_machines={0, 1})
    kept = {"task": "synthetic", "attack": "gaussian", "defence": "mean", "expelled": {}}
    out = kept | {"defence": "fldetector"}
    runs = [
        out | {"expelled": {"0": 8.0, "2": 6.0}},
        out | {"expelled": {"0": 4.0, "1": 4.0}},
        out | {"attack": "none", "expelled": {"1": 9.0}},
        kept,
    ]
    found = robustness.expulsions([scenario] * 4, pd.DataFrame(runs)).to_dict("records")
    where = {"task": "synthetic", "defence": "fldetector"}
    assert found == [
        where
        | {"attack": "gaussian", "runs": 2, "honest": 1, "honest_expelled": 0.5, "malicious": 2}
        | {"malicious_expelled": 1.5, "first_s": 5.0},
        where
        | {"attack": "none", "runs": 1, "honest": 3, "honest_expelled": 1, "malicious": 0}
        | {"malicious_expelled": 0, "first_s": 9.0},
    ]
