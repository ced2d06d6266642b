"""Parts that fedsim does not know: named by their place, or offered by an installed package."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint

import pytest

from fedsim import catalog, sweep
from fedsim.scenario import dump, load_scenario
from fedsim.timing.delays import DELAYS

DELAY = '''
from typing import Literal

import numpy as np

from fedsim.timing.delays import Delay


class Named(Delay):
    """Twice `half_s`. Source: us."""

    kind: {kind}
    half_s: float

    @property
    def mean_value_s(self):
        return 2 * self.half_s

    def sample(self, generator, size):
        return np.full(size, 2 * self.half_s)


class NoDelay:
    pass
'''
KINDS = {"free": "str", "own": 'Literal["doubled"] = "doubled"'}


@pytest.fixture(params=KINDS)
def module(request, tmp_path, monkeypatch) -> str:
    """A module with a delay that leaves its kind open, or has a literal of its own."""
    name = f"strangers_{request.param}_{request.node.name.partition('[')[0]}"
    (tmp_path / f"{name}.py").write_text(DELAY.replace("{kind}", KINDS[request.param]))
    monkeypatch.syspath_prepend(tmp_path)
    return name


@pytest.fixture
def installed(monkeypatch):
    """Pretend that a package offers delays through entry points."""

    def offer(**values: str) -> None:
        group = "fedsim.delays"
        points = [EntryPoint(name, value, group) for name, value in values.items()]
        monkeypatch.setattr(catalog, "entry_points", lambda group: points if group == "fedsim.delays" else [])
        DELAYS.__dict__.pop("installed", None)

    yield offer
    DELAYS.__dict__.pop("installed", None)


def test_a_part_named_by_its_place(module, small, tmp_path):
    scenario = load_scenario(small, overrides=[f"llm.latency={{ kind = '{module}:Named', half_s = 0.25 }}"])
    assert scenario.llm.latency.mean_value_s == 0.5
    again = tmp_path / "again.toml"
    again.write_text(dump(scenario))
    assert f'kind = "{module}:Named"' in dump(scenario)
    assert load_scenario(again) == scenario
    # The same delay as the file's own constant half second: the same run.
    theirs = sweep.run_one(scenario, tmp_path).summary
    assert theirs == sweep.run_one(load_scenario(small), tmp_path).summary


def test_the_folder_where_one_works_is_searched(command, small, tmp_path, monkeypatch):
    (tmp_path / "strangers_here.py").write_text(DELAY.replace("{kind}", "str"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    part = "llm.latency={ kind = 'strangers_here:Named', half_s = 0.25 }"
    # In other processes as well.
    answer = command("run", small, "--set", part, "--jobs", 2, "--replicates", 2)
    assert answer.code == 0, answer.err


def test_an_installed_part(module, installed, small, tmp_path, command):
    installed(theirs=f"{module}:Named")
    scenario = load_scenario(small, overrides=["llm.latency={ kind = 'theirs', half_s = 0.25 }"])
    assert scenario.llm.latency.mean_value_s == 0.5
    again = tmp_path / "again.toml"
    again.write_text(dump(scenario))
    assert load_scenario(again) == scenario
    assert "  theirs               Twice `half_s`. Source: us.  [us.]" in command("list", "delays").out
    wrong = command("check", small, "--set", "llm.latency={ kind = 'theris' }").err
    assert "did you mean 'theirs'?" in wrong


def test_a_broken_installed_part_is_named(installed, module, command, small):
    installed(theirs=f"{module}:NoDelay")
    answer = command("list", "delays")
    sentence = f"the installed package '{module}' offers a broken part (fedsim.delays): '{module}:NoDelay' is"
    assert answer.code == 2
    assert answer.err.startswith(f"fedsim: {sentence} not a subclass of fedsim.timing.delays.base.Delay")
    installed(constant=f"{module}:Named")
    assert "(fedsim.delays): the name 'constant' is taken\n" in command("list", "delays").err
    installed(theirs="no_such_module:Part")
    assert "No module named 'no_such_module'" in command("run", small, "--set", "llm.latency.kind=theirs").err
    # Who does not use it is not disturbed by it.
    assert command("check", small).code == 0


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("no_such_module:Part", "cannot import 'no_such_module:Part': No module named 'no_such_module'"),
        (
            "fedsim.streams:Part",
            "cannot import 'fedsim.streams:Part': module 'fedsim.streams' has no attribute",
        ),
        (
            "fedsim.streams:Streams",
            "'fedsim.streams:Streams' is not a subclass of fedsim.timing.delays.base.Delay",
        ),
        ("fedsim.catalog:Part", "'fedsim.catalog:Part' is not a subclass of fedsim.timing.delays.base.Delay"),
        (":", "cannot import ':': invalid format: ':'"),
    ],
)
def test_a_wrong_place(command, small, kind, sentence):
    answer = command("check", small, "--set", f"llm.latency={{ kind = '{kind}' }}")
    assert answer.code == 2
    assert answer.err.startswith(f"fedsim: {small}: llm.latency: {sentence}")
    assert answer.err.count("\n") == 1
