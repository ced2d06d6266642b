"""What a part raises becomes a sentence that names the part, its place and the cause."""

from __future__ import annotations

import traceback

import pytest
from conftest import Command, without_notes

import fedsim
from fedsim.errors import InputError, PartError
from fedsim.scenario import load_scenario


@pytest.fixture
def command(command: Command) -> Command:
    return without_notes(command)


PARTS = """
import json
from typing import Literal

import numpy as np
from pydantic import model_validator

from fedsim.errors import InputError
from fedsim.icl.models import BlackBox
from fedsim.icl.tasks import Task
from fedsim.learning.aggregators import Aggregator
from fedsim.learning.attacks import MessageAttack
from fedsim.learning.optimizers import Optimizer
from fedsim.timing.attacks import TimingAttack
from fedsim.timing.availability import Availability
from fedsim.timing.delays import Delay
from fedsim.timing.llm_service import LlmProvider, Served
from fedsim.timing.network import Network


def fail():
    raise ValueError("no {luck}\\nat all")


class Late(Delay):
    value_s: float = 0.5
    fails: bool = True

    @property
    def mean_value_s(self):
        return self.value_s

    def sample(self, generator, size):
        return fail() if self.fails else np.full(size, self.value_s)


class Meanless(Late):
    @property
    def mean_value_s(self):
        return 1 / 0


class Unsure(Late):
    @model_validator(mode="after")
    def _check(self):
        raise KeyError("value_s")


class Purposeful(Late):
    def sample(self, generator, size):
        raise InputError("latency: found 3, expected 4")


class Carries:
    def carry(self, message):
        yield from ()
        fail()

    def links(self, end_s):
        return []


class Net(Network):
    def open(self, env, streams, groups):
        return Carries()


class Picky(Network):
    def open(self, env, streams, groups):
        return None

    def check(self, n_workers):
        return n_workers["many"]


class Closed(Network):
    def open(self, env, streams, groups):
        fail()


class Talks:
    def serve(self, calls):
        json.loads("{")
        yield

    def served(self):
        return Served()


class Service(LlmProvider):
    def open(self, env, streams, clock, groups, keep_levels):
        return Talks()


class Gone(Availability):
    def stretches(self, streams, worker, place):
        yield 0.0, 1.0
        fail()


class Unruly(Aggregator):
    @property
    def least_rows(self):
        return 1

    def _combined(self, rows, previous):
        return rows @ rows


class Cruel(MessageAttack):
    def forge(self, own, honest, previous, draws=(), n_options=None):
        fail()


class Unpunctual(TimingAttack):
    def conduct(self, start_s):
        fail()


class Jumpy(Optimizer):
    @property
    def n_moments(self):
        return 0

    def step(self, gradient, moments, count):
        fail()


class Lost(Task):
    gives = "text"

    @property
    def class_counts(self):
        return (5, 5)

    def draw(self, streams, n_workers, pooled=1, dirichlet_alpha=None):
        fail()


class Oracle(BlackBox):
    def attach(self, data):
        return Says()


class Says:
    questions = None

    def scores(self, prompts):
        fail()


class Reader(Oracle):
    reads = "text"
"""


@pytest.fixture(autouse=True)
def faulty(tmp_path, monkeypatch):
    """The module of these parts."""
    (tmp_path / "faulty.py").write_text(PARTS)
    monkeypatch.syspath_prepend(tmp_path)


FAILING = {
    # The setting, and what is said of the run.
    "llm.latency={ kind = 'faulty:Late' }": "llm.latency: 'faulty:Late' raised ValueError: no {luck}",
    # Two of one class: which of them it was.
    "workers.0={ upload = { kind = 'faulty:Late', fails = false }, download = { kind = 'faulty:Late' } }": (
        "workers.0.download: 'faulty:Late' raised ValueError: no {luck}"
    ),
    # One within a part of ours.
    "workers.0.compute={ kind='mixture', components=[{ weight = 1, delay = { kind = 'faulty:Late' } }] }": (
        "workers.0.compute.components.0.delay: 'faulty:Late' raised ValueError: no {luck}"
    ),
    # What a part has made.
    "network={ kind = 'faulty:Net' }": "network: 'faulty:Net' raised ValueError: no {luck}",
    "network={ kind = 'faulty:Closed' }": "network: 'faulty:Closed' raised ValueError: no {luck}",
    # An exception that cannot be copied, as SimPy would have it.
    "llm={ kind = 'faulty:Service' }": (
        "llm: 'faulty:Service' raised JSONDecodeError: Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1)"
    ),
    "workers.0.availability={ kind = 'faulty:Gone' }": (
        "workers.0.availability: 'faulty:Gone' raised ValueError: no {luck}"
    ),
    "algorithm.aggregation={ outer = { kind = 'faulty:Unruly' } }": (
        "algorithm.aggregation.outer: 'faulty:Unruly' returned Tensor of torch.float64 of shape (3, 3) from "
        "_combined, expected a tensor of real numbers of shape (3)"
    ),
    "attacks=[{ kind = 'zero', workers = [0] }, { kind = 'faulty:Cruel', workers = [1] }]": (
        "attacks.1: 'faulty:Cruel' raised ValueError: no {luck}"
    ),
    "attacks=[{ kind = 'sleeper', workers = [1], wakes_at_s = 1, then = { kind = 'faulty:Unpunctual' } }]": (
        "attacks.0.then: 'faulty:Unpunctual' raised ValueError: no {luck}"
    ),
    "problem={ kind = 'icl', task = { kind = 'faulty:Lost' }, model = { kind = 'faulty:Reader' } }": (
        "problem.task: 'faulty:Lost' raised ValueError: no {luck}"
    ),
    "problem={ kind = 'icl', task = { kind = 'calibrated', name = 'sst2', n_words = 2, n_candidates = 3 }, "
    "model = { kind = 'faulty:Oracle' } }": "problem.model: 'faulty:Oracle' raised ValueError: no {luck}",
    "algorithm.optimizer={ kind = 'faulty:Jumpy', learning_rate = 0.1 }": (
        "algorithm.optimizer: 'faulty:Jumpy' raised ValueError: no {luck}"
    ),
}


@pytest.mark.parametrize("setting", FAILING)
def test_a_part_that_fails_in_a_run(command, small, setting):
    answer = command("run", small, "--set", setting)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == f"fedsim: small: {FAILING[setting]}\n"


WRONG = {
    "network={ kind = 'faulty:Picky' }": (
        "network: 'faulty:Picky' raised TypeError: 'int' object is not subscriptable"
    ),
    "llm.latency={ kind = 'faulty:Unsure' }": "llm.latency: 'faulty:Unsure' raised KeyError: 'value_s'",
    "workers.0.availability={ kind = 'on_off', on = { kind = 'faulty:Meanless' }, "
    "off = { kind = 'constant', value_s = 1 } }": (
        "workers.0.availability.on: 'faulty:Meanless' raised ZeroDivisionError: division by zero"
    ),
}


@pytest.mark.parametrize("setting", WRONG)
def test_a_part_that_fails_before_anything_runs(command, small, setting):
    for name in ("check", "run"):
        answer = command(name, small, "--set", setting)
        assert (answer.code, answer.out) == (2, "")
        assert answer.err == f"fedsim: {small}: {WRONG[setting]}\n"


def test_what_a_part_has_made_fails_when_a_part_of_ours_calls_it(command, small):
    icl = (
        "problem={ kind = 'icl', model = { kind = 'faulty:Oracle' }, "
        "task = { kind = 'calibrated', name = 'sst2', n_words = 2, n_candidates = 3 } }"
    )
    answer = command("run", small, "--set", icl, "--set", "attacks=[{ kind = 'adversarial', workers = [0] }]")
    said = "fedsim: small: problem.model: 'faulty:Oracle' raised ValueError: no {luck}\n"
    assert (answer.code, answer.err) == (1, said)


def test_a_part_that_fails_in_another_command(command, small):
    lost = "problem={ kind = 'icl', task = { kind = 'faulty:Lost' }, model = { kind = 'faulty:Reader' } }"
    answer = command("prompt", small, "--set", lost)
    said = "fedsim: small: problem.task: 'faulty:Lost' raised ValueError: no {luck}\n"
    assert (answer.code, answer.err) == (1, said)


def test_what_is_meant_for_a_person_is_left_as_it_is(command, small):
    answer = command("run", small, "--set", "llm.latency={ kind = 'faulty:Purposeful' }")
    assert (answer.code, answer.err) == (2, "fedsim: latency: found 3, expected 4\n")


def test_what_no_part_raises_is_left_as_it_is(small, tmp_path):
    def on_step(row):
        raise ValueError("from outside")

    scenario = load_scenario(small, overrides=["workers.0.upload={ kind = 'faulty:Late', fails = false }"])
    with pytest.raises(ValueError, match=r"^from outside$"):
        fedsim.run(scenario, progress=on_step)


def test_the_stack_is_the_causes(command, small):
    with pytest.raises(PartError) as caught:
        command("--debug", "run", small, "--set", "llm.latency={ kind = 'faulty:Late' }")
    assert "faulty.py" in "".join(traceback.format_exception(caught.value))
    with pytest.raises(InputError) as refused:
        command("check", small, "--debug", "--set", "network={ kind = 'faulty:Picky' }")
    assert isinstance(refused.value.__cause__, TypeError)


def test_in_another_process(command, small):
    with pytest.raises(PartError) as caught:
        command(
            "--debug",
            "run",
            small,
            "--set",
            "llm.latency={ kind = 'faulty:Late' }",
            "--timing-only",
            "--jobs",
            2,
            "--replicates",
            2,
        )
    assert "faulty.py" in "".join(traceback.format_exception(caught.value))
