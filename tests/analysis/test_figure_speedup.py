"""Speedup: paired savings and times to the target by hand, and runs that never get there."""

import math

import pandas as pd
import pytest
from tiny_tables import assert_inside, run

from fedsim.errors import InputError
from fedsim_analysis import style
from fedsim_analysis.figures import speedup

BLUE, GREEN = (style.METHODS[name].colour for name in ("asyndbt", "sdbt"))


def runs(*rows):
    """Return runs of (study, value, method, seed, seconds), 300 updates each; the target after half of it."""
    return pd.DataFrame(
        [
            run("straggler", method, seed, float(time_s), study=study, value=value)
            for study, value, method, seed, time_s in rows
        ]
    )


def timed(study="tau"):
    """Return two seeds at 1 and 4: SDBT takes 100 and 200 s, AsynDBT 50 and 140 s, then 100 and 200 s."""
    return runs(
        *((study, value, "sdbt", seed, 100 * (seed + 1)) for value in (1, 4) for seed in (0, 1)),
        *((study, 1, "asyndbt", seed, time_s) for seed, time_s in enumerate((50, 140))),
        *((study, 4, "asyndbt", seed, time_s) for seed, time_s in enumerate((100, 200))),
    )


def row(table, **keys):
    (found,) = table[(table[list(keys)] == pd.Series(keys)).all(axis=1)].to_dict("records")
    return found


def points(axes):
    """Return the drawn points with whiskers by colour."""
    return {
        bar.lines[0].get_color(): list(zip(*bar.lines[0].get_data(), strict=True)) for bar in axes.containers
    }


def test_savings_by_hand():
    table = speedup.table(timed(), timed())
    found = row(table, value=1, measure="saving_percent")
    assert found["method"] == "asyndbt"
    assert found["mean"] == pytest.approx(40.0)  # 50 % and 30 %, paired by seed
    # deviation 10 sqrt(2), so the standard error is 10; t(0.975, 1) = 12.7062
    assert found["mean_high"] == pytest.approx(40 + 127.062, abs=1e-3)
    assert (found["runs"], found["reached"]) == (2, 2)
    assert row(table, value=4, measure="saving_percent")["mean"] == pytest.approx(0.0)


def test_savings_are_for_equal_work():
    more = timed()
    more.loc[(more["variant"] == "asyndbt") & (more["value"] == 4), "worker_updates"] = 375
    # The same time for 375 updates in place of 300: each takes 300 / 375 = 4 / 5 of SDBT's time.
    assert row(speedup.table(more, timed()), value=4, measure="saving_percent")["mean"] == pytest.approx(20)


def test_times_to_the_target_by_hand():
    found = row(speedup.table(timed(), timed()), value=1, measure="time_to_target_s", method="asyndbt")
    assert found["mean"] == pytest.approx(47.5)  # 25 and 70
    # deviation 45 / sqrt(2), standard error 22.5
    assert found["mean_low"] == pytest.approx(47.5 - 12.7062 * 22.5, abs=1e-3)


def missed(*seeds):
    """Return learning runs of which AsynDBT's with these seeds never reach the target at 1."""
    tuned = timed()
    late = (tuned["variant"] == "asyndbt") & (tuned["value"] == 1) & tuned["seed"].isin(seeds)
    tuned.loc[late, "time_to_target_s"] = math.nan
    return tuned


def test_a_run_that_never_gets_there_counts_as_long_as_it_was_tried():
    found = row(speedup.table(timed(), missed(1)), value=1, measure="time_to_target_s", method="asyndbt")
    assert found["mean"] == pytest.approx((25 + 140) / 2)
    assert math.isnan(found["mean_low"])
    assert math.isnan(found["mean_high"])
    assert (found["runs"], found["reached"]) == (2, 1)


@pytest.mark.parametrize(("seeds", "written", "bound"), [((1,), "1/2", 82.5), ((0, 1), "0/2", 95.0)])
def test_a_lower_bound_is_a_hollow_triangle_with_its_count(seeds, written, bound):
    picture = speedup.figure(timed(), missed(*seeds))
    axes = picture.axes[1]
    assert [text.get_text() for text in axes.texts] == [written]
    assert axes.texts[0].get_color() == BLUE
    drawn = [line for line in axes.lines if line.get_marker() == "^" and len(line.get_xdata())]
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in drawn] == [([0], [bound])]
    assert drawn[0].get_markerfacecolor() == "white"
    assert [x for x, _ in points(axes)[BLUE]] == [1]  # whole, with a whisker
    assert "at least" in picture.legends[0].get_texts()[-1].get_text()


def test_figure_by_hand():
    both = pd.concat([timed("wait_for"), timed("straggler_factor")])
    many = runs(*(("straggler_factor", 8, method, 0, 100) for method in ("sdbt", "asyndbt")))
    picture = speedup.figure(pd.concat([both, many]), both)
    above, _, below, right = picture.axes
    assert [axes.get_xlabel() for axes in (below, right)] == ["straggler factor", "active workers $S$"]
    assert above.get_ylabel() == "Saving in time over SDBT,\nfor equal work (%)"
    assert below.get_ylabel() == "Time to the target (s)"
    assert [label.get_text() for label in below.get_xticklabels()] == ["1", "4", "8"]
    assert points(above) == {BLUE: [(0, pytest.approx(40)), (1, pytest.approx(0)), (2, pytest.approx(0))]}
    assert points(below) == {
        GREEN: [(0, pytest.approx(75)), (1, pytest.approx(75))],
        BLUE: [(0, pytest.approx(47.5)), (1, pytest.approx(75))],
    }
    assert [line.get_color() for line in above.lines if list(line.get_ydata()) == [0, 0]] == [GREEN]
    assert below.get_yscale() == "log"
    assert [text.get_text() for text in picture.legends[0].get_texts()] == ["SDBT", "AsynDBT"]
    assert_inside(picture)


def test_times_have_a_fitting_unit():
    tuned = timed()
    tuned["time_to_target_s"] *= 100
    axes = speedup.figure(timed(), tuned).axes[1]
    assert axes.get_ylabel() == "Time to the target (h)"
    assert points(axes)[BLUE][0] == (0, pytest.approx(4750 / 3600))
    whisker = axes.containers[0].lines[2][0].get_segments()[0]
    assert whisker[1][1] - whisker[0][1] == pytest.approx(2 * 12.7062 * 2500 / 3600, rel=1e-4)


def test_one_seed_has_no_whiskers():
    alone = timed().query("seed == 0")
    assert math.isnan(row(speedup.table(alone, alone), value=1, measure="saving_percent")["mean_low"])
    assert_inside(speedup.figure(alone, alone))


def test_what_is_refused():
    with pytest.raises(InputError, match="table 'timed' of these results has no column 'study', 'value'"):
        speedup.table(timed().drop(columns=["study", "value"]), timed())
    with pytest.raises(InputError, match="'tuned' of these results has no column 'time_to_target_s'"):
        speedup.table(timed(), timed().drop(columns="time_to_target_s"))
    with pytest.raises(InputError, match="study tau, value 1, method sdbt, seed 0: there are 2"):
        speedup.table(timed(), pd.concat([timed(), timed().head(1)]))
    alone = timed().drop(index=1)
    with pytest.raises(
        InputError, match="value 1, seed 1: there is no timed run of SDBT to compare AsynDBT with"
    ):
        speedup.table(alone, timed())
