"""Time to the target against the number of workers: medians, means and censored runs by hand."""

import math

import pandas as pd
import pytest
from tiny_tables import assert_inside, run

from fedsim.errors import InputError
from fedsim_analysis import style
from fedsim_analysis.figures import scaling

BLUE = style.METHODS["asyndbt"].colour


def runs(late=()):
    """Return four seeds with 4 and 16 workers: SDBT reaches its target at 10, 20, 30, 40 s, AsynDBT in half.

    `late` are (method, workers, seed) that never do, and end at 50 s.
    """
    return pd.DataFrame(
        [
            run("one", method, seed, 50.0 if missed else at, algorithm=method, n_workers=n_workers)
            | {"time_to_target_s": math.nan if missed else at}
            for method, factor in (("sdbt", 1.0), ("asyndbt", 0.5))
            for n_workers in (16, 4)
            for seed in range(4)
            for at in [factor * 10.0 * (seed + 1)]
            for missed in [(method, n_workers, seed) in late]
        ]
    )


def row(table, **keys):
    (found,) = table[(table[list(keys)] == pd.Series(keys)).all(axis=1)].to_dict("records")
    return found


def test_medians_and_means_by_hand():
    table = scaling.table(runs())
    found = row(table, method="sdbt", n_workers=4)
    assert (found["median_s"], found["mean_s"]) == (20.0, 25.0)
    # deviation sqrt(500 / 3), standard error 6.455; t(0.975, 3) = 3.182446
    assert found["mean_high_s"] == pytest.approx(25 + 3.182446 * math.sqrt(500 / 3) / 2, abs=1e-3)
    assert (found["runs"], found["reached"], found["censored"]) == (4, 4, 0)
    assert math.isinf(found["horizon_s"])
    assert list(zip(table["line"], table["n_workers"], strict=True)) == [
        ("SDBT", 4), ("SDBT", 16), ("AsynDBT", 4), ("AsynDBT", 16)
    ]  # fmt: skip


def test_a_run_that_never_gets_there_counts_as_censored_and_all_share_a_horizon():
    table = scaling.table(runs(late=[("asyndbt", 16, 0)]))
    found = row(table, method="asyndbt", n_workers=16)
    # 10, 15 and 20 s of four: 1/4 of them is still not there at 50 s. The mean up to then is
    # 10 + 3/4 x 5 + 1/2 x 5 + 1/4 x 30; leaving the run out would say 15.
    assert found["mean_s"] == pytest.approx(23.75)
    assert (found["median_s"], found["censored"]) == (15.0, 1)
    assert set(table["horizon_s"]) == {50.0}
    assert row(table, method="sdbt", n_workers=4)["mean_s"] == 25.0  # all there before the horizon


def test_figure_by_hand():
    picture = scaling.figure(runs(late=[("asyndbt", 16, 0), ("asyndbt", 16, 1), ("asyndbt", 16, 2)]))
    above, below = picture.axes
    assert picture.get_size_inches()[0] == style.COLUMN_IN
    assert above.get_ylabel() == "Median time\nto the target (s)"
    assert below.get_ylabel() == "Mean time, up to\n50 s, to the target (s)"
    assert below.get_xlabel() == "Workers ($R$)"
    assert [label.get_text() for label in below.get_xticklabels()] == ["4", "16"]
    # One of four runs reaches the target: no median, and the share is written where the others' are not.
    for axes in (above, below):
        assert [text.get_text() for text in axes.texts] == ["1/4"]
        assert axes.texts[0].get_color() == BLUE
    hollow = [line for line in below.lines if line.get_markerfacecolor() == "white"]
    assert [list(line.get_ydata()) for line in hollow] == [[pytest.approx(20 + 0.75 * 30)]]
    assert not [line for line in above.lines if line.get_markerfacecolor() == "white"]
    arrows = [line for line in above.lines if line.get_marker() == "^"]
    assert len(arrows) == 4  # four runs do not bound a median from above
    assert [text.get_text() for text in picture.legends[0].get_texts()] == ["SDBT", "AsynDBT"]
    assert_inside(picture)


def test_whiskers_are_the_intervals():
    below = scaling.figure(runs()).axes[1]
    ends = sorted(
        tuple(line.get_ydata())
        for line in below.lines
        if len(line.get_xdata()) == 2 and line.get_linewidth() < 1
    )
    half = 3.182446 * math.sqrt(500 / 3) / 2
    assert ends == [
        pytest.approx((m - h, m + h), abs=1e-3) for m, h in [(12.5, half / 2)] * 2 + [(25, half)] * 2
    ]


def test_what_is_refused():
    needed = "none has what is needed: a number of workers that varies, and runs that reach a target"
    with pytest.raises(InputError, match=needed):
        scaling.table(runs().query("n_workers == 4"))
    with pytest.raises(InputError, match=needed):
        scaling.table(runs().assign(time_to_target_s=math.nan))
    twice = pd.concat([runs(), runs().head(1)], ignore_index=True)
    with pytest.raises(InputError, match="line SDBT, n_workers 16, seed 0: there are 2 runs"):
        scaling.table(twice)
    with pytest.raises(InputError, match="no column 'n_workers'"):
        scaling.table(runs().drop(columns="n_workers"))
