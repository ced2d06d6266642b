"""Regularisation: means over psi by hand, the line without psi, and the study's content."""

import pandas as pd
import pytest
from attacked_cases import only, trial, trials

from fedsim.errors import InputError
from fedsim_analysis.figures import regularisation


def attacked():
    """Return psi = 0.1 and 1 of two options, and none, with and without attack, two seeds."""
    rows = []
    for seed in (0, 1):
        for attack, worse in (("none", 0.0), ("sign_flip", 0.5)):
            rows.append(trial("sst2", attack, "none", 0.0, seed, 0.2 + worse + 0.2 * seed, psi=0.0))
            rows += [
                trial("sst2", attack, option, 0.0, seed, 0.3 + worse * share + 0.1 * psi, psi=psi)
                for option, share in (("r3", 0.1), ("r1", 0.8))
                for psi in (1.0, 0.1)
            ]
    return trials(*rows)


def test_table_by_hand():
    table = regularisation.table(attacked(), "loss_consensus")
    found = only(table, attack="sign_flip", defence="r1", psi=0.1, drawn=True)
    assert found["mean"] == pytest.approx(0.3 + 0.4 + 0.01)
    without = only(table, attack="none", defence="none", drawn=True)
    # 0.2 and 0.4: standard error 0.1, t(0.975, 1) = 12.7062
    assert [without[name] for name in ("psi", "mean", "mean_low")] == pytest.approx(
        [0.0, 0.3, -0.97062], abs=1e-5
    )


def test_figure_has_the_price_first_then_the_attacks():
    table = attacked()
    both = pd.concat([table[table["attack"] != "none"], table[table["attack"] == "none"]])
    picture = regularisation.figure(both, "loss_consensus")
    price, attack = picture.axes
    assert [panel.get_title() for panel in picture.axes] == ["no attack", "sign flip"]
    assert price.get_ylabel() == "SST-2: Test loss, consensus prompt"
    assert {panel.get_xlabel() for panel in picture.axes} == {"Weight $\\psi$"}
    assert price.get_xscale() == "log"
    assert [label.get_text() for label in price.get_xticklabels()] == ["0.1", "1"]
    labels = [text.get_text() for text in picture.legends[0].get_texts()]
    assert labels == ["R1 alone", "R3 alone", "without $\\psi$"]
    lines = {bar.lines[0].get_color(): list(bar.lines[0].get_ydata()) for bar in attack.containers}
    assert lines == {"#C2A5CF": pytest.approx([0.71, 0.8]), "#762A83": pytest.approx([0.36, 0.45])}
    (without,) = [
        line for line in attack.lines if len(set(line.get_ydata())) == 1 and line.get_color() == "#222222"
    ]
    assert without.get_ydata()[0] == pytest.approx(0.8)
    band = attack.patches[0].get_extents().transformed(attack.transData.inverted())
    assert (band.y0, band.y1) == pytest.approx((0.8 - 1.27062, 0.8 + 1.27062), abs=1e-5)


def test_the_price_has_a_scale_of_its_own_and_the_attacks_share_theirs():
    three = pd.concat(
        [
            attacked(),
            attacked().query("attack == 'sign_flip'").assign(attack="worst_word", loss_consensus=0.9),
        ]
    )
    price, one, other = regularisation.figure(three, "loss_consensus").axes
    assert one.get_ylim() == other.get_ylim() != price.get_ylim()


def test_what_is_refused():
    with pytest.raises(InputError, match="no column 'psi'"):
        regularisation.table(attacked().drop(columns="psi"))
    with pytest.raises(InputError, match=r"attack none, defence none, psi 0.0, seed 0: there are 2 runs"):
        regularisation.table(pd.concat([attacked(), attacked().head(1)]))
