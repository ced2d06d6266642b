"""The commands: what they print, where, and with which exit code."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from waiting import LIMIT_S, terminal

import fedsim
from fedsim import sweep
from fedsim.scenario import load_scenario
from fedsim.scenario.schema import FAMILIES


def fedsim_process(*words: object, **more) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "fedsim", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False, **more)


def test_run_writes_results_and_tells_where(command, small, tmp_path):
    answer = command("run", small)
    folder = sweep.run_one(load_scenario(small), tmp_path / "results").folder
    assert answer.code == 0
    assert answer.err == ""
    heading, row, *rest = answer.out.splitlines()
    assert heading.split() == [
        "scenario",
        "variant",
        "seed",
        "ended",
        "time",
        "steps",
        "updates",
        "LLM",
        "calls",
        "accuracy",
        "loss",
    ]
    assert row.split()[:3] == ["small", "0", "budget"]
    assert rest == ["results: results/small"]
    assert folder.exists()


def test_json_is_the_summary_and_nothing_else(command, small):
    answer = command("run", small, "--json")
    assert (answer.code, answer.err) == (0, "")
    summary = json.loads(answer.out)
    assert summary["server_steps"] == 12
    assert set(summary) >= {
        *("simulated_time_s", "server_steps", "worker_updates", "llm_calls", "tokens_in", "tokens_out"),
        *("bytes_up", "bytes_down", "accuracy", "loss", "staleness_mean", "staleness_max"),
        *("time_to_target_s", "seconds_by_activity", "cost", "seed", "ended", "evicted"),
    }
    assert summary["accuracy"] is None
    several = json.loads(command("run", small, "--json", "--replicates", 2).out)
    assert [one["seed"] for one in several] == [0, 1]
    assert several[0] == summary


def test_a_finished_run_is_kept_and_again_runs_it(command, small, monkeypatch):
    first = command("run", small, "--json").out
    with monkeypatch.context() as patched:
        patched.setattr(sweep, "done", lambda *words, **more: pytest.fail("it ran"))
        assert "budget (kept)" in command("run", small).out
        assert command("run", small, "--json").out == first
        with pytest.raises(pytest.fail.Exception):
            command("run", small, "--again")
    assert "(kept)" not in command("run", small, "--again").out


def test_seed_and_replicates(command, small):
    summaries = json.loads(command("run", small, "--seed", 7, "--replicates", 3, "--json").out)
    assert [summary["seed"] for summary in summaries] == [7, 8, 9]
    assert len({summary["simulated_time_s"] for summary in summaries}) == 3
    assert json.loads(command("run", small, "--set", "seed=8", "--json").out) == summaries[1]


def test_variants_and_files_come_in_their_order_and_once(command, small, tmp_path):
    small.write_text(
        small.read_text() + "[variants.b]\nalgorithm.cuts.every = 5\n[variants.a]\nalgorithm.cuts.every = 6\n"
    )
    summaries = json.loads(command("run", small, small, "--json").out)
    assert [summary["variant"] for summary in summaries] == ["b", "a"]
    only = json.loads(command("run", small, "--only", "a", "--json").out)
    assert only == summaries[1]
    told = [line for line in command("check", small).out.splitlines() if line.endswith(": fine")]
    assert told == ["small b: asyndbt, 3 workers: fine", "small a: asyndbt, 3 workers: fine"]


FAILURES = {
    "diverged": (
        ["algorithm.optimizer={ kind = 'sgd', learning_rate = 1e6 }", "budget={ server_steps = 300 }"],
        "fedsim: small: the loss passed 1e+15 at step 3; try a smaller learning rate\n",
    ),
    "a multiplier diverged": (
        ["algorithm.multipliers.c1=1e-6", "algorithm.multipliers.rate=1e6"],
        "fedsim: small: a multiplier of the cuts passed 1e+06 at step ",
    ),
    "deserted": (  # a call alone takes 0.5 s
        ["server.evict_after_s=0.4"],
        "fedsim: small: no worker left at 0.4 s after 0 steps",
    ),
    "stalled": (
        ["workers.0.stops_at_s=4"],
        "fedsim: small: stalled at ",
    ),
}


@pytest.mark.parametrize("how", FAILURES)
def test_a_failed_run_is_told_each_time_and_keeps_what_it_had(command, small, how):
    overrides, sentence = FAILURES[how]
    words = ["run", small, *(word for override in overrides for word in ("--set", override))]
    for time in ("first", "second"):
        answer = command(*words)
        assert answer.code == 1
        assert answer.err.startswith(sentence)
        assert answer.err.count("\n") == 1
        how = how.removeprefix("a multiplier ")
        assert f"{how} (kept)" in answer.out if time == "second" else how in answer.out
    runs = fedsim.load_results("results")
    assert list(runs.ended) == [how]
    assert json.loads(command(*words, "--json").out)["ended"] == how


def test_a_run_that_never_met_its_constraint_is_told_everywhere(command, small):
    sentence = (
        "the constraint h <= epsilon is not met: at the last polyhedron update 0% of the words are within"
    )
    answer = command("run", small, "--set", "algorithm.cuts.every=2")
    assert answer.err.startswith(f"fedsim: warning: small, seed 0: {sentence}")
    assert command("results", "results").err == answer.err
    assert f"  warning: {sentence}" in command("verify", "results").out


def test_a_loss_that_is_no_number_any_more_is_kept_as_null(command, small):
    words = [
        "--set",
        "algorithm.optimizer={ kind = 'sgd', learning_rate = 1e200 }",
        "--set",
        "evaluation.every_steps=1",
    ]
    summary = json.loads(command("run", small, *words, "--json").out, parse_constant=pytest.fail)
    assert summary["ended"] == "diverged"
    assert summary["loss"] is None
    assert fedsim.load_results("results", "steps").loss.iloc[-1] == math.inf


def test_a_target_ends_the_run(command, small):
    target = "target={ value = -1e9, window = 2, stop = true, metric = 'loss' }"
    assert json.loads(command("run", small, "--set", target, "--json").out)["ended"] == "budget"
    start = fedsim.load_results("results", "steps").loss.iloc[0]
    target = f"target={{ value = {float(start) - 1e-9!r}, window = 1, stop = true }}"
    summary = json.loads(command("run", small, "--set", target, "--json").out)
    assert summary["ended"] == "target"
    assert 0 < summary["time_to_target_s"] == summary["simulated_time_s"]


def test_a_target_that_the_start_meets_is_said_aloud(command, small):
    done = command("run", small, "--set", "target={ value = 1e9 }")
    assert "the start already meets the target: loss " in done.err


def test_timing_only_has_the_same_clock_and_its_own_place(command, small):
    timing = json.loads(command("run", small, "--timing-only", "--json").out)
    full = json.loads(command("run", small, "--json").out)
    assert timing["loss"] is None
    assert full["loss"] is not None
    learned = {key for key in full if timing.get(key) != full[key]}
    assert learned == {
        *("loss", "distance_z", "distance_q", "consensus_gap", "cuts", "timing_only"),
        *(
            "h_over_epsilon",
            "words_within_epsilon",
            "multipliers_above_0",
            "multiplier_max",
            "constraint_met",
        ),
    }
    ours, theirs = (
        fedsim.load_results("results/timing-only", "steps"),
        fedsim.load_results("results", "steps"),
    )
    assert ours.time_s.equals(theirs.time_s)


def test_timing_only_needs_no_torch(small, tmp_path):
    script = (
        "import sys; from fedsim.cli import main; "
        f"code = main(['run', {str(small)!r}, '--timing-only', '--json']); "
        "sys.exit(code or 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_list_tells_every_part_with_its_source(command):
    everything = command("list").out
    for name, family in FAMILIES.items():
        listed = command("list", name)
        assert listed.code == 0
        assert listed.out in everything
        lines = listed.out.splitlines()
        assert lines[0] == f"{name}:"
        assert [line.split()[0] for line in lines[1:]] == [kind for kind, _ in family]
        assert all(line.endswith("]") and "  [" in line for line in lines[1:])
    assert "figure1" in command("list", "figures").out
    assert "calibration" in command("list", "tables").out


def test_figure_and_table(command, small, tmp_path):
    command("run", small, "--set", "record.spans=true", "--out", "spans")
    answer = command("figure", "timeline", "spans", "-o", "drawn/gantt.pdf")
    assert answer.code == 0, answer.err
    assert {Path(line).name for line in answer.out.split()} == {"gantt.pdf", "gantt.png", "gantt.csv"}
    assert all((tmp_path / line).stat().st_size > 0 for line in answer.out.split())
    command("run", small, "--out", "plain")
    wrong = command("figure", "timeline", "plain")
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err.startswith("fedsim: no spans were recorded")
    wrong = command("figure", "timelime", "spans")
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err.startswith("fedsim: unknown figure 'timelime'; did you mean 'timeline'?")
    (tmp_path / "blocked").write_text("mine")
    wrong = command("figure", "timeline", "spans", "-o", "blocked/gantt.pdf")
    assert wrong.code == 2
    assert wrong.err.startswith("fedsim: cannot write blocked/gantt.pdf: ")
    wrong = command("table", "figur1", "plain")
    assert (wrong.code, wrong.out) == (2, "")
    assert "did you mean 'figure1'?" in wrong.err


def test_an_unwritable_copy_of_a_table(command, root, tmp_path):
    figure1 = root / "scenarios" / "figure1" / "sst2.toml"
    command("run", figure1, "--timing-only", "--set", "budget.epochs=2", "--out", "results")
    assert command("table", "figure1", "results", "-o", "table.csv").code == 0
    assert (tmp_path / "table.csv").exists()
    (tmp_path / "blocked").write_text("mine")
    wrong = command("table", "figure1", "results", "-o", "blocked/table.csv")
    assert wrong.code == 2
    assert wrong.err.startswith("fedsim: cannot write blocked/table.csv: ")


def test_version_and_help(command):
    assert command("--version") == (0, f"fedsim {fedsim.__version__}\n", "")
    for words in (["--help"], ["run", "--help"]):
        answer = command(*words)
        assert answer.code == 0
        assert "Usage: fedsim" in answer.out


def test_a_process_of_its_own(tmp_path):
    done = fedsim_process("check", "no.toml", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "fedsim: no.toml: no such file\n")


def test_a_reader_that_has_seen_enough(tmp_path):
    ours, theirs = os.pipe()
    os.close(ours)
    command = [sys.executable, "-m", "fedsim", "schema"]
    done = subprocess.run(
        command, stdout=theirs, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path
    )
    os.close(theirs)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("stop", [typer.Abort(), KeyboardInterrupt()])
def test_ctrl_c_is_a_sentence(command, monkeypatch, stop):
    def stopped(*words, **more):
        raise stop

    monkeypatch.setattr("fedsim.cli.app", stopped)
    said = "fedsim: stopped; finished runs are kept and will not be run again\n"
    assert command("list") == (130, "", said)


def test_no_progress_bar_where_there_is_no_terminal(small, tmp_path):
    done = fedsim_process("run", small, "--timing-only", "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["server_steps"] == 12


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are for Unix")
def test_a_progress_bar_on_a_terminal(small, tmp_path):
    with terminal() as (leader, follower):
        environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
        command = [sys.executable, "-m", "fedsim", "run", str(small), "--timing-only", "--json"]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=follower,
            env=environment,
            check=True,
            timeout=LIMIT_S,
        )
        shown = os.read(leader, 100_000).decode()
    assert json.loads(done.stdout)["server_steps"] == 12
    assert "small" in shown
    assert "step 12" in shown


@pytest.mark.parametrize(
    ("words", "before"),
    [
        (["sweep", "small.toml", "--scheduler", ""], "--scheduler"),
        (["sweep", "small.toml", "--scheduler="], "--scheduler="),
        (["run", "small.toml", "--log", ""], "--log"),
        (["run", "small.toml", "--out", " "], "--out"),
        (["run", "small.toml", "--only", ""], "--only"),
        (["check", "small.toml", "--set", ""], "--set"),
        (["run", "small.toml", "--seed", ""], "--seed"),
        (["run", ""], "run"),
        (["check", "small.toml", ""], "small.toml"),
        (["verify", ""], "verify"),
        (["figure", "curves", ""], "curves"),
        (["report", ".", "-o", ""], "-o"),
        (["results", ".", "--columns", ""], "--columns"),
        (["serve", "--weights", ""], "--weights"),
        (["fit-latency", ""], "fit-latency"),
        ([""], "fedsim"),
    ],
    ids=" ".join,
)
def test_an_empty_text_is_no_value(command, small, words, before):
    said = f"fedsim: after {before!r}: found an empty text, expected a value; is a variable not set?"
    assert command(*words) == (2, "", f"{said}\n")
    assert [path.name for path in Path().iterdir()] == ["small.toml"]
