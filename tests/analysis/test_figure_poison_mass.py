"""Poison mass: interpolated means and intervals by hand, when runs count, and the line of a uniform q."""

import math

import pandas as pd
import pytest
from attacked_cases import only

from fedsim.errors import InputError
from fedsim_analysis.figures import poison_mass


def steps(attack="flipped_labels", task="sst2", seed=0, end_s=100.0, masses=(0.3, 0.1), share=0.3):
    """Return a run measured at the start and at its end, with a step between that is not measured."""
    rows = [(0.0, masses[0]), (end_s / 3, math.nan), (end_s, masses[1])]
    return pd.DataFrame(
        {
            "task": task,
            "attack": attack,
            "seed": seed,
            "run_id": f"{task} {attack} {seed}",
            "time_s": [time_s for time_s, _ in rows],
            "poison_mass": [mass for _, mass in rows],
            "poison_share": [math.nan if math.isnan(mass) else share for _, mass in rows],
        }
    )


def two_seeds(**more):
    return pd.concat([steps(seed=0, **more), steps(seed=1, **({"masses": (0.3, 0.2)} | more))])


def test_table_by_hand():
    table = poison_mass.table(two_seeds())
    assert len(table) == 101
    found = only(table, time_s=50.0)
    # halfway: 0.2 and 0.25; deviation 0.05 / sqrt(2), standard error 0.025, t(0.975, 1) = 12.7062
    assert found["mean"] == pytest.approx(0.225)
    assert found["mean_low"] == pytest.approx(0.225 - 0.317655, abs=1e-6)
    assert found["mean_high"] == pytest.approx(0.225 + 0.317655, abs=1e-6)
    assert (found["runs"], found["poison_share"]) == (2, pytest.approx(0.3))


def test_a_line_ends_with_the_first_run_that_ends():
    three = pd.concat([steps(seed=seed, end_s=end_s) for seed, end_s in enumerate((100.0, 60.0, 40.0))])
    table = poison_mass.table(three)
    assert table["time_s"].max() == 40.0
    last = only(table, time_s=40.0)
    # 0.3 less 0.2 times two fifths, two thirds and all
    assert last["mean"] == pytest.approx(0.3 - 0.2 * (0.4 + 2 / 3 + 1) / 3)
    assert last["runs"] == 3


def test_a_single_run_has_no_interval():
    table = poison_mass.table(steps())
    assert only(table, time_s=100.0)["mean"] == pytest.approx(0.1)
    assert table["mean_low"].isna().all()


def test_figure_has_a_panel_a_task_a_line_an_attack_and_one_of_a_uniform_q():
    both = pd.concat(
        [
            two_seeds(attack=attack, task=task, end_s=600.0)
            for task in ("sst2", "5g")
            for attack in ("backdoor", "flipped_labels")
        ]
    )
    picture = poison_mass.figure(both)
    assert [panel.get_title(loc="left") for panel in picture.axes] == ["5G", "SST-2"]
    assert {panel.get_xlabel() for panel in picture.axes} == {"Simulated time (min)"}
    assert picture.axes[0].get_ylabel() == "Mass on poisoned demonstrations (%)"
    labels = [text.get_text() for text in picture.legends[0].get_texts()]
    assert labels == ["flipped labels", "backdoor", "uniform q"]
    flipped, backdoor, uniform, _ = picture.axes[0].lines
    assert (flipped.get_xdata()[-1], flipped.get_ydata()[0]) == (pytest.approx(10.0), pytest.approx(30.0))
    assert flipped.get_color() == "#648FFF"
    assert backdoor.get_color() == "#1B7837"
    assert list(uniform.get_ydata()) == pytest.approx([30.0, 30.0])
    band = picture.axes[0].collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(15 + 63.531, abs=1e-2)  # at the end: 10 and 20 percent


def test_shares_that_differ_have_the_colours_of_their_attacks():
    table = pd.concat([steps(share=0.3), steps(attack="backdoor", share=0.15)])
    *_, first, second = poison_mass.figure(table).axes[0].lines
    assert (first.get_color(), first.get_ydata()[0]) == ("#648FFF", pytest.approx(30.0))
    assert (second.get_color(), second.get_ydata()[0]) == ("#1B7837", pytest.approx(15.0))


def test_what_is_refused():
    with pytest.raises(InputError, match="no column 'poison_share'"):
        poison_mass.table(steps().drop(columns="poison_share"))
    with pytest.raises(InputError, match="no step of these runs was evaluated"):
        poison_mass.table(steps().assign(poison_mass=math.nan))
    with pytest.raises(InputError, match="task sst2, attack flipped_labels, seed 0: there are 2 runs"):
        poison_mass.table(pd.concat([steps(), steps().assign(run_id="another")]))
