"""Polyhedron updates while steps go on: the loop against a slow twin, and as a barrier where S = R."""

from __future__ import annotations

import contextlib
from typing import Any, Literal, NamedTuple

import pytest
import torch
from learning_cases import Drive, GivenBench, ToyOracle, distributions, toy_settings
from pydantic import PrivateAttr
from test_malicious_workers import Payload
from torch import Tensor

from fedsim.algorithms.dbt.tuner import Tuner
from fedsim.attack import Assigned
from fedsim.learning.batching import Job
from fedsim.messages import Snapshot, Ticket
from fedsim.scenario.files import parse
from fedsim.simulation import run

R = 4
ROLLING = {"rounds": 3, "participation": "rolling"}


class Event(NamedTuple):
    """A round's workers, and who takes a step before it is over: one of them may be back already."""

    workers: list[int]
    step: list[int]


def rolling_tuner(attack: Payload | None = None, **changes: Any) -> Tuner:
    attacks = [Assigned(attack, frozenset({3}))] if attack is not None else []
    settings = toy_settings(cuts=ROLLING, polyhedron={"epsilon": 0.0}, **changes)
    return Tuner(GivenBench(ToyOracle(R), R, attacks), settings)


def update(drive: Drive, script: list[Event]) -> list[Tensor]:
    """Hold an update; return the p that the server has of all workers as each round begins and as it ends."""
    tuner, seen = drive.tuner, []
    inside = tuner.interlude([], list(tuner.alive))
    content = next(inside)
    for workers, stepping in script:
        tickets = []
        for worker in workers:
            job = drive.jobs[worker]
            tuner.hand_out(Job(worker, job, "inner", content))
            tickets.append(Ticket(worker, job, "inner", Snapshot(drive.version, content), 0.0, 0.0))
            drive.jobs[worker] += 1
        seen.append(tuner.received.clone())
        if stepping:
            drive.step(stepping)
        seen.append(tuner.received.clone())
        with contextlib.suppress(StopIteration):
            content = inside.send(tickets)
    return seen


def twin(tuner: Tuner, z: Tensor, z_now: Tensor, script: list[Event], seen: list[Tensor]) -> dict[str, Any]:
    """Do the same with one row after the other, for a toy without robust terms."""
    inner, oracle, now = tuner.rules.inner, tuner._oracle, seen[-1]
    p: dict[int, Tensor] = {}
    rho: dict[int, Tensor] = {}
    for number, (workers, _) in enumerate(script):
        for v in workers:
            if v not in p:
                p[v] = seen[2 * number][v]
                rho[v] = torch.zeros_like(z)
            else:
                rho[v] = rho[v] + inner.rho_rate * (p[v] - z)  # (10), from its second round on
            gradient = oracle.lower([v], [0], p[v][None], torch.zeros(1, 2, dtype=torch.long))[0]
            step = gradient + rho[v] + inner.mu * (p[v] - z)
            p[v] = tuner._project(p[v] - inner.p_rate * step)
        bracket = torch.zeros_like(z)
        for v in range(R):
            row, dual = p.get(v, seen[2 * number + 1][v]), rho.get(v, torch.zeros_like(z))
            bracket += inner.mu * (z - row) - dual
        z = tuner._project(z - inner.z_rate * bracket)
    h = sum((now[v] - p[v]).abs().sum(1) for v in p) + (z_now - z).abs().sum(1)
    a = torch.zeros(R, *z.shape)
    for v in p:
        a[v] = torch.sign(now[v] - p[v])
    b = torch.sign(z_now - z)
    c = h - sum((a[v] * now[v]).sum(1) for v in p) - (b * z_now).sum(1)
    return {"h": h, "a": a, "b": b, "c": c}


SCRIPTS = {
    "all in turn": [Event([0, 1], [2]), Event([2, 3], [0]), Event([1, 0], [3])],
    "one works in every round": [Event([2, 0], [2]), Event([2, 1], []), Event([2, 0], [1, 3])],
    "one alone": [Event([3], [3]), Event([3], [0, 1]), Event([3], [3])],
    "all": [Event([0, 1, 2, 3], [])] * 3,
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_the_rolling_loop_agrees_with_its_slow_twin(script: list[Event]) -> None:
    tuner = rolling_tuner(inner={"realisation": "fixed"}, multipliers={"rate": 0.5})
    drive = Drive(tuner, R, late=True)
    drive.step([0, 1, 2, 3])
    update(drive, SCRIPTS["all"])  # cuts, so that z moves in steps
    for active in ([0, 1, 2, 3], [1], [2, 0]):
        drive.step(active)
    z = tuner.state.z.clone()
    seen = update(drive, script)
    expected = twin(tuner, z, tuner.state.z, script, seen)
    polyhedron = tuner.state.polyhedron
    torch.testing.assert_close(polyhedron.a[:, :, -1].double(), expected["a"].double())
    torch.testing.assert_close(polyhedron.b[:, -1], expected["b"])
    torch.testing.assert_close(polyhedron.c[:, -1], expected["c"])
    torch.testing.assert_close(tuner.constraint.h, expected["h"])
    assert torch.equal(tuner.state.z, z) is all(not event.step for event in script)
    weighed = polyhedron.along(torch.arange(R), tuner.received)
    torch.testing.assert_close(tuner.state.multipliers.weighed, weighed)


def test_who_had_no_part_in_an_update_is_in_none_of_its_cuts() -> None:
    tuner = rolling_tuner()
    drive = Drive(tuner, R, late=True)
    drive.step([0, 1, 2, 3])
    update(drive, [Event([0, 2], [1])] * 3)
    assert tuner.state.polyhedron.count() > 0
    assert tuner.state.polyhedron.a[[0, 2]].any()
    assert not tuner.state.polyhedron.a[[1, 3]].any()


@pytest.mark.parametrize("gone", ["evict", "forget"])
def test_a_worker_that_is_lost_after_it_has_reported(gone: str) -> None:
    """Its report is there when the round ends; cuts hold nothing of one that left."""
    tuner = rolling_tuner()
    drive = Drive(tuner, R, late=True)
    drive.step([0, 1, 2, 3])
    inside = tuner.interlude([], [0, 1, 2, 3])
    content = next(inside)
    for number in range(3):
        tickets = drive.round([0, 1] if number == 0 else [1, 2], content)
        if number == 0:
            getattr(tuner, gone)(0)
        try:
            content = inside.send(tickets)
        except StopIteration as end:
            state = end.value
    assert state.polyhedron.count() > 0
    assert bool(state.polyhedron.a[0].any()) is (gone == "forget")
    assert state.polyhedron.a[2].any()


def test_where_all_are_gone_the_loop_moves_nothing() -> None:
    tuner = rolling_tuner()
    drive = Drive(tuner, R, late=True)
    drive.step([0, 1, 2, 3])
    inside = tuner.interlude([], [0, 1])
    content = next(inside)
    tickets = drive.round([0, 1], content)
    for worker in (0, 1):
        tuner.evict(worker)
    assert torch.equal(inside.send(tickets).z, content.z)


def test_a_liar_follows_the_loop_in_private() -> None:
    """What it would honestly send depends on its own p and on z, not on what it has sent before."""
    lie = distributions(2, 3, seed=5).flatten()
    attack = Payload(workers=(3,), payload=lie.tolist())
    tuner = rolling_tuner(attack, inner={"realisation": "fixed"})
    drive = Drive(tuner, R, late=True)
    drive.step([0, 1, 2, 3])
    own, z = tuner.tables.P[3].clone(), tuner.state.z.clone()
    attack._own.clear()
    inside = tuner.interlude([], [0, 1, 2, 3])
    content, honest, rho = next(inside), [], torch.zeros_like(z)
    inner = tuner.rules.inner
    for number in range(3):
        if number:
            rho = rho + inner.rho_rate * (own - content.z)
        gradient = tuner._oracle.lower([3], [0], own[None], torch.zeros(1, 2, dtype=torch.long))[0]
        own = tuner._project(own - inner.p_rate * (gradient + rho + inner.mu * (own - content.z)))
        honest.append(own)
        try:
            content = inside.send(drive.round([3, number], content))
        except StopIteration as end:
            state = end.value
    torch.testing.assert_close(torch.stack(attack._own), torch.stack(honest).flatten(1)[:, None])
    # The server reckons with the lies: of one lie after the other phi is the lie.
    expected = torch.sign(tuner.received[3] - lie.view(2, 3).clamp(min=0))
    assert state.polyhedron.count() > 0
    torch.testing.assert_close(state.polyhedron.a[3, :, 0].double(), expected)


class Eavesdropper(Payload):
    """Counts the honest messages that it knows."""

    kind: Literal["eavesdropper"] = "eavesdropper"
    _known: list[int] = PrivateAttr(default_factory=list)

    def forge(self, own: Tensor, honest: Tensor, *more: Any) -> Tensor:
        self._known.append(len(honest))
        return super().forge(own, honest, *more)


def test_a_liar_that_knows_all_knows_the_honest_rows_of_who_has_not_reported() -> None:
    attack = Eavesdropper(workers=(2, 3), payload=[0.25] * 6, knowledge="all")
    attacks = [Assigned(attack, frozenset({2, 3}))]
    tuner = Tuner(GivenBench(ToyOracle(R), R, attacks), toy_settings(cuts=ROLLING))
    drive = Drive(tuner, R, late=True)
    drive.step([0, 1, 2, 3])
    attack._known.clear()
    update(drive, [Event([3, 0], []), Event([2, 3], []), Event([2, 0, 1], [])])
    assert attack._known == [2, 2, 2]


LIE = {"kind": "sign_flip", "workers": [1]}
LAZY = {"kind": "rushing", "workers": [2], "skip_calls": True}
WHOLE: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "plain": ({}, []),
    "a liar": ({}, [LIE, LAZY]),
    "robust": ({"robust": {"psi": 0.1}}, [LIE]),
    "a rule": ({"aggregation": {"inner": {"kind": "median"}}, "inner": {"p_rate": 0.05}}, [LIE]),
    "from the start": ({"inner": {"start": "uniform", "realisation": "sampled", "p_rate": 0.05}}, []),
    "from z": ({"inner": {"start": "consensus", "p_rate": 0.05}}, [LAZY]),
}


def scenario(participation: str, wait_for: int, algorithm: dict[str, Any], attacks: list[Any]) -> Any:
    parameters = {"base_alignment": 0.5, "demo_step": 0.3, "label_bias": 0.8, "word_gain": 0.7}
    task = {"n_words": 3, "n_candidates": 4, "n_demonstrations": 4, "train_per_class": 3}
    cuts = {"every": 3, "rounds": 3, "participation": participation}
    return parse(
        {
            "name": "rolling",
            "algorithm": {"kind": "asyndbt", "wait_for": wait_for, "tau": 6, "cuts": cuts}
            | {"polyhedron": {"epsilon": 0.01}, "multipliers": {"rate": 0.5}, **algorithm},
            "problem": {"kind": "icl", "n_samples": 3, "batch": 3}
            | {"task": {"kind": "synthetic", "parameters": parameters, **task}},
            "workers": [{"count": 4, "compute": {"kind": "exponential", "mean_s": 1.0}}],
            "llm": {"kind": "independent", "latency": {"kind": "exponential", "mean_s": 0.2}},
            "budget": {"server_steps": 14},
            "evaluation": {"every_steps": 3},
            "attacks": attacks,
        }
    )


@pytest.mark.parametrize(("algorithm", "attacks"), WHOLE.values(), ids=WHOLE)
def test_with_everybody_in_each_round_it_is_the_update_behind_a_barrier(
    algorithm: dict[str, Any], attacks: list[Any]
) -> None:
    tables = [run(scenario(how, 4, algorithm, attacks)).steps for how in ("all", "rolling")]
    assert tables[0].cuts.iloc[-1] > 0
    assert tables[0].equals(tables[1].drop(columns="skipped_cut_updates"))


@pytest.mark.parametrize(("algorithm", "attacks"), WHOLE.values(), ids=WHOLE)
def test_updates_without_a_barrier_take_less_time_and_make_cuts(
    algorithm: dict[str, Any], attacks: list[Any]
) -> None:
    behind, rolling = (run(scenario(how, 2, algorithm, attacks)) for how in ("all", "rolling"))
    assert rolling.summary["simulated_time_s"] < behind.summary["simulated_time_s"]
    assert rolling.summary["cuts"] > 0
