"""The learning half as a whole, driven without a clock: deferral, cuts in flight, dropping, eviction."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from learning_cases import Drive, GivenBench, ToyOracle, centralised, distributions, random_walk, toy_settings
from torch import Tensor

from fedsim.algorithms.dbt.lagrangian import Multipliers, values
from fedsim.algorithms.dbt.polyhedron import Polyhedron
from fedsim.algorithms.dbt.settings import Rules
from fedsim.algorithms.dbt.tuner import ServerState, Tuner
from fedsim.icl.tasks.gaussian import SurrogateParameters
from fedsim.icl.tasks.synthetic import Synthetic
from fedsim.learning import chunks
from fedsim.learning.optimizers.adam import Adam
from fedsim.problems.icl.problem import IclProblem
from fedsim.problems.quadratic import Quadratic
from fedsim.streams import Streams


def toy_tuner(n_workers: int = 3, consensus: bool = True, **changes: Any) -> Tuner:
    oracle = ToyOracle(n_workers)
    if not consensus:
        return centralised(oracle, **changes)
    return Tuner(GivenBench(oracle, n_workers), toy_settings(**changes))


def sampled_tuner(n_workers: int, **changes: Any) -> Tuner:
    """Return a tuner of the sampled in-context problem."""
    parameters = SurrogateParameters(
        base_alignment=0.5, demo_step=0.3, label_bias=0.8, word_gain=0.7, word_noise=0.4, demo_noise=0.5
    )
    task = Synthetic(parameters=parameters, n_words=3, n_candidates=5, n_demonstrations=4, train_per_class=2)
    oracle = IclProblem(task=task, n_samples=4, batch=3).prepare(Streams(3), n_workers)
    return Tuner(GivenBench(oracle, n_workers), Rules.model_validate(changes))


def assert_same_state(one: Tuner, other: Tuner, tolerance: float = 1e-12) -> None:
    def close(x: Tensor, y: Tensor) -> None:
        torch.testing.assert_close(x, y, rtol=0, atol=tolerance)

    close(one.state.z, other.state.z)
    close(one.received, other.received)
    close(one.state.multipliers.now, other.state.multipliers.now)
    close(one.state.multipliers.weighed, other.state.multipliers.weighed)
    for name in ("a", "b", "c"):
        close(getattr(one.state.polyhedron, name), getattr(other.state.polyhedron, name))


ROBUST = {"psi": 0.05}


@pytest.mark.parametrize("robust", [None, ROBUST])
def test_deferred_batches_equal_jobs_one_by_one(robust: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    batched, single = (
        sampled_tuner(5, robust=robust, optimizer={"kind": "adam", "learning_rate": 0.05}) for _ in "ab"
    )
    random_walk(Drive(batched, 5), 60, cut_every=7)
    # Chunks of one job, each shown to the learning half only when its own result is asked for.
    monkeypatch.setattr(chunks, "CHUNK_ELEMENTS", 1)
    random_walk(Drive(single, 5, late=True), 60, cut_every=7)
    assert batched.state.polyhedron.count() > 0
    assert_same_state(batched, single)
    for name, measured in batched.evaluate([0, 1, 2, 3, 4]).items():
        assert measured == pytest.approx(single.evaluate([0, 1, 2, 3, 4])[name], abs=1e-12), name


def test_jobs_in_flight_are_evaluated_in_one_batch() -> None:
    tuner = toy_tuner(4)
    drive = Drive(tuner, 4)
    oracle = tuner._oracle
    assert isinstance(oracle, ToyOracle)
    drive.step([2])
    assert oracle.upper_jobs == [(0, 0), (1, 0), (2, 0), (3, 0)]
    drive.step([0])
    assert len(oracle.upper_jobs) == 4
    drive.step([2])
    assert oracle.upper_jobs[4:] == [(0, 1), (2, 1)]


def test_measurements_do_not_see_jobs_in_flight() -> None:
    tuner = toy_tuner(3)
    drive = Drive(tuner, 3)
    at_start = tuner.evaluate([1, 2])["loss"]
    drive.step([0])
    assert tuner.evaluate([1, 2])["loss"] == at_start
    drive.step([1, 2])
    assert tuner.evaluate([1, 2])["loss"] < at_start


def test_measurements_see_demonstrations_of_the_last_report() -> None:
    tuner = toy_tuner(1)
    drive = Drive(tuner, 1)
    drive.step([0])
    reported = tuner.tables.Q.clone()
    assert not torch.equal(reported[0], tuner._oracle.start_q)
    expected = tuner._oracle.evaluate([0], tuner.received, reported, tuner.state.z)["loss"]
    assert tuner.evaluate([0])["loss"] == expected


@pytest.mark.parametrize("late", [False, True])
def test_jobs_in_flight_pull_along_the_cuts_that_they_read(late: bool) -> None:
    """Worker 2 reads the first cuts, and reports after worker 0 and 1 have changed them."""
    tuner = toy_tuner(3, optimizer={"kind": "sgd", "learning_rate": 0.01}, polyhedron={"drop": "never"})
    drive = Drive(tuner, 3, late)
    drive.step([0, 1, 2], 5)
    drive.step([0, 1, 2])
    read = drive.read[2].content
    p, q = tuner.tables.P[2:].clone(), tuner.tables.Q[2:].clone()
    drive.step([0, 1], 5, participants=[0, 1])
    drive.step([0, 1])
    assert tuner.state.polyhedron.columns > read.polyhedron.columns
    assert read.multipliers.now.max() > 0
    drive.step([2])
    by_p, _ = tuner._oracle.upper([2], [0], p, q)
    pull = (read.multipliers.now[..., None] * read.polyhedron.a[2].double()).sum(1)
    torch.testing.assert_close(
        tuner.received[2:], tuner._project(p - 0.01 * (by_p + pull)), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("drop", ["twice", "never"])
def test_what_the_cuts_weigh_is_kept_up_to_date(drop: str) -> None:
    tuner = toy_tuner(4, polyhedron={"drop": drop}, multipliers={"rate": 0.5})
    drive = Drive(tuner, 4)
    random_walk(drive, 80, seed=1, cut_every=6)
    drive.step([1, 3], 3, participants=[1, 3])
    drive.step([0])
    state = tuner.state
    full = state.polyhedron.along(torch.arange(4), tuner.received)
    assert state.polyhedron.columns > 0
    torch.testing.assert_close(state.multipliers.weighed, full, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("schedule", "c1"), [("constant", 0.4), ("decreasing", 10.0)])
def test_one_step_by_hand(schedule: str, c1: float) -> None:
    """z by (21) with lambda^t, then lambda by (22) with the new p and the new z; the workers' step (19).

    One worker; a cut of the first word with a = (1, -1, 0), b = (0, 1, -1), c = 0.5; lambda = 0.2, rates 0.1.
    """
    tuner = toy_tuner(
        1, optimizer={"kind": "sgd", "learning_rate": 0.1}, z_rate=0.1, multipliers={"schedule": schedule}
    )
    a = torch.zeros(1, 2, 1, 3, dtype=torch.int8)
    a[0, 0, 0] = torch.tensor([1, -1, 0])
    b = torch.zeros(2, 1, 3, dtype=torch.float64)
    b[0, 0] = torch.tensor([0.0, 1.0, -1.0])
    cut = torch.tensor([[0.5], [0.0]], dtype=torch.float64)
    polyhedron = Polyhedron(a, b, cut, torch.tensor([[True], [False]]))
    now = torch.tensor([[0.2], [0.0]], dtype=torch.float64)
    tuner.state = ServerState(tuner.state.z, Multipliers(now, now, torch.zeros_like(now)), polyhedron)
    tuner._oracle.L[:] = 1.0  # type: ignore[attr-defined]  # constant losses: no gradient but the pull
    Drive(tuner, 1).step([0])
    third = 1 / 3
    # The gradient is 1 at all candidates, which the projection takes away, plus 0.2 a.
    p = [third - 0.02, third + 0.02, third]
    z = [third, third - 0.02, third + 0.02]
    torch.testing.assert_close(tuner.received[0, 0], torch.tensor(p, dtype=torch.float64))
    torch.testing.assert_close(tuner.state.z[0], torch.tensor(z, dtype=torch.float64))
    # a.p = -0.04, b.z = -0.04, c = 0.5; at t = 0 the decreasing c_1 is 1 / 0.1
    assert float(tuner.state.multipliers.now[0, 0]) == pytest.approx(0.2 + 0.1 * (0.42 - c1 * 0.2))
    assert float(tuner.state.multipliers.before[0, 0]) == 0.2


@pytest.mark.parametrize("outer", ["R0", "R1"])
def test_robust_outer_step_by_hand(outer: str) -> None:
    tuner = toy_tuner(2, z_rate=0.1, robust={"psi": 0.2, "outer": outer})
    tuner._oracle.L[:] = 1.0  # type: ignore[attr-defined]
    tuner.tables.P[0, 0] = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    tuner.received[1, 0] = torch.tensor([0.1, 0.8, 0.1], dtype=torch.float64)
    Drive(tuner, 2).step([0])
    # (19): signs of p - z = (1, -1, -1) at rate 0.05, psi 0.2, projected: -(0.01, -0.01, -0.01) less its mean
    push = torch.tensor([0.01, -0.01, -0.01], dtype=torch.float64) if outer == "R1" else torch.zeros(3)
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64) - (push - push.mean())
    torch.testing.assert_close(tuner.received[0, 0], p)
    # (21): signs of z - p over both workers: (-1, 1, 1) + (1, -1, 1) = (0, 0, 2)
    pull = torch.tensor([0.0, 0.0, 0.04], dtype=torch.float64) if outer == "R1" else torch.zeros(3)
    torch.testing.assert_close(tuner.state.z[0], 1 / 3 - (pull - pull.mean()).double())


def test_each_worker_counts_its_own_steps() -> None:
    """Adam corrects its start by the worker's own number of steps, here 3 and 1."""
    problem, adam = Quadratic(dimension=3), Adam(learning_rate=0.1)
    tuner = Tuner(GivenBench(problem.prepare(Streams(0), 2), 2), Rules(optimizer=adam))
    drive = Drive(tuner, 2, late=True)
    for active in ([0], [0], [0], [1]):
        drive.step(active)
    for worker, steps in ((0, 3), (1, 1)):
        p, q = torch.zeros(1, 1, 3).double(), torch.zeros(1, 1, 3).double()
        moments = [(torch.zeros_like(p), torch.zeros_like(p)) for _ in "pq"]
        for count in range(1, steps + 1):
            by_p, by_q = tuner._oracle.upper([worker], [0], p, q)
            p = p - adam.update(by_p, moments[0], torch.tensor([count]))
            q = q - adam.update(by_q, moments[1], torch.tensor([count]))
        torch.testing.assert_close(tuner.tables.P[worker], p[0])
        torch.testing.assert_close(tuner.tables.Q[worker], q[0])


def settled(drop: str, now: list[float], before: list[float]) -> Tuner:
    """Return a tuner that had a cut of word 0 for each number, after an update that adds none."""
    tuner = toy_tuner(1, polyhedron={"drop": drop, "epsilon": 100.0, "drop_below": 1e-10})
    n_cuts = len(now)
    alive = torch.zeros(2, n_cuts, dtype=torch.bool)
    alive[0] = True
    numbers = torch.arange(1.0, n_cuts + 1, dtype=torch.float64)
    zero = torch.zeros(2, n_cuts, dtype=torch.float64)
    polyhedron = Polyhedron(
        torch.zeros(1, 2, n_cuts, 3, dtype=torch.int8),
        torch.zeros(2, n_cuts, 3).double(),
        alive * numbers,
        alive,
    )
    tables = (alive * torch.tensor(row, dtype=torch.float64) for row in (now, before))
    tuner.state = ServerState(tuner.state.z, Multipliers(*tables, zero), polyhedron)
    Drive(tuner, 1).interlude([], [0], 1)
    return tuner


@pytest.mark.parametrize(("drop", "left"), [("twice", [2, 3, 4]), ("once", [3, 4]), ("never", [1, 2, 3, 4])])
def test_drop_rules_by_hand(drop: str, left: list[float]) -> None:
    # Cut 1 was idle in both looks, cut 2 only in the last, cut 3 only in the first, cut 4 in neither.
    tuner = settled(drop, now=[0.0, 0.0, 0.3, 0.3], before=[0.0, 0.3, 0.0, 0.3])
    assert tuner.state.polyhedron.c[0].tolist() == left


def test_a_cut_is_not_dropped_before_a_step_has_moved_its_multiplier() -> None:
    tuner = toy_tuner(3)
    drive = Drive(tuner, 3)
    drive.step([0, 1, 2], 5)
    made = tuner.state.polyhedron.count()
    assert made > 0
    drive.interlude([], [0, 1, 2], 1)
    assert tuner.state.polyhedron.count() >= made


def idle_and_live() -> Tuner:
    """Return a tuner with cuts at work and cuts idle in two looks; every worker has reported."""
    tuner = toy_tuner(3, multipliers={"rate": 0.5})
    drive = Drive(tuner, 3)
    for t in range(42):
        drive.step([0, 1, 2], 5 if t % 6 == 0 else 0)
    return tuner


@pytest.mark.parametrize(("below", "same"), [(1e-10, True), (1e9, False)])
def test_p14_dropping_idle_cuts_changes_no_update(below: float, same: bool) -> None:
    """The next z and p are the same whether idle cuts are dropped or kept; dropping all does change them."""
    updates = []
    for drop_below in (0.0, below):
        tuner = idle_and_live()
        before = tuner.state.polyhedron.count()
        polyhedron = tuner.rules.polyhedron.model_copy(update={"drop_below": drop_below, "epsilon": 100.0})
        tuner.rules = tuner.rules.model_copy(update={"polyhedron": polyhedron})
        left = Drive(tuner, 3).interlude([], [0, 1, 2], 1).polyhedron.count()
        assert (left == before) is (drop_below == 0)
        assert (left > 0) is (drop_below < 1)
        Drive(tuner, 3).step([0, 1, 2])
        updates.append(torch.cat([tuner.state.z[None], tuner.received]))
    assert torch.allclose(*updates, rtol=0, atol=1e-14) is same


def test_eviction_between_inner_rounds() -> None:
    """The loop goes on with the others; cuts then hold nothing of the one that left."""
    tuner = toy_tuner(4)
    drive = Drive(tuner, 4)
    drive.step([0, 1, 2, 3])
    tuner.take_step(drive._finished([0, 1, 2, 3]))
    inside = tuner.interlude([], [0, 1, 2, 3])  # of K = 5 rounds
    loop = inside.send(drive.round([0, 1, 2, 3], next(inside)))
    tuner.evict(1)
    for _ in range(3):
        loop = inside.send(drive.round([0, 2, 3], loop))
        assert loop.workers == (0, 2, 3)
        assert loop.p.shape == loop.rho.shape == (3, 2, 3)
    with pytest.raises(StopIteration) as end:
        inside.send(drive.round([0, 2, 3], loop))
    state = end.value.value
    assert state.polyhedron.count() > 0
    assert not state.polyhedron.a[1].any()
    weighed = state.polyhedron.along(torch.arange(4), tuner.received)
    torch.testing.assert_close(state.multipliers.weighed, weighed)
    # At the point it was made, the cut's left-hand side is h - epsilon.
    left = values(state.polyhedron, state.multipliers.weighed, state.z)[:, 0]
    assert (left[state.polyhedron.alive[:, 0]] > 0).all()


def test_eviction_with_a_result_pending() -> None:
    tuner = toy_tuner(3, robust={"psi": 0.1})
    drive = Drive(tuner, 3)
    tuner.evict(2)
    tuner.received[2] = distributions(2, 3)
    drive.step([0, 1])
    oracle = tuner._oracle
    assert isinstance(oracle, ToyOracle)
    assert oracle.upper_jobs == [(0, 0), (1, 0)]
    # Its last p pulls on z no more: both others moved alike, to where z then is pulled.
    expected = 1 / 3 - 0.05 * 0.1 * torch.sign(1 / 3 - tuner.received[:2]).sum(0)
    torch.testing.assert_close(tuner.state.z, tuner._project(expected))


def test_everybody_may_be_gone_at_a_polyhedron_update() -> None:
    tuner = toy_tuner(2)
    drive = Drive(tuner, 2)
    drive.step([0, 1])
    tuner.evict(0)
    tuner.evict(1)
    assert drive.interlude([], [], 1).polyhedron.count() == 0


def test_p2_multipliers_stay_non_negative_and_do_work() -> None:
    tuner = toy_tuner(3, multipliers={"rate": 0.5})
    drive = Drive(tuner, 3)
    seen = []
    for t in range(60):
        state = drive.step([t % 3, (t + 1) % 3], 5 if t % 10 == 0 else 0)
        seen.append(state.multipliers.now)
    assert min(float(now.min()) for now in seen) == 0
    assert max(float(now.max()) for now in seen) > 0.01


def test_active_participation_spares_the_others() -> None:
    tuner = toy_tuner(3)
    drive = Drive(tuner, 3)
    drive.step([0, 2], 4, participants=[0, 2])
    oracle = tuner._oracle
    assert isinstance(oracle, ToyOracle)
    assert {worker for worker, _ in oracle.lower_jobs} == {0, 2}
    assert len(oracle.lower_jobs) == 8
    assert tuner.state.polyhedron.count() > 0
    assert not tuner.state.polyhedron.a[1].any()


def test_the_centralised_form_has_nothing_that_ties_it_to_z() -> None:
    one, other = toy_tuner(1, consensus=False), toy_tuner(1, consensus=False, inner={"mu": 5.0})
    for tuner in (one, other):
        drive = Drive(tuner, 1)
        for t in range(12):
            drive.step([0], 3 if t % 4 == 0 else 0)
    assert torch.equal(one.received, other.received)
    assert one.state.polyhedron.count() > 0
    assert not torch.equal(one.received[0], one.state.z)
    assert torch.equal(one.state.z, one._oracle.start_p)


def test_p10_one_worker_equals_the_centralised_form() -> None:
    """Without mu and rho nothing moves z, its difference to phi is 0, and only p and q are left."""
    distributed = toy_tuner(1, inner={"mu": 0.0, "rho_rate": 0.0}, multipliers={"rate": 0.5})
    centralised = toy_tuner(1, consensus=False, multipliers={"rate": 0.5})
    drives = Drive(distributed, 1), Drive(centralised, 1)
    for t in range(60):
        for drive in drives:
            drive.step([0], 5 if t % 6 == 0 else 0)
        assert torch.equal(distributed.tables.P, centralised.tables.P)
        assert torch.equal(distributed.tables.Q, centralised.tables.Q)
    assert centralised.state.multipliers.now.max() > 0
