"""Honest workers' loss against the malicious fraction: by hand, clean runs, rules told too few."""

import math

import pandas as pd
import pytest
from tiny_tables import assert_inside, run

from fedsim.errors import InputError
from fedsim_analysis import style
from fedsim_analysis.figures import poisoning_sweep


def runs(kinds=("alie", "sign_flip")):
    """Return two seeds of two defences: a loss of 0.2 and 0.4, and 0.1 more per malicious worker."""
    return pd.DataFrame(
        [
            run("one", variant, seed, 10.0, loss=loss, accuracy=1 - loss, n_workers=10)
            | {"attacks.0.kind": kind, "attacks.0.fraction": fraction, "algorithm.aggregation.outer.f": told}
            for variant, told in (("mean", math.nan), ("multi_krum", 1))
            for kind in kinds
            for fraction in (0.0, 0.1, 0.2)
            for seed in (0, 1)
            for loss in [0.2 * (seed + 1) + fraction]
        ]
    )


def row(table, **keys):
    (found,) = table[(table[list(keys)] == pd.Series(keys)).all(axis=1)].to_dict("records")
    return found


def test_means_by_hand():
    table = poisoning_sweep.table(runs())
    found = row(table, attack="alie", defence="mean", fraction=0.2, measure="loss")
    assert found["mean"] == pytest.approx(0.5)  # 0.4 and 0.6
    assert found["mean_high"] == pytest.approx(0.5 + 12.7062 * 0.1, abs=1e-4)  # standard error 0.1
    assert found["drawn"]
    accuracy = row(table, attack="sign_flip", defence="mean", fraction=0.0, measure="accuracy")
    assert accuracy["mean"] == pytest.approx(70)  # percent, of 0.8 and 0.6
    assert not accuracy["drawn"]


def test_a_rule_that_is_told_too_few_is_hollow():
    table = poisoning_sweep.table(runs())
    told = table[(table["measure"] == "loss") & table["understated"]]
    assert set(zip(told["defence"], told["fraction"], strict=True)) == {("multi_krum", 0.2)}
    axes = poisoning_sweep.figure(runs()).axes[0]
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white" and len(line.get_xdata())]
    assert [list(line.get_ydata()) for line in hollow] == [[pytest.approx(0.5)]]
    assert hollow[0].get_color() == style.defence("multi_krum").colour


def test_runs_without_any_attack_stand_in_every_panel():
    attacked = runs().query("`attacks.0.fraction` > 0")
    clean = runs(kinds=("alie",)).query("`attacks.0.fraction` == 0")
    clean = clean.assign(**{"attacks.0.kind": math.nan, "attacks.0.fraction": math.nan})
    table = poisoning_sweep.table(pd.concat([clean, attacked], ignore_index=True))
    assert set(table["attack"]) == {"alie", "sign_flip"}
    for attack in ("alie", "sign_flip"):
        found = row(table, attack=attack, defence="mean", fraction=0.0, measure="loss")
        assert (found["mean"], found["runs"]) == (pytest.approx(0.3), 2)


def test_one_attack_for_all_needs_no_column_of_its_kind():
    table = poisoning_sweep.table(runs(kinds=("alie",)).drop(columns="attacks.0.kind"))
    assert set(table["attack"]) == {"attack"}


def test_two_attacks_at_once_have_both_names():
    both = runs(kinds=("alie",)).query("`attacks.0.fraction` > 0")
    both = both.assign(**{"attacks.1.kind": "rushing", "attacks.1.fraction": 0.15})
    table = poisoning_sweep.table(both)
    assert set(table["attack"]) == {"alie+rushing"}
    assert sorted(set(table["fraction"])) == [0.15, 0.2]  # the larger of the two


def test_a_diverged_run_has_no_point():
    lost = runs()
    lost.loc[0, "loss"] = math.nan  # mean, alie, no malicious worker, seed 0
    found = row(poisoning_sweep.table(lost), attack="alie", defence="mean", fraction=0.0, measure="loss")
    assert math.isnan(found["mean"])
    assert (found["runs"], found["runs_measured"]) == (2, 1)


def test_figure_by_hand():
    picture = poisoning_sweep.figure(runs())
    left, right = picture.axes
    assert picture.get_size_inches()[0] == style.COLUMN_IN
    assert [axes.get_title() for axes in (left, right)] == ["ALIE", "sign flip"]
    assert picture.get_supylabel() == "Test loss, own prompts"
    assert picture.get_supxlabel() == "Malicious workers (%)"
    drawn = {bar.lines[0].get_color(): bar.lines[0] for bar in left.containers}
    assert set(drawn) == {style.defence(name).colour for name in ("mean", "multi_krum")}
    mean = drawn[style.defence("mean").colour]
    assert list(mean.get_ydata()) == pytest.approx([0.3, 0.4, 0.5])
    assert list(mean.get_xdata()) == pytest.approx([-0.9, 9.1, 19.1])  # the first of two lines stands left
    assert [text.get_text() for text in picture.legends[0].get_texts()] == ["mean", "multi-Krum"]
    assert_inside(picture)
    assert poisoning_sweep.figure(runs(), measure="accuracy").get_supylabel().endswith("own prompts (%)")


def test_what_is_refused():
    with pytest.raises(InputError, match="none has what is needed: a share of malicious workers that varies"):
        poisoning_sweep.table(runs().query("`attacks.0.fraction` == 0.1"))
    with pytest.raises(
        InputError, match=r"found measure 'los', expected one of loss, accuracy; did you mean 'loss'"
    ):
        poisoning_sweep.table(runs(), measure="los")
    twice = pd.concat([runs(), runs().head(1)], ignore_index=True)
    with pytest.raises(
        InputError, match=r"attack alie, defence mean, fraction 0.0, seed 0: there are 2 runs"
    ):
        poisoning_sweep.table(twice)
