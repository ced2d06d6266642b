"""Many runs: the number of processes and Python's hashes change nothing; Ctrl-C leaves what is whole."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import LIMIT_S, started, until

from fedsim import results, sweep
from fedsim.errors import RunError
from fedsim.scenario import load_scenario

FEDSIM = [sys.executable, "-m", "fedsim"]
TASK = "{ kind = 'calibrated', name = 'sst2', n_words = 4, n_candidates = 5, n_demonstrations = 3 }"
ICL = f"problem={{ kind = 'icl', n_samples = 2, task = {TASK} }}"


def contents(out: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(out)): file.read_bytes()
        for file in out.rglob("*")
        if file.is_file() and file.name != "provenance.json"
    }


def test_the_same_bytes_from_one_process_or_two_under_any_hash_seed(small, tmp_path):
    scenarios = [
        scenario
        for overrides in ([ICL], ["record.spans=true"])
        for scenario in sweep.replicates([load_scenario(small, overrides=overrides)], 2)
    ]
    alone = [outcome.scenario.seed for outcome in sweep.run_all(scenarios, tmp_path / "one", 1)]
    assert alone == [0, 1, 0, 1]
    whole = contents(tmp_path / "one")
    assert len(whole) == 4 * 4 + 2 * 1 + 2 * 2  # with what was tuned, and with spans and tickets
    for hash_seed, jobs in (("1", "2"), ("2", "1")):
        out = tmp_path / f"hash-{hash_seed}"
        subprocess.run(
            [*FEDSIM, "run", small, "--set", ICL, "--replicates", "2", "--jobs", jobs, "--out", out],
            check=True,
            capture_output=True,
            cwd=tmp_path,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            timeout=LIMIT_S,
        )
        assert contents(out).items() <= whole.items()
        assert len(contents(out)) == 2 * 5


def test_equal_scenarios_run_once(small):
    scenario = load_scenario(small)
    assert [one.seed for one in sweep.replicates([scenario, scenario], 2)] == [0, 1]


def test_stopping_an_iteration_leaves_no_process_and_no_half(small, tmp_path):
    scenarios = sweep.replicates([load_scenario(small, overrides=["budget.server_steps=1000000"])], 4)
    quick = load_scenario(small)
    running = sweep.run_all([quick, *scenarios], tmp_path, jobs=2, timing_only=True)
    first = next(running)
    running.close()
    assert multiprocessing.active_children() == []
    assert first.scenario == quick
    assert results.find_runs(tmp_path) == [first.folder]
    assert list(tmp_path.rglob("*.partial")) == []


def test_ctrl_c_is_the_parents_affair(small, tmp_path):
    running = sweep.run_all(sweep.replicates([load_scenario(small)], 5), tmp_path, jobs=2, timing_only=True)
    next(running)
    for process in multiprocessing.active_children():
        os.kill(process.pid, signal.SIGINT)
    try:
        assert len(list(running)) == 4
    except (KeyboardInterrupt, RunError):
        pytest.fail("a process took the signal for itself")


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_keeps_what_is_finished(small, tmp_path, jobs):
    long = tmp_path / "long.toml"
    long.write_text(small.read_text().replace('"small"', '"long"').replace("= 12", "= 1000000"))
    out = tmp_path / "results"
    # In a session of its own, where a signal to the group reaches every process, as a terminal's Ctrl-C does.
    with started([*FEDSIM, "run", small, long, "--timing-only", "--jobs", jobs], tmp_path) as process:
        finished = out / "timing-only" / "small"
        until(lambda: [run for run in finished.glob("*") if not run.suffix], process)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert said == "fedsim: stopped; finished runs are kept and will not be run again\n"
    assert len(results.find_runs(out)) == 1
    assert list(out.rglob("*.partial")) == []
    # The second start finishes the rest and runs nothing twice.
    scenarios = [load_scenario(small), load_scenario(long, overrides=["budget.server_steps=5"])]
    outcomes = list(sweep.run_all(scenarios, out, timing_only=True))
    assert [outcome.reused for outcome in outcomes] == [True, False]
