"""Calls and time to the target against the participants of a round: by hand, and the study's own sweeps."""

import math
from pathlib import Path

import pandas as pd
import pytest
from tiny_tables import assert_inside, run

from fedsim.errors import InputError
from fedsim.results import load_results
from fedsim.sweep import run_all
from fedsim.sweep.plan import read_plan
from fedsim_analysis.figures import fedone

FOLDER = Path(__file__).parents[2] / "scenarios" / "fedone"


def study(late=()):
    """Return runs and steps of two seeds: with K* clients a round takes K* x 10 calls and 2 or 3 s.

    Alone the target needs 20 rounds of seed 0 and 30 of seed 1, five together 10 and 20, all hundred 8 and 8.
    `late` are (K*, seed) that never get there, and end ten rounds later.
    """
    rounds = {(1, 0): 20, (1, 1): 30, (5, 0): 10, (5, 1): 20, (None, 0): 8, (None, 1): 8}
    runs, steps = [], []
    for (asked, seed), count in rounds.items():
        size, each_s = asked or 100, 3.0 if asked is None else 2.0
        missed = (asked, seed) in late
        row = run("one", "fedbdpl", seed, each_s * (count + 10), algorithm="fedbdpl", n_workers=100)
        row |= {
            "algorithm.participants": asked,
            "run_id": f"{asked}-{seed}",
            "llm_calls": 10 * size * (count + 10),
        }
        row |= {"time_to_target_s": math.nan if missed else each_s * count}
        runs.append(row)
        steps += [
            {"run_id": row["run_id"], "step": step, "time_s": each_s * step, "llm_calls": 10 * size * step}
            for step in range(count + 11)
        ]
    return pd.DataFrame(runs), pd.DataFrame(steps)


def test_means_by_hand():
    table = fedone.table(*study())
    assert table["participants"].tolist() == [1, 5, 100]
    assert table["rounds"].tolist() == [25, 15, 8]
    assert table["calls"].tolist() == [250, 750, 8000]
    assert table["time_s"].tolist() == [50, 30, 24]
    assert table[["runs", "reached"]].to_numpy().tolist() == [[2, 2]] * 3
    # 40 and 60 s: a standard error of 10, t(0.975, 1) = 12.7062
    assert table["time_s_high"].iloc[0] == pytest.approx(50 + 127.062, abs=1e-3)
    assert table["calls_low"].iloc[2] == table["calls_high"].iloc[2] == 8000


def test_a_run_that_never_gets_there_counts_up_to_a_common_horizon():
    table = fedone.table(*study(late=[(5, 1)]))
    # It ended after 30 rounds of 5 clients: 60 s and 1500 calls; half of the runs are still there after 20 s.
    assert table["reached"].tolist() == [2, 1, 2]
    assert table["time_s_horizon"].tolist() == [60.0] * 3
    assert table["time_s"].tolist()[1] == (20 + 60) / 2
    assert table["calls"].tolist()[1] == (500 + 1500) / 2
    hollow = [
        line for axes in fedone.figure(*study(late=[(5, 1)])).axes for line in axes.lines
        if line.get_markerfacecolor() == "white" and len(line.get_xdata())
    ]  # fmt: skip
    assert [list(line.get_ydata()) for line in hollow] == [[1000], [40]]


def test_the_figure_has_a_panel_for_calls_and_one_for_time():
    picture = fedone.figure(*study())
    calls, time = picture.axes
    assert (calls.get_ylabel(), time.get_ylabel()) == ("LLM calls to the target", "Time to the target (s)")
    assert [label.get_text() for label in time.get_xticklabels()] == ["1", "5", "all (100)"]
    assert [text.get_text() for text in picture.legends[0].get_texts()] == ["Fed-BDPL"]
    assert_inside(picture)


def test_what_is_refused():
    runs, steps = study()
    needed = "none has what is needed: a number of participants that varies"
    for other in (runs.drop(columns="algorithm.participants"), runs.assign(time_to_target_s=math.nan)):
        with pytest.raises(InputError, match=needed):
            fedone.table(other, steps)
    with pytest.raises(InputError, match="there are 2 runs"):
        fedone.table(pd.concat([runs, runs.head(1)], ignore_index=True), steps)


def test_the_study_has_paired_seeds_and_others_than_its_search(tmp_path):
    points: dict[str, dict[int, set[int]]] = {}
    for name in ("fedone", "rates"):
        for scenario, point in read_plan(FOLDER / f"{name}.toml", []).runs():
            points.setdefault(name, {}).setdefault(point.number, set()).add(scenario.seed)
            assert scenario.n_workers == 100
    seeds = {name: set(map(frozenset, of_point.values())) for name, of_point in points.items()}
    assert seeds == {"fedone": {frozenset(range(5))}, "rates": {frozenset({100, 101})}}
    assert len(points["fedone"]) == 4 * 5
    small = ["target.value=0.59", "problem.n_samples=3", "problem.batch=4", "evaluation.max_workers=1"]
    plan = read_plan(FOLDER / "fedone.toml", [*small, "sweep.replicates=1"])
    names = {"fedbdpl_own_rates", "fedbdpl_stragglers"}
    some = [one for one, _ in plan.runs() if one.variant in names and one.algorithm.participants in (1, 100)]
    ended = {outcome.summary["ended"] for outcome in run_all(some, tmp_path)}
    assert ended == {"target"}
    rows = fedone.table(load_results(tmp_path, "runs"), load_results(tmp_path, "steps"))
    assert len(rows) == 4
    # With the same seed the rounds are those of the same workers, whoever is slow: only their times differ.
    alike, slow = (rows[rows["line"] == f"Fed-BDPL, {name}"] for name in ("own rates", "stragglers"))
    assert alike["rounds"].tolist() == slow["rounds"].tolist()
    assert alike["calls"].tolist() == slow["calls"].tolist()
    everybody = slow["time_s"].iloc[-1] / alike["time_s"].iloc[-1]
    assert 6 < everybody < 9
    assert slow["time_s"].iloc[0] / alike["time_s"].iloc[0] < everybody
