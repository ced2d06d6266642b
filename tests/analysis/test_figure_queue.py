"""Queues over time: averages and percentiles by hand against a plain twin, seeds, panels, outages."""

import math
import random
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from tiny_tables import assert_inside

from fedsim.errors import InputError
from fedsim_analysis import style
from fedsim_analysis.figures import queue
from fedsim_analysis.levels import Levels

CHANGES = [(0.0, 0, 1), (10.0, 2, 5), (10.0, 3, 5), (30.0, 1, 5), (40.0, 0, 2)]
"""Time, waiting, being answered: 0 for 10 s, 3 for 20 s, 1 for 10 s, 0 until the end at 50 s."""


def recorded(variants=("",), seeds=(0,), services=(0,), end_s=50.0, **settings):
    """Return the two tables: seed n has n waiting more at any time."""
    runs, rows = [], []
    for variant in variants:
        for seed in seeds:
            run_id = f"{variant}-{seed}"
            names = {"scenario": "sst2", "variant": variant, "algorithm": "asyndbt", "seed": seed}
            runs.append({"run_id": run_id, **names, "simulated_time_s": end_s, **settings})
            rows += [
                (run_id, service, time_s, waiting + seed, busy)
                for service in services
                for time_s, waiting, busy in CHANGES
            ]
    columns = ["run_id", "service", "time_s", "queued", "serving"]
    return pd.DataFrame(runs), pd.DataFrame(rows, columns=columns)


def levels(changes, end_s):
    return Levels(pd.DataFrame(changes, columns=["time_s", "queued", "serving"]), end_s)


def test_one_seed_is_exact():
    table = queue.table(*recorded())
    found = table[["start_s", "end_s", "queued", "serving"]].to_numpy().tolist()
    assert found == [[0, 10, 0, 1], [10, 30, 3, 5], [30, 40, 1, 5], [40, 50, 0, 2]]
    assert (table["queued_low"] == table["queued_high"]).all()
    # (20 * 3 + 10 * 1) / 50; not more than 3 all the time, not more than 1 only 60 % of it
    assert table["queued_mean"].unique().tolist() == [1.4]
    assert table["queued_percentile_95"].unique().tolist() == [3.0]


def test_the_percentile_counts_time_and_not_changes():
    """A hundred changes in one second are one second; a level that lasts exactly 95 % of the time counts."""
    busy = [(0.01 * number, 50 + number % 2, 1) for number in range(100)]
    assert levels([*busy, (1.0, 2, 1)], 100.0).percentile() == 2
    assert levels([(0.0, 1, 1), (95.0, 7, 1)], 100.0).percentile() == 1
    assert levels([(0.0, 1, 1), (94.9, 7, 1)], 100.0).percentile() == 7


def test_a_service_nobody_asked_yet_has_no_queue():
    found = levels([(30.0, 4, 1)], 40.0)
    assert found.start_s.tolist() == [0, 30]
    assert found.mean() == 1.0


def test_averages_agree_with_a_plain_twin():
    draw = random.Random(5)
    changes = sorted((draw.uniform(0, 90), draw.randrange(9), draw.randrange(4)) for _ in range(60))
    edges = sorted([0.0, 100.0, *(draw.uniform(0, 100) for _ in range(20))])

    def at(time_s):
        return next((waiting for when, waiting, _ in reversed(changes) if when <= time_s), 0)

    def average(start_s, stop_s):
        cuts = [start_s, *(when for when, *_ in changes if start_s < when < stop_s), stop_s]
        return sum(at(a) * (b - a) for a, b in pairwise(cuts)) / (stop_s - start_s)

    found = levels(changes, 100.0)
    expected = [average(*pair) for pair in pairwise(edges)]
    assert found.averages("queued", np.array(edges)) == pytest.approx(expected)
    assert found.mean() == pytest.approx(average(0.0, 100.0))


def test_several_seeds_give_median_and_band_on_one_grid():
    table = queue.table(*recorded(seeds=(0, 1, 5)))
    assert table["start_s"].tolist() == pytest.approx(np.linspace(0, 50, 301)[:-1].tolist())
    within = table[(table["start_s"] > 11) & (table["end_s"] < 29)]
    assert within[["queued_low", "queued", "queued_high"]].to_numpy() == pytest.approx(
        np.tile([3, 4, 8], (len(within), 1))
    )
    # 1.4, 2.4 and 6.4; 3, 4 and 8
    assert table["queued_mean"].iloc[0] == pytest.approx(3.4)
    assert table["queued_percentile_95"].iloc[0] == pytest.approx(5.0)
    # The area below the lowest line is that of seed 0.
    width = table["end_s"] - table["start_s"]
    assert (table["queued_low"] * width).sum() == pytest.approx(70.0)


def test_a_panel_ends_with_its_shortest_seed():
    runs, rows = recorded(seeds=(0, 1))
    runs.loc[1, "simulated_time_s"] = 45.0
    table = queue.table(runs, rows)
    assert table["end_s"].max() == pytest.approx(45.0)
    assert table["queued_mean"].iloc[0] == pytest.approx((1.4 + (45 + 70) / 45) / 2)


def test_one_seed_of_several():
    table = queue.table(*recorded(seeds=(0, 1)), seed=1)
    assert table["queued"].tolist() == [1, 4, 2, 1]
    with pytest.raises(InputError, match=r"seed 3: no run that can be drawn has it \(seeds: 0, 1\)"):
        queue.table(*recorded(seeds=(0, 1)), seed=3)


def test_thousands_of_changes_are_averaged():
    runs, _ = recorded(end_s=5000.0)
    rows = [("-0", 0, float(time_s), time_s % 2, 1) for time_s in range(5000)]
    table = queue.table(
        runs, pd.DataFrame(rows, columns=["run_id", "service", "time_s", "queued", "serving"])
    )
    assert len(table) == 300
    assert table["queued_mean"].iloc[0] == 0.5


def test_what_is_drawn():
    picture = queue.figure(*recorded(variants=("sdbt", "asyndbt"), seeds=(0, 1)))
    assert [axes.get_title(loc="left") for axes in picture.axes] == [
        "SDBT (2 seeds)",
        "AsynDBT (2 seeds)",
    ]
    axes = picture.axes[0]
    assert axes.texts[0].get_text() == "waiting: mean 1.9, 95 % of the time at most 3.5"
    assert picture.axes[-1].get_xlabel() == "Simulated time (s)"
    assert picture.axes[-1].get_xlim() == (0, 50)
    lines = [patch for patch in axes.patches if not patch.get_fill()]
    looks = {to_hex(line.get_edgecolor()).upper(): line.get_linewidth() for line in lines}
    waiting, calling = style.ACTIVITIES["queueing"].colour, style.ACTIVITIES["calling"].colour
    assert looks.keys() == {waiting, calling}
    assert looks[waiting] > looks[calling]
    (line,) = [one for one in lines if to_hex(one.get_edgecolor()).upper() == waiting]
    assert line.get_data().values[-1] == pytest.approx(0.5)
    words = [text.get_text() for text in picture.legends[0].get_texts()]
    assert words == ["waiting", "being answered", "lowest to highest seed"]
    assert_inside(picture)


@pytest.mark.parametrize(("end_s", "symbol"), [(50.0, "s"), (1800.0, "min"), (36000.0, "h")])
def test_the_unit_of_time_follows_the_span(end_s, symbol):
    picture = queue.figure(*recorded(end_s=end_s))
    assert picture.axes[0].get_xlabel() == f"Simulated time ({symbol})"


def test_each_service_has_a_panel():
    titles = [axes.get_title(loc="left") for axes in queue.figure(*recorded(services=(0, 1))).axes]
    assert titles == ["SST-2, service 0", "SST-2, service 1"]


def test_known_outages_are_shaded():
    stated = {"llm.outages.0.start_s": 10.0, "llm.outages.0.stop_s": 20.0}
    runs, rows = recorded(variants=("calm", "out"))
    for name, value in stated.items():
        runs[name] = [math.nan, value]
    picture = queue.figure(runs, rows)
    shades = [[patch for patch in axes.patches if isinstance(patch, Rectangle)] for axes in picture.axes]
    assert [len(patches) for patches in shades] == [0, 1]
    assert (shades[1][0].get_x(), shades[1][0].get_width()) == (10.0, 10.0)
    assert [text.get_text() for text in picture.legends[0].get_texts()][-1] == "outage"


def test_no_queue_names_what_it_takes():
    runs, rows = recorded()
    with pytest.raises(InputError, match=r'kind "shared" and `record\.spans = true`'):
        queue.figure(runs, rows.head(0))


def test_runs_that_differ_in_more_than_their_seed_have_panels_of_their_own():
    runs, rows = recorded(variants=("a", "b"))
    of_two = runs.assign(variant="", seed=[0, 1], **{"llm.concurrency": [2, 5]})
    titles = [axes.get_title(loc="left") for axes in queue.figure(of_two, rows).axes]
    assert titles == ["SST-2, concurrency = 2", "SST-2, concurrency = 5"]
    of_two = runs.assign(variant="", seed=[0, 1], algorithm=["sdbt", "asyndbt"])
    titles = [axes.get_title(loc="left") for axes in queue.figure(of_two, rows).axes]
    assert titles == ["SDBT", "AsynDBT"]


def test_too_many_panels():
    with pytest.raises(InputError, match="7 queues, of methods, settings and services, and at most 6 fit"):
        queue.table(*recorded(variants=tuple("abcdefg")))
