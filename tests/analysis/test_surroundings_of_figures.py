"""Figures depend on results alone, whatever the surroundings say about drawing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedsim.cli import main

BROKEN = b"a\xff: b\n"
SETTINGS = b"text.usetex: True\nfont.size: 30\nbackend: nonsense\nsavefig.facecolor: red\nno.such: 1\n"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """A folder with the results of one run, the picture of its idle times, and things to stumble over."""
    from conftest import SMALL

    folder = tmp_path_factory.mktemp("drawn")
    (folder / "small.toml").write_text(SMALL)
    assert main(["run", str(folder / "small.toml"), "--out", str(folder / "runs"), "--timing-only"]) == 0
    assert main(["figure", "idle", str(folder / "runs"), "-o", str(folder / "idle")]) == 0
    (folder / "settings").write_bytes(SETTINGS)
    (folder / "broken").write_bytes(BROKEN)
    return folder


def started(folder: Path, *words: str, **surroundings: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MPL", "MATPLOTLIB"))}
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, cwd=folder, env={**kept, **surroundings}
    )


@pytest.mark.parametrize(
    "surroundings",
    [
        {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "HOME": "/dev/null/nobody"},
        {"MPLBACKEND": "nonsense", "MATPLOTLIBRC": "settings"},
        {"MPLBACKEND": "TkAgg", "MPLCONFIGDIR": "settings"},
    ],
    ids=str,
)
def test_a_figure_is_the_same_everywhere(drawn, surroundings):
    words = ("-m", "fedsim", "figure", "idle", "runs", "-o", "again")
    said = started(drawn, *words, **surroundings)
    assert (said.returncode, said.stderr) == (0, "")
    for suffix in (".png", ".pdf", ".csv"):
        assert (drawn / f"again{suffix}").read_bytes() == (drawn / f"idle{suffix}").read_bytes()


def test_a_script_may_import_what_draws(drawn):
    code = "import fedsim_analysis.{}, os; print(os.environ['MPLBACKEND'])"
    for module in ("figures.timeline", "latency_fit"):
        said = started(drawn, "-c", code.format(module), MPLBACKEND="nonsense")
        assert (said.stdout, said.stderr) == ("nonsense\n", "")


def test_a_notebook_keeps_its_backend(drawn):
    code = "import fedsim_analysis.figures.idle, matplotlib; print(matplotlib.rcParams['backend'])"
    assert started(drawn, "-c", code, MPLBACKEND="svg").stdout == "svg\n"


def test_settings_that_cannot_be_read_are_named(drawn):
    said = started(drawn, "-m", "fedsim", "report", "runs", "-o", "x.html", MATPLOTLIBRC="broken")
    assert said.returncode == 2
    assert said.stderr.startswith("fedsim: matplotlib, which draws the figures, cannot be imported: ")
    assert said.stderr.count("\n") == 1
