"""The Gantt picture: which spans, which window, which rows."""

import pandas as pd
import pytest
from matplotlib.colors import to_hex
from tiny_tables import assert_inside, run

from fedsim.errors import InputError
from fedsim_analysis import style
from fedsim_analysis.figures import timeline


def recorded(workers=2, jobs=3, variants=("asyndbt",), seeds=(0,)):
    """Return the three tables: a worker calls for 8 s and waits for 2 s, the server steps every 10 s."""
    runs = pd.DataFrame([run("sst2", variant, seed, 10.0 * jobs) for variant in variants for seed in seeds])
    steps = pd.DataFrame([(run_id, job, 10.0 * job) for run_id in runs["run_id"] for job in range(jobs + 1)])
    spans = [(run_id, "server", "waiting", 0.0, 10.0 * jobs) for run_id in runs["run_id"]]
    for run_id in runs["run_id"]:
        for worker in range(workers):
            for job in range(jobs):
                start_s = 10.0 * job
                spans.append((run_id, f"worker {worker}", "calling", start_s, start_s + 8))
                spans.append((run_id, f"worker {worker}", "waiting", start_s + 8, start_s + 10))
    columns = ["run_id", "entity", "activity", "start_s", "end_s"]
    return runs, steps.set_axis(["run_id", "step", "time_s"], axis=1), pd.DataFrame(spans, columns=columns)


def test_table_is_cut_off_at_the_window():
    rows = timeline.table(*recorded(), window=(9.0, 15.0))
    found = [tuple(row) for row in rows[["entity", "activity", "start_s", "end_s"]].itertuples(index=False)]
    assert sorted(found) == [
        ("server", "stepping", 10.0, 10.0),
        ("worker 0", "calling", 10.0, 15.0),
        ("worker 0", "waiting", 9.0, 10.0),
        ("worker 1", "calling", 10.0, 15.0),
        ("worker 1", "waiting", 9.0, 10.0),
    ]
    assert set(rows["method"]) == {"asyndbt"}


def test_a_span_that_ends_where_the_window_begins_is_not_in_it():
    rows = timeline.table(*recorded(), window=(8.0, 9.0))
    assert set(rows["activity"]) == {"waiting"}


def test_the_start_of_a_run_is_no_server_step():
    rows = timeline.table(*recorded(jobs=3))
    assert rows[rows["entity"] == "server"]["start_s"].tolist() == [10.0, 20.0]


def test_a_long_run_shows_the_first_forty_spans_of_the_busiest_worker():
    rows = timeline.table(*recorded(jobs=100))
    assert rows["end_s"].max() == 200.0  # two spans per job


def test_a_short_run_is_shown_whole():
    assert timeline.table(*recorded(jobs=3))["end_s"].max() == 30.0


def test_rows_and_bars():
    picture = timeline.figure(*recorded(workers=11))
    axes = picture.axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["server", *(f"worker {number}" for number in range(11))]
    assert axes.get_title(loc="left") == "SST-2, AsynDBT, seed 0"
    assert axes.get_xlabel() == "Simulated time (s)"
    bars = [drawn for drawn in axes.collections if len(drawn.get_facecolor())]  # the others are server steps
    calling = [drawn for drawn in bars if to_hex(drawn.get_facecolor()[0]) == "#56b4e9"]
    assert len(calling) == 11
    first = calling[0].get_paths()[0].get_extents()
    assert (first.x0, first.x1) == (0.0, 8.0)
    assert first.y0 < 1 < first.y1  # the row below the server's
    labels = [text.get_text() for text in picture.legends[0].get_texts()]
    assert labels == ["LLM calls", "waiting for the server", "server step"]
    assert (
        to_hex(picture.legends[0].get_patches()[0].get_facecolor())
        == style.ACTIVITIES["calling"].colour.lower()
    )


def test_the_axis_spans_the_window_that_was_asked_for():
    axes = timeline.figure(*recorded(), window=(5.0, 35.0)).axes[0]
    assert axes.get_xlim() == (5.0, 35.0)


def test_the_legend_fits_the_page_when_all_activities_occur():
    runs, steps, spans = recorded(jobs=9)
    for number, name in enumerate(style.ACTIVITIES):
        spans.loc[(spans["start_s"] == 10 * number) & (spans["entity"] == "worker 1"), "activity"] = name
    picture = timeline.figure(runs, steps, spans)
    assert len(picture.legends[0].get_texts()) == len(style.ACTIVITIES)
    assert_inside(picture)


def test_many_workers_are_cut_and_the_panel_says_so():
    axes = timeline.figure(*recorded(workers=50)).axes[0]
    assert len(axes.get_yticks()) == 30
    assert axes.get_title(loc="left").endswith("(the first 30 of 51 rows)")


def test_a_panel_a_method_with_the_lowest_seed():
    picture = timeline.figure(*recorded(variants=("asyndbt", "cendbt"), seeds=(7, 3)))
    titles = [axes.get_title(loc="left") for axes in picture.axes]
    assert titles == ["SST-2, cenDBT, seed 3", "SST-2, AsynDBT, seed 3"]


def test_methods_are_shown_with_one_seed_where_they_share_one():
    runs, steps, spans = recorded(variants=("asyndbt", "cendbt"), seeds=(3, 7))
    fewer = runs[(runs["variant"] == "asyndbt") | (runs["seed"] == 7)]
    assert set(timeline.table(fewer, steps, spans)["seed"]) == {7}
    none = fewer[(fewer["variant"] == "cendbt") | (fewer["seed"] == 3)]
    assert set(timeline.table(none, steps, spans)["seed"]) == {3, 7}


def swept(values, variants=("sdbt", "asyndbt")):
    """Return the tables of a sweep over a setting; in the table of runs SDBT's come in the opposite order."""
    tables = [recorded(variants=variants, seeds=(0, 1)) for _ in values]
    for table, value in zip(tables, values, strict=True):
        for part in table:
            part["run_id"] += f"-{value}"
        table[0]["workers.1.slow_down"] = value
    runs, steps, spans = (pd.concat(parts, ignore_index=True) for parts in zip(*tables, strict=True))
    return runs.sort_values("workers.1.slow_down", ascending=False, kind="stable"), steps, spans


def test_what_stands_below_each_other_differs_in_the_method_alone():
    picture = timeline.figure(*swept([1, 4, 8]))
    titles = [axes.get_title(loc="left") for axes in picture.axes]
    assert titles == [
        f"SST-2, {method}, slow_down = {value}, seed 0" for value in (1, 4) for method in ("SDBT", "AsynDBT")
    ]
    assert picture.axes[-1].get_xlabel() == "Simulated time (s)\nSettings left out: 1"


def test_methods_whose_surroundings_differ_are_told_apart():
    runs, steps, spans = swept([1, 8])
    unlike = (runs["variant"] == "sdbt") == (runs["workers.1.slow_down"] == 8)
    titles = [axes.get_title(loc="left") for axes in timeline.figure(runs[unlike], steps, spans).axes]
    assert titles == ["SST-2, AsynDBT, slow_down = 1, seed 0", "SST-2, SDBT, slow_down = 8, seed 0"]


def test_no_spans_names_the_setting():
    runs, steps, spans = recorded()
    with pytest.raises(InputError, match=r"record\.spans = true"):
        timeline.figure(runs, steps, spans.head(0))


def test_too_many_runs():
    with pytest.raises(InputError, match="timelines of 5 methods, and at most 4 fit"):
        timeline.table(*recorded(variants=("a", "b", "c", "d", "e")))


def test_an_empty_window():
    with pytest.raises(InputError, match="no span lies between 500 s and 600 s"):
        timeline.table(*recorded(), window=(500.0, 600.0))
