"""Attacks on data that start and stop: which job has which data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_model import FakeModel
from icl_cases import tiny_task
from text_cases import tiny_text_task

from fedsim.attack import Assigned
from fedsim.icl.attacks.backdoor import Backdoor
from fedsim.icl.attacks.flipped_labels import FlippedLabels
from fedsim.icl.attacks.flipped_queries import FlippedQueries
from fedsim.icl.attacks.off_topic import OffTopic
from fedsim.icl.baselines.random_icl import RandomIcl
from fedsim.icl.phases import over_time, stacked
from fedsim.icl.pools import Pool
from fedsim.problems.baseline import BaselineOracle, BaselineProblem
from fedsim.problems.icl.oracle import IclOracle
from fedsim.problems.icl.problem import IclProblem
from fedsim.scenario import Scenario
from fedsim.simulation import run
from fedsim.streams import Streams


@pytest.fixture(autouse=True)
def _one_thread():
    """As in a run: these tensors are small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def by(attack: Any, *clients: int) -> Assigned:
    return Assigned(attack, frozenset(clients))


def oracle_of(problem: IclProblem, attacks: Any, n_workers: int = 3) -> IclOracle:
    oracle = problem.prepare(Streams(0), n_workers, attacks=attacks)
    assert isinstance(oracle, IclOracle)
    return oracle


TWICE = (by(FlippedLabels(stop_s=10.0), 1), by(FlippedLabels(start_s=5.0), 2))


def test_phases_worked_out_by_hand() -> None:
    """Worker 1 attacks in [0, 10), worker 2 in [5, infinity): clean is 0, attacked 1, in three stretches."""
    clean = tiny_task().draw(Streams(0), 3)
    phases = over_time(clean, TWICE, Streams(0))
    assert phases.changes_s == (5.0, 10.0)
    attacked = [(data.demonstrations.y != clean.demonstrations.y).any((1, 2)) for data in phases.data]
    assert [one.astype(int).tolist() for one in attacked] == [[0, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert [data.poisoned is not None and data.poisoned.any((1, 2)).tolist() for data in phases.data] == [
        one.tolist() for one in attacked
    ]
    assert [phases.number(t) for t in (0, 4.999, 5, 9.999, 10, 1e9)] == [0, 0, 1, 1, 2, 2]
    whole, rows = stacked(phases)
    # Rows 0 to 2 are the first stretch; row 3 is worker 2 attacked, row 4 worker 1 clean.
    assert rows is not None
    assert rows.tolist() == [[0, 1, 2], [0, 1, 3], [0, 4, 3]]
    assert whole.demonstrations.y.tolist() == [
        [[0, 0], [1, 1]],
        [[1, 1], [0, 0]],
        [[0, 0], [1, 1]],
        [[1, 1], [0, 0]],
        [[0, 0], [1, 1]],
    ]
    for table in (*whole.train, *whole.validation, *whole.demonstrations, whole.poisoned):
        assert len(table) == 5
    for split in ("train", "validation"):
        for mine, theirs in zip(getattr(whole, split), getattr(clean, split), strict=True):
            np.testing.assert_array_equal(mine, theirs[[0, 1, 2, 2, 1]])
    assert whole.test is clean.test


def test_attacks_for_the_whole_run_cost_nothing() -> None:
    clean = tiny_task().draw(Streams(0), 3)
    for attacks in ((), (by(FlippedLabels(), 1),), (by(FlippedLabels(start_s=5.0)),)):
        phases = over_time(clean, attacks, Streams(0))
        assert phases.changes_s == ()
        data, rows = stacked(phases)
        assert data is phases.data[0]
        assert rows is None
        workers = [2, 0]
        assert oracle_of(IclProblem(task=tiny_task()), attacks).rows(workers, [3.0, 1e6]) is workers
    assert over_time(clean, (), Streams(0)).data[0] is clean


@pytest.mark.parametrize("attack", [FlippedLabels, FlippedQueries])
def test_a_job_has_the_data_of_the_moment_it_started(attack: Any) -> None:
    problem = IclProblem(task=tiny_task(n_demonstrations=4), n_samples=5)
    sometimes = oracle_of(problem, (by(attack(start_s=5.0, stop_s=8.0), 0, 2),))
    never, always = oracle_of(problem, ()), oracle_of(problem, (by(attack(), 0, 2),))
    workers, jobs = [2, 1, 0], [7, 7, 8]
    tables = (start.expand(3, -1, -1) for start in (never.start_p, never.start_q))
    P, Q = tables
    realised = torch.tensor([[0, 1]] * 3)
    for start_s, like in ((4.9, never), (5.0, always), (7.9, always), (8.0, never)):
        starts_s = [start_s] * 3
        for mine, theirs in zip(
            (
                *sometimes.upper(workers, jobs, P, Q, starts_s),
                sometimes.lower(workers, jobs, P, realised, starts_s),
            ),
            (*like.upper(workers, jobs, P, Q), like.lower(workers, jobs, P, realised)),
            strict=True,
        ):
            assert torch.equal(mine, theirs)
    # Each job of a batch its own; without moments all start at 0.
    mixed = sometimes.upper(workers, jobs, P, Q, [5.0, 5.0, 4.0])[1]
    expected = torch.stack(
        [always.upper(workers, jobs, P, Q)[1][0], *never.upper(workers, jobs, P, Q)[1][1:]]
    )
    np.testing.assert_allclose(mixed, expected, atol=1e-12)
    assert not torch.allclose(mixed, never.upper(workers, jobs, P, Q)[1])
    assert torch.equal(sometimes.upper(workers, jobs, P, Q)[1], never.upper(workers, jobs, P, Q)[1])


def test_measurements_see_the_data_of_their_moment() -> None:
    problem = IclProblem(
        task=tiny_task(n_demonstrations=4), n_samples=5, pool=Pool(sharing="shared", offered_per_class=2)
    )
    attacks = (by(FlippedLabels(start_s=5.0, stop_s=8.0), 2),)
    sometimes = oracle_of(problem, attacks)
    always, never = oracle_of(problem, (by(FlippedLabels(), 2),)), oracle_of(problem, ())
    Q = torch.zeros(1, 2, 8, dtype=torch.float64)
    Q[:, :, 7] = 1.0  # worker 2's second offer
    for time_s, like, mass in ((4.0, never, 0.0), (5.0, always, 1.0), (8.0, never, 0.0)):
        found = sometimes.evaluate([0], never.start_p[None], Q, never.start_p, time_s)
        expected = like.evaluate([0], never.start_p[None], Q, never.start_p)
        assert found["loss"] == expected["loss"]
        assert found["accuracy_consensus"] == expected["accuracy_consensus"]
        assert found["poison_mass"] == mass
        assert found["poison_share"] == 2 / 8 * mass


def test_texts_of_phases_share_their_rows(tmp_path: Path) -> None:
    problem = IclProblem(task=tiny_text_task(tmp_path), model=FakeModel(cache=False), n_samples=2)
    attacks = (
        by(OffTopic(stop_s=10.0), 0),
        by(OffTopic(start_s=5.0, sentences=("Rain.", "Snow.")), 1),
        by(Backdoor(start_s=20.0), 2),
    )
    oracle = oracle_of(problem, attacks)
    assert oracle._phases.changes_s == (5.0, 10.0, 20.0)
    for number, moment in enumerate((0.0, 5.0, 10.0, 20.0)):
        alone = problem.task.draw(Streams(0), 3)
        for attack, clients in attacks:
            if attack.on(moment):
                alone = attack.apply(alone, clients, Streams(0))  # type: ignore[attr-defined] # all on data
        rows = oracle.rows([0, 1, 2], [moment] * 3)
        here = [oracle.data.source.rows[i] for i in oracle.data.demonstrations.x[rows].ravel()]
        assert here == [alone.source.rows[i] for i in alone.demonstrations.x.ravel()], number
    # Three workers, each with two states: three rows more, and the trigger is there from the start.
    assert len(oracle.data.train.y) == 6
    start = (oracle.start_p.expand(3, -1, -1), oracle.start_q.expand(3, -1, -1))
    found = [oracle.evaluate([0, 1, 2], *start, oracle.start_p, time_s) for time_s in (0.0, 20.0)]
    assert all("backdoor_success" in numbers for numbers in found)
    assert found[0]["loss"] != found[1]["loss"]


def test_a_run_is_attacked_for_some_time() -> None:
    """Jobs take one second: those that start at 3, 4 and 5 are attacked, in the quiet run none."""
    table: dict[str, Any] = {
        "name": "phases",
        "algorithm": {"kind": "sdbt", "optimizer": {"kind": "sgd", "learning_rate": 0.01}},
        "problem": {
            "kind": "icl",
            "task": {"kind": "calibrated", "name": "sst2"},
            "use_fragment": False,
            "n_samples": 20,
            "pool": {"sharing": "shared", "offered_per_class": 10},
        },
        "workers": [{"count": 3, "lanes": 400}],
        "llm": {"kind": "independent", "latency": {"kind": "constant", "value_s": 1.0}},
        "budget": {"server_steps": 7},
        "evaluation": {"every_steps": 1},
    }
    attack = {"kind": "flipped_labels", "workers": [2], "start_s": 2.5, "stop_s": 5.5}
    attacked, quiet = (
        run(Scenario.model_validate(table | {"attacks": [attack | {"start_s": start_s}]})).steps
        for start_s in (2.5, 5.4)
    )
    # A step takes a millisecond more, which moves no job across a change.
    assert attacked.time_s.tolist() == pytest.approx(range(8), abs=0.01)
    assert attacked.poison_share.tolist() == pytest.approx([0, 0, 0, 1 / 7, 1 / 7, 1 / 7, 0, 0])
    assert not quiet.poison_share.any()
    # The job that starts at 3 is the first to see poison, and its result is measured at 4.
    assert attacked.q_max[:4].tolist() == quiet.q_max[:4].tolist()
    assert (attacked.q_max[4:] != quiet.q_max[4:]).all()
    assert attacked.time_s.tolist() == quiet.time_s.tolist()


def test_a_baseline_prepares_on_the_data_of_its_job(tmp_path: Path) -> None:
    def pool_at(start_s: float) -> list[Any]:
        problem = BaselineProblem(
            task=tiny_text_task(tmp_path), model=FakeModel(cache=False), method=RandomIcl(per_class=3)
        )
        oracle = problem.prepare(Streams(0), 2, attacks=(by(FlippedLabels(start_s=5.0), 1),))
        assert isinstance(oracle, BaselineOracle)
        P = torch.ones(1, 1, 1, dtype=torch.float64)
        oracle.upper([1], [0], P, P, [start_s])
        oracle.evaluate([1], P, P, P[0], 100.0)
        return sorted(oracle._prepared[1])

    clean, attacked = pool_at(0.0), pool_at(5.0)
    assert attacked == sorted((text, 1 - label) for text, label in clean)
