"""Figures that fedsim does not know: named by their place, or offered by an installed package."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fedsim.errors import PartError

FIGURE = '''"""How the loss fell.

More about it.
"""

import pandas as pd
from matplotlib.figure import Figure

NEEDS = ("steps",)


def figure(steps: pd.DataFrame) -> Figure:
    drawn = Figure()
    drawn.add_subplot().plot(steps["time_s"], steps["loss"])
    return drawn


def table(steps: pd.DataFrame) -> pd.DataFrame:
    return steps[["time_s", "loss"]].dropna()


class Last:
    """The last loss."""

    NEEDS = ["steps"]

    def figure(self, steps):
        return figure(steps)

    def table(self, steps):
        return table(steps).tail(1)


last = Last()


class Bare:
    figure = table = None


class Lazy(Last):
    NEEDS = "steps"


lazy = Lazy()
'''
HAS = "a figure has `NEEDS`, `figure(**tables)` and `table(**tables)`"


@pytest.fixture(autouse=True)
def _theirs(tmp_path, monkeypatch) -> None:
    """A package of somebody else, in the folder where one works."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "__init__.py").write_text("")
    (tmp_path / "others" / "losses.py").write_text(FIGURE)
    yield
    for name in ("others", "others.losses"):
        sys.modules.pop(name, None)


def test_a_figure_named_by_its_place(command, small):
    assert command("run", small).code == 0
    for place, name, n_rows in [("others.losses:last", "last", 1), ("others.losses:", "losses", 5)]:
        answer = command("figure", place, "results")
        assert answer == (0, f"{name}.pdf\n{name}.png\n{name}.csv\n", "")
        assert len(Path(f"{name}.csv").read_text().splitlines()) == 1 + n_rows
    answer = command("figure", "others.losses:last", "results", "-o", "here/x.pdf")
    assert answer.out == "here/x.pdf\nhere/x.png\nhere/x.csv\n"


def test_an_installed_figure(command, small, installed):
    installed("wild_pictures", "figures", falling="others.losses", last="others.losses:last")
    listed = command("list", "figures").out
    assert "  curves               accuracy and cross-entropy" in listed
    assert "  falling              How the loss fell.\n  last                 The last loss.\n" in listed
    command("run", small)
    assert command("figure", "falling", "results") == (0, "falling.pdf\nfalling.png\nfalling.csv\n", "")
    assert "unknown figure 'fallin'; did you mean 'falling'?" in command("figure", "fallin", "results").err


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("others.losses:Bare", "{place} has no 'NEEDS': " + HAS),
        ("others", "{place} has no 'NEEDS': " + HAS),
        (
            "others.losses:lazy",
            "NEEDS of {place} is 'steps'; expected names of tables, as in ('steps',)",
        ),
        ("others.gains", "No module named 'others.gains'"),
        ("others.losses:nothing", "module 'others.losses' has no attribute 'nothing'"),
    ],
)
def test_a_broken_figure_is_a_sentence_and_the_package_is_named(
    command, tmp_path, installed, place, sentence
):
    named = place if ":" in place else f"{place}:"
    answer = command("figure", named, tmp_path)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.endswith(f"{sentence.format(place=repr(named))}\n")
    assert answer.err.count("\n") == 1
    installed("wild_pictures", "figures", theirs=place)
    for words in (("figure", "theirs", tmp_path), ("list", "figures"), ("list",)):
        answer = command(*words)
        said = "the installed package 'wild-pictures' offers a broken part (fedsim.figures): "
        said += sentence.format(place=repr(place))
        assert (answer.code, answer.err) == (2, f"fedsim: {said}\n")
    # Who does not use it is not disturbed by it.
    assert "wild-pictures" not in command("figure", "curves", tmp_path).err


def test_an_installed_figure_does_not_take_the_name_of_ours(command, small, installed):
    installed("wild_pictures", "figures", curves="others.losses")
    command("run", small)
    for words in (("figure", "curves", "results"), ("list", "figures")):
        answer = command(*words)
        said = "the installed package 'wild-pictures' offers a broken part (fedsim.figures): "
        assert (answer.code, answer.err) == (2, f"fedsim: {said}the name 'curves' is taken\n")
    assert command("figure", "idle", "results").code == 0


def test_a_table_that_is_not_there_is_a_sentence(command, small, tmp_path):
    (tmp_path / "others" / "losses.py").write_text(FIGURE.replace('["steps"]', '["stepps"]'))
    command("run", small)
    answer = command("figure", "others.losses:last", "results")
    assert (answer.code, answer.out) == (2, "")
    assert "no table 'stepps'; did you mean 'steps'?" in answer.err


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ('steps["gain"]', "KeyError: 'gain'"),
        ('open("nowhere")', "FileNotFoundError: [Errno 2] No such file or directory: 'nowhere'"),
        ("None", "AttributeError: 'NoneType' object has no attribute 'to_csv'"),
    ],
)
def test_a_figure_that_raises_is_named(command, small, tmp_path, wrong, why):
    (tmp_path / "others" / "losses.py").write_text(FIGURE.replace("table(steps).tail(1)", wrong))
    command("run", small)
    answer = command("figure", "others.losses:last", "results")
    said = f"fedsim: figure 'others.losses:last' raised {why}\n"
    assert (answer.code, answer.out, answer.err) == (1, "", said)
    assert not list(tmp_path.glob("last*"))
    with pytest.raises(PartError):
        command("--debug", "figure", "others.losses:last", "results")
