"""Asynchrony that pays or not: shares of SDBT's time by hand, paired by seed, and what is refused."""

import math
from pathlib import Path

import pandas as pd
import pytest
from tiny_tables import assert_inside, run

from fedsim.errors import InputError
from fedsim.sweep.plan import read_plan
from fedsim_analysis import style
from fedsim_analysis.figures import asynchrony

FOLDER = Path(__file__).parents[2] / "scenarios" / "asynchrony"
SECONDS = {"sdbt": (100, 200), "asyndbt": (50, 200), "asyndbt_updates": (400, 200)}
"""Of two seeds; the target is reached after half of them."""


def runs(factors=(1.0, 4.0), scenarios=("one",)):
    return pd.DataFrame(
        [
            run(scenario, method, seed, factor * times[seed], algorithm=method.partition("_")[0])
            | {"run_id": f"{scenario}-{method}-{seed}-{factor}", "workers.1.slow_down": factor}
            | {"accuracy": 0.8 + 0.01 * seed * (method != "sdbt"), "h_over_epsilon": 1.0 + seed}
            | {"constraint_met": float(method == "sdbt"), "cut_updates": 4 + seed}
            for scenario in scenarios
            for method, times in SECONDS.items()
            for seed in (0, 1)
            for factor in factors
        ]
    )


def row(table, **keys):
    (found,) = table[(table[list(keys)] == pd.Series(keys)).all(axis=1)].to_dict("records")
    return found


def test_times_shares_and_points_by_hand():
    table = asynchrony.table(runs())
    found = row(table, measure="time_to_target_s", method="asyndbt", straggler_factor=4)
    assert found["mean"] == pytest.approx(200)  # 100 and 400 s
    found = row(table, measure="time_share", method="asyndbt", straggler_factor=4)
    # Shares 1/2 and 1: logarithms -0.693 and 0, standard error ln(2) / 2; t(0.975, 1) = 12.7062.
    assert found["mean"] == pytest.approx(math.sqrt(0.5))
    half_width = 12.7062 * math.log(2) / 2
    assert math.log(found["mean_high"] / found["mean"]) == pytest.approx(half_width, abs=1e-3)
    assert math.log(found["mean"] / found["mean_low"]) == pytest.approx(half_width, abs=1e-3)
    assert (found["runs"], found["late"]) == (2, 0)
    found = row(table, measure="accuracy_points", method="asyndbt_updates", straggler_factor=1)
    assert found["mean"] == pytest.approx(0.5)  # 0 and 1 point
    found = row(table, measure="cut_updates", method="sdbt", straggler_factor=1)
    assert (found["mean"], found["runs"]) == (4.5, 2)
    assert row(table, measure="constraint_met", method="asyndbt", straggler_factor=4)["mean"] == 0
    assert len(table) == 2 * (3 + 2 + 2 + 3 * 3)


def test_a_run_that_never_gets_there_is_a_lower_bound():
    late = runs()
    lost = (late["variant"] == "asyndbt") & (late["seed"] == 1)
    late.loc[lost, "time_to_target_s"] = math.nan
    table = asynchrony.table(late)
    found = row(table, measure="time_to_target_s", method="asyndbt", straggler_factor=1)
    assert found["mean"] == pytest.approx(math.sqrt(25 * 200))  # the second ends after 200 s
    assert (found["late"], math.isnan(found["mean_low"])) == (1, True)
    found = row(table, measure="time_share", method="asyndbt", straggler_factor=1)
    assert found["mean"] == pytest.approx(1.0)  # 1/2, and at least 200 of 100 s
    picture = asynchrony.figure(late)
    lines = [line for line in picture.axes[0].lines if line.get_markerfacecolor() == "white"]
    assert [len(line.get_xdata()) for line in lines if len(line.get_xdata())] == [2]  # both factors
    assert picture.legends[0].get_texts()[-1].get_text() == "at least: some runs never get there"
    # where SDBT is not there, nothing is known of the share
    late = runs()
    late.loc[(late["variant"] == "sdbt") & (late["seed"] == 1), "time_to_target_s"] = math.nan
    found = row(asynchrony.table(late), measure="time_share", method="asyndbt", straggler_factor=1)
    assert (found["mean"], found["runs"], found["late"]) == (pytest.approx(0.5), 1, 0)


def test_figure_by_hand():
    picture = asynchrony.figure(runs(scenarios=("one", "sst2")))
    assert [axes.get_title() for axes in picture.axes[:2]] == [
        "one: constraint met in 4 of 12 runs",
        "SST-2: constraint met in 4 of 12 runs",
    ]
    times, shares, points = picture.axes[0::2]
    assert times.get_ylabel() == "Time to the target (min)"
    assert shares.get_ylabel() == "Time to the target,\nSDBT = 1"
    assert [label.get_text() for label in points.get_xticklabels()] == ["1", "4"]
    assert list(shares.lines[0].get_ydata()) == [1, 1]
    assert list(points.lines[0].get_ydata()) == [0, 0]
    by_updates = style.FORMS["asyndbt_updates"]
    drawn = {bar.lines[0].get_color(): list(bar.lines[0].get_ydata()) for bar in shares.containers}
    assert drawn[by_updates.colour] == pytest.approx([2, 2])  # 4 and 1 of SDBT's times
    labels = [text.get_text() for text in picture.legends[0].get_texts()]
    assert labels == ["SDBT", "AsynDBT", by_updates.label]
    assert_inside(picture)


def test_without_cuts_there_is_nothing_to_say_of_them():
    bare = runs().drop(columns=["h_over_epsilon", "constraint_met", "cut_updates"])
    assert set(asynchrony.table(bare)["measure"]) == {"time_to_target_s", "time_share", "accuracy_points"}
    assert asynchrony.figure(bare).axes[0].get_title() == "one: no cuts"


def test_what_is_refused():
    with pytest.raises(InputError, match="whose straggler factors do not vary, expected that of one group"):
        asynchrony.table(runs(factors=(1.0,)))
    with pytest.raises(InputError, match=r"vary in workers.1.slow_down, workers.2.slow_down"):
        asynchrony.table(runs().assign(**{"workers.2.slow_down": range(12)}))
    with pytest.raises(InputError, match="found runs of AsynDBT, AsynDBT, cuts by updates, expected runs of"):
        asynchrony.table(runs().query("variant != 'sdbt'"))
    with pytest.raises(InputError, match="found runs of SDBT, expected"):
        asynchrony.table(runs().query("variant == 'sdbt'"))
    twice = pd.concat([runs(), runs().head(1)], ignore_index=True)
    with pytest.raises(InputError, match="there are 2 runs"):
        asynchrony.table(twice)


def test_the_forms_of_asyndbt_are_told_apart():
    looks = [style.method(name) for name in ("asyndbt", *style.FORMS)]
    assert len({look.colour for look in looks}) == len(looks)
    assert len({form.marker for form in style.FORMS.values()} | {"o"}) == len(looks)
    assert style.methods(["sdbt", *style.FORMS])["asyndbt_all"].label == "AsynDBT, all three"


@pytest.mark.parametrize("name", ["frequent-cuts", "rare-cuts"])
def test_the_study_compares_like_with_like(name):
    """Seeds are paired, and cuts by updates come as often as those of SDBT, whose steps have R of them."""
    runs = [scenario for scenario, _ in read_plan(FOLDER / f"{name}.toml").runs()]
    seeds, settings = {}, {}
    for scenario in runs:
        seeds.setdefault((scenario.variant, scenario.workers[1].slow_down), []).append(scenario.seed)
        settings[scenario.variant] = scenario
    assert len({tuple(of_place) for of_place in seeds.values()}) == 1
    assert {factor for _, factor in seeds} == {1, 2, 4, 8}
    assert set(settings) == {"sdbt", "asyndbt", *style.FORMS}
    cuts = {variant: scenario.algorithm.cuts for variant, scenario in settings.items()}
    assert cuts["asyndbt_updates"].every_updates == cuts["sdbt"].every * settings["sdbt"].n_workers
    assert cuts["asyndbt_all"].every_updates == cuts["asyndbt_updates"].every_updates
    assert len({cuts[name].rounds for name in ("sdbt", "asyndbt", "asyndbt_updates", "asyndbt_adapt")}) == 1
    assert len({scenario.problem for scenario in settings.values()}) == 1
