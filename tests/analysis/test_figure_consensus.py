"""What agreement is worth: means and paired gains by hand, hollow points, and what is refused."""

from __future__ import annotations

import pandas as pd
import pytest
from tiny_tables import assert_inside, run

from fedsim.errors import InputError
from fedsim_analysis.figures import consensus

ALPHAS = (0.1, 10.0)


def runs(**gains: float) -> pd.DataFrame:
    """Return three seeds of local tuning at 70, 80, 90 %, and of methods that gain so much at alpha 0.1."""
    return pd.DataFrame(
        [
            run("one", method, seed, 9.0, algorithm="asyndbt", n_workers=6)
            | {
                "accuracy": 0.7 + 0.1 * seed + (gain + 0.01 * seed if gain and alpha < 1 else 0.0),
                "problem.dirichlet_alpha": alpha,
                "consensus_gap": 1.4,
                "constraint_met": float(seed == 0) if gain else float("nan"),
            }
            for method, gain in ({"local": 0.0} | gains).items()
            for alpha in ALPHAS
            for seed in range(3)
        ]
    )


def test_means_and_paired_gains_by_hand():
    table = consensus.table(runs(asyndbt=0.05)).set_index(["method", "alpha"])
    unlike = table.loc["asyndbt", 0.1]
    # 75, 86, 97 %; the gains are 5, 6, 7 points: standard error 1 / sqrt(3), t(0.975, 2) = 4.302653
    assert unlike["accuracy_percent"] == pytest.approx(86)
    assert unlike["gain_points"] == pytest.approx(6)
    assert unlike["gain_points_high"] == pytest.approx(6 + 4.302653 / 3**0.5)
    assert unlike["constraint_met"] == pytest.approx(1 / 3)
    assert table.loc["asyndbt", 10.0]["gain_points"] == pytest.approx(0)
    assert pd.isna(table.loc["local", 0.1]["gain_points"])
    assert list(dict.fromkeys(table.index.get_level_values("method"))) == ["asyndbt", "local"]


def test_what_is_drawn():
    picture = consensus.figure(runs(asyndbt=0.05, sdbt=0.02))
    accuracy, gain = picture.axes
    assert {text.get_text() for text in picture.legends[0].texts} == {"AsynDBT", "SDBT", "local, no exchange"}
    assert accuracy.get_ylabel() == "Test accuracy, own words (%)"
    assert [label.get_text() for label in gain.get_xticklabels()] == ["0.1", "10"]
    # One run in three met its constraint: these points are hollow. Local tuning has none to meet.
    hollow = [
        line for line in accuracy.lines if line.get_markerfacecolor() == "white" and len(line.get_xdata())
    ]
    assert len(hollow) == 2
    assert_inside(picture)


def test_local_tuning_must_be_there():
    with pytest.raises(InputError, match="a variant 'local' beside others"):
        consensus.table(runs(asyndbt=0.05).query("variant != 'local'"))
