"""Both halves together: P1, P9 to P12 and P16 on whole runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from learning_cases import GivenBench, ToyOracle, toy_settings
from torch import Tensor

from fedsim import simulation
from fedsim.algorithms.base import Bench
from fedsim.algorithms.dbt.cendbt import Cendbt
from fedsim.algorithms.dbt.distributed import Distributed
from fedsim.algorithms.dbt.tuner import Tuner
from fedsim.learning.batching import Job
from fedsim.learning.categorical import draw
from fedsim.learning.simplex import is_distribution
from fedsim.messages import Snapshot, Ticket
from fedsim.problems.icl.oracle import IclOracle
from fedsim.scenario import Scenario
from fedsim.scenario.files import parse
from fedsim.schedule import Steps

PARAMETERS = {
    "base_alignment": 0.5,
    "demo_step": 0.3,
    "label_bias": 0.8,
    "word_gain": 0.7,
    "word_noise": 0.4,
    "demo_noise": 0.5,
}
TASK = {"n_words": 4, "n_candidates": 6, "n_demonstrations": 5, "train_per_class": 3, "test_counts": [4, 4]}
N_SAMPLES, BATCH = 4, 5
COMMON = {"cuts": {"every": 8, "rounds": 3}, "optimizer": {"kind": "adam", "learning_rate": 0.05}}


def small(algorithm: dict[str, Any], **changes: Any) -> Scenario:
    """Return a sampled in-context scenario of three workers, one of them slower."""
    table: dict[str, Any] = {
        "name": "small",
        "algorithm": {key: value for key, value in {**COMMON, **algorithm}.items() if value is not None},
        "problem": {
            "kind": "icl",
            "task": {"kind": "synthetic", "parameters": PARAMETERS} | TASK,
            "n_samples": N_SAMPLES,
            "batch": BATCH,
        },
        "workers": [
            {"count": 2, "upload": {"kind": "lognormal", "median_s": 0.03, "sigma": 1.0}},
            {"name": "slow", "count": 1, "slow_down": 4.0},
        ],
        "llm": {"kind": "independent", "latency": {"kind": "exponential", "mean_s": 0.1}},
        "budget": {"server_steps": 40},
        "evaluation": {"every_steps": 5},
    }
    return parse(table | changes)


ASYNDBT: dict[str, Any] = {"kind": "asyndbt", "wait_for": 2, "tau": 4, "z_rate": 0.05}
SDBT: dict[str, Any] = {"kind": "sdbt", "z_rate": 0.05}
WITHOUT_WORDS: dict[str, Any] = ASYNDBT | {"z_rate": None, "cuts": None}
CENDBT: dict[str, Any] = {"kind": "cendbt", "machine": "workers"}


class Seen:
    """Tuners of the runs of a test, and what was handed to them."""

    def __init__(self) -> None:
        self.tuner: Tuner
        self.active: list[list[Ticket]] = []
        self.drained: list[list[Ticket]] = []
        self.handed: list[Job] = []
        self.oracle: ToyOracle | None = None


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Watch the seam: keep the tuner of the last run; run on `seen.oracle` where a test sets one."""
    seen = Seen()
    originals = {part: part.open for part in (Distributed, Cendbt)}

    def watched(algorithm: Any, bench: Bench) -> Tuner:
        original = originals[Cendbt if isinstance(algorithm, Cendbt) else Distributed]
        given = bench if seen.oracle is None else GivenBench(seen.oracle, bench.n_workers)
        tuner = original(algorithm, given)
        seen.tuner, seen.active, seen.drained, seen.handed = tuner, [], [], []
        take_step, interlude, hand_out = tuner.take_step, tuner.interlude, tuner.hand_out

        def step(tickets: list[Ticket]) -> Any:
            seen.active.append(tickets)
            return take_step(tickets)

        def begin(drained: list[Ticket], participants: list[int]) -> Any:
            seen.drained.append(drained)
            return interlude(drained, participants)

        def hand(job: Job) -> None:
            seen.handed.append(job)
            hand_out(job)

        monkeypatch.setattr(tuner, "take_step", step)
        monkeypatch.setattr(tuner, "interlude", begin)
        monkeypatch.setattr(tuner, "hand_out", hand)
        return tuner

    for part in originals:
        monkeypatch.setattr(part, "open", watched)
    return seen


ROBUST = {"robust": {"psi": 0.05}}


@pytest.mark.parametrize(
    "algorithm",
    [ASYNDBT, SDBT, CENDBT, ASYNDBT | ROBUST, SDBT | ROBUST],
    ids=lambda table: f"{table['kind']}{' robust' if 'robust' in table else ''}",
)
def test_p1_distributions_stay_distributions(algorithm: Any, seen: Seen) -> None:
    checked = 0

    def check(*_: Any) -> None:
        nonlocal checked
        tables = [seen.tuner.tables.P, seen.tuner.tables.Q, seen.tuner.received, seen.tuner.state.z]
        assert all(bool(is_distribution(table).all()) for table in tables)
        assert all(float(table.min()) >= 0 for table in tables)
        checked += 1

    simulation.run(small(algorithm), progress=check)
    assert checked == 41
    assert not torch.equal(seen.tuner.tables.P[0], seen.tuner._oracle.start_p)


@pytest.mark.parametrize(("wait_for", "tau"), [(1, 2), (1, 4), (2, 3), (2, 50)])
def test_p9_staleness_below_tau_and_at_least_s_active(wait_for: int, tau: int, seen: Seen) -> None:
    run = simulation.run(small(ASYNDBT | {"wait_for": wait_for, "tau": tau, "cuts": False, "z_rate": None}))
    assert len(seen.active) == 40
    staleness = [
        [step - ticket.snapshot.version for ticket in tickets] for step, tickets in enumerate(seen.active)
    ]
    assert all(len(tickets) >= wait_for for tickets in seen.active)
    assert max(map(max, staleness)) <= tau - 1
    assert [max(one) for one in staleness] == run.steps.staleness_max[1:].tolist()
    if tau < 50:
        assert max(map(max, staleness)) == tau - 1  # the bound was at work


def test_p10_waiting_for_all_is_the_synchronous_form(seen: Seen) -> None:
    asynchronous = simulation.run(small(ASYNDBT | {"wait_for": 3, "tau": 5}))
    first = seen.tuner
    synchronous = simulation.run(small(SDBT))
    pd.testing.assert_frame_equal(asynchronous.steps, synchronous.steps, check_exact=True)
    pd.testing.assert_frame_equal(asynchronous.workers, synchronous.workers, check_exact=True)
    assert torch.equal(first.tables.P, seen.tuner.tables.P)
    assert torch.equal(first.tables.Q, seen.tuner.tables.Q)
    assert torch.equal(first.state.z, seen.tuner.state.z)
    assert synchronous.steps.cuts.max() > 0
    assert torch.equal(first.state.multipliers.now, seen.tuner.state.multipliers.now)


def test_step_rules_by_hand() -> None:
    rules = [small(table).schedule.rule for table in (ASYNDBT, SDBT, CENDBT)]
    assert rules == [Steps(2, 4), Steps(3, 1), Steps(1, 1)]


@pytest.mark.parametrize("algorithm", [ASYNDBT, SDBT, CENDBT], ids=lambda table: table["kind"])
def test_p11_calls_follow_the_formula_and_the_server_makes_none(
    algorithm: Any, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated: dict[str, list[tuple[int, int]]] = {"upper": [], "lower": []}
    for level, kept in evaluated.items():
        original = getattr(IclOracle, level)

        def counted(
            self: Any, workers: Any, jobs: Any, *rest: Any, kept: Any = kept, original: Any = original
        ) -> Any:
            kept += zip(workers, jobs, strict=True)
            return original(self, workers, jobs, *rest)

        monkeypatch.setattr(IclOracle, level, counted)
    run = simulation.run(small(algorithm))
    n_workers = run.scenario.n_machines
    pooled = 3 // n_workers
    outer = sum(map(len, seen.active)) + sum(map(len, seen.drained))
    inner = n_workers * 3 * len(seen.drained)
    # Updates follow steps 0, 8, 16, 24, 32 (and 40, which is not taken).
    assert len(seen.drained) == 5
    last = run.steps.iloc[-1]
    assert last.worker_updates == outer
    assert last.llm_calls == N_SAMPLES * BATCH * pooled * (outer + inner)
    if algorithm is SDBT:
        # The synchronous variant: I_s b R (T + K ceil(T / delta))
        assert last.llm_calls == N_SAMPLES * BATCH * 3 * (40 + 3 * 5)
    # All evaluations are jobs of workers, each at most once and each handed out for its level.
    handed = {
        kind: {(job.worker, job.job) for job in seen.handed if job.kind == kind}
        for kind in ("outer", "inner")
    }
    assert len(set(evaluated["upper"])) == len(evaluated["upper"]) >= outer
    assert set(evaluated["upper"]) <= handed["outer"]
    assert sorted(evaluated["lower"]) == sorted(handed["inner"])
    assert len(evaluated["lower"]) == inner


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Walk a value and yield every tensor in it; anything unexpected is an error."""
    if isinstance(value, Tensor):
        yield value
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from tensors_in(getattr(value, field.name))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for part in value:
            yield from tensors_in(part)
    else:
        assert value is None or isinstance(value, int | float)


def test_p12_messages_and_server_state_hold_no_q_and_no_text(seen: Seen) -> None:
    run = simulation.run(small(ASYNDBT))
    _, n_words, n_vocab = seen.tuner.received.shape
    q_shape = seen.tuner.tables.Q.shape[1:]
    for tickets in seen.active + seen.drained:
        for ticket in tickets:
            worker, job, kind, snapshot, *times_s = ticket
            assert [type(part) for part in (worker, job, kind, snapshot)] == [int, int, str, Snapshot]
            assert all(isinstance(time_s, int | float) for time_s in times_s)
    contents = [job.content for job in seen.handed if job.kind == "outer"]
    found = [tensor for content in [*contents, seen.tuner.state] for tensor in tensors_in(content)]
    assert len(found) > len(contents)
    assert all(tensor.shape[0] in (n_words, 3) for tensor in found)
    assert all(tensor.shape[-2:] != q_shape for tensor in found)
    for content in contents:
        assert content.z.shape == (n_words, n_vocab)
    assert run.summary["bytes_up"] == 4 * n_words * n_vocab * (
        run.summary["worker_updates"] + 9 * len(seen.drained)
    )


def test_p12_q_reaches_the_server_only_through_p(seen: Seen) -> None:
    """Altering a worker's q before its message is taken leaves the server's next state as it is."""
    states = []
    for alter in (False, True):
        seen.oracle = ToyOracle()
        run = toy_run(ASYNDBT, steps=12, seen=seen)
        assert run.steps.cuts.max() > 0
        tuner = seen.tuner
        tickets = [
            Ticket(job.worker, job.job, job.kind, Snapshot(0, job.content), 0.0, 0.0)
            for worker in range(3)
            for job in [next(job for job in reversed(seen.handed) if job.worker == worker)]
        ]
        tuner.work("outer", tuner.taken("outer"))
        if alter:
            tuner.tables.Q[:] = tuner.tables.Q.flip(-1)
        states.append(tuner.take_step(tickets))
    for one, other in zip(tensors_in(states[0]), tensors_in(states[1]), strict=True):
        assert torch.equal(one, other)


def toy_run(algorithm: dict[str, Any], seen: Seen, steps: int = 300, **changes: Any) -> simulation.Run:
    """Run the toy oracle of `seen` under the clock."""
    rules = toy_settings(**changes).model_dump(exclude_unset=True)
    read = {"optimizer", "multipliers", "polyhedron"} | ({"z_rate", "inner", "robust"} - set(algorithm))
    if algorithm is CENDBT:
        rules["inner"] = {"p_rate": rules["inner"]["p_rate"]}
        read -= {"z_rate", "robust"}
    scenario = small(
        {**{key: value for key, value in rules.items() if key in read}, **algorithm},
        problem={"kind": "quadratic"},  # only for its clock: the oracle is replaced
        budget={"server_steps": steps},
        evaluation={"every_steps": steps},
    )
    return simulation.run(scenario)


def best_loss(oracle: ToyOracle) -> float:
    """Return the least F there is with one set of words for all and each worker's own demonstrations."""
    return float(oracle.L.flatten(3).amin(-1).mean(0).min())


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"polyhedron": {"norm": "squared_l2"}},
        {"robust": {"psi": 0.05}},
        {"robust": {"psi": 0.05, "inner": "R4"}},
        {"multipliers": {"schedule": "decreasing"}},
    ],
    ids=["l1", "squared_l2", "R1-R3", "R1-R4", "decreasing"],
)
@pytest.mark.parametrize("algorithm", [ASYNDBT, SDBT, CENDBT], ids=lambda table: table["kind"])
def test_p16_the_exact_objective_falls(algorithm: Any, changes: Any, seed: int, seen: Seen) -> None:
    """F at the end is well below F at the uniform start: at least half of the way to the best there is."""
    seen.oracle = oracle = ToyOracle(3, seed, pooled=algorithm is CENDBT)
    run = toy_run(algorithm, seen, **changes)
    start, end = run.steps.loss.iloc[0], run.steps.loss.iloc[-1]
    best = best_loss(oracle)
    assert start - best > 0.2
    assert start - end > 0.5 * (start - best)
    if algorithm is not CENDBT and changes.get("polyhedron") is None:
        # What all agree on has improved as well; the gradient of squared l2 cuts fades near phi, and z lags.
        assert start - run.steps.loss_consensus.iloc[-1] > 0.5 * (start - best)


UNREAD = {"use_fragment": ("n_words", "n_candidates"), "use_demonstrations": ("n_demonstrations",)}
"""What a task need not say where prompts have no words, or show no demonstrations."""


@pytest.mark.parametrize(("switch", "tuned"), [("use_fragment", "Q"), ("use_demonstrations", "P")])
def test_p16_ablations_tune_one_level_alone(switch: str, tuned: str, seen: Seen) -> None:
    task = {"kind": "synthetic", "parameters": PARAMETERS} | TASK
    task = {key: value for key, value in task.items() if key not in UNREAD[switch]}
    problem = {"kind": "icl", "task": task, switch: False, "n_samples": 40}
    algorithm = ASYNDBT if switch == "use_demonstrations" else WITHOUT_WORDS
    scenario = small(algorithm, problem=problem, budget={"server_steps": 80}, evaluation={"every_steps": 80})
    run = simulation.run(scenario)
    tables, start = seen.tuner.tables, {"P": seen.tuner._oracle.start_p, "Q": seen.tuner._oracle.start_q}
    for name in "PQ":
        untouched = torch.equal(getattr(tables, name), start[name].expand_as(getattr(tables, name)))
        assert untouched is (name != tuned)
    assert bool(np.isfinite(run.steps.loss.iloc[-1]))
    before = expected_loss(seen.tuner, start["P"].expand_as(tables.P), start["Q"].expand_as(tables.Q))
    assert before - expected_loss(seen.tuner, tables.P, tables.Q) > 0.05


def expected_loss(tuner: Tuner, P: Tensor, Q: Tensor) -> float:
    """Return the mean training loss of 2,000 prompts sampled from (P, Q)."""
    oracle = tuner._oracle
    assert isinstance(oracle, IclOracle)
    uniforms = torch.rand(3, 10, 2_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    words = draw(P, uniforms[:, : P.shape[1]].contiguous()) if oracle.problem.use_fragment else None
    shown = draw(Q, uniforms[:, -Q.shape[1] :].contiguous()) if oracle.problem.use_demonstrations else None
    return float(oracle._losses("upper", [0, 1, 2], [0, 0, 0], words, shown).mean())


@pytest.mark.parametrize(
    ("multipliers", "settles"),
    [({}, True), ({"c1": 0.04, "schedule": "constant"}, False)],  # the default, and ADBO's code
)
def test_the_default_regulariser_outweighs_the_lag_of_a_quadratic(multipliers: Any, settles: bool) -> None:
    """Without bounds p and z circle with their multipliers, the wider the weaker these are damped."""
    algorithm = {
        "kind": "asyndbt",
        "optimizer": {"kind": "sgd", "learning_rate": 0.02},
        "z_rate": 0.02,
        "cuts": {"every": 10, "rounds": 10},
        "inner": {"p_rate": 0.2, "z_rate": 0.1, "rho_rate": 0.2},
        "multipliers": multipliers,
    }
    problem = {"kind": "quadratic", "dimension": 10}
    found = simulation.run(small(algorithm, problem=problem, budget={"server_steps": 600}))
    largest = found.summary["multiplier_max"]
    assert largest < 0.1 if settles else largest > 100
