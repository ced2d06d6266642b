"""The shipped scenario in which the method does what it says, and runs that must not be called so."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from fedsim.scenario import load_scenario
from fedsim.simulation import Run, run

FILE = Path(__file__).parents[2] / "scenarios" / "features" / "consensus.toml"
SEEDS = (0, 2)


@pytest.fixture(scope="module")
def agreed() -> list[Run]:
    return [run(load_scenario(FILE, "asyndbt", [f"seed={seed}"])) for seed in SEEDS]


def test_h_falls_below_epsilon_by_multipliers_and_the_gap_closes(agreed: list[Run]) -> None:
    for one in agreed:
        steps: pd.DataFrame = one.steps.dropna(subset=["h_over_epsilon"])
        assert steps.h_over_epsilon.max() > 1
        assert steps.words_within_epsilon.min() < 0.5
        assert (steps.multipliers_above_0 > 0).any()
        assert one.summary["words_within_epsilon"] > 0.5
        assert one.summary["constraint_met"] == 1
        assert "cautions" not in one.summary
        assert one.summary["consensus_gap"] < 0.75 * steps.consensus_gap.max()


def test_words_agreed_on_beat_words_tuned_alone(agreed: list[Run]) -> None:
    for seed, together in zip(SEEDS, agreed, strict=True):
        alone = run(load_scenario(FILE, "local", [f"seed={seed}"]))
        assert "constraint_met" not in alone.summary
        assert together.summary["consensus_gap"] < 0.3 * alone.summary["consensus_gap"]
        assert together.summary["accuracy"] > alone.summary["accuracy"] + 0.05


@pytest.mark.parametrize(
    "idle",
    [
        ["algorithm.inner.p_rate=1e-9", "algorithm.inner.z_rate=0"],  # phi is where the variables are
        ["algorithm.multipliers.rate=1e-300"],
    ],
)
def test_a_run_in_which_nothing_moved_has_not_met_it(idle: list[str]) -> None:
    found = run(load_scenario(FILE, "asyndbt", [*idle, "budget.epochs=20"])).summary
    assert found["constraint_met"] == 0
    assert ("cautions" in found) == (found["cut_updates"] >= 5)
