"""Standard output that is full, closed, or read in part."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SMALL

from fedsim.cli import COMMANDS
from fedsim.scenario import load_scenario
from fedsim.sharing import pack_study
from fedsim.sweep import run_one

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="the device is Linux's")

FULL = "fedsim: cannot write to standard output: No space left on device\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what commands need, results among it: other cases may run in another process."""
    folder = tmp_path_factory.mktemp("place")
    text = SMALL + "[record]\nspans = true\n"
    (folder / "small.toml").write_text(text)
    (folder / "sweep.toml").write_text(text + "[sweep]\nreplicates = 1\n")
    rows = "".join(f"{0.1 + 0.01 * i},{0.5 + 0.03 * i * i},9,1,\n" for i in range(30))
    (folder / "requests.csv").write_text("ttft_s,end_to_end_s,tokens_in,tokens_out,error_code\n" + rows)
    run_one(load_scenario(folder / "small.toml"), folder / "results", timing_only=True)
    pack_study(folder / "results", folder / "packed.zip", 0)
    return folder


WORDS = {
    "run": "run small.toml --timing-only --json",
    "sweep": "sweep sweep.toml --timing-only --jobs 1",
    "sweep --dry-run": "sweep sweep.toml --dry-run",
    "check": "check small.toml",
    "advise": "advise small.toml --no-learn --seconds 2 --jobs 1",
    "results": "results results",
    "results --format csv": "results results --format csv",
    "results --format latex": "results results --format latex",
    "figure": "figure timeline results",
    "verify": "verify results",
    "trace": "trace results",
    "pack": "pack results -o study.zip",
    "repeat": "repeat packed.zip --jobs 1",
    "fit-latency": "fit-latency requests.csv",
    "check-trace": "check-trace requests.csv",
    "list": "list",
    "schema": "schema",
    "help": "--help",
    "version": "--version",
}
ELSEWHERE = {"ask", "compare", "prompt", "serve", "table", "report", "latencies"}
"""They print by the same means and need more to be called."""


def test_every_command_is_tried():
    assert {words.split()[0] for words in WORDS} - {"help", "version"} | ELSEWHERE == set(COMMANDS)


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_a_full_or_closed_output(words, place, command, monkeypatch):
    monkeypatch.chdir(place)
    with open("/dev/full", "w") as full:  # noqa: PTH123 -- a device
        monkeypatch.setattr(sys, "stdout", full)
        answer = command(*words.split())
    assert (answer.code, answer.err) == (1, FULL)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        answer = command(*words.split())
    assert (answer.code, answer.err) == (1, "")


def test_a_process_ends_quietly_and_with_its_code(place):
    """Python itself tries to write once more as it ends."""
    words = [sys.executable, "-m", "fedsim", "list"]
    with open("/dev/full", "w") as full:  # noqa: PTH123 -- a device
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, cwd=place, check=False)
    assert (done.returncode, done.stderr) == (1, FULL)
    shell = f"{' '.join(words)} | head -1; echo ${{PIPESTATUS[0]}}; {' '.join(words)} >&- 2>&-; echo $?"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, cwd=place, check=False)
    first, *codes = done.stdout.splitlines()
    assert (first, codes[0] in "01", codes[1], done.stderr) == ("algorithms:", True, "0", "")


def test_a_full_stderr_changes_nothing(place, command, monkeypatch):
    with open("/dev/full", "w") as full:  # noqa: PTH123 -- a device
        monkeypatch.setattr(sys, "stderr", full)
        assert command("check", "nowhere.toml").code == 2
