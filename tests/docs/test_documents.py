"""What the documents show is run: commands, scenario files, examples.

A fence of the language "console" holds commands on lines that start with ``$``; they run one after the other
in one folder, with `scenarios/` in it. ``<!-- not run: reason -->`` right before a fence excuses it. A fence
of the language "toml" is a scenario file, one of "python" a doctest.
"""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

import fedsim
import fedsim_analysis
from fedsim.scenario import load_scenario
from fedsim.verify import verify

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")]
DOCUMENTS += sorted((ROOT / "docs").glob("*.md"))
FENCE = re.compile(
    r"(?P<excuse><!-- not run: [^>]+ -->\s*)?^```(?P<language>\w+)\n(?P<body>.*?)^```$", re.M | re.S
)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#]+)")


class Fence(NamedTuple):
    """A block of code in a document."""

    language: str
    body: str
    excused: bool


def fences(text: str) -> list[Fence]:
    return [Fence(found["language"], found["body"], bool(found["excuse"])) for found in FENCE.finditer(text)]


def commands(text: str) -> list[str]:
    """Return the commands that a document lets run."""
    lines = [
        line for fence in fences(text) if fence[::2] == ("console", False) for line in fence.body.splitlines()
    ]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def test_the_convention():
    text = (
        "a\n```console\n$ fedsim list\nalgorithms:\n```\n\n<!-- not run: long -->\n```console\n$ make\n```\n"
    )
    assert commands(text) == ["fedsim list"]
    assert [fence.excused for fence in fences(text)] == [False, True]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.name)
def test_its_commands_run(document, command, tmp_path):
    (tmp_path / "scenarios").symlink_to(ROOT / "scenarios")
    for line in commands(document.read_text()):
        program = shlex.split(line)[0]
        assert program == "fedsim", f"excuse what is not fedsim, or cannot run here: {line}"
        # Processes take seconds to start: `tests/sweep` has some, of both commands that start them.
        words = shlex.split(line.replace("--jobs 2", "--jobs 1"))[1:]
        words = [
            str(file) for word in words for file in (sorted(tmp_path.glob(word)) if "*" in word else [word])
        ]
        answer = command(*words)
        assert answer.code == 0, f"{line}\n{answer.err}"


def test_the_readme_shows_commands_and_a_scenario():
    text = (ROOT / "README.md").read_text()
    assert len(commands(text)) > 5
    assert "make figure1" in text


def test_the_scenarios_of_the_readme_are_the_files_beside_it(tmp_path):
    shown = [fence.body for fence in fences((ROOT / "README.md").read_text()) if fence.language == "toml"]
    (tmp_path / "common").symlink_to(ROOT / "scenarios" / "common")
    (tmp_path / "features").mkdir()
    for body, name in zip(shown, ("readme.toml", "systems.toml"), strict=True):
        file = tmp_path / "features" / name
        file.write_text(body)
        assert load_scenario(file) == load_scenario(ROOT / "scenarios" / "features" / name)


def test_the_sweep_that_is_explained_is_the_file_beside_it():
    text = (ROOT / "docs" / "sweeps.md").read_text()
    (shown,) = [fence.body for fence in fences(text) if fence.language == "toml"]
    assert (ROOT / "scenarios" / "features" / "sweep.toml").read_text().endswith("\n" + shown)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.name)
def test_its_examples_hold(document, monkeypatch, tmp_path):
    (tmp_path / "scenarios").symlink_to(ROOT / "scenarios")
    monkeypatch.chdir(tmp_path)
    assert doctest.testfile(str(document), module_relative=False).failed == 0


def test_docstring_examples_hold(monkeypatch):
    monkeypatch.chdir(ROOT)
    from test_architecture import modules

    results = {
        module.__name__: doctest.testmod(module) for module in modules(fedsim) + modules(fedsim_analysis)
    }
    assert {name: found.failed for name, found in results.items() if found.failed} == {}
    assert sum(found.attempted for found in results.values()) > 3


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: file.name)
def test_its_links_lead_somewhere(document):
    for link in LINK.findall(document.read_text()):
        assert (document.parent / link).exists(), link


@pytest.mark.parametrize("document", ["README.md", "docs/architecture.md"])
def test_the_files_and_folders_that_it_names_exist(document):
    named = re.findall(r"`((?:fedsim|analysis|scenarios|tests)/[\w/.]*)`", (ROOT / document).read_text())
    assert named
    for place in named:
        assert (ROOT / place).exists(), place


def test_the_classes_that_the_architecture_names_exist():
    named = set(re.findall(r"`([A-Z]\w+)`", (ROOT / "docs" / "architecture.md").read_text()))
    sources = [file.read_text() for file in (ROOT / "fedsim").rglob("*.py")]
    there = {name for source in sources for name in re.findall(r"^class (\w+)", source, re.M)}
    assert len(named) > 20
    assert named <= there


def test_what_the_readme_runs_keeps_every_invariant(command, tmp_path):
    command("run", ROOT / "scenarios" / "features" / "readme.toml")
    (folder,) = (tmp_path / "results" / "one-slow-worker").iterdir()
    assert [check for check in verify(folder) if check.violation] == []
