"""Heatmap: damage and its sign by hand, the worst attack, the cap of the colours, runs that diverged."""

import numpy as np
import pytest
from attacked_cases import only, trial, trials

from fedsim.errors import InputError
from fedsim_analysis.figures import robustness_heatmap

DAMAGE = {
    ("mean", "sign_flip"): 0.3,
    ("mean", "alie"): 0.1,
    ("median", "sign_flip"): 0.02,
    ("median", "alie"): 0.05,
}


def attacked(damage=None):
    """Return two rules under two attacks, seeds 0 and 1: seed 1 loses 0.2 more throughout, clean or not."""
    rows = []
    for seed in (0, 1):
        rows += [trial(defence=name, seed=seed, loss=0.2 + 0.2 * seed) for name in ("mean", "median")]
        rows += [
            trial("sst2", attack, defence, 0.3, seed, 0.2 + 0.2 * seed + lost)
            for (defence, attack), lost in (damage or DAMAGE).items()
        ]
    return trials(*rows)


def test_damage_by_hand_is_paired_by_seed():
    found = only(
        robustness_heatmap.table(attacked(), "loss_consensus"), attack="sign_flip", defence="mean", drawn=True
    )
    assert (found["quantity"], found["measure"]) == ("damage", "loss_consensus")
    # 0.5 - 0.2 and 0.7 - 0.4: the seeds differ by 0.2, the damage not at all
    assert [found[name] for name in ("mean", "mean_low", "mean_high")] == pytest.approx([0.3, 0.3, 0.3])


def test_the_first_column_is_the_value_without_attack():
    found = only(
        robustness_heatmap.table(attacked(), "loss_consensus"), attack="none", defence="median", drawn=True
    )
    assert found["quantity"] == "value"
    assert found["mean"] == pytest.approx(0.3)
    assert found["mean_high"] == pytest.approx(0.3 + 1.27062, abs=1e-5)


def test_more_is_worse_for_accuracies_too():
    table = robustness_heatmap.table(attacked(), measure="accuracy")
    found = only(table, attack="sign_flip", defence="mean", drawn=True)
    assert (found["measure"], found["mean"]) == ("accuracy", pytest.approx(30.0))


def test_the_last_column_is_the_worst_attack_of_each_defence():
    table = robustness_heatmap.table(attacked(), "loss_consensus")
    worst = table[(table["attack"] == "worst") & table["drawn"]].set_index("defence")
    assert worst["worst_attack"].to_dict() == {"mean": "sign_flip", "median": "alie"}
    assert worst["mean"].to_dict() == pytest.approx({"mean": 0.3, "median": 0.05})


def test_a_diverged_run_is_the_worst():
    table = attacked()
    table.loc[
        (table["attack"] == "alie") & (table["defence"] == "mean") & (table["seed"] == 0), "loss_consensus"
    ] = None
    worst = only(
        robustness_heatmap.table(table, "loss_consensus"), attack="worst", defence="mean", drawn=True
    )
    assert worst["worst_attack"] == "alie"
    assert np.isnan(worst["mean"])
    panel = robustness_heatmap.figure(table, "loss_consensus").axes[0]
    assert sum(text.get_text() == "div." for text in panel.texts) == 2
    colours = panel.images[0].get_array()
    assert colours[0, 2] == colours[0, 3] == panel.images[0].norm.vmax


def test_figure_prints_the_numbers_and_leaves_the_first_column_without_colour():
    picture = robustness_heatmap.figure(attacked(), "loss_consensus")
    panel, scale = picture.axes
    assert [label.get_text() for label in panel.get_xticklabels()] == [
        "no\nattack",
        "sign\nflip",
        "ALIE",
        "worst",
    ]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["mean", "median"]
    cells = {text.get_position(): text.get_text() for text in panel.texts}
    assert cells[0, 0] == "0.300\n±1.271"
    assert cells[1, 0] == "0.300\n±0.000"
    assert cells[3, 1] == "0.050\n±0.000"
    colours = panel.images[0].get_array()
    assert colours.mask[:, 0].all()
    assert not colours.mask[:, 1:].any()
    assert colours[1, 1:].tolist() == pytest.approx([0.02, 0.05, 0.05])
    assert scale.get_ylabel() == "Rise in test loss"
    assert panel.images[0].norm.vmax == pytest.approx(0.3)


def test_the_colours_end_at_a_stated_cap_where_one_cell_explodes():
    damage = DAMAGE | {("mean", "sign_flip"): 50.0}
    quiet = {("median", f"quiet_{number}"): 0.04 for number in range(6)}
    panel, scale = robustness_heatmap.figure(attacked(damage | quiet), "loss_consensus").axes
    # 0.02, six of 0.04, 0.05, 0.1 and 50: the upper quartile lies at 0.04 + 0.75 x 0.01
    assert panel.images[0].norm.vmax == pytest.approx(4 * 0.0475)
    assert scale.get_ylabel() == "Rise in test loss (colours end at 0.19)"
    assert "50.0\n±0.0" in {text.get_text() for text in panel.texts}


def test_a_cell_without_runs_stays_empty():
    table = attacked()
    table = table[(table["defence"] != "median") | (table["attack"] != "alie")]
    panel = robustness_heatmap.figure(table, "loss_consensus").axes[0]
    assert (2, 1) not in {text.get_position() for text in panel.texts}
    assert panel.images[0].get_array().mask[1].tolist() == [True, False, True, False]


def test_what_is_refused():
    table = attacked()
    clean = (table["attack"] == "none") & (table["defence"] == "mean") & (table["seed"] == 1)
    with pytest.raises(InputError, match="task sst2, defence mean, seed 1: there is no run without attack"):
        robustness_heatmap.table(table[~clean])
