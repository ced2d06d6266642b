"""Algorithms that fedsim does not know: one on the base of federated averaging, one written from nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fedsim.errors import InputError
from fedsim.results import find_runs
from fedsim.scenario import load_scenario
from fedsim.simulation import Run, run
from fedsim.streams import Streams
from fedsim.verify import verify

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MOMENTUM = "scenarios.features.server_momentum:ServerMomentum"
INCREMENTAL = "incremental:Incremental"

# Calls take 1 s, one after the other: a job of one call is 1 s.
FILE = """
[algorithm]
kind = "{kind}"
{settings}

[problem]
kind = "quadratic"
dimension = 3
noise_std = {noise}
bytes_up = 2
bytes_down = 7

[[workers]]
count = 3
lanes = 1
{workers}

[llm]
kind = "independent"
latency = {{ kind = "constant", value_s = 1.0 }}

[server]
step_s = 0.0

[budget]
server_steps = {steps}

[evaluation]
every_steps = 1
"""


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch):
    """The folders of these strangers, wherever a test runs."""
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.syspath_prepend(ROOT)


@pytest.fixture
def file(tmp_path):
    """Write a scenario of one of these methods; return its file."""

    def write(kind: str, settings: str = "", workers: str = "", noise: float = 0.5, steps: int = 12) -> Path:
        place = tmp_path / "strange.toml"
        own = "" if kind in (MOMENTUM, "server_momentum", "fedbdpl") else "own_model = { token_s = 0.01 }\n"
        text = FILE.format(kind=kind, settings=settings, workers=own + workers, noise=noise, steps=steps)
        place.write_text(text)
        return place

    return write


@pytest.fixture
def simulated(file):
    """Run a scenario of one of these methods."""

    def simulate(kind: str, *overrides: str, **settings: Any) -> Run:
        return run(load_scenario(file(kind, **settings), overrides=overrides))

    return simulate


def losses(found: Run) -> list[float]:
    return found.steps.loss.tolist()


BOTH = {"server_momentum": MOMENTUM, "incremental": INCREMENTAL}


@pytest.fixture
def offered(installed) -> None:
    """Install a package that offers both methods."""
    installed("their_methods", "algorithms", **BOTH)


@pytest.mark.parametrize("kind", BOTH)
def test_by_place_and_as_an_entry_point_it_is_the_same_run(simulated, offered, kind):
    named, placed = simulated(kind), simulated(BOTH[kind])
    assert named.steps.equals(placed.steps)
    assert (named.scenario.algorithm.kind, placed.scenario.algorithm.kind) == (kind, BOTH[kind])


@pytest.mark.parametrize("kind", BOTH)
def test_it_runs_from_outside_and_its_books_hold(file, command, monkeypatch, kind):
    monkeypatch.setattr(sys, "path", [*sys.path])
    answer = command(
        "run",
        file(BOTH[kind]),
        "--set",
        "record.spans=true",
    )
    assert answer.code == 0, answer.err
    (folder,) = find_runs(Path("results"))
    assert [check for check in verify(folder) if check.violation] == []


@pytest.mark.parametrize("kind", BOTH)
def test_it_is_listed(command, offered, kind):
    assert f"\n  {kind} " in command("list", "algorithms").out


@pytest.mark.parametrize(
    ("kind", "setting", "sentence"),
    [
        (MOMENTUM, "algorithm.momentun=0.5", "algorithm.momentun: unknown key; did you mean 'momentum'?"),
        (MOMENTUM, "algorithm.tau=3", f"algorithm.tau: {MOMENTUM} has no tau; it is a setting of "),
        (MOMENTUM, "algorithm.momentum=1.0", "algorithm.momentum: found 1.0, expected"),
        (INCREMENTAL, "algorithm.local_steps=2", f"algorithm.local_steps: {INCREMENTAL} has no local_steps"),
        (INCREMENTAL, "algorithm.wait_for=4", "algorithm.wait_for: found 4, expected at most 3"),
    ],
)
def test_what_it_does_not_have_is_refused_with_its_place(file, command, kind, setting, sentence):
    answer = command("check", file(kind), "--set", setting)
    assert answer.code == 2
    assert sentence in answer.err


def test_without_a_model_of_its_own_nobody_extracts(simulated):
    sentence = "workers 'workers': found no own_model, expected one: jobs of kind 'extract' pass tokens"
    with pytest.raises((ValueError, InputError), match=sentence):
        simulated(INCREMENTAL, "workers.0.unset=['own_model']")


# FedAvgM.


def test_without_momentum_it_is_federated_averaging_bit_for_bit(simulated):
    for shared in ("local_steps = 3", "participants = 2", "aggregation = { outer = { kind = 'median' } }"):
        plain = simulated("fedbdpl", settings=shared)
        theirs = simulated(MOMENTUM, "algorithm.momentum=0.0", "algorithm.rate=1.0", settings=shared)
        assert theirs.steps.equals(plain.steps)
        assert theirs.workers.equals(plain.workers)


def test_its_settings_have_an_effect(simulated):
    found = {
        setting: simulated(MOMENTUM, f"algorithm.{setting}")
        for setting in ("momentum=0.0", "momentum=0.9", "rate=0.5", "local_steps=2", "participants=2")
    }
    assert len({losses(one)[-1] for one in found.values()}) == len(found)
    # The first step has no past, and momentum asks for nothing.
    plain, moved = found["momentum=0.0"], found["momentum=0.9"]
    assert losses(plain)[:2] == losses(moved)[:2]
    assert losses(plain)[2] != losses(moved)[2]
    assert plain.summary["llm_calls"] == moved.summary["llm_calls"] == 12 * 3
    assert found["local_steps=2"].summary["llm_calls"] == 12 * 3 * 2
    assert found["local_steps=2"].summary["simulated_time_s"] == 24
    assert found["participants=2"].summary["worker_updates"] == 12 * 2


# Without noise workers step p and q by 0.1 along the gradients, p from the server's theta; q is their own.
def test_two_steps_by_hand(simulated):
    moved = "rate = 0.5\nmomentum = 0.5\noptimizer = { kind = 'sgd', learning_rate = 0.1 }"
    found = simulated(MOMENTUM, settings=moved, noise=0.0, steps=2)
    oracle = found.scenario.problem.prepare(Streams(0), 3)
    everybody, theta = [0, 1, 2], torch.zeros(1, 3, dtype=torch.float64)
    Q, v = torch.zeros(3, 1, 3, dtype=torch.float64), torch.zeros(1, 3, dtype=torch.float64)
    for step in (1, 2):
        by_p, by_q = oracle.upper(everybody, [step, step, step], theta.expand(3, 1, 3), Q)
        change = -0.1 * by_p.mean(0)
        v = 0.5 * v + change
        theta, Q = theta + 0.5 * v, Q - 0.1 * by_q
        by_hand = oracle.evaluate(everybody, theta.expand(3, 1, 3), Q, theta)
        row = found.steps.set_index("step").loc[step]
        assert row.loss == pytest.approx(by_hand["loss"], rel=1e-12)
        assert row.distance_z == pytest.approx(by_hand["distance_z"], rel=1e-12)


def test_a_robust_rule_and_a_message_attack_work_with_it(simulated):
    attack = "attacks=[{ kind = 'sign_flip', of = 'update', factor = 50.0, workers = [2] }]"
    median = "algorithm.aggregation={ outer = { kind = 'median' } }"
    honest = losses(simulated(MOMENTUM, noise=0.0))[-1]
    fooled = losses(simulated(MOMENTUM, attack, noise=0.0))[-1]
    robust = losses(simulated(MOMENTUM, attack, median, noise=0.0))[-1]
    assert abs(robust - honest) < 0.1 * abs(fooled - honest)


# The method of two phases. Openings are 3 calls and 100 tokens of 0.01 s: 4 s; other jobs are one call.


# S = 2, tau = 3. Workers 0 and 1 open until 4 s and take 1 s per job. Worker 2, twice as slow, opens until
# 8 s: its age is 3 after step 2 (5 s), so that step 3 waits for it, and uses all three.
def test_openings_by_hand(simulated):
    found = simulated(
        INCREMENTAL,
        "workers=[{ count = 2, lanes = 1, own_model = { token_s = 0.01 } }, "
        "{ name = 'slow', count = 1, lanes = 1, slow_down = 2.0, own_model = { token_s = 0.01 } }]",
        steps=4,
    )
    steps = found.steps
    assert steps.time_s.tolist() == [0, 4, 5, 8, 9]
    assert steps.active.tolist() == [0, 2, 2, 3, 2]
    assert steps.openings.tolist() == [0, 2, 2, 3, 3]
    assert steps.worker_updates.tolist() == [0, 0, 2, 4, 6]
    assert steps.llm_calls.tolist() == [0, 6, 8, 13, 15]
    assert steps.estimates.tolist() == steps.llm_calls.tolist()
    assert steps.bytes_up.tolist() == [0, 2 * 4, 2 * 6, 3 * 4 + 4 * 2, 3 * 4 + 6 * 2]
    assert found.summary["openings"] == 3
    assert found.workers.seconds_extracting.tolist() == [4, 4, 8]


def test_two_steps_with_openings_by_hand(simulated):
    found = simulated(INCREMENTAL, settings="wait_for = 3\ntau = 1\nrate = 0.2", noise=0.0, steps=2)
    oracle = found.scenario.problem.prepare(Streams(0), 3)
    z, Q = torch.zeros(1, 3, dtype=torch.float64), torch.zeros(3, 1, 3, dtype=torch.float64)
    for step in (1, 2):
        by_p, _ = oracle.upper([0, 1, 2], [0, 0, 0], z.expand(3, 1, 3), Q)
        z = z - 0.2 * by_p.mean(0)
        by_hand = oracle.evaluate([0, 1, 2], z.expand(3, 1, 3), Q, z)["loss"]
        assert found.steps.set_index("step").loss[step] == pytest.approx(by_hand, rel=1e-12)


def test_more_samples_in_the_opening_change_times_and_losses(simulated):
    few, many = (simulated(INCREMENTAL, f"algorithm.samples={samples}") for samples in (1, 30))
    assert (few.steps.time_s[1], many.steps.time_s[1]) == (2, 31)
    assert few.steps.loss[1] != many.steps.loss[1]


# Worker 2 joins at 6.5 s, after step 3, with age 1, and opens until 10.5 s. The server steps with the others
# at 7 and 8 s (S = 2), and then waits for it (tau = 3).
def test_a_late_joiner_opens_too(file, command):
    late = "availability = { kind = 'lifetime', joins = { kind = 'constant', value_s = 6.5 } }"
    place = file(INCREMENTAL, workers=f"name = 'late'\n{late}", steps=7)
    text = place.read_text().replace("count = 3", "count = 1")
    always = "[[workers]]\ncount = 2\nlanes = 1\nown_model = { token_s = 0.01 }\n\n[[workers]]\n"
    place.write_text(text.replace("[[workers]]\n", always))
    found = run(load_scenario(place))
    assert found.steps.time_s.tolist() == [0, 4, 5, 6, 7, 8, 10.5, 11.5]
    assert found.steps.openings.tolist() == [0, 2, 2, 2, 2, 2, 3, 3]
    assert found.steps.members.tolist()[1:] == [2, 2, 2, 3, 3, 3, 3]
    assert command("run", place).code == 0
    (folder,) = find_runs(Path("results"))
    assert [check for check in verify(folder) if check.violation] == []


def test_who_has_lost_its_state_opens_again(simulated):
    off = "on = { kind = 'constant', value_s = 9.0 }, off = { kind = 'constant', value_s = 3.0 }"
    comes = f"availability = {{ kind = 'on_off', {off} }}\non_return = 'rejoin'"
    found = simulated(INCREMENTAL, workers=comes, steps=30)
    assert found.workers.times_down.sum() > 0
    assert found.summary["openings"] > 3


def test_what_a_problem_does_not_offer_is_not_asked_for(file, command):
    answer = command("check", file("askers:Asker"))
    assert answer.code == 2
    assert "problem.kind: found 'quadratic', which offers gradients" in answer.err
    assert "algorithm 'askers:Asker' asks for questions; expected " in answer.err


def test_a_method_may_have_nothing_left_to_do(simulated):
    assert simulated("askers:Brief").summary["ended"] == "task known"
    assert simulated("askers:Brief").summary["server_steps"] == 2


def test_a_cost_model_costs_what_the_method_does(simulated):
    learned, costed = simulated(INCREMENTAL), simulated("askers:Costs")
    assert (costed.summary["timing_only"], costed.summary["loss"]) == (True, None)
    for key in ("simulated_time_s", "by_kind", "own_tokens", "bytes_down", "llm_calls"):
        assert costed.summary[key] == learned.summary[key], key
    # Three openings of 100 tokens each, and estimates from then on.
    assert learned.summary["own_tokens"] == learned.summary["by_kind"]["extract"]["own_tokens"] == 300
    assert learned.summary["by_kind"]["extract"]["llm_calls"] == 9
    assert list(learned.steps.own_tokens.diff().dropna())[-1] == 0
