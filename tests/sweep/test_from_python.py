"""What a person does from Python: scenarios from mappings, runs kept and loaded, many runs, types."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import fedsim
from fedsim.errors import InputError, ResultsError
from fedsim.results import FILES

STRANGER = """
import fedsim

scenario: fedsim.Scenario = fedsim.load_scenario("small.toml").replace("seed", 1)
runs: list[fedsim.Run] = fedsim.run_many([scenario], jobs=1, progress=False)
times: list[float] = [float(run.summary["simulated_time_s"]) for run in runs]
rows = fedsim.load_results("results")
table = fedsim.compare(rows, baseline="sdbt").table
fedsim.figure("idle", "results").savefig("idle.pdf")
wrong: int = fedsim.load_run(fedsim.save_run(runs[0]))
"""


def test_a_mapping_says_what_a_file_says(small):
    import tomllib

    table = tomllib.loads(small.read_text())
    assert fedsim.load_scenario(table) == fedsim.load_scenario(small)
    heir = {"extends": "small.toml", "name": "heir", "algorithm": {"cuts": None}, "seed": 2}
    found = fedsim.load_scenario(heir, overrides=["seed=3"], folder=small.parent)
    assert (found.name, found.seed) == ("heir", 3)
    with pytest.raises(InputError, match=r"algorithm.wait_fro: unknown key; did you mean"):
        fedsim.load_scenario(table | {"algorithm": {"kind": "asyndbt", "wait_fro": 2, "tau": 3}})
    assert repr(found) == "<Scenario heir: asyndbt, 3 workers, seed 3>"
    assert "<pre>" in found._repr_html_()


def test_a_run_is_kept_as_the_command_keeps_it_and_comes_back(small, command, tmp_path):
    assert command("run", small, "--set", "record.spans=true", "--out", "by-command").code == 0
    scenario = fedsim.load_scenario(small, overrides=["record.spans=true"])
    run = fedsim.run(scenario)
    folder = fedsim.save_run(run, tmp_path / "by-hand")
    other = tmp_path / "by-command" / folder.relative_to(tmp_path / "by-hand")
    for name in {path.name for path in folder.iterdir()} - {FILES[-1]}:
        assert (folder / name).read_bytes() == (other / name).read_bytes()
    again = fedsim.load_run(other)
    assert (again.scenario, again.summary) == (run.scenario, run.summary)
    for table in ("steps", "workers", "spans", "tickets"):
        pd.testing.assert_frame_equal(getattr(again, table), getattr(run, table))
    fedsim.save_run(fedsim.run(scenario.with_seed(5)), tmp_path / "by-hand")
    with pytest.raises(InputError, match="found 2 runs, expected the folder of one"):
        fedsim.load_run(tmp_path / "by-hand")


def test_many_runs_come_in_the_order_in_which_they_were_asked_for(small, tmp_path):
    scenarios = [fedsim.load_scenario(small).with_seed(seed) for seed in (2, 0, 1, 0)]
    runs = fedsim.run_many(scenarios, jobs=2, out=tmp_path / "kept", timing_only=True)
    assert [run.scenario.seed for run in runs] == [2, 0, 1, 0]
    alone = fedsim.run_many(scenarios[:2], timing_only=True)
    assert [run.summary for run in alone] == [run.summary for run in runs[:2]]
    assert len(list((tmp_path / "kept" / "timing-only" / "small").iterdir())) == 3
    with pytest.raises(InputError, match="jobs: found 0"):
        fedsim.run_many(scenarios, jobs=0)


def test_what_there_is_is_listed_and_a_wrong_frame_is_refused():
    assert set(dir(fedsim)) == set(fedsim.__all__)
    assert all(getattr(fedsim, name) is not None for name in fedsim.__all__)
    with pytest.raises(ResultsError, match="it has no run_id"):
        fedsim.compare(pd.DataFrame({"seed": [1]}))


def test_strangers_see_types(tmp_path):
    (tmp_path / "mine.py").write_text(STRANGER)
    root = Path(fedsim.__file__).parents[1]
    # With our settings, mypy knows all but this file already where it has checked the project.
    ours = ["--config-file", root / "pyproject.toml", "--cache-dir", root / ".mypy_cache"]
    said = subprocess.run(
        [sys.executable, "-m", "mypy", *map(str, ours), "mine.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    errors = [line for line in said.stdout.splitlines() if "error:" in line]
    assert len(errors) == 1, said.stdout + said.stderr
    assert 'variable has type "int"' in errors[0]
