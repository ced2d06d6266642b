"""Figure 1: the table behind it, the bars, and what it refuses."""

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from tiny_tables import assert_inside, run, study

from fedsim.errors import InputError
from fedsim_analysis import style
from fedsim_analysis.figures import figure1


def test_table_by_hand():
    rows = figure1.table(study()).set_index(["task", "method"])
    assert list(rows.index) == [(task, m) for task in ("5g", "sst2") for m in ("cendbt", "sdbt", "asyndbt")]
    row = rows.loc["5g", "asyndbt"]
    assert row["time_h"] == 5.0
    assert row["seeds"] == 3
    assert row["time_h_high"] == pytest.approx(5 + 4.302653 / math.sqrt(3), abs=1e-6)
    assert row["calling_h"] == pytest.approx(4.0)
    assert row["waiting_h"] == pytest.approx(1.0)
    assert row["saving_percent"] == 50.0
    assert row["saving_percent_low"] == pytest.approx(50 - 10 * 4.302653 / math.sqrt(3), abs=1e-5)
    assert rows.loc["5g", "sdbt"]["saving_percent"] == pytest.approx(20.0)


def test_parts_of_a_bar_add_up_to_the_mean_time_in_the_colour_of_its_method():
    runs = study()
    runs["seconds_cutting"] = runs["seconds_calling"] / 4
    runs["seconds_calling"] -= runs["seconds_cutting"]
    axes = figure1.figure(runs).axes[0]
    heights = {}
    for bar in axes.patches:
        centre = round(bar.get_x() + bar.get_width() / 2, 6)
        heights[centre] = heights.get(centre, 0.0) + bar.get_height()
        assert bar.get_y() + bar.get_height() == pytest.approx(heights[centre])
    assert [heights[x] for x in sorted(heights)] == pytest.approx([10, 8, 5] * 2)
    lowest = {round(bar.get_x(), 6): to_hex(bar.get_facecolor()) for bar in axes.patches if bar.get_y() == 0}
    expected = [style.METHODS[name].colour.lower() for name in ("cendbt", "sdbt", "asyndbt")]
    assert [lowest[x] for x in sorted(lowest)] == expected * 2


def test_labels_and_printed_savings():
    picture = figure1.figure(study())
    axes = picture.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["5G", "SST-2"]
    assert axes.get_ylabel() == "Training time (simulated hours)"
    assert [text.get_text() for text in axes.texts] == ["\N{MINUS SIGN}20 %", "\N{MINUS SIGN}50 %"] * 2
    legends = [[text.get_text() for text in legend.get_texts()] for legend in picture.legends]
    assert legends == [["cenDBT", "SDBT", "AsynDBT"], ["LLM calls", "waiting for the server"]]


def test_the_legends_fit_the_page_when_all_activities_occur():
    runs = study()
    names = ["computing", "uploading", "downloading", "cutting", "down"]
    for name in names:
        runs[f"seconds_{name}"] = runs["seconds_calling"] / (len(names) + 1)
    runs["seconds_calling"] /= len(names) + 1
    picture = figure1.figure(runs)
    assert len(picture.legends[1].get_texts()) == 7
    assert_inside(picture)


def test_times_to_the_target_stand_below_with_the_runs_that_are_there():
    runs = study()
    runs.loc[(runs["variant"] == "sdbt") & (runs["seed"] == 1), "time_to_target_s"] = math.nan
    rows = figure1.table(runs).set_index(["task", "method"])
    # 4 h, 4 h, and 8 h without being there.
    assert rows.loc["5g", "sdbt"]["time_to_target_h"] == pytest.approx(16 / 3)
    assert rows.loc["5g", "sdbt"]["target_reached"] == 2
    below = figure1.figure(runs).axes[1]
    assert [text.get_text() for text in below.texts] == ["2/3", "2/3"]
    drawn = {
        to_hex(line.get_color()): float(line.get_ydata()[0])
        for line in below.lines
        if line.get_marker() == "o"
    }
    methods = ("cendbt", "sdbt", "asyndbt")
    assert drawn == pytest.approx(
        {style.METHODS[name].colour.lower(): rows.loc["5g", name]["time_to_target_h"] for name in methods}
    )
    assert len(figure1.figure(runs.assign(time_to_target_s=math.nan)).axes) == 1


def test_a_slower_method_shows_a_plus():
    runs = pd.DataFrame([run("5g", "cendbt", 0, 100.0), run("5g", "asyndbt", 0, 109.0)])
    texts = [text.get_text() for text in figure1.figure(runs).axes[0].texts]
    assert texts == ["+9 %"]


def test_one_seed_has_no_whisker_and_a_missing_baseline_no_saving():
    picture = figure1.figure(pd.DataFrame([run("5g", "asyndbt", 0, 100.0)]))
    assert not picture.axes[0].texts
    assert not picture.axes[0].containers[-1].get_label().startswith("_errorbar")
    assert not picture.axes[0].lines


def test_a_run_without_a_variant_goes_by_its_algorithm():
    rows = figure1.table(pd.DataFrame([run("5g", "", 0, 100.0)]))
    assert list(rows["method"]) == ["asyndbt"]


def test_two_runs_of_one_seed_are_refused():
    runs = pd.concat([study(), study().head(1)])
    with pytest.raises(InputError, match="scenario sst2, method asyndbt, seed 0: there are 2 runs"):
        figure1.table(runs)


def test_activities_that_do_not_add_up_are_refused():
    runs = study()
    runs.loc[0, "seconds_calling"] += 1000
    with pytest.raises(InputError, match=r"run sst2-asyndbt-0: its seconds by activity add up to 22600 s"):
        figure1.figure(runs)


def test_a_missing_column_is_named():
    with pytest.raises(InputError, match="'runs' of these results has no column 'seconds_calling'"):
        figure1.table(study().drop(columns="seconds_calling"))


def test_unlike_workers_have_panels_of_their_own_and_slopes_a_bracket():
    alike, unlike = study(), study()
    unlike["simulated_time_s"] *= 1.5
    unlike[["seconds_calling", "seconds_waiting"]] *= 1.5
    slopes = pd.concat(
        [
            study().assign(
                mix="alike", slope_s=slope_s, simulated_time_s=lambda x, f=factor: x["simulated_time_s"] * f
            )
            for slope_s, factor in ((2.4e-5, 1.01), (2.4e-4, 0.9))
        ]
    )
    rows = figure1.table(alike, unlike, slopes).set_index(["workers", "task", "method"])
    assert rows.loc["unlike", "5g", "sdbt"]["time_h"] == 12.0
    assert math.isnan(rows.loc["unlike", "5g", "sdbt"]["time_h_least_slope"])
    ends = rows.loc["alike", "5g", "sdbt"][["time_h_least_slope", "time_h_largest_slope"]]
    assert ends.tolist() == pytest.approx([8.08, 7.2])
    picture = figure1.figure(alike, unlike, slopes)
    assert [axes.get_title(loc="left") for axes in picture.axes] == [
        *("Three alike workers", "", "Three workers, each with a provider of its own", ""),
    ]
    first, _, second, _ = picture.axes
    assert first.get_ylim() == second.get_ylim()
    lines = [found for found in first.collections if to_hex(found.get_color()[0]) == "#555555"]
    brackets = [tuple(np.array(line.get_segments())[0, :, 1]) for line in lines]
    # Of each task: 10, 8 and 5 h, each times 0.9 and 1.01.
    expected = [(0.9 * hours, 1.01 * hours) for hours in (5, 8, 10)]
    assert sorted(set(brackets)) == [pytest.approx(ends) for ends in expected]
    assert len(brackets) == 6
    labels = [text.get_text() for text in picture.legends[0].get_texts()]
    assert labels[-1] == "0.024 to 0.24 ms a prompt token"


def test_tokens_of_a_call_stand_below_the_tasks():
    runs = study().assign(llm_calls=10, tokens_in=3720)
    labels = [label.get_text() for label in figure1.figure(runs).axes[0].get_xticklabels()]
    assert labels == ["5G\n372 tokens a call", "SST-2\n372 tokens a call"]


def test_no_runs_at_all():
    with pytest.raises(InputError, match="table 'runs' of these results is empty"):
        figure1.table(study().head(0))
