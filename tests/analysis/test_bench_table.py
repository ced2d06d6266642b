"""The table of the benchmarks, its targets and its command line, from made-up figures."""

from __future__ import annotations

import pytest

from tests.benchmarks.bench import __main__ as program
from tests.benchmarks.bench import growth, history
from tests.benchmarks.bench.grid import (
    Cell,
    Effort,
    Row,
    bytes_per_worker,
    cells,
    figures,
    measure,
    reason_to_leave_out,
)
from tests.benchmarks.bench.meter import LOOP, NAMES
from tests.benchmarks.bench.table import HEADER, cells_of, markdown, plain
from tests.benchmarks.bench.targets import verdicts
from tests.benchmarks.bench.workloads import named


def row(name="quadratic", n_workers=1_000, s_name="1", us=50.0, yard_us=25.0, setup_s=0.5, peak_mib=300.0):
    wait_for = 1 if s_name == "1" else n_workers
    found = {
        "us": [us, 1.1 * us],
        "wall_us": [2 * us, 2.2 * us],
        "yard_us": [yard_us] if yard_us else [],
        "setup_s": [setup_s],
        "updates": 100,
        "peak_mib": peak_mib,
        "before_mib": 200.0,
        "parts": dict.fromkeys(NAMES, 0.0) | {LOOP: 0.75, "other": 0.25},
    }
    return Row(Cell(named(name), n_workers, wait_for, s_name), found)


def verdict(rows, start, million=None):
    (found,) = [one for one in verdicts(rows, million) if one.target.startswith(start)]
    return found.measured, found.met


def test_cells_are_one_to_r_each_once():
    found = [(cell.n_workers, cell.wait_for, cell.s_name) for cell in cells((3, 100), ["clock"])]
    assert found == [
        (3, 1, "1"),
        (3, 3, "R"),
        (100, 1, "1"),
        (100, 10, "R/10"),
        (100, 50, "R/2"),
        (100, 100, "R"),
    ]
    many = [cell.s_name for cell in cells((100_000,), ["clock"])]
    assert many == ["1", "R"]
    assert [cell.s_name for cell in cells((100_000,), ["clock"], True)] == ["1", "R/10", "R/2", "R"]
    assert {cell.work.name for cell in cells((3,), ["cuts"])} == {"quadratic, cuts", "paper's sizes, cuts"}


def test_what_does_not_fit_is_left_out_and_says_why():
    large = Cell(named("paper's sizes"), 100_000, 1, "1")
    assert reason_to_leave_out(large, 24_000) == "needs about 31 GB"
    assert reason_to_leave_out(large, 64_000) == ""
    cuts = Cell(named("paper's sizes, cuts"), 1_000, 1, "1")
    assert reason_to_leave_out(cuts, 64_000) == "making the cuts takes minutes"


def test_a_cell_is_measured_in_a_process_of_its_own_and_one_that_fails_says_why():
    cell = next(cells((2,), ["clock"]))
    told = []
    (found,) = measure([cell], Effort(1e-9, 0.0, 1), told.append)
    assert told == [found]
    assert found.found["updates"] == 1
    assert found.times_yardstick > 0
    (failed,) = measure([cell._replace(wait_for=3)], Effort(1e-9, 0.0, 1))
    assert failed.found == {}
    assert "3" in failed.left_out


def test_a_row_tells_the_best_turn_and_parts_that_add_up():
    (line,) = cells_of([row()])
    told = dict(zip(HEADER, line, strict=True))
    assert told["work"] == "quadratic"
    assert (told["updates/CPU s"], told["updates/s"], told["x yardstick"]) == ("20,000", "10,000", "2.00")
    assert (told["us event loop"], told["us other"], told["us cuts"]) == ("37.5", "12.5", "-")
    assert (told["set-up s"], told["peak MiB"], told["bytes/worker"]) == ("0.50", "300", "-")


def test_a_row_left_out_keeps_the_form_of_the_table():
    lines = cells_of([row(), Row(row().cell, {}, "needs about 60 GB")])
    assert {len(line) for line in lines} == {len(HEADER)}
    assert "left out: needs about 60 GB" in plain(HEADER, lines)
    head, rule, *rows = markdown(HEADER, lines).splitlines()
    assert {text.count("|") for text in (head, rule, *rows)} == {len(HEADER) + 1}


def test_columns_stand_below_each_other():
    assert plain(("a", "bb"), [["xyz", "1"]]) == "a    bb\nxyz   1\n"


def test_bytes_of_a_worker_are_the_growth_of_the_peak():
    rows = [
        row(n_workers=size, peak_mib=mib) for size, mib in ((1_000, 300.0), (10_000, 309.0), (100_000, 399.0))
    ]
    each = bytes_per_worker([*rows, row(n_workers=10_000, s_name="R")])
    assert each == {
        "quadratic, R 10,000, S 1": pytest.approx(9 * 2**20 / 9_000),
        "quadratic, R 100,000, S 1": pytest.approx(90 * 2**20 / 90_000),
    }


def test_figures_have_every_turn():
    kept = figures([row(n_workers=10_000), Row(row().cell, {}, "no")])
    name = "quadratic, R 10,000, S 1"
    assert kept["times"] == {name: [50.0, pytest.approx(55.0)], f"{name}, set-up": [0.5]}
    assert kept["yardsticks"] == {name: [25.0]}
    assert kept["memory"] == {name: [300.0]}


@pytest.mark.parametrize(
    ("rows", "start", "expected"),
    [
        ([row("clock", us=10, yard_us=7)], "clock: at least 0.7", ("S = 1: 0.70", True)),
        ([row("clock", us=10, yard_us=6.9)], "clock: at least 0.7", ("S = 1: 0.69", False)),
        (
            [row("clock", us=10, yard_us=9), row("clock", us=10, yard_us=5, s_name="R")],
            "clock: at least 0.7",
            ("S = 1: 0.90, S = R: 0.50", False),
        ),
        ([row(us=50)], "quadratic: at least 20,000", ("S = 1: 20,000", True)),
        ([row(us=50.1)], "quadratic: at least 20,000", ("S = 1: 19,960", False)),
        ([row("paper's sizes", 100, us=50)], "paper's sizes: at most 2", ("S = 1: 2.00", True)),
        ([row("paper's sizes", 100, us=51)], "paper's sizes: at most 2", ("S = 1: 2.04", False)),
        ([row(), row(n_workers=100_000, us=75)], "quadratic: a step", ("S = 1: 1.50 times", True)),
        ([row(), row(n_workers=100_000, us=76)], "quadratic: a step", ("S = 1: 1.52 times", False)),
        ([row(n_workers=10_000, setup_s=0.9)], "quadratic: 10,000 workers", ("S = 1: 0.90 s", True)),
        ([row(n_workers=10_000, setup_s=1.1)], "quadratic: 10,000 workers", ("S = 1: 1.10 s", False)),
        ([], "quadratic: 10,000 workers", ("not measured", None)),
    ],
)
def test_targets(rows, start, expected):
    assert verdict(rows, start) == expected


@pytest.mark.parametrize(("largest_mib", "met"), [(399.0, True), (450.0, False)])
def test_memory_is_linear_where_a_worker_takes_no_more_among_many(largest_mib, met):
    sizes = ((1_000, 300.0), (10_000, 309.0), (100_000, largest_mib))
    rows = [row(n_workers=size, peak_mib=mib) for size, mib in sizes]
    assert verdict(rows, "quadratic: memory linear")[1] is met


@pytest.mark.parametrize(
    ("peak_mib", "wall_s", "met"), [(8_000, 599, True), (8_200, 599, False), (8_000, 601, False)]
)
def test_a_million_workers(peak_mib, wall_s, met):
    found = {"peak_mib": peak_mib, "wall_s": wall_s, "updates": 6_000_000}
    assert verdict([], "a million", found)[1] is met
    assert verdict([], "a million") == ("not measured", None)


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    """The command line, with made-up rows in the place of measured ones, and a history of its own."""
    rows = {"us": 50.0}
    monkeypatch.setattr(program, "measure", lambda wanted, effort, told: [row(us=rows["us"])])
    file = tmp_path / "history.jsonl"
    monkeypatch.setattr(history, "HISTORY", file)
    monkeypatch.setattr(history.append, "__defaults__", (file,))
    monkeypatch.setattr(history.last, "__defaults__", (file,))
    monkeypatch.setattr(history, "ROOT", tmp_path)
    return rows


def test_a_slower_program_is_told_from_one_as_fast(made_up, capsys):
    assert program.main(["--compare", "--save"]) == 0
    assert "nothing to compare with: nothing was saved before" in capsys.readouterr().err
    assert program.main(["--compare"]) == 0
    assert "nothing is worse beyond its noise" in capsys.readouterr().err
    made_up["us"] = 80.0
    assert program.main(["--compare"]) == 1
    assert "worse: quadratic, R 1,000, S 1: 1.60 times (noise 10%)" in capsys.readouterr().err


def test_quick_figures_are_compared_with_quick_ones(made_up, capsys):
    program.main(["--save"])
    assert program.main(["--quick", "--compare"]) == 0
    assert "nothing was saved before" in capsys.readouterr().err


def test_the_table_and_the_targets_are_printed(made_up, capsys):
    assert program.main(["--markdown"]) == 0
    out = capsys.readouterr().out
    assert "| quadratic | 1,000 | 1 | 20,000 |" in out
    assert "| quadratic: at least 20,000 updates per CPU second, R = 1,000 | S = 1: 20,000 | met |" in out
    assert program.main([]) == 0
    assert "quadratic" in capsys.readouterr().out


def test_a_workload_that_nobody_knows_is_told(made_up, capsys):
    assert program.main(["--only", "nonsense"]) == 2
    assert "nonsense" in capsys.readouterr().err


def test_each_setting_is_varied_alone_beside_the_base(monkeypatch):
    asked = []

    def turn_us(sizes, updates):
        asked.append(sizes)
        return 100.0 + sizes["N"] + len(asked) / 1e6

    monkeypatch.setattr(growth, "turn_us", turn_us)
    found = {(point.setting, point.value): point for point in growth.points(repeats=2)}
    assert found["N", 200].us == pytest.approx(300.0, abs=0.01)
    assert found["N", 200].times == pytest.approx(1.5, abs=0.01)
    assert found["M", 150].times == pytest.approx(1.0, abs=0.01)
    assert {sum(sizes[key] != growth.BASE[key] for key in sizes) for sizes in asked} == {0, 1}
    assert growth.texts(found["evaluation", growth.NEVER])[1:] == ["never", "200", "1.00"]


@pytest.mark.parametrize("setting", growth.VARIED)
def test_a_setting_reaches_the_run(setting):
    base = growth.scenario(growth.BASE, 40)
    value = growth.VARIED[setting][-1 if growth.VARIED[setting][0] == growth.BASE[setting] else 0]
    changed = growth.scenario({**growth.BASE, setting: value}, 40)
    assert changed != base
    task = changed.problem.task
    there = {
        "R": changed.n_workers,
        "S": changed.algorithm.wait_for,
        "M": task.n_words,
        "N": task.n_candidates,
        "I_s": changed.problem.n_samples,
        "b": task.n_train,
        "L": changed.algorithm.cuts and changed.algorithm.cuts.stop_after,
        "evaluation": changed.evaluation.every_steps,
        "spans": int(changed.record.spans),
    }
    assert there[setting] == value


def test_growth_is_measured_once_cuts_are_made():
    sizes = {**growth.BASE, "R": 3, "S": 3, "M": 2, "N": 3, "b": 2, "I_s": 2, "L": 2}
    assert growth.turn_us(sizes, 3) > 0
    run = growth.simulation.run(growth.scenario(sizes, 3))
    assert (run.summary["server_steps"], run.summary["cuts"]) == (5, 4)


def test_the_rule_of_thumb_is_found_again_in_points_made_by_one(monkeypatch):
    made = growth.Rule(40.0, 0.08, 0.1, 0.2)
    points = [
        growth.Point(
            setting, value, us := made.us({**growth.BASE, setting: value}), us / made.us(growth.BASE)
        )
        for setting in ("M", "N", "I_s", "b")
        for value in growth.VARIED[setting]
    ]
    assert made.us(growth.BASE) == pytest.approx(40 + 0.08 * 7500 + 0.1 * 1500 + 0.2 * 400)
    monkeypatch.setattr(growth, "turn_us", lambda sizes, updates: 321.0)
    said_us = 40 + 0.08 * 1000 + 0.1 * 200 + 0.2 * 400
    assert growth.checked(points).endswith(f"the rule says {said_us:.0f} us, a run took 321 us")
    fitted, error = growth.rule([*points, growth.Point("S", 1, 1e6, 1.0)])
    assert fitted == pytest.approx(made)
    assert error == pytest.approx(0, abs=1e-9)
    assert "40 + 0.080 M N + 0.100 M I_s + 0.200 I_s b, off by at most 0%" in growth.told(points)
