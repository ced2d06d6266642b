"""What is imported from the folder where one works: a named class that is nowhere else, and nothing more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PLANTED = (
    "numexpr",
    "bottleneck",
    "IPython",
    "tqdm",
    "csv",
    "email",
    "multiprocessing",
    "struct",
    "resource",
)
"""What pandas, rich and Python itself import where it is there."""
FEDSIM = (str(Path(sys.executable).with_name("fedsim")),)
MODULE = (sys.executable, "-m", "fedsim")

PART = """
import beside
from fedsim.timing.delays.constant import Constant


class Late(Constant):
    kind: str = "own:Late"

    def sample(self, generator, size):
        return beside.later(super().sample(generator, size))
"""


def called(folder: Path, *words: object, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        **options,
    )


def ran(folder: Path) -> str:
    """Return which planted files have run."""
    marks = folder / "ran"
    return marks.read_text() if marks.exists() else ""


@pytest.fixture(scope="module")
def folder(small_text, tmp_path_factory) -> Path:
    """A stranger's folder: a scenario and results, beside files that note that somebody imports them."""
    folder = tmp_path_factory.mktemp("strangers")
    (folder / "small.toml").write_text(small_text)
    (folder / "beside.py").write_text("def later(delays_s):\n    return delays_s + 1\n")
    (folder / "own.py").write_text(PART)
    done = called(folder, *FEDSIM, "run", "small.toml", "--set", "record.spans=true")
    assert done.returncode == 0, done.stderr
    for name in PLANTED:
        (folder / f"{name}.py").write_text(
            f"open('ran', 'a').write('{name} ')\nraise ImportError('planted')\n"
        )
    return folder


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (FEDSIM, "results results --where seed==0"),
        (FEDSIM, "verify results"),
        (FEDSIM, "report results"),
        (FEDSIM, "figure timeline results"),
        (FEDSIM, "run small.toml --replicates 2 --jobs 2 --out two"),
        (MODULE, "results results --where seed==0"),
        (MODULE, "run small.toml --replicates 2 --jobs 2 --timing-only --out three"),
    ],
)
def test_no_file_of_the_folder_is_imported(folder, program, words):
    done = called(folder, *program, *words.split())
    assert ran(folder) == "", done.stderr
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("program", [FEDSIM, MODULE], ids=["fedsim", "python -m fedsim"])
def test_a_class_that_is_named_is_found_in_the_folder(folder, program, tmp_path):
    """Also in other processes, and with what it imports itself."""
    part = "llm.latency={ kind = 'own:Late', value_s = 0.5 }"
    several = ("--replicates", 2, "--jobs", 2, "--timing-only")
    run = ("run", "small.toml", "--set", part, *several, "--out", tmp_path)
    done = called(folder, *program, *run)
    assert (done.returncode, ran(folder)) == (0, ""), done.stderr
    # Whoever reads results does not look there, unless Python is told to.
    looked = called(folder, *program, "verify", tmp_path)
    assert looked.returncode == 2
    assert "cannot import 'own:Late': No module named 'own' (" in looked.stderr
    assert "PYTHONPATH=. has it searched" in looked.stderr


def test_python_is_told_to_look_in_the_folder(folder, tmp_path, monkeypatch):
    part = "llm.latency={ kind = 'own:Late', value_s = 0.5 }"
    package = tmp_path / "packages"
    package.mkdir()
    for name in ("own", "beside"):
        (package / f"{name}.py").write_text((folder / f"{name}.py").read_text())
    monkeypatch.setenv("PYTHONPATH", str(package))
    run = ("run", "small.toml", "--set", part, "--timing-only")
    done = called(folder, *FEDSIM, *run, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    looked = called(folder, *FEDSIM, "verify", tmp_path / "out")
    assert (looked.returncode, ran(folder)) == (0, ""), looked.stderr
