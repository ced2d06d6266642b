"""Timing: shares of places by hand, damage against the same S, and the synchronous end of the axis."""

import pandas as pd
import pytest
from attacked_cases import only, trial, trials

from fedsim.errors import InputError
from fedsim_analysis import style
from fedsim_analysis.figures import timing_attack

PLACES = {
    ("sign_flip", 2): 100,
    ("rushing+sign_flip", 2): 400,
    ("sign_flip", 10): 100,
    ("rushing+sign_flip", 10): 100,
}
DAMAGE = {
    ("sign_flip", 2): 0.1,
    ("rushing+sign_flip", 2): 0.4,
    ("sign_flip", 10): 0.05,
    ("rushing+sign_flip", 10): 0.05,
}


def attacked(defence="mean", factor=1.0):
    """Return S = 2 and S = R = 10, seeds 0 and 1; of 520 updates 20 never reached a step."""
    rows = []
    for seed in (0, 1):
        for wait_for, clean in ((2, 0.3), (10, 0.2)):
            of_point = {"wait_for": wait_for, "n_workers": 10, "worker_updates": 520, "drained": 20}
            rows.append(trial(defence=defence, seed=seed, loss=clean, malicious_updates=0, **of_point))
            for attack in ("sign_flip", "rushing+sign_flip"):
                loss = clean + factor * DAMAGE[attack, wait_for]
                places = PLACES[attack, wait_for] + 10 * seed
                rows.append(
                    trial("sst2", attack, defence, 0.2, seed, loss, malicious_updates=places, **of_point)
                )
    return trials(*rows)


def test_table_by_hand():
    table = timing_attack.table(attacked(), "loss_consensus")
    assert set(table["attack"]) == {"sign_flip", "rushing+sign_flip"}
    share = only(table, attack="rushing+sign_flip", wait_for=2, measure="places_percent")
    # 400 and 410 of 500 places: 80 and 82 percent, standard error 1, t(0.975, 1) = 12.7062
    assert share["mean"] == pytest.approx(81.0)
    assert share["mean_high"] == pytest.approx(81 + 12.7062, abs=1e-3)
    assert share["drawn"]


def test_damage_is_against_the_same_S_without_attack():
    table = timing_attack.table(attacked(), "loss_consensus")
    damage = [
        only(table, attack="rushing+sign_flip", wait_for=wait_for, measure="loss_consensus")["mean"]
        for wait_for in (2, 10)
    ]
    assert damage == pytest.approx([0.4, 0.05])


def test_figure_shows_places_once_and_damage_a_defence():
    both = pd.concat([attacked(), attacked("trimmed_mean", 0.5)])
    picture = timing_attack.figure(both, "loss_consensus")
    above, below = picture.axes
    assert above.get_ylabel() == "Places of malicious\nworkers (%)"
    assert below.get_ylabel() == "Rise in test loss"
    assert below.get_xlabel() == "Tickets that the server waits for ($S$)"
    assert [label.get_text() for label in below.get_xticklabels()] == ["2", "10\n(synchronous)"]
    shares = {bar.lines[0].get_linestyle(): list(bar.lines[0].get_ydata()) for bar in above.containers}
    assert shares == {":": pytest.approx([21.0, 21.0]), "-": pytest.approx([81.0, 21.0])}
    assert any(list(line.get_ydata()) == pytest.approx([20.0, 20.0]) for line in above.lines)
    damages = {
        (bar.lines[0].get_linestyle(), bar.lines[0].get_color()): list(bar.lines[0].get_ydata())
        for bar in below.containers
    }
    mean, trimmed = (style.defence(name).colour for name in ("mean", "trimmed_mean"))
    assert damages == {
        (":", mean): pytest.approx([0.1, 0.05]),
        ("-", mean): pytest.approx([0.4, 0.05]),
        (":", trimmed): pytest.approx([0.05, 0.025]),
        ("-", trimmed): pytest.approx([0.2, 0.025]),
    }
    labels = [text.get_text() for text in picture.legends[0].get_texts()]
    assert labels == ["sign flip", "rushing + sign flip", "mean", "trimmed mean"]


def test_points_of_one_S_stand_beside_each_other():
    below = timing_attack.figure(attacked(), "loss_consensus").axes[1]
    places = [list(bar.lines[0].get_xdata()) for bar in below.containers]
    assert places == [pytest.approx([-0.08, 0.92]), pytest.approx([0.08, 1.08])]


def test_the_largest_S_is_marked_only_where_it_is_synchronous():
    table = attacked()
    picture = timing_attack.figure(table[table["wait_for"] == 2], "loss_consensus")
    assert [label.get_text() for label in picture.axes[1].get_xticklabels()] == ["2"]


def test_what_is_refused():
    table = attacked()
    with pytest.raises(InputError, match="no column 'wait_for'"):
        timing_attack.table(table.drop(columns="wait_for"))
    with pytest.raises(InputError, match="wait_for 10, n_workers 10, seed 0: there is no run without attack"):
        timing_attack.table(table[(table["attack"] != "none") | (table["wait_for"] != 10)])
