"""`fedsim advise`: halving by hand, seeds that only judge, resuming, the file that is written."""

from __future__ import annotations

import json
import math
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import SMALL
from scipy.stats import t as student

from fedsim import console, sweep
from fedsim.errors import InputError, RunError
from fedsim.scenario import load_scenario, parse
from fedsim.scenario.model import Target
from fedsim.scenario.toml_text import read_toml
from fedsim.simulation import run
from fedsim_analysis.advice import candidates, halving, search, telling
from fedsim_analysis.advice import runs as runs_module
from fedsim_analysis.advice.candidates import Bracket, Candidate, Grid
from fedsim_analysis.advice.changes import helps
from fedsim_analysis.advice.halving import halved, wave
from fedsim_analysis.advice.learning import Curve, Goal, fared, goal_of, in_order, watched
from fedsim_analysis.advice.runs import RunOf, Runs

AMPLE_S = 1e6
"""So many seconds that no test depends on the speed of the machine."""
SCENARIO = SMALL.replace("server_steps = 12", "worker_updates = 60")
SHARED = """
[llm]
kind = "shared"
unset = ["latency"]
ttft = { kind = "exponential", mean_s = 0.5 }
requests_per_minute = 60.0
burst_s = 1.0
"""


def scenario_of(text: str):
    return parse(read_toml(text, "test"), "test")


def few(patch: pytest.MonkeyPatch) -> None:
    """Let a search look at few candidates with few seeds."""
    for name, value in {"JUDGED": (4, 6), "LEARNED": (2, 3), "FEWEST_JUDGED": 2}.items():
        patch.setattr(search, name, value)
    for name, value in {"CYCLES": (2,), "INTERVALS": (1, 2)}.items():
        patch.setattr(candidates, name, value)


def searched(scenario, out: Path, seconds: float = AMPLE_S, **options) -> tuple[search.Search, search.Advice]:
    with Runs(out, 1, seconds) as runs:
        found = search.Search(scenario, runs, **options)
        return found, found.carry_out()


def some(number: int, estimated_s: float = math.inf) -> Candidate:
    return Candidate(number, Bracket(), {}, scenario_of(SMALL), estimated_s)


def test_halving_by_hand(monkeypatch):
    """Rung 1: seed 0, {1, 2, 3, 4} in one bracket, {5, 6} in the other; rung 2: seeds 0 and 1."""
    monkeypatch.setattr(halving, "FIRST", 1)
    times = {(1, 0): 5.0, (2, 0): 3.0, (3, 0): 4.0, (4, 0): 6.0, (5, 0): math.inf, (6, 0): 7.0}
    times |= {(2, 1): 8.0, (3, 1): 5.0}
    asked = []

    def look(pairs):
        asked.append(list(pairs))
        return {pair: times[pair] for pair in pairs}

    brackets = [[some(number) for number in (1, 2, 3, 4)], [some(5), some(6)], [some(7)]]
    assert [each.number for each in halved(brackets, look)] == [3, 6, 7]
    assert asked == [
        [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0)],  # paired: all have the same seed
        [(2, 0), (3, 0), (2, 1), (3, 1)],
    ]


def test_halving_keeps_the_earlier_of_two_that_take_equally_long_and_stops_when_time_is_up():
    def alike(pairs):
        return dict.fromkeys(pairs, 1.0)

    assert halved([[some(2), some(1)]], alike)[0].number == 1
    assert halved([[some(2), some(1)]], lambda pairs: None) is None


def test_a_wave_has_the_best_by_estimate_and_the_scenario_as_it_stands():
    bracket = [some(0, estimated_s=9.0), some(1), some(2, estimated_s=3.0), some(3, estimated_s=2.0)]
    assert [[each.number for each in part] for part in wave([bracket], 1)] == [[3, 0]]
    assert [[each.number for each in part] for part in wave([bracket], None)] == [[3, 2, 0, 1]]


def test_intervals_of_the_mean_and_of_one_more_run():
    found = search.difference({1: 6.0, 2: 8.0, 3: 9.0}, {1: 10.0, 2: 10.0, 3: 10.0})
    savings = np.array([40.0, 20.0, 10.0])
    half = student.ppf(0.975, 2) * savings.std(ddof=1)
    mean = savings.mean()
    assert found.saving.mean == pytest.approx(mean)
    assert [found.saving.low, found.saving.high] == pytest.approx(
        [mean - half / 3**0.5, mean + half / 3**0.5]
    )
    assert found.low_of_one == pytest.approx(mean - half * (1 + 1 / 3) ** 0.5)
    assert found.high_of_one == pytest.approx(mean + half * (1 + 1 / 3) ** 0.5)
    assert not found.is_sure


def grid_of(text: str, updates: int = 60, **options) -> Grid:
    return Grid(scenario_of(text), updates, lambda scenario: None, **options)


def test_the_grid_by_hand():
    """R = 3, every = 4, S = 2: 4 x 2 + 1 that comes to the barrier are 9 worker updates between cuts."""
    grid = grid_of(SCENARIO)
    assert [candidate.number for candidate in grid.candidates] == list(range(len(grid.candidates)))
    assert grid.candidates[0].words == "asyndbt: wait_for = 2, tau = 3, cuts.every = 4"
    assert grid.candidates[0].bracket == Bracket(9)
    assert [bracket.updates for bracket in grid.brackets] == [9, 4, 18, 36]
    of_own = [candidate.words for candidate in grid.brackets[Bracket(9)]]
    assert of_own == [
        "asyndbt: wait_for = 2, tau = 3, cuts.every = 4",
        "sdbt: cuts.every = 3",
        "asyndbt: wait_for = 1, tau = 3, cuts.every = 7",
        "asyndbt: wait_for = 1, tau = 7, cuts.every = 7",
        "asyndbt: wait_for = 1, tau = 25, cuts.every = 7",
        "asyndbt: wait_for = 2, tau = 5, cuts.every = 4",
        "asyndbt: wait_for = 2, tau = 17, cuts.every = 4",
    ]
    pooled = [candidate for candidate in grid.candidates if candidate.pooled]
    assert [candidate.words for candidate in pooled] == ["cendbt: cuts.every = 3"]
    assert grid.impossible == []


def test_brackets_have_about_as_many_polyhedron_updates_whatever_s_and_tau():
    """What is learned from a worker update must be alike where time alone chooses."""
    scenario = scenario_of(SCENARIO.replace("worker_updates = 60", "worker_updates = 600"))
    grid = Grid(scenario, 600, search.estimate_time)
    cuts = {
        candidate.words: run(candidate.scenario, timing_only=True).summary["cut_updates"]
        for candidate in grid.brackets[grid.candidates[0].bracket]
    }
    assert len(cuts) > 5
    assert max(cuts.values()) <= 1.15 * min(cuts.values()), cuts


def test_extensions_are_tried_only_where_wanted():
    assert not any(bracket.extension for bracket in grid_of(SCENARIO).brackets)
    found = grid_of(SCENARIO, extensions=True)
    first = {
        bracket.extension: each[0].words for bracket, each in found.brackets.items() if bracket.updates == 9
    }
    assert first == {
        "": "asyndbt: wait_for = 2, tau = 3, cuts.every = 4",
        "counted in worker updates (ours)": "asyndbt: wait_for = 1, tau = 3, cuts.every_updates = 9",
        "cuts without a barrier (ours)": (
            'asyndbt: wait_for = 1, tau = 3, cuts.every = 9, cuts.participation = "rolling"'
        ),
        "S adapted (ours)": "asyndbt: wait_for = 2, tau = 3, adapt = {}, cuts.every = 4",
    }
    assert found.impossible == []


def test_a_scenario_that_counts_worker_updates_goes_on_counting_them():
    grid = grid_of(SCENARIO.replace("every = 4", "every_updates = 9"))
    assert {candidate.words for candidate in grid.brackets[Bracket(9)]} >= {
        "sdbt: cuts.every_updates = 9",
        "asyndbt: wait_for = 1, tau = 3, cuts.every_updates = 9",
    }


def test_participants_of_federated_averaging():
    text = SCENARIO.replace('kind = "asyndbt"\nwait_for = 2\ntau = 3', 'kind = "fedbdpl"')
    text = text.replace("[algorithm.cuts]\nevery = 4\nrounds = 2\n", "")
    grid = grid_of(text)
    assert [candidate.words for candidate in grid.candidates] == [
        "fedbdpl",
        "fedbdpl: participants = 1",
        "fedbdpl: participants = 2",
        "fedbdpl: participants = 3",
    ]
    more = grid_of(text, extensions=True).brackets[Bracket(extension="asynchronous (ours)")]
    assert "fedbdpl: wait_for = 1, tau = 7" in [candidate.words for candidate in more]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory):
    """A whole search, with its folder."""
    out = tmp_path_factory.mktemp("advise")
    with pytest.MonkeyPatch.context() as patch:
        few(patch)
        scenario = scenario_of(SCENARIO)
        with Runs(out, 1, AMPLE_S) as runs:
            of = search.Search(scenario, runs)
            advice = of.carry_out()
            orders = list(runs._found)
    return SimpleNamespace(scenario=scenario, out=out, advice=advice, orders=orders)


def test_seeds_that_judge_have_chosen_nothing(found):
    """The printed saving is that of runs whose seeds stand apart from all that were looked at to choose."""
    seeds = {order.seed for order in found.orders}
    choosing = {seed for seed in seeds if seed < search.FRESH}
    assert seeds - choosing == {search.FRESH + place for place in range(6)}
    assert max(choosing) < 16
    own = found.advice.grid.candidates[0]
    row = next(row for row in found.advice.rows.values() if row.candidate is not own)
    count = row.difference.time.count
    times = [
        [
            run(sweep.with_seed(candidate.scenario, search.FRESH + place), timing_only=True).summary[
                "simulated_time_s"
            ]
            for place in range(count)
        ]
        for candidate in (row.candidate, own)
    ]
    savings = 100 * (1 - np.array(times[0]) / np.array(times[1]))
    assert row.difference.saving.mean == pytest.approx(savings.mean())


def test_what_a_search_finds(found):
    advice = found.advice
    assert advice.complete
    assert advice.best is not None
    assert advice.updates == 60
    assert advice.own_budget
    assert not advice.unlearned
    assert advice.goal is not None
    assert advice.goal.stated is None
    assert advice.best.learned is not None
    assert advice.best.learned.time.runs == 3
    assert sum(advice.limits.values()) == pytest.approx(1)
    assert advice.helps[0][1].saving.mean >= advice.helps[-1][1].saving.mean
    first, last = advice.chosen[0].time.runs, advice.chosen[advice.advised.number].time.runs
    assert (first, last) in {(6, 6), (12, 12)}  # the scenario as it stands says where the target is
    assert {row.candidate.scenario.algorithm.kind for row in advice.rows.values()} == {
        "asyndbt",
        "sdbt",
        "cendbt",
    }


def test_a_second_search_finds_all_runs_and_the_same_advice(found, monkeypatch):
    few(monkeypatch)
    _, again = searched(found.scenario, found.out)
    assert again.runs == (0, sum(found.advice.runs))
    before, after = (telling.as_json(advice) for advice in (found.advice, again))
    left_out = {"runs_made", "runs_found", "seconds"}
    assert {k: v for k, v in before.items() if k not in left_out} == {
        k: v for k, v in after.items() if k not in left_out
    }


def test_the_same_with_several_processes(found, tmp_path):
    with Runs(tmp_path, 2, AMPLE_S) as runs:
        wanted = [(RunOf(0, seed, True), found.scenario) for seed in (0, 1, 2)]
        assert runs.make(wanted, 1.0)
        times = [runs.get(order).summary["simulated_time_s"] for order, _ in wanted]
    assert times == [
        run(sweep.with_seed(found.scenario, seed), timing_only=True).summary["simulated_time_s"]
        for seed in (0, 1, 2)
    ]


def test_once_time_is_up_no_further_run_begins(tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 1))
    monkeypatch.setattr(runs_module.time, "monotonic", lambda: float(next(clock)))
    scenario = scenario_of(SCENARIO)
    with Runs(tmp_path, 1, 12.0) as runs:
        wanted = [(RunOf(0, seed, True), scenario) for seed in range(20)]
        assert not runs.make(wanted, 0.5)
        assert 0 < runs.made < 6


def test_without_time_nothing_is_compared_and_a_sentence_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(Runs, "are_over", lambda self, share: share < math.inf)
    _, advice = searched(scenario_of(SCENARIO), tmp_path)
    assert advice.best is None
    assert advice.grid.estimated is None
    assert "no time" in list(telling.closing(advice))[-1]
    json.dumps(telling.as_json(advice), allow_nan=False)


def test_with_a_horizon_alone_all_do_as_much_work_as_the_scenario_as_it_stands(tmp_path, monkeypatch):
    few(monkeypatch)
    monkeypatch.setattr(search, "JUDGED", (2,))
    scenario = scenario_of(SMALL.replace("server_steps = 12", "horizon_s = 40.0"))
    _, advice = searched(scenario, tmp_path, learn=False)
    updates = run(scenario, timing_only=True).summary["worker_updates"]
    assert advice.updates == updates
    assert not advice.own_budget
    assert advice.rows[0].candidate.scenario.budget.worker_updates == updates
    assert advice.rows[0].candidate.scenario.budget.horizon_s is None
    assert advice.unlearned == "--no-learn was given"


def test_time_alone_leaves_the_cut_interval_as_it_is(found, monkeypatch):
    few(monkeypatch)
    _, advice = searched(found.scenario, found.out, learn=False)
    assert advice.advised.bracket == advice.grid.candidates[0].bracket
    assert any("change what is learned" in sentence for sentence in telling.verdict(advice))


def test_no_learning_where_a_real_model_would_be_asked():
    class Asks:
        asks_model = True

    class Learns:
        learns = True

    scenario = SimpleNamespace(problem=Asks, algorithm=Learns)
    assert "real model" in search._why_not_learned(scenario, None)
    assert search._why_not_learned(scenario, True) == ""


def test_what_would_help_by_hand():
    text = SCENARIO.replace(
        '[llm]\nkind = "independent"\nlatency = { kind = "constant", value_s = 0.5 }\n', SHARED
    )
    text = text.replace('unset = ["latency"]\n', "").replace("count = 3", "count = 3\nslow_down = 4.0")
    text += "\n[[workers]]\nname = 'quick'\ncount = 1\nupload_mbps = 2.0\n"
    text = text.replace("dimension = 3", "dimension = 3\nbytes_up = 1000")
    changed = {change.words: change.scenario for change in helps(scenario_of(text))}
    assert changed["twice the requests per minute (60 to 120)"].llm.requests_per_minute == 120.0
    assert changed["calls that are answered in half the time"].llm.ttft.mean_value_s == 0.25
    assert [g.lanes for g in changed["twice the calls that a worker keeps open (lanes, now 5)"].workers] == [
        10,
        10,
    ]
    assert [g.slow_down for g in changed["the slow workers (workers) as fast as the others"].workers] == [
        1.0,
        1.0,
    ]
    assert changed["twice the bandwidth"].workers[1].upload_mbps == 4.0
    assert not any("always on" in words for words in changed)


def curve(*values: float) -> Curve:
    return Curve(tuple(float(place) for place in range(len(values))), values, len(values) - 1.0)


def test_a_target_from_the_scenario_as_it_stands_by_hand():
    """It starts at 1.0, and ends at 0.2 in the mean of five: half of the fall is at 0.6."""
    falling, level = curve(1.0, 0.9, 0.5, 0.2, 0.2, 0.2, 0.2, 0.2), curve(*[1.0] * 8)
    scenario = scenario_of(SCENARIO)
    goal = goal_of(scenario, [falling, level])
    assert goal is not None
    assert goal.mark(falling).value == pytest.approx(0.6)
    assert goal.mark(level) is None
    assert math.isnan(goal.reached_s(falling, level))
    assert goal_of(scenario, [level, curve(1.0, 0.5)]) is None
    stated = goal_of(scenario.replace({"target": {"value": 0.3}}), [level])
    assert stated.mark(level).value == 0.3


def test_the_soonest_of_those_that_reach_the_target_most_often_is_chosen():
    goal = Goal("loss", Target(value=0.5, window=1))
    soon, late, never = curve(1.0, 0.4, 0.4, 0.4), curve(1.0, 1.0, 0.4, 0.4), curve(1.0, 1.0, 1.0, 1.0)
    own = {0: late, 1: never}
    assert in_order(goal, {1: {0: soon, 1: never}, 2: {0: late, 1: late}, 3: {0: never, 1: never}}, own) == [
        2,
        1,
    ]
    assert in_order(goal, {1: {0: soon, 1: late}, 2: {0: late, 1: late}}, own) == [1, 2]
    told = fared(goal, {0: soon, 1: late}, {0: late, 1: late})
    assert told.saving.mean == pytest.approx(25.0)  # 1 s in the place of 2 s in one of two runs


def test_a_scenario_without_a_target_is_measured_often_enough():
    scenario = scenario_of(SCENARIO)
    found = watched(scenario, 400)
    assert found.evaluation.every_updates == 10
    assert found.evaluation.every_steps is None
    stated = scenario.replace({"target": {"value": 0.1}})
    assert watched(stated, 400) is stated


def test_a_scenario_that_cannot_run_says_why(tmp_path):
    text = SCENARIO.replace("count = 3", "count = 3\nstops_at_s = 3.0")
    with pytest.raises(RunError, match="will never answer"):
        searched(scenario_of(text), tmp_path)


def advised(command, file: Path, *words: object):
    return command("advise", file, "--jobs", 1, "--seconds", AMPLE_S, *words)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    file = tmp_path / "small.toml"
    file.write_text(SCENARIO)
    return file


def test_the_file_that_is_written_has_the_advised_settings(command, small, found, tmp_path, monkeypatch):
    few(monkeypatch)
    answer = advised(
        command, small, "--no-learn", "--out", found.out, "-o", tmp_path / "deep" / "advised.toml", "--json"
    )
    assert answer.code == 0
    told = json.loads(answer.out)["advised"]
    written = load_scenario(tmp_path / "deep" / "advised.toml")
    assert not told["as_it_stands"]
    assert written.algorithm.kind == told["settings"]["kind"]
    assert written.algorithm.cuts.every == told["settings"]["cuts.every"]
    assert written.algorithm.cuts.rounds == 2  # as it was
    assert (tmp_path / "deep" / "advised.toml").read_text().count("\n") < 20
    times = [
        run(written.with_seed(search.FRESH + place), timing_only=True).summary["simulated_time_s"]
        for place in range(told["fresh_seeds"])
    ]
    assert np.mean(times) == pytest.approx(told["time_s"])


def test_the_file_of_a_variant_and_of_an_override_gives_the_same_scenario(
    command, small, tmp_path, monkeypatch
):
    few(monkeypatch)
    monkeypatch.setattr(search, "JUDGED", (2,))
    monkeypatch.setattr(search, "WAVES", (1,))
    text = (
        SCENARIO + "\n[variants.one]\nseed = 3\n\n[variants.two]\n[variants.two.algorithm.cuts]\nrounds = 1\n"
    )
    small.write_text(text)
    assert advised(command, small).code == 2
    answer = advised(command, small, "--only", "two", "--no-learn", "-o", "two.toml")
    assert answer.code == 0, answer.err
    assert "it extends small.toml" in answer.out
    assert load_scenario(tmp_path / "two.toml").algorithm.cuts.rounds == 1
    more = ("--set", "server.step_s=0.5", "-o", "set.toml")
    answer = advised(command, small, "--only", "two", "--no-learn", *more)
    assert "it states all settings" in answer.out
    assert load_scenario(tmp_path / "set.toml").server.step_s == 0.5


def test_ctrl_c_leaves_what_was_run(command, small, tmp_path, monkeypatch):
    few(monkeypatch)
    monkeypatch.setattr(search, "JUDGED", (2,))

    def stop(passed_s: float, count: int) -> None:
        if count == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(console, "countdown", lambda seconds, label: nullcontext(stop))
        answer = advised(command, small, "--no-learn")
    assert answer.code == 130
    assert "finished runs are kept" in answer.err
    folder = tmp_path / "advice" / "timing-only" / "small"
    assert len(list(folder.iterdir())) == 3
    answer = advised(command, small, "--no-learn")
    assert answer.code == 0
    assert "3 found finished" in answer.out


@pytest.mark.parametrize(
    ("change", "words", "code", "sentence"),
    [
        (("", ""), ["--seconds", "0"], 2, "--seconds: found 0, expected a time above 0"),
        (("", ""), ["--seconds", "nan"], 2, "--seconds: found nan, expected"),
        (("", ""), ["--only", "tow"], 2, "no variant 'tow'"),
        (("", ""), ["-o", "small.toml"], 2, "is the file that is asked about"),
        (
            ("[budget]", "[variants.one]\n[variants.two]\n[budget]"),
            [],
            2,
            "states variants (one, two), expected --only",
        ),
        (("[budget]", "[sweep.grid]\nseed = [1]\n[budget]"), [], 2, "states a sweep, expected one scenario"),
        (("count = 3", "count = 3\nstops_at_s = 3.0"), [], 1, "will never answer"),
    ],
)
def test_mistakes_end_in_one_sentence(command, small, change, words, code, sentence):
    small.write_text(SCENARIO.replace(*change))
    answer = command("advise", small, "--jobs", 1, *words)
    assert answer.code == code
    assert sentence in answer.err
    assert answer.err.count("\n") == 1


def test_a_file_that_is_not_there(command):
    answer = command("advise", "no.toml")
    assert (answer.code, answer.err) == (2, "fedsim: no.toml: no such file\n")


def test_a_method_in_which_there_is_nothing_to_choose():
    text = SCENARIO.replace('kind = "asyndbt"\nwait_for = 2\ntau = 3', 'kind = "bdpl"')
    text = text.replace("[algorithm.cuts]\nevery = 4\nrounds = 2\n", "")
    with pytest.raises(InputError, match="found 'bdpl', in which there is no step rule to choose"):
        grid_of(text)
