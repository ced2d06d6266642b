"""What is installed works without the checkout, also beside files with everyday names."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import LIMIT_S

ROOT = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "fedsim", "analysis")
EVERYDAY = ("analysis", "figures", "tables", "report", "results", "scenarios", "studies")
"""Names of files that a person may have in the folder of her results."""

Fedsim = Callable[..., subprocess.CompletedProcess[str]]


def call(command, folder):
    """Run a command in a folder, with no other Python path than that of the interpreter."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=clean,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of the tracked files."""
    tracked = subprocess.run(
        ["git", "ls-files", "-z", *SOURCES], cwd=ROOT, capture_output=True, text=True, check=True
    )
    folder = tmp_path_factory.mktemp("wheel")
    for name in filter(None, tracked.stdout.split("\0")):
        if (ROOT / name).exists():  # a file that is about to be removed is tracked still
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / "source" / name)
    words = ("pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    built = call([sys.executable, "-m", *words, folder / "source"], folder)
    assert built.returncode == 0, built.stderr
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def fedsim(wheel, tmp_path_factory) -> Fedsim:
    """The command of a fresh environment with the wheel, in a folder with files of everyday names."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "env", symlinks=True)
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    python = folder / "env" / "bin" / "python"
    words = ("--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", wheel)
    installed = call([sys.executable, "-m", "pip", "--python", python, "install", *words], folder)
    assert installed.returncode == 0, installed.stderr
    # Where others' packages are. A folder that is named so is searched, but its own *.pth files are not read,
    # and so no editable install of fedsim is found.
    (site / "others.pth").write_text(
        "".join(f"{sysconfig.get_path(name)}\n" for name in ("purelib", "platlib"))
    )
    assert call([python.with_name("fedsim"), "--version"], folder).stdout.startswith("fedsim ")
    place = folder / "work"
    place.mkdir()
    for name in EVERYDAY:
        (place / f"{name}.py").write_text(f'raise RuntimeError("{name}.py of the person is imported")\n')
    (place / "where.py").write_text(
        "import fedsim, fedsim_analysis as a\nprint(fedsim.__file__, a.__file__)\n"
    )
    ours = call([python, "where.py"], place).stdout.split()
    assert ours == [str(site / package / "__init__.py") for package in ("fedsim", "fedsim_analysis")]
    # Python looks for modules in this folder first, which the script `fedsim` does not.
    return lambda *words: call([python, "-m", "fedsim", *words], place)


def test_the_wheel_holds_the_two_packages_and_what_they_read(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"fedsim", "fedsim_analysis", wheel.name.rpartition("-py3-")[0] + ".dist-info"}
    data = [*ROOT.glob("fedsim/**/*.toml"), *ROOT.glob("fedsim/**/*.csv"), ROOT / "fedsim" / "py.typed"]
    pages = ROOT.glob("analysis/fedsim_analysis/report/page/*")
    expected = {str(file.relative_to(ROOT)) for file in data}
    expected |= {str(file.relative_to(ROOT / "analysis")) for file in pages}
    packages = {name for name in names if not name.endswith(".py") and ".dist-info/" not in name}
    assert packages == expected
    assert len(expected) > 8


def test_every_command_that_draws_or_lists_works_beside_such_files(fedsim, small):
    ran = fedsim("run", small, "--out", "results", "--seed", 1)
    assert (ran.returncode, ran.stderr) == (0, "")
    timed = fedsim("run", small, "--timing-only", "--out", "timed")
    assert (timed.returncode, timed.stderr) == (0, "")
    for words, said in [
        (("list",), "figures:\n  grid "),
        (("figure", "curves", "results", "-o", "curves.pdf"), "curves.pdf\ncurves.png\ncurves.csv\n"),
        (("report", "results"), "report.html: "),
        (("results", "results"), "small"),
    ]:
        done = fedsim(*words)
        assert (done.returncode, done.stderr) == (0, ""), words
        assert said in done.stdout
