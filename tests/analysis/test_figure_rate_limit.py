"""Time against the rate limit: means and bounds by hand, limits that are not there, and refusals."""

import math

import pandas as pd
import pytest
from tiny_tables import assert_inside, run

from fedsim.errors import InputError
from fedsim_analysis.figures import rate_limit

LIMIT = "llm.requests_per_minute"


def varied():
    """Return SDBT and AsynDBT, 2 and 4 workers, 60 and 600 requests per minute; 1,200 calls for 100 updates.

    At 60 per minute every run takes 20 min and 1 min more or less; at 600 it takes 600 s or 300 s, and
    AsynDBT four fifths of it.
    """
    rows = []
    for method, factor in (("asyndbt", 0.8), ("sdbt", 1.0)):
        for n_workers in (2, 4):
            for limit, time_s in ((60.0, 1260.0), (600.0, factor * 1200 / n_workers)):
                for seed in (0, 1):
                    spread_s = 60.0 * (2 * seed - 1) if limit == 60 else 0.0
                    counts = {"n_workers": n_workers, "llm_calls": 1200, "worker_updates": 100}
                    others = {LIMIT: limit, "time_to_target_s": None, "run_id": f"{len(rows)}"} | counts
                    rows.append(run("sst2", method, seed, time_s + spread_s, **others))
    return pd.DataFrame(rows)


def row(table, method, limit, n_workers, measure):
    keys = (table["method"] == method) & (table["requests_per_minute"] == limit)
    keys &= (table["n_workers"] == n_workers) & (table["measure"] == measure)
    (found,) = table[keys].to_dict("records")
    return found


def test_table_by_hand():
    table = rate_limit.table(varied())
    found = row(table, "sdbt", 60, 4, "time_s")
    assert found["mean"] == pytest.approx(1260.0)
    # 1200 and 1320: deviation 60 sqrt(2), standard error 60; t(0.975, 1) = 12.7062
    assert found["mean_high"] == pytest.approx(1260 + 12.7062 * 60, rel=1e-5)
    assert (found["runs"], found["runs_measured"]) == (2, 2)
    assert row(table, "asyndbt", 600, 2, "time_s")["mean"] == pytest.approx(480.0)
    # 100 updates in 480 s
    assert row(table, "asyndbt", 600, 2, "updates_per_minute")["mean"] == pytest.approx(12.5)
    # 1,200 calls at 60 per minute: 20 minutes; 12 calls per update: 5 updates per minute
    assert row(table, "sdbt", 60, 4, "bound_s")["mean"] == pytest.approx(1200.0)
    assert row(table, "sdbt", 60, 4, "bound_updates_per_minute")["mean"] == pytest.approx(5.0)
    assert row(table, "sdbt", 600, 4, "bound_s")["mean"] == pytest.approx(120.0)
    assert "time_to_target_s" not in set(table["measure"])


def test_methods_stand_in_the_papers_order():
    assert list(dict.fromkeys(rate_limit.table(varied())["method"])) == ["sdbt", "asyndbt"]


def test_a_run_that_never_reaches_its_target_leaves_its_point_out():
    runs = varied()
    runs["time_to_target_s"] = runs["simulated_time_s"] / 2
    late = (runs["seed"] == 1) & (runs["variant"] == "sdbt") & (runs[LIMIT] == 60)
    runs.loc[late, "time_to_target_s"] = math.nan
    table = rate_limit.table(runs)
    assert row(table, "asyndbt", 60, 2, "time_to_target_s")["mean"] == pytest.approx(630.0)
    found = row(table, "sdbt", 60, 2, "time_to_target_s")
    assert math.isnan(found["mean"])
    assert (found["runs"], found["runs_measured"]) == (2, 1)
    assert len(rate_limit.figure(runs).axes) == 6


def test_without_a_limit_there_is_no_bound():
    runs = varied()
    runs.loc[runs[LIMIT] == 600, LIMIT] = None
    table = rate_limit.table(runs)
    assert row(table, "sdbt", math.inf, 2, "time_s")["mean"] == pytest.approx(600.0)
    assert row(table, "sdbt", math.inf, 2, "bound_s")["mean"] == 0
    assert math.isnan(row(table, "sdbt", math.inf, 2, "bound_updates_per_minute")["mean"])
    axes = rate_limit.figure(runs).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["60", "no limit"]
    dotted = [line for line in axes.lines if line.get_linewidth() == 0.8 and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in dotted] == [[60.0], [60.0]]


def test_what_is_drawn():
    picture = rate_limit.figure(varied())
    above, _, below, _ = picture.axes
    assert above.get_title(loc="left") == "SDBT"
    assert [axes.get_xscale() for axes in picture.axes] == ["log"] * 4
    assert above.get_ylabel() == "Time to spend the budget (min)"
    points = [list(line.get_ydata()) for line in above.lines if line.get_marker() in "os"]
    assert points == [pytest.approx([21.0, 10.0]), pytest.approx([21.0, 5.0])]
    bounds = [list(line.get_ydata()) for line in above.lines if line.get_linewidth() == 0.8]
    assert bounds[:2] == [pytest.approx([20.0, 2.0])] * 2
    assert [label.get_text() for label in below.get_xticklabels()] == ["2", "4"]
    rates = [list(line.get_ydata()) for line in below.lines if line.get_marker() == "s"]
    assert rates == [pytest.approx([10.0, 20.0])]  # at 600 per minute


def test_one_legend_a_row_with_the_bound_last():
    picture = rate_limit.figure(varied())
    assert_inside(picture)
    legends = [axes.get_legend() for axes in picture.axes if axes.get_legend()]
    words = [[text.get_text() for text in legend.get_texts()] for legend in legends]
    assert words == [["2", "4", "bound"], ["60", "600", "bound"]]


def test_two_runs_at_one_place_are_refused():
    runs = varied()
    with pytest.raises(
        InputError, match=r"method sdbt, requests_per_minute 60\.0, n_workers 2, seed 0: there"
    ):
        rate_limit.table(pd.concat([runs, runs[(runs["variant"] == "sdbt")].head(1)]))


def test_a_table_without_limits_is_refused():
    with pytest.raises(InputError, match=r"no column 'llm\.requests_per_minute'"):
        rate_limit.table(varied().drop(columns=LIMIT))


def test_several_scenarios_are_refused():
    runs = varied()
    runs.loc[0, "scenario"] = "5g"
    with pytest.raises(InputError, match="these runs are of 5g, sst2: give the folder of one scenario"):
        rate_limit.table(runs)


def test_a_single_limit_and_a_single_number_of_workers():
    runs = varied()
    picture = rate_limit.figure(runs[(runs[LIMIT] == 60) & (runs["n_workers"] == 2)])
    assert [axes.get_xlim() for axes in picture.axes[1:3]] == [(48, 75), (1.6, 2.5)]
