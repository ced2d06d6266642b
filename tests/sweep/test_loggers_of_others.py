"""Loggers that fedsim does not know, and the steps that they are told of as they happen."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pandas as pd
import pytest

import fedsim
from fedsim import results

LOGGER = r'''
import json
import os
from pathlib import Path
from typing import Literal

from fedsim.errors import InputError
from fedsim.loggers import Logger


class Lines(Logger):
    """A file for each run, one line per step. Source: us."""

    kind: str

    def check(self):
        if self.place == "nowhere":
            raise InputError("--log: nowhere is no place")

    def has(self, run):
        return (Path(self.place) / f"{run.run_id}.finished").exists()

    def step(self, scenario, row):
        self._fail("step", scenario)
        Path(self.place).mkdir(exist_ok=True)
        finished = (Path("results") / scenario.name / row["run_id"]).exists()
        told = {**row, "process": os.getpid(), "finished": finished}
        with (Path(self.place) / f"{row['run_id']}.jsonl").open("a") as file:
            file.write(json.dumps(told) + "\n")

    def log(self, run):
        self._fail("log", run)
        Path(self.place).mkdir(exist_ok=True)
        (Path(self.place) / f"{run.run_id}.finished").write_text(str(os.getpid()))

    def _fail(self, when, run):
        if self.place == when:
            with Path("failures").open("a") as file:
                file.write(f"{run.seed}\n")
            raise ValueError(f"{when} of seed {run.seed}\nand more")


class Named(Lines):
    """Has a name of its own. Source: us."""

    kind: Literal["mine"] = "mine"


class Unable(Logger):
    kind: str

    def check(self):
        pass


class Untravelled(Lines):
    def __reduce__(self):
        raise TypeError("cannot travel")
'''


@pytest.fixture(autouse=True)
def _theirs(tmp_path, monkeypatch) -> None:
    """A package of somebody else, in the folder where one works."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "noted").mkdir()
    (tmp_path / "noted" / "__init__.py").write_text("")
    (tmp_path / "noted" / "lines.py").write_text(LOGGER)
    yield
    for name in ("noted", "noted.lines", "noted.recipe"):
        sys.modules.pop(name, None)


def steps_told(run_id: str) -> pd.DataFrame:
    lines = (Path("here") / f"{run_id}.jsonl").read_text().splitlines()
    return pd.DataFrame([json.loads(line) for line in lines])


@pytest.mark.parametrize(
    ("words", "elsewhere"),
    [
        (("run",), False),
        (("run", "--replicates", 2), False),
        (("run", "--replicates", 2, "--jobs", 2), True),
        (("sweep", "--set", "sweep.replicates=2", "--jobs", 1), False),
        (("sweep", "--set", "sweep.replicates=2", "--jobs", 2), True),
    ],
    ids=lambda words: " ".join(map(str, words)) if isinstance(words, tuple) else "",
)
def test_each_step_is_told_as_it_happens(command, small, words, elsewhere):
    answer = command(words[0], small, *words[1:], "--log", "noted.lines:Lines:here")
    assert (answer.code, answer.err) == (0, "")
    folders = results.find_runs(Path("results"))
    assert len(folders) == (1 if words == ("run",) else 2)
    for folder in folders:
        told = steps_told(folder.name)
        # Nothing lay at the run's address while it took its steps; it was logged by the command itself.
        assert not told.pop("finished").any()
        assert (told.pop("process") != os.getpid()).all() == elsewhere
        assert (Path("here") / f"{folder.name}.finished").read_text() == str(os.getpid())
        pd.testing.assert_frame_equal(
            told, fedsim.load_results(folder, "steps")[told.columns], check_dtype=False, check_exact=True
        )
        assert list(told.step) == list(range(13))
        assert {"staleness_mean", "rejected", "malicious_updates", "loss"} <= {*told.columns}
        assert list(told.step[told.loss.notna()]) == [0, 3, 6, 9, 12]


def test_what_was_found_finished_takes_no_steps(command, small):
    command("run", small)
    for _ in range(2):
        assert command("run", small, "--log", "noted.lines:Lines:here").code == 0
    (folder,) = results.find_runs(Path("results"))
    assert [file.name for file in Path("here").iterdir()] == [f"{folder.name}.finished"]


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("when", ["step", "log"])
def test_one_that_fails_is_left_aside_and_told(command, small, when, jobs):
    ours = ("--log", "noted.lines:Lines:here")
    words = (
        "--set",
        "sweep.replicates=3",
        "--timing-only",
        "--jobs",
        jobs,
        "--log",
        f"noted.lines:Lines:{when}",
        *ours,
    )
    Path(when).mkdir()
    answer = command("sweep", small, *words)
    assert answer.code == 1
    assert answer.out.startswith("3 runs: 3 done\n")
    said = f"fedsim: --log noted.lines:Lines:{when}: ValueError: {when} of seed "
    assert answer.err.startswith(said)
    assert answer.err.endswith("; nothing more was logged there\n")
    assert answer.err.count("\n") == 1
    # A run does not try again, and later runs do not try at all; others were under way already.
    tried = Path("failures").read_text().splitlines()
    assert len(tried) == len({*tried})
    assert jobs > 1 or len(tried) == 1
    # The other one has everything.
    for folder in results.find_runs(Path("results")):
        assert len(steps_told(folder.name)) == 13
        assert (Path("here") / f"{folder.name}.finished").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("noted.lines:Lines:nowhere", "--log: nowhere is no place"),
        (
            "noted.lines:Lines",
            "'noted.lines:Lines': no logger 'noted.lines' (known: tensorboard, mlflow, or MODULE",
        ),
        (
            "noted.lines:Lines:",
            "'noted.lines:Lines:': expected KIND:PLACE, as in tensorboard:FOLDER, or MODULE:CLASS",
        ),
        (
            "noted.lines:Lenis:x",
            "'noted.lines:Lenis:x': cannot import 'noted.lines:Lenis': module 'noted.lines' has",
        ),
        (
            "noted.lines:json:x",
            "'noted.lines:json:x': 'noted.lines:json' is not a subclass of fedsim.loggers.base.Lo",
        ),
        ("noted.lines:Unable:x", "'noted.lines:Unable:x': 'noted.lines:Unable' does not define has, log"),
        (
            "noted.lines:Untravelled:x",
            "'noted.lines:Untravelled:x': it cannot be sent to a run: cannot travel",
        ),
        ("mlfow:http://host", "cannot import 'mlfow:http': No module named 'mlfow'; did you mean 'mlflow'?"),
    ],
)
def test_a_wrong_one_is_a_sentence_before_anything_runs(command, small, text, sentence):
    answer = command("run", small, "--log", text)
    assert (answer.code, answer.out) == (2, "")
    assert sentence in answer.err
    assert answer.err.count("\n") == 1
    assert not Path("results").exists()


def test_an_installed_one(command, small, installed):
    installed("noted", "loggers", mine="noted.lines:Named")
    assert "  mine                 Has a name of its own." in command("list", "loggers").out
    for place in ("here", "a:b"):
        assert command("run", small, "--again", "--log", f"mine:{place}").code == 0
        (file,) = Path(place).glob("*.jsonl")
        assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == list(range(13))


def test_the_recipe_for_contributors_works(command, small, root, tmp_path):
    recipe = (root / "CONTRIBUTING.md").read_text().partition("## Recipe: a logger\n")[2]
    (tmp_path / "noted" / "recipe.py").write_text(recipe.split("```python\n")[1].split("```\n")[0])
    answer = command("run", small, "--timing-only", "--log", "noted.recipe:Lines:steps.jsonl")
    assert (answer.code, answer.err) == (0, "")
    lines = [json.loads(line) for line in Path("steps.jsonl").read_text().splitlines()]
    assert [(line["seed"], line["step"]) for line in lines] == [(0, step) for step in range(13)]
