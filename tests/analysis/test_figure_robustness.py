"""Robustness: means and intervals by hand, the runs without attack in every panel, hollow points."""

import numpy as np
import pandas as pd
import pytest
from attacked_cases import only, trial, trials

from fedsim.errors import InputError
from fedsim_analysis import style
from fedsim_analysis.figures import robustness
from fedsim_analysis.trials import columns


def attacked():
    """Return one task, two attacks and two rules, two seeds: the mean loses, the median holds."""
    rows = []
    for seed in (0, 1):
        for defence, slope in (("median", 0.1), ("mean", 1.0)):
            rows.append(trial(defence=defence, seed=seed, loss=0.2 + 0.2 * seed))
            rows += [
                trial("sst2", attack, defence, fraction, seed, 0.2 + 0.2 * seed + slope * fraction)
                for attack in ("sign_flip", "alie")
                for fraction in (0.2, 0.4)
            ]
    table = trials(*rows)
    table["understated"] = (table["defence"] == "median") & (table["fraction"] == 0.4)
    return table


def test_table_by_hand():
    found = only(
        robustness.table(attacked(), "loss_consensus"),
        attack="alie",
        defence="mean",
        fraction=0.4,
        drawn=True,
    )
    assert found["measure"] == "loss_consensus"
    assert found["mean"] == pytest.approx(0.7)  # 0.6 and 0.8
    # deviation 0.2 / sqrt(2), so the standard error is 0.1; t(0.975, 1) = 12.7062
    assert found["mean_low"] == pytest.approx(0.7 - 1.27062, abs=1e-5)
    assert found["mean_high"] == pytest.approx(0.7 + 1.27062, abs=1e-5)
    assert (found["runs"], found["runs_measured"]) == (2, 2)


def test_all_measures_stand_in_the_table_and_accuracies_in_percent():
    table = robustness.table(attacked(), measure="accuracy")
    at = {"attack": "sign_flip", "defence": "mean", "fraction": 0.2}
    means = {name: only(table, measure=name, **at)["mean"] for name in table["measure"].unique()}
    assert means == pytest.approx(
        {
            "loss_consensus": 0.5,
            "accuracy_consensus": 50.0,
            "loss": 0.6,
            "accuracy": 40.0,
            "consensus_gap": 1.0,
        }
    )
    assert table.loc[table["drawn"], "measure"].unique().tolist() == ["accuracy"]


def test_the_runs_without_attack_are_in_every_attack():
    table = robustness.table(attacked(), "loss_consensus")
    assert table["attack"].unique().tolist() == ["sign_flip", "alie"]
    for attack in ("sign_flip", "alie"):
        found = only(table, attack=attack, defence="mean", fraction=0.0, drawn=True)
        assert found["mean"] == pytest.approx(0.3)


def test_the_runs_without_attack_are_only_in_settings_that_the_attack_has():
    """The second attack was tried in a setting more: that setting's clean runs are none of the first's."""
    more = attacked()[lambda rows: rows["attack"] != "sign_flip"].assign(setting="cuts off")
    table = robustness.table(pd.concat([attacked(), more]), "loss_consensus")
    settings = table.groupby("attack")["setting"].unique().map(sorted).to_dict()
    assert settings == {"sign_flip": [""], "alie": ["", "cuts off"]}


def test_a_diverged_run_is_not_left_out():
    table = attacked()
    table.loc[(table["attack"] == "alie") & (table["seed"] == 1), "loss_consensus"] = None
    found = only(
        robustness.table(table, "loss_consensus"), attack="alie", defence="mean", fraction=0.4, drawn=True
    )
    assert np.isnan(found["mean"])
    assert (found["runs"], found["runs_measured"]) == (2, 1)


def test_figure_has_a_row_a_task_a_column_an_attack_and_a_line_a_defence():
    both = pd.concat([attacked(), attacked().assign(task="5g")])
    picture = robustness.figure(both, "loss_consensus")
    assert [panel.get_title() for panel in picture.axes] == ["sign flip", "ALIE", "", ""]
    assert [panel.get_title(loc="left") for panel in picture.axes] == ["5G", "", "SST-2", ""]
    assert picture.get_supxlabel() == "Malicious workers (%)"
    assert picture.get_supylabel() == "Test loss, consensus prompt"
    labels = [text.get_text() for text in picture.legends[0].get_texts()]
    assert labels == ["mean", "median"]
    drawn = [bar for bar in picture.axes[1].containers if bar.lines[0].get_color() == "#999999"]
    (bars,) = drawn
    assert list(bars.lines[0].get_ydata()) == pytest.approx([0.3, 0.5, 0.7])
    assert list(bars.lines[0].get_xdata()) == pytest.approx([-0.8, 19.2, 39.2])  # the first of two: left
    low, high = bars.lines[2][0].get_segments()[1][:, 1]
    assert (low, high) == pytest.approx((0.5 - 1.27062, 0.5 + 1.27062), abs=1e-5)


def test_a_rule_that_was_told_too_few_malicious_workers_has_a_hollow_point():
    panel = robustness.figure(attacked(), "loss_consensus").axes[0]
    hollow = [line for line in panel.lines if line.get_markerfacecolor() == "white"]
    assert [list(line.get_xdata()) for line in hollow if len(line.get_xdata())] == [[pytest.approx(40.8)]]
    assert {line.get_color() for line in hollow if len(line.get_xdata())} == {style.defence("median").colour}


def test_the_measure_is_an_option():
    picture = robustness.figure(attacked(), measure="accuracy")
    assert picture.get_supylabel() == "Test accuracy, own prompts (%)"
    assert max(picture.axes[0].containers[0].lines[0].get_ydata()) == pytest.approx(60.0)


def test_what_is_refused():
    with pytest.raises(InputError, match="unknown measure 'los'; did you mean 'loss'"):
        robustness.table(attacked(), measure="los")
    with pytest.raises(InputError, match="no column 'understated'"):
        robustness.table(attacked().drop(columns="understated"))
    with pytest.raises(InputError, match=r"attack none, defence median, fraction 0.0, .* seed 0: there are"):
        robustness.table(pd.concat([attacked(), attacked().head(1)]))


def test_a_legend_has_rows_of_one_length():
    assert [columns(entries, most=7) for entries in (1, 7, 8, 15)] == [1, 7, 4, 5]


def test_every_defence_has_a_colour_of_its_own():
    others = [*style.METHODS.values(), *style.ACTIVITIES.values()]
    taken = [look.colour for look in others] + list(style.SPARE_COLOURS)
    ours = [look.colour for look in (*style.DEFENCES.values(), *style.POISONS.values())]
    assert len({*taken, *ours}) == len(taken) + len(ours)


def test_defences_are_told_apart_without_their_colour():
    looks = [(look.line, look.marker) for look in style.DEFENCES.values()]
    assert len(set(looks)) == len(looks)


def test_an_unknown_name_keeps_its_look():
    assert style.defence("my_rule") == style.defence("my_rule")
    assert style.defence("my_rule").label == "my rule"
    assert style.poison("my_rule").colour in style.SPARE_COLOURS
    assert style.attack_name("rushing+min_max") == "rushing + min-max"
