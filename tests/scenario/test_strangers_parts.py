"""Parts that fedsim does not know: named by their place, or offered by an installed package."""

from __future__ import annotations

import json
import sys
import tomllib

import jsonschema
import pytest

from fedsim import sweep
from fedsim.scenario import dump, load_scenario

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


class Silent(Named):
    """Says nothing. Source: us."""


class Own(Named):
    """Of another name. Source: us."""

    kind: Literal["tripled"] = "tripled"


class Constant(Named):
    """Called like ours. Source: us."""

    kind: Literal["theirs"] = "theirs"


class Mute(Named):
    kind: Literal["silent"] = "silent"


class Unfinished(Delay):
    """Lacks its methods. Source: us."""

    kind: {kind}


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
    answer = command("run", small, "--set", part, "--timing-only", "--jobs", 2, "--replicates", 2)
    assert answer.code == 0, answer.err


def test_an_installed_part(module, installed, small, tmp_path, command):
    installed("their_parts", "delays", doubled=f"{module}:Named")
    scenario = load_scenario(small, overrides=["llm.latency={ kind = 'doubled', half_s = 0.25 }"])
    assert scenario.llm.latency.mean_value_s == 0.5
    again = tmp_path / "again.toml"
    again.write_text(dump(scenario))
    assert load_scenario(again) == scenario
    assert "  doubled              Twice `half_s`. Source: us.  [us.]" in command("list", "delays").out
    wrong = command("check", small, "--set", "llm.latency={ kind = 'duobled' }").err
    assert "did you mean 'doubled'?" in wrong
    schema = jsonschema.Draft202012Validator(json.loads(command("schema").out))
    schema.validate(tomllib.loads(dump(scenario)))


BROKEN = {
    # What is offered, and what is said of it.
    "theirs = {module}:NoDelay": (
        "package 'their-parts' offers 'theirs' (fedsim.delays), but '{module}:NoDelay' is not a subclass of "
        "fedsim.timing.delays.base.Delay"
    ),
    "theirs = {module}:Unfinished": (
        "package 'their-parts' offers 'theirs' (fedsim.delays), but '{module}:Unfinished' does not define "
        "mean_value_s, sample"
    ),
    "theirs = no_such_module:Part": (
        "package 'their-parts' offers 'theirs' (fedsim.delays), but cannot import 'no_such_module:Part': No "
        "module named 'no_such_module'"
    ),
    "theirs = strangers_who_leave:Part": (
        "package 'their-parts' offers 'theirs' (fedsim.delays), but cannot import "
        "'strangers_who_leave:Part': it raised SystemExit()"
    ),
    "constant = {module}:Named": (
        "package 'their-parts' offers 'constant' (fedsim.delays), but it is built in; name the part by its "
        "place: kind = '{module}:Named'"
    ),
    "theirs = {module}:Own": (
        "package 'their-parts' offers 'theirs' (fedsim.delays), but '{module}:Own' is of kind 'tripled', "
        "which its entry point is to be called"
    ),
}


@pytest.mark.parametrize("offer", BROKEN)
def test_a_broken_part_is_told_with_its_package_and_disturbs_nobody_else(
    installed, module, command, small, tmp_path, offer
):
    (tmp_path / "strangers_who_leave.py").write_text("raise SystemExit")
    name, _, value = offer.format(module=module).partition(" = ")
    installed("their_parts", "delays", **{name: value, "doubled": f"{module}:Named"})
    sentence = "fedsim: " + BROKEN[offer].format(module=module) + "\n"
    for words in (("list",), ("list", "delays"), ("schema",)):
        answer = command(*words)
        assert (answer.code, answer.err) == (2, sentence)
        assert "Twice `half_s`" in answer.out  # what is sound is there
    assert command("list", "networks").code == 0
    if name != "constant":
        refused = command("run", small, "--set", f"llm.latency={{ kind = '{name}', half_s = 0.25 }}")
        assert (refused.code, refused.err) == (
            2,
            sentence.replace("fedsim: ", f"fedsim: {small}: llm.latency: "),
        )
    assert command("run", small, "--timing-only", "--set", "llm.latency.value_s=0.4").code == 0
    sound = command("check", small, "--set", "llm.latency={ kind = 'doubled', half_s = 0.25 }")
    assert sound.code == 0, sound.err


def test_of_two_packages_with_one_name_neither_is_taken(installed, module, command, small):
    installed("their_parts", "delays", doubled=f"{module}:Named")
    installed("other_parts", "delays", doubled=f"{module}:Silent")
    sentence = (
        "packages 'other-parts' and 'their-parts' offer 'doubled' (fedsim.delays), each its own; name the "
        "part by its place: kind = "
    )
    for words in (("list", "delays"), ("check", small, "--set", "llm.latency={ kind = 'doubled' }")):
        answer = command(*words)
        assert answer.code == 2
        assert sentence in answer.err
        assert f"'{module}:Named'" in answer.err
        assert f"'{module}:Silent'" in answer.err
    by_place = f"llm.latency={{ kind = '{module}:Silent', half_s = 0.25 }}"
    assert command("check", small, "--set", by_place).code == 0


def test_a_part_without_a_docstring(installed, module, command, small):
    installed("their_parts", "delays", silent=f"{module}:Mute")
    answer = command("list", "delays")
    assert (answer.code, answer.err) == (0, "")
    assert "  silent               (no docstring; package 'their-parts')\n" in answer.out
    assert command("check", small, "--set", "llm.latency={ kind = 'silent', half_s = 0.25 }").code == 0


def test_a_class_that_is_called_like_one_of_ours(installed, module, command):
    installed("their_parts", "delays", theirs=f"{module}:Constant")
    schema = jsonschema.Draft202012Validator(json.loads(command("schema").out))
    delay = {"llm": {"kind": "independent", "latency": {"kind": "theirs", "half_s": 1.0}}}
    schema.validate(delay)
    delay["llm"]["latency"] = {"kind": "constant", "value_s": 1.0}
    schema.validate(delay)
    delay["llm"]["latency"] = {"kind": "constant", "half_s": 1.0}
    with pytest.raises(jsonschema.ValidationError):
        schema.validate(delay)


ATTACKS = """
from typing import Literal

from fedsim.attack import Attack
from fedsim.icl.attacks import DataAttack
from fedsim.learning.attacks import MessageAttack
from fedsim.timing.attacks import TimingAttack
from fedsim.timing.attacks.base import Conduct


class Late(TimingAttack):
    \"""Takes no time. Source: us.\"""

    kind: Literal["late"] = "late"

    def conduct(self, start_s):
        return Conduct(computes=False)


class Ones(MessageAttack):
    \"""Says one. Source: us.\"""

    kind: Literal["ones"] = "ones"

    def forge(self, own, honest, previous, draws=(), n_options=None):
        return own * 0 + 1


class Idle(Attack):
    \"""Is neither. Source: us.\"""

    kind: Literal["idle"] = "idle"
"""


@pytest.fixture
def attacks(tmp_path, request, monkeypatch) -> str:
    """A module with attacks."""
    monkeypatch.syspath_prepend(tmp_path)
    name = f"strange_attacks_{request.node.name.partition('[')[0]}"
    (tmp_path / f"{name}.py").write_text(ATTACKS)
    return name


@pytest.mark.parametrize("group", ["attacks", "timing_attacks"])
def test_a_timing_attack_of_either_group(installed, attacks, command, small, group):
    installed("their_parts", group, late=f"{attacks}:Late")
    for family in ("attacks", "timing_attacks"):
        assert "  late                 Takes no time." in command("list", family).out
    for attack in (
        "{ kind = 'late', workers = [0] }",
        "{ kind = 'sleeper', workers = [0], wakes_at_s = 1.0, then = { kind = 'late' } }",
    ):
        answer = command("run", small, "--timing-only", "--set", f"attacks=[{attack}]")
        assert answer.code == 0, answer.err
        assert load_scenario(small, overrides=[f"attacks=[{attack}]"]).malicious == {0}


@pytest.mark.parametrize("group", ["attacks", "message_attacks"])
def test_a_message_attack_of_either_group(installed, attacks, command, small, group):
    installed("their_parts", group, ones=f"{attacks}:Ones")
    assert "  ones                 Says one." in command("list", "attacks").out
    timing = command("list", "timing_attacks")
    assert (timing.code, timing.err) == (0, "")
    assert "  ones " not in timing.out
    answer = command("run", small, "--set", "attacks=[{ kind = 'ones', workers = [0] }]")
    assert answer.code == 0, answer.err
    asleep = "{ kind = 'sleeper', workers = [0], wakes_at_s = 1.0, then = { kind = 'ones' } }"
    wrong = command("check", small, "--set", f"attacks=[{asleep}]")
    assert wrong.code == 2
    not_timing = f"'{attacks}:Ones' is not a subclass of fedsim.timing.attacks.base.TimingAttack"
    assert (not_timing if group == "attacks" else "attacks.0.then: unknown kind 'ones'") in wrong.err


def test_an_attack_that_would_do_nothing(installed, attacks, command, small):
    installed("their_parts", "attacks", idle=f"{attacks}:Idle")
    sentence = f"'{attacks}:Idle' is not a subclass of fedsim.icl.attacks.base.DataAttack or "
    assert sentence in command("list", "attacks").err
    assert sentence in command("check", small, "--set", "attacks=[{ kind = 'idle', workers = [0] }]").err


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
