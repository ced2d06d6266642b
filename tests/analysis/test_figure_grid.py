"""The picture of any sweep: its numbers worked out by hand, what stands where, and what it refuses."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from matplotlib.colors import to_hex
from scipy import stats
from tiny_tables import assert_inside, run

from fedsim.errors import InputError
from fedsim_analysis import style
from fedsim_analysis.figures import draw, figure, grid, options_of
from fedsim_analysis.grids.scales import is_by_factors
from fedsim_analysis.sources import chosen

SLOW, S, KIND, SHARE = "workers.1.slow_down", "algorithm.wait_for", "attacks.0.kind", "attacks.0.fraction"


def rows(method, settings, *times, **others):
    """Return one run per time, with seeds 0, 1, ..."""
    columns = {"ended": "budget", **settings, **others}
    name = "-".join(map(str, settings.values()))
    return [
        run("one", method, seed, time_s, **columns) | {"run_id": f"{method}-{name}-{seed}"}
        for seed, time_s in enumerate(times)
    ]


def sweep():
    """Return AsynDBT over S and SDBT, which has no S, for two factors of the straggler."""
    none = math.nan
    return pd.DataFrame(
        [
            *rows("sdbt", {SLOW: 1.0, S: none}, 10.0, 14.0, 12.0),
            *rows("sdbt", {SLOW: 4.0, S: none}, 30.0, 34.0, 38.0),
            *rows("asyndbt", {SLOW: 1.0, S: 2.0}, 9.0, 11.0, 13.0),
            *rows("asyndbt", {SLOW: 1.0, S: 5.0}, 8.0, 10.0, 9.0),
            *rows("asyndbt", {SLOW: 4.0, S: 2.0}, 15.0, 16.0, 20.0),
            *rows("asyndbt", {SLOW: 4.0, S: 5.0}, 25.0, 24.0, 23.0),
        ]
    )


def attacked(clean=("sign_flip", "alie")):
    """Return two attacks at two shares of malicious workers, each clean run once for the kinds of `clean`."""
    places = [(kind, 0.0, 10.0) for kind in clean] + [("sign_flip", 0.4, 50.0), ("alie", 0.4, 70.0)]
    return pd.DataFrame(
        [one for kind, share, time in places for one in rows("mean", {KIND: kind, SHARE: share}, time, time)]
    )


def test_means_and_intervals_and_what_has_no_place_across():
    found = grid.table(sweep(), x=S, y="simulated_time_s", facet=SLOW)
    first = found[found[SLOW] == 1]
    assert first["method"].tolist() == ["sdbt", "asyndbt", "asyndbt"]
    assert first["mean"].tolist() == [12, 11, 9]
    assert first[S].tolist()[1:] == [2, 5]
    assert math.isnan(first[S].iloc[0])  # SDBT: a line across
    half = stats.t.ppf(0.975, 2) * stats.sem([9, 11, 13])
    assert first["mean_high"].iloc[1] == pytest.approx(11 + half)
    assert first["mean_low"].iloc[1] == pytest.approx(11 - half)


def test_differences_are_paired_by_seed_and_a_baseline_without_the_axis_counts_for_every_value():
    found = grid.table(sweep(), x=S, y="simulated_time_s", facet=SLOW, baseline="sdbt")
    assert found["method"].tolist() == ["asyndbt"] * 4
    differences = {(1.0, 2.0): [-1, -3, 1], (1.0, 5.0): [-2, -4, -3], (4.0, 2.0): [-15, -18, -18]}
    for (factor, active), values in differences.items():
        (row,) = found[(found[SLOW] == factor) & (found[S] == active)].to_dict("records")
        low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert [row["mean"], row["mean_low"], row["mean_high"]] == pytest.approx([sum(values) / 3, low, high])
        assert (row["baseline"], row["pairs"]) == ("sdbt", 3)


@pytest.mark.parametrize("clean", [("sign_flip", "alie"), ("alie",)], ids=["each", "run once"])
def test_runs_without_an_attack_stand_in_every_panel(clean):
    found = grid.table(attacked(clean), x=SHARE, y="simulated_time_s", facet=KIND)
    assert found[[KIND, SHARE, "mean", "runs"]].to_numpy().tolist() == [
        ["alie", 0.0, 10.0, 2],
        ["alie", 0.4, 70.0, 2],
        ["sign_flip", 0.0, 10.0, 2],
        ["sign_flip", 0.4, 50.0, 2],
    ]


def test_runs_without_an_attack_that_differ_are_not_taken_for_one():
    runs = attacked(("alie",)).assign(**{"algorithm.tau": 5})
    clean = runs[runs[SHARE] == 0].assign(**{"algorithm.tau": 9, "run_id": "other"})
    with pytest.raises(InputError, match=r"differ in algorithm\.tau as well"):
        grid.table(pd.concat([runs, clean]), x=SHARE, facet=KIND)


def test_who_never_reached_the_target_makes_a_bound_and_a_hollow_point():
    runs = sweep()
    missed = (runs["variant"] == "asyndbt") & (runs[S] == 2) & (runs["seed"] == 0) & (runs[SLOW] == 1)
    runs.loc[missed, "time_to_target_s"] = math.nan  # others after 5.5 s and 6.5 s, it ended after 9 s
    found = grid.table(runs, x=S, y="time_to_target_s", facet=SLOW)
    assert found["without"].tolist() == [0, 1, 0, 0, 0, 0]
    assert found["mean"].iloc[1] == pytest.approx((9 + 5.5 + 6.5) / 3)
    (legend,) = figure("grid", runs, x=S, y="time_to_target_s", facet=SLOW).legends
    assert "some never reached the target" in {text.get_text() for text in legend.texts}


def test_two_numbers_make_a_heat_map_with_a_panel_for_each_method():
    picture = figure("grid", sweep(), x=SLOW, heat=S, y="simulated_time_s")
    maps = {axes.get_title(): axes.images[0].get_array() for axes in picture.axes if axes.images}
    assert maps["AsynDBT"].tolist() == [[11, 17], [9, 24]]
    assert maps["SDBT"].tolist() == [[12, 34], [12, 34]]  # the same for every S


def test_names_make_bars_and_methods_keep_their_colours_when_others_are_hidden():
    runs = pd.DataFrame(
        [
            one
            for method, time in (("asyndbt", 9.0), ("half", 7.0), ("slow", 8.0))
            for kind in ("sign_flip", "alie")
            for one in rows(method, {KIND: kind}, time, time + 1)
        ]
    )
    all_names = style.methods(["asyndbt", "half", "slow"])
    assert (
        style.method("slow").colour == style.method("half").colour
    )  # each alone has the colour of the other
    for where in (None, "variant != 'half'", "variant == 'slow'"):
        picture = figure("grid", runs, x=KIND, y="simulated_time_s", group="variant", where=where)
        (legend,) = picture.legends
        shown = {
            text.get_text(): patch.get_edgecolor()
            for text, patch in zip(legend.texts, legend.legend_handles, strict=True)
        }
        assert shown
        for name, look in all_names.items():
            if look.label in shown:
                assert to_hex(shown[look.label]) == look.colour.lower(), name
    assert_inside(picture)


def test_axes_find_their_places_and_points_stand_apart():
    picture = figure("grid", sweep())
    assert picture.get_supxlabel() == "Active workers $S$"  # a choice goes before what it meets
    assert [axes.get_title() for axes in picture.axes] == ["Straggler factor: 1", "Straggler factor: 4"]
    picture = figure("grid", sweep(), x=SLOW, group=S, where="variant == 'asyndbt'")
    lines = [line for line in picture.axes[0].lines if line.get_linestyle() != "None"]
    places = [tuple(line.get_xdata()) for line in lines]
    assert len(places) == len(set(places)) == 2


def test_factors_are_told_from_steps():
    assert is_by_factors([1, 2, 4, 8])
    assert not is_by_factors([0.0, 0.2, 0.4])
    assert not is_by_factors([1, 4, 8, 12, 16])


def test_a_figure_says_from_which_runs_it_is(tmp_path):
    where = f"{SLOW} == 4"
    files = draw("grid", sweep(), tmp_path / "mine", where=where, x=S, y="simulated_time_s")
    told = f"from 9 runs of one, seeds 0 to 2; where {where}".encode()
    assert told in files[1].read_bytes()
    assert len(pd.read_csv(files[2])) == 3


def test_frames_by_name_and_which_options_a_figure_takes():
    tables = {"runs": sweep()}
    assert figure("grid", tables, x=S, facet=SLOW).axes
    with pytest.raises(InputError, match="needs the table 'steps'; found 'runs'"):
        figure("curves", tables)
    assert "window" in options_of("timeline")


def test_other_tables_keep_the_rows_of_the_runs_that_are_left():
    runs = sweep()
    steps = pd.DataFrame({"run_id": runs["run_id"], "step": range(len(runs))})
    left = chosen({"runs": runs, "steps": steps}, f"{SLOW} == 4 and variant == 'sdbt'").load("steps")
    assert left["step"].tolist() == [3, 4, 5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"x": S},
            rf"differ in {SLOW} as well: name it by --facet or --facet-row, .* --where \"{SLOW} == 1\"",
        ),
        (
            {"x": "algorithm.waitfor"},
            r"--x 'algorithm.waitfor': no setting .* did you mean 'algorithm.wait_for'",
        ),
        ({"x": S, "facet": "slowdown"}, r"--facet 'slowdown': .* did you mean 'slow_down'"),
        ({"x": S, "facet": SLOW, "where": "seed = 7"}, r"true or false of each row; equal is =="),
        ({"x": S, "facet": SLOW, "y": "acuracy"}, r"--y 'acuracy': .* did you mean 'accuracy'"),
        ({"x": S, "facet": S}, f"{S} is named for two places"),
        ({"x": S, "facet": SLOW, "baseline": "fedsgd"}, r"--baseline 'fedsgd': no such method or variant"),
        ({"x": SLOW, "heat": S, "group": "variant"}, "--group: a heat map has no lines"),
        ({"x": S, "facet": SLOW, "where": "seed > 7"}, r"--where 'seed > 7': no run is left of 18"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_refusals_name_what_would_help(options, message):
    with pytest.raises(InputError, match=message):
        figure("grid", sweep(), **options)


def test_an_option_that_a_figure_does_not_take_names_the_figures_that_do():
    with pytest.raises(
        InputError, match=r"figure 'pareto' has no option 'facet-row' \(figures with it: grid\)"
    ):
        figure("pareto", sweep(), facet_row=SLOW)
