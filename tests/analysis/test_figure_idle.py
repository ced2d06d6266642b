"""Idle: shares by hand, what a bar stands for, and folders of every size."""

import math

import pandas as pd
import pytest
from matplotlib.colors import to_hex
from tiny_tables import ACTIVITIES, assert_inside, run

from fedsim.errors import InputError
from fedsim_analysis import style
from fedsim_analysis.figures import idle

SMALL_RUN = ("--timing-only", "--set", "budget.server_steps=5", "--out", "results")


def spent(*runs):
    """Return the two tables of (scenario, variant, seed, [(group, malicious, seconds)])."""
    of_runs, of_workers = [], []
    for scenario, variant, seed, members in runs:
        of_runs.append(run(scenario, variant, seed, float(sum(members[0][2].values()))))
        for worker, (group, malicious, seconds) in enumerate(members):
            names = {"run_id": of_runs[-1]["run_id"], "worker": worker}
            cells = {f"seconds_{name}": float(seconds.get(name, 0)) for name in (*ACTIVITIES, *seconds)}
            of_workers.append(names | {"group": group, "malicious": malicious} | cells)
    return pd.DataFrame(of_runs), pd.DataFrame(of_workers)


def alike(count, calling=60, waiting=40, group="normal", malicious=False):
    return [(group, malicious, {"calling": calling, "waiting": waiting})] * count


def two_seeds():
    """Return a worker that is idle for 40 of 100 s and for 40 of 200 s, and one that is never."""
    return spent(
        ("one", "sdbt", 0, [*alike(1), *alike(1, 100, 0, "slow")]),
        ("one", "sdbt", 1, [*alike(1, 160), *alike(1, 200, 0, "slow")]),
    )


def titles(picture):
    return [axes.get_title(loc="left") for axes in picture.axes if axes.axison]


def labels(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def widths(axes):
    """Return the parts of the bars, activity by activity, as (colour, [(left, width)])."""
    return [
        (to_hex(bars[0].get_facecolor()), [(part.get_x(), part.get_width()) for part in bars])
        for bars in axes.containers
        if hasattr(bars, "patches")
    ]


def test_table_by_hand():
    rows = idle.table(*two_seeds()).to_dict("records")
    assert [found["bar"] for found in rows] == ["worker 0 (normal)", "worker 1 (slow)"]
    assert (rows[0]["level"], rows[0]["workers"], rows[0]["runs"]) == ("worker", 1, 2)
    assert rows[0]["calling_percent"] == pytest.approx(70)  # 60 and 80
    assert rows[0]["idle_percent"] == rows[0]["waiting_percent"] == pytest.approx(30)
    # deviation 10 sqrt(2), so the standard error is 10; t(0.975, 1) = 12.7062
    assert rows[0]["idle_percent_low"] == pytest.approx(30 - 127.062, abs=1e-3)
    assert rows[1]["idle_percent"] == 0
    assert rows[0]["time_s"] == rows[1]["time_s"] == 150


@pytest.mark.parametrize("name", style.ACTIVITIES)
def test_a_worker_is_busy_or_idle(name):
    rows = idle.table(*spent(("one", "sdbt", 0, [("all", False, {name: 25, "waiting": 75})])))
    expected = 75 if name in ("calling", "computing", "uploading", "downloading", "cutting") else 100
    assert rows["idle_percent"].tolist() == [pytest.approx(expected if name != "stepping" else 100)]


def test_the_idle_parts_stand_on_the_right_with_the_whisker_at_the_border():
    parts = {"calling": 10, "queueing": 20, "cutting": 30, "waiting": 35, "down": 5}
    more = parts | {"queueing": 30, "calling": 0}
    tables = spent(("one", "sdbt", 0, [("all", False, parts)]), ("one", "sdbt", 1, [("all", False, more)]))
    axes = idle.figure(*tables).axes[0]
    drawn = [(colour, *parts[0]) for colour, parts in widths(axes) if parts[0][1] > 0]
    colours = {name: style.ACTIVITIES[name].colour.lower() for name in parts}
    assert drawn == [
        (colours["calling"], 0, pytest.approx(5)),
        (colours["cutting"], pytest.approx(5), pytest.approx(30)),
        (colours["queueing"], pytest.approx(35), pytest.approx(25)),
        (colours["waiting"], pytest.approx(60), pytest.approx(35)),
        (colours["down"], pytest.approx(95), pytest.approx(5)),
    ]
    (whisker,) = [bars for bars in axes.containers if not hasattr(bars, "patches")]
    (segment,) = whisker.lines[2][0].get_segments()
    # idle: 60 and 70 %, standard error 5
    assert [x for x, _ in segment] == pytest.approx([35 - 12.7062 * 5, 35 + 12.7062 * 5], abs=1e-3)


def test_hatches_and_legend_are_those_of_the_activities():
    tables = spent(("one", "sdbt", 0, [("all", False, {"queueing": 1, "down": 2, "calling": 3})]))
    picture = idle.figure(*tables)
    names = [text.get_text() for text in picture.legends[0].get_texts()]
    assert names == ["LLM calls", "LLM queue", "down"]
    hatches = [patch.get_hatch() or "" for patch in picture.legends[0].get_patches()]
    assert hatches == [style.ACTIVITIES[name].hatch for name in ("calling", "queueing", "down")]


def test_methods_side_by_side_and_scenarios_below_each_other():
    tables = spent(
        ("sst2", "asyndbt", 0, alike(2)),
        ("sst2", "cendbt", 0, alike(1, 3600, 7200)),
        ("sst2", "sdbt", 0, alike(2, 60, 240)),
        ("5g", "sdbt", 0, alike(2)),
    )
    picture = idle.figure(*tables)
    assert titles(picture) == [
        *("5G\ncenDBT: no runs", "SDBT: 100 s", "AsynDBT: no runs"),
        *("SST-2\ncenDBT: 3 h, one worker", "SDBT: 5 min", "AsynDBT: 100 s"),
    ]
    assert labels(picture.axes[3]) == ["worker 0", "worker 1"]
    assert widths(picture.axes[3])[0] == ("#56b4e9", [(0, pytest.approx(100 / 3))])
    assert len(widths(picture.axes[4])[0][1]) == 2
    assert_inside(picture)


def test_settings_that_vary_have_panels_of_their_own():
    runs, workers = spent(("one", "sdbt", 0, alike(2)), ("one", "sdbt", 1, alike(2, 10, 90)))
    runs = runs.assign(seed=0, **{"workers.1.slow_down": [4.0, 1.0]})
    assert titles(idle.figure(runs, workers)) == [
        "one, slow_down = 1\nSDBT: 100 s",
        "one, slow_down = 4\nSDBT: 100 s",
    ]
    assert idle.table(runs, workers)["idle_percent"].tolist() == pytest.approx([90, 90, 40, 40])


def test_more_than_twenty_workers_are_shown_by_group():
    members = [*alike(10, 100, 0), *alike(10, 60, 40), *alike(1, 0, 100, "slow")]
    rows = idle.table(*spent(("one", "sdbt", 0, members), ("one", "cendbt", 0, alike(1, 50, 0))))
    found = rows[rows["method"] == "sdbt"].to_dict("records")
    assert [(one["bar"], one["level"], one["workers"]) for one in found] == [
        ("normal (20)", "group", 20),
        ("slow (1)", "group", 1),
    ]
    assert [one["idle_percent"] for one in found] == pytest.approx([20, 100])
    assert rows.query("method == 'cendbt'")["bar"].tolist() == ["normal (20)"]


def test_twenty_workers_are_shown_one_by_one():
    assert len(idle.table(*spent(("one", "sdbt", 0, alike(20))))) == 20


@pytest.mark.parametrize(
    ("count", "bars"),
    [(1, ["worker 2", "worker 2, malicious"]), (20, ["normal (22)", "normal (20), malicious"])],
)
def test_malicious_workers_have_bars_of_their_own(count, bars):
    honest = alike(2 + (count > 1) * 20)
    rows = idle.table(
        *spent(
            ("one", "clean", 0, [*honest, *alike(count)]),
            ("one", "malicious", 0, [*honest, *alike(count, 10, 90, malicious=True)]),
        )
    )
    assert rows["bar"].tolist()[-1] == bars[1]
    assert rows["idle_percent"].tolist()[-1] == pytest.approx(90)
    assert set(bars) - {"normal (22)"} <= set(rows["bar"])


def test_more_than_twenty_groups_are_one_bar():
    members = [member for number in range(21) for member in alike(1, number, 100 - number, f"g{number}")]
    rows = idle.table(*spent(("one", "sdbt", 0, members)))
    assert rows[["bar", "level", "workers"]].to_numpy().tolist() == [["all workers", "all", 21]]
    assert rows["idle_percent"].tolist() == pytest.approx([90])


def test_many_scenarios_share_a_panel():
    tables = spent(
        *((f"task{number:02d}", "sdbt", seed, alike(3)) for number in range(30) for seed in (0, 1))
    )
    picture = idle.figure(*tables)
    assert titles(picture) == ["SDBT"]
    assert labels(picture.axes[0]) == [f"task{number:02d}" for number in range(30)]
    assert_inside(picture)


def test_a_thousand_workers_fit():
    assert labels(idle.figure(*spent(("one", "sdbt", 0, alike(1000)))).axes[0]) == ["normal (1000)"]


def test_more_settings_than_fit_are_refused():
    def many(count):
        return spent(*((f"t{number}", "sdbt", 0, alike(1)) for number in range(count)))

    assert len(labels(idle.figure(*many(40)).axes[0])) == 40
    with pytest.raises(InputError, match=r"hold 41 settings, and at most 40 fit .*: give the folder of one"):
        idle.figure(*many(41))


def test_many_methods_take_several_rows():
    tables = spent(
        *(("one", f"method{number}", 0, alike(2)) for number in range(7)),
        ("other", "method8", 0, alike(2)),
    )
    picture = idle.figure(*tables)
    assert [axes.axison for axes in picture.axes] == [*[True] * 7, False, True, False, False, False]
    assert titles(picture)[-1] == "other\nmethod8: 100 s"
    shown = [axes.xaxis.get_tick_params()["labelbottom"] for axes in picture.axes if axes.axison]
    assert shown == [False, False, False, True, False, True, True, True]  # the lowest of each column


def test_long_names_are_cut_in_the_middle():
    names = [f"{'long-' * 20}{number:02d}" for number in range(30)]
    tables = spent(*((name, "sdbt", 0, alike(3)) for name in names))
    found = labels(idle.figure(*tables).axes[0])
    assert len(set(found)) == 30
    assert found[7].startswith("long-long-")
    assert found[7].endswith("-long-07")
    assert len(found[7]) < 70


def test_one_seed_has_no_whisker_and_no_time_has_no_bar():
    tables = spent(("one", "sdbt", 0, alike(1, 0, 0)))
    found = idle.table(*tables).iloc[0]
    assert math.isnan(found["idle_percent"])
    assert_inside(idle.figure(*tables))


def test_a_run_without_an_activity_beside_one_with_it():
    runs, workers = spent(("a", "sdbt", 0, alike(1)), ("b", "sdbt", 0, [("x", False, {"musing": 100})]))
    assert workers["seconds_musing"].isna().tolist() == [True, False]
    assert idle.table(runs, workers)["musing_percent"].tolist() == [0, 100]


def test_what_is_refused():
    runs, workers = two_seeds()
    with pytest.raises(InputError, match="table 'workers' of these results has no column 'group'"):
        idle.table(runs, workers.drop(columns="group"))
    workers.loc[1, "seconds_waiting"] = 7.0
    with pytest.raises(
        InputError, match=r"run one-sdbt-0, worker 1: .* add up to 107 s, but the run took 100"
    ):
        idle.table(runs, workers)


def test_the_command_draws_it_from_any_results(command, small):
    for name, more in (("a", ()), ("b", ("--set", "workers.0.count=40", "--seed", "3")), ("b", ())):
        assert command("run", small, "--set", f"name={name}", *more, *SMALL_RUN).code == 0
    answer = command("figure", "idle", "results", "-o", "where.pdf")
    assert (answer.code, answer.err) == (0, "")
    table = pd.read_csv("where.csv")
    sums = table[[name for name in table if name.endswith("_percent") and name != "idle_percent"]].sum(axis=1)
    assert sums.tolist() == pytest.approx([100] * len(table))
    assert set(table["scenario"]) == {"a", "b"}
