"""Histograms of staleness: shares by hand, which messages count, tau, and what is refused."""

import math

import pandas as pd
import pytest
from tiny_tables import run

from fedsim.errors import InputError
from fedsim_analysis import style
from fedsim_analysis.figures import staleness

# S: the staleness of four messages of each of two seeds
AGES = {2: ((0, 1, 1, 3), (0, 0, 0, 1)), 5: ((0, 0, 0, 0), (0, 0, 1, 1))}


def tables(tau=4, **others):
    """Return runs and tickets of `AGES`; three more messages, of a barrier, are very old."""
    runs, tickets = [], []
    for wait_for, ages in AGES.items():
        for seed, of_seed in enumerate(ages):
            made = run("one", f"asyndbt_s{wait_for}", seed, 10.0, n_workers=9) | {
                "algorithm.wait_for": wait_for
            }
            runs.append(made | {"algorithm.tau": tau} | others)
            for kind, listed in (("active", of_seed), ("drained", (9,)), ("inner", (9, 9))):
                tickets += [{"run_id": made["run_id"], "kind": kind, "staleness": age} for age in listed]
    return {"runs": pd.DataFrame(runs), "tickets": pd.DataFrame(tickets)}


def row(table, **keys):
    (found,) = table[(table[list(keys)] == pd.Series(keys)).all(axis=1)].to_dict("records")
    return found


def test_shares_by_hand():
    table = staleness.table(**tables())
    found = row(table, line="AsynDBT, s2", staleness=1)
    assert found["percent"] == pytest.approx(37.5)  # 50 % and 25 %
    assert found["percent_high"] == pytest.approx(37.5 + 12.7062 * 12.5, abs=1e-2)  # standard error 12.5
    assert found["mean_staleness"] == pytest.approx(0.75)  # 5/4 and 1/4
    assert (found["tau"], found["runs"], found["method"]) == (4, 2, "asyndbt_s2")
    shares = table[table["line"] == "AsynDBT, s2"]["percent"]
    assert list(shares) == pytest.approx([50, 37.5, 0, 12.5])
    assert list(table[table["line"] == "AsynDBT, s5"]["staleness"]) == [0, 1]


def test_seeds_count_alike_however_many_messages_they_have():
    found = tables()
    more = pd.DataFrame([{"run_id": "one-asyndbt_s2-0", "kind": "active", "staleness": 3}] * 96)
    found["tickets"] = pd.concat([found["tickets"], more], ignore_index=True)
    # 97 of 100 and 0 of 4
    assert row(staleness.table(**found), line="AsynDBT, s2", staleness=3)["percent"] == pytest.approx(48.5)


def test_each_tau_has_a_panel():
    small, large = tables(tau=15), tables(tau=4)
    for name, table in large.items():
        large[name] = table.assign(run_id=table["run_id"] + "-b")
    both = {name: pd.concat([small[name], large[name]], ignore_index=True) for name in small}
    places = staleness.table(**both)[["line", "tau"]].drop_duplicates()
    assert [tuple(place) for place in places.to_numpy()] == [
        ("AsynDBT, s2", 4), ("AsynDBT, s2", 15), ("AsynDBT, s5", 4), ("AsynDBT, s5", 15)
    ]  # fmt: skip
    picture = staleness.figure(**both)
    dashed = [next(line for line in axes.lines if line.get_linestyle() == "--") for axes in picture.axes]
    assert [line.get_xdata()[0] for line in dashed] == [4, 15, 4, 15]


def test_figure_by_hand():
    picture = staleness.figure(**tables())
    left, right = picture.axes
    assert picture.get_size_inches()[0] == style.COLUMN_IN
    assert [axes.get_title() for axes in (left, right)] == ["AsynDBT, s2", "AsynDBT, s5"]
    assert picture.get_supxlabel() == "Staleness of a message (server steps)"
    assert picture.get_supylabel() == "Messages used (%)"
    assert [bar.get_height() for bar in left.patches] == pytest.approx([50, 37.5, 0, 12.5])
    whiskers = left.containers[1].lines[2][0].get_segments()
    assert whiskers[1][1][1] - whiskers[1][0][1] == pytest.approx(2 * 12.7062 * 12.5, abs=1e-2)
    assert [text.get_text() for text in left.texts] == ["$\\tau$ = 4", "mean 0.75\n$\\pm$ 6.35"]
    assert left.get_ylim()[0] == 0


def test_without_tau_nothing_is_marked():
    unknown = tables()
    unknown["runs"] = unknown["runs"].drop(columns="algorithm.tau")
    assert staleness.table(**unknown)["tau"].isna().all()
    assert not [line for line in staleness.figure(**unknown).axes[0].lines if line.get_linestyle() == "--"]


def test_runs_that_kept_no_messages_are_left_out():
    found = tables()
    silent = pd.DataFrame([run("two", "sdbt", 0, 1.0) | {"algorithm.tau": math.nan}])
    found["runs"] = pd.concat([found["runs"], silent], ignore_index=True)
    assert set(staleness.table(**found)["method"]) == {"asyndbt_s2", "asyndbt_s5"}


def test_what_is_refused():
    with pytest.raises(
        InputError, match=r"found no run that kept its messages, expected runs with record.spans"
    ):
        staleness.table(tables()["runs"], pd.DataFrame())
    twice = tables()
    twice["runs"] = pd.concat([twice["runs"], twice["runs"].head(1)], ignore_index=True)
    with pytest.raises(InputError, match=r"line AsynDBT, s2, tau 4.0, seed 0: there are 2 runs"):
        staleness.table(**twice)
