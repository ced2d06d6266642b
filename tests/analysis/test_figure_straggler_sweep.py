"""Savings against stragglers: by hand, paired by seed, and what is refused."""

import io
import math

import pandas as pd
import pytest
from tiny_tables import assert_inside, run

from fedsim.errors import InputError
from fedsim_analysis import style
from fedsim_analysis.figures import straggler_sweep

GREEN = style.METHODS["sdbt"].colour


def runs(counts=(1,), factors=(1, 4)):
    """Return two seeds of SDBT with 100 and 200 s, of S = 2 with 50 and 140 s, and of S = 5 with as SDBT.

    The target is reached after half of the time. All use 300 updates.
    """
    seconds = {("sdbt", None): (100, 200), ("asyndbt_s2", 2): (50, 140), ("asyndbt_s5", 5): (100, 200)}
    return pd.DataFrame(
        [
            run("one", variant, seed, float(times[seed]), algorithm=variant.partition("_")[0], n_workers=10)
            | {"algorithm.wait_for": wait_for or math.nan}
            | {"workers.1.slow_down": float(factor), "workers.1.count": count, "workers.0.count": 10 - count}
            for (variant, wait_for), times in seconds.items()
            for seed in (0, 1)
            for count in counts
            for factor in factors
        ]
    )


def row(table, **keys):
    (found,) = table[(table[list(keys)] == pd.Series(keys)).all(axis=1)].to_dict("records")
    return found


def test_savings_by_hand():
    table = straggler_sweep.table(runs())
    found = row(table, measure="time_per_update_s", line="AsynDBT, s2", straggler_factor=4, stragglers=1)
    assert found["method"] == "asyndbt_s2"
    assert found["saving_percent"] == pytest.approx(40)  # 50 % and 30 %
    # deviation 10 sqrt(2), standard error 10; t(0.975, 1) = 12.7062
    assert found["saving_percent_low"] == pytest.approx(40 - 127.062, abs=1e-3)
    assert (found["pairs"], found["left_out"]) == (2, 0)
    assert found["probability_faster"] == 1.0
    equal = row(table, measure="time_to_target_s", line="AsynDBT, s5", straggler_factor=1)
    assert equal["saving_percent"] == 0
    assert equal["probability_faster"] == 0.5
    assert set(table["line"]) == {"AsynDBT, s2", "AsynDBT, s5"}


def test_the_saving_is_for_equal_work():
    more = runs()
    more.loc[more["variant"] == "asyndbt_s5", "worker_updates"] = 375
    found = row(
        straggler_sweep.table(more), measure="time_per_update_s", line="AsynDBT, s5", straggler_factor=4
    )
    assert found["saving_percent"] == pytest.approx(20)  # 300 / 375 of the time per update


def test_a_pair_without_the_target_is_left_out_counted_and_drawn_hollow():
    late = runs()
    lost = (late["variant"] == "asyndbt_s2") & (late["seed"] == 1) & (late["workers.1.slow_down"] == 4)
    late.loc[lost, "time_to_target_s"] = math.nan
    found = row(
        straggler_sweep.table(late), measure="time_to_target_s", line="AsynDBT, s2", straggler_factor=4
    )
    assert (found["saving_percent"], found["pairs"], found["left_out"]) == (50, 1, 1)
    picture = straggler_sweep.figure(late)
    hollow = [
        list(line.get_xdata())
        for line in picture.axes[1].lines
        if line.get_markerfacecolor() == "white" and len(line.get_xdata())
    ]
    assert hollow == [[1]]
    assert picture.legends[0].get_texts()[-1].get_text() == "some runs never\nreach the target"


def test_without_a_target_there_is_one_row_of_panels():
    aimless = runs().assign(time_to_target_s=math.nan)
    assert set(straggler_sweep.table(aimless)["measure"]) == {"time_per_update_s"}
    assert len(straggler_sweep.figure(aimless).axes) == 1


def test_figure_by_hand():
    picture = straggler_sweep.figure(runs(counts=(1, 2)))
    left, right, below, _ = picture.axes
    assert picture.get_size_inches()[0] == style.COLUMN_IN
    assert [axes.get_title() for axes in (left, right)] == ["1 straggler", "2 stragglers"]
    assert left.get_ylabel() == "Saving in time\nfor equal work (%)"
    assert below.get_ylabel() == "Saving in time\nto the target (%)"
    assert [label.get_text() for label in below.get_xticklabels()] == ["1", "4"]
    looks = style.methods(["sdbt", "asyndbt_s2", "asyndbt_s5"])
    two, five = looks["asyndbt_s2"].colour, looks["asyndbt_s5"].colour
    drawn = {bar.lines[0].get_color(): list(bar.lines[0].get_ydata()) for bar in left.containers}
    assert drawn == {two: pytest.approx([40, 40]), five: pytest.approx([0, 0])}
    whisker = left.containers[0].lines[2][0].get_segments()[0]
    assert whisker[1][1] - whisker[0][1] == pytest.approx(2 * 127.062, abs=1e-2)
    assert left.lines[0].get_color() == GREEN
    assert list(left.lines[0].get_ydata()) == [0, 0]
    labels = [text.get_text() for text in picture.legends[0].get_texts()]
    assert labels == ["SDBT", "AsynDBT, s2", "AsynDBT, s5"]
    assert_inside(picture)


def test_what_is_refused():
    flat = runs(factors=(4,))
    with pytest.raises(InputError, match="found runs of one; none has what is needed: a straggler factor"):
        straggler_sweep.table(flat)
    with pytest.raises(InputError, match=r"several groups vary \(workers.1.slow_down, workers.2.slow_down\)"):
        straggler_sweep.table(runs().assign(**{"workers.2.slow_down": range(12)}))
    with pytest.raises(InputError, match="found AsynDBT, s2, AsynDBT, s5, expected runs of SDBT"):
        straggler_sweep.table(runs().query("variant != 'sdbt'"))
    with pytest.raises(InputError, match="found runs of SDBT alone"):
        straggler_sweep.table(runs().query("variant == 'sdbt'"))
    twice = pd.concat([runs(), runs().head(1).assign(**{"algorithm.cuts.every": 5})], ignore_index=True)
    with pytest.raises(InputError, match=r"straggler_factor 1.0, line SDBT, seed 0: there are 2 runs"):
        straggler_sweep.table(twice)
    with pytest.raises(InputError, match="no column 'worker_updates'"):
        straggler_sweep.table(runs().drop(columns="worker_updates"))


def test_how_well_times_to_the_target_are_known_stands_below():
    within = runs()["variant"].map({"sdbt": 1050.0, "asyndbt_s2": 250.0, "asyndbt_s5": 500.0})
    known = runs().assign(time_to_target_resolution_s=within)
    found = straggler_sweep.table(known)
    assert set(found.loc[found["measure"] == "time_to_target_s", "resolution_s"]) == {1050.0}
    assert found.loc[found["measure"] == "time_per_update_s", "resolution_s"].isna().all()
    picture = straggler_sweep.figure(known)
    words = " ".join(picture.get_supxlabel().split())
    assert "known to within: SDBT 1,050 s, AsynDBT, s2 250 s, AsynDBT, s5 500 s" in words
    picture.savefig(io.BytesIO(), format="png")
    box = picture._supxlabel.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= picture.bbox.x1
