"""Sensitivity: paired savings by hand, counts of those that never reach the target, and the losing side."""

import math

import pandas as pd
import pytest
from tiny_tables import run

from fedsim.errors import InputError
from fedsim_analysis import style
from fedsim_analysis.figures import sensitivity


def varied():
    """Return S = 1 and 2, two seeds each: cenDBT takes 100 s, SDBT 80 s, AsynDBT 50 and 70 s, then 120 s."""
    rows = []
    for value, ours in ((1, (50.0, 70.0)), (2, (120.0, 120.0))):
        for seed in (0, 1):
            for method, time_s in (("cendbt", 100.0), ("sdbt", 80.0), ("asyndbt", ours[seed])):
                rows.append(run("sst2", method, seed, time_s, study="wait_for", value=value))
    return pd.DataFrame(rows)


def row(table, value, measure, baseline):
    keys = (table["value"] == value) & (table["measure"] == measure) & (table["baseline"] == baseline)
    (found,) = table[keys].to_dict("records")
    return found


def test_table_by_hand():
    table = sensitivity.table(varied())
    found = row(table, 1, "time_s", "cendbt")
    assert found["saving_percent"] == pytest.approx(40.0)  # 50 and 30
    # deviation 10 sqrt(2), so the standard error is 10; t(0.975, 1) = 12.7062
    assert found["saving_percent_low"] == pytest.approx(40 - 127.062, abs=1e-3)
    assert (found["pairs"], found["pairs_compared"]) == (2, 2)
    assert row(table, 1, "time_s", "sdbt")["saving_percent"] == pytest.approx((37.5 + 12.5) / 2)
    assert row(table, 2, "time_s", "cendbt")["saving_percent"] == pytest.approx(-20.0)


def test_per_step_and_per_update_stand_in_the_table():
    runs = varied()
    runs.loc[runs["variant"] == "asyndbt", "worker_updates"] = 600
    table = sensitivity.table(runs)
    # AsynDBT makes twice the updates in 120 s: 0.2 s per update against 1/3 s
    assert row(table, 2, "time_per_worker_update_s", "cendbt")["saving_percent"] == pytest.approx(40.0)
    assert row(table, 2, "time_per_server_step_s", "cendbt")["saving_percent"] == pytest.approx(-20.0)


def test_runs_that_never_reach_the_target_are_counted_and_written_into_the_panel():
    runs = varied()
    late = (runs["variant"] == "asyndbt") & (runs["value"] == 1) & (runs["seed"] == 1)
    runs.loc[late, "time_to_target_s"] = math.nan
    found = row(sensitivity.table(runs), 1, "time_to_target_s", "cendbt")
    assert found["saving_percent"] == pytest.approx(50.0)
    assert (found["pairs"], found["pairs_compared"]) == (2, 1)
    assert (found["reached"], found["baseline_reached"]) == (1, 2)
    texts = [text.get_text() for text in sensitivity.figure(runs).axes[1].texts]
    assert texts == ["1/2", "1/2"]


def test_a_target_that_no_run_reaches():
    runs = varied().assign(time_to_target_s=None)
    assert row(sensitivity.table(runs), 1, "time_to_target_s", "sdbt")["pairs_compared"] == 0
    assert [text.get_text() for text in sensitivity.figure(runs).axes[1].texts] == ["0/2"] * 4


def test_figure_has_a_column_a_study_and_marks_where_asyndbt_is_slower():
    runs = pd.concat([varied(), varied().assign(study="straggler_factor")])
    picture = sensitivity.figure(runs)
    assert [axes.get_xlabel() for axes in picture.axes] == ["", "", "active workers $S$", "straggler factor"]
    assert "Saving in\ntraining time (%)" in picture.axes[0].get_ylabel()
    axes = picture.axes[0]
    assert [label.get_text() for label in picture.axes[2].get_xticklabels()] == ["1", "2"]
    points = {drawn.get_color(): list(drawn.get_ydata()) for drawn in axes.lines if drawn.get_marker() == "o"}
    assert points == {
        style.METHODS["cendbt"].colour: pytest.approx([40.0, -20.0]),
        style.METHODS["sdbt"].colour: pytest.approx([25.0, -50.0]),
    }
    assert any(list(drawn.get_ydata()) == [0, 0] for drawn in axes.lines)
    assert axes.get_ylim()[0] < -50
    shade = axes.patches[0].get_extents().transformed(axes.transData.inverted())
    assert (shade.y0, shade.y1) == pytest.approx((axes.get_ylim()[0], 0))
    assert [text.get_text() for text in axes.texts] == ["AsynDBT is slower"]


def test_there_is_room_below_zero_where_asyndbt_always_wins():
    runs = varied()
    better = runs[(runs["value"] == 1) & (runs["seed"] == 0)]
    assert sensitivity.figure(better).axes[0].get_ylim()[0] < -10


def test_a_missing_baseline_leaves_its_line_empty():
    runs = varied()
    table = sensitivity.table(runs[runs["variant"] != "sdbt"])
    assert math.isnan(row(table, 1, "time_s", "sdbt")["saving_percent"])
    assert row(table, 1, "time_s", "sdbt")["pairs"] == 0
    assert len(sensitivity.figure(runs[runs["variant"] != "sdbt"]).axes) == 2


def test_a_table_of_another_study_is_refused():
    with pytest.raises(InputError, match="no column 'study', 'value'"):
        sensitivity.table(varied().drop(columns=["study", "value"]))


def test_two_runs_of_one_point_are_refused():
    with pytest.raises(InputError, match="value 1, scenario sst2, method cendbt, seed 0: there are 2"):
        sensitivity.table(pd.concat([varied(), varied().head(1)]))
