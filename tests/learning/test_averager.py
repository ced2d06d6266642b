"""Fed-BDPL: rounds by hand, local steps, who keeps what, stale messages, attacks, slow twin of whole runs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from learning_cases import Drive, GivenBench, ToyOracle
from pydantic import ValidationError
from torch import Tensor

from fedsim.algorithms import ALGORITHMS
from fedsim.algorithms.averaging.averager import Averager
from fedsim.algorithms.averaging.base import AveragingRules
from fedsim.algorithms.averaging.fedbdpl import Fedbdpl
from fedsim.attack import Assigned
from fedsim.icl.tasks.gaussian import SurrogateParameters
from fedsim.icl.tasks.synthetic import Synthetic
from fedsim.learning import chunks
from fedsim.learning.attacks import MessageAttack
from fedsim.learning.batching import Job
from fedsim.learning.filters import Arrival
from fedsim.learning.filters.basgd import Basgd
from fedsim.learning.optimizers import OPTIMIZERS, Optimizer
from fedsim.learning.optimizers.adam import Adam
from fedsim.messages import Snapshot, Ticket
from fedsim.problems.icl.problem import IclProblem
from fedsim.problems.quadratic import Quadratic
from fedsim.schedule import Rounds, Steps
from fedsim.streams import Streams

ADAM = {"kind": "adam", "learning_rate": 0.05}
SGD = {"kind": "sgd", "learning_rate": 0.05}
AVERAGE = {"outer": {"kind": "mean"}}


def made(optimizer: Any) -> Optimizer:
    return OPTIMIZERS.validate(optimizer)  # type: ignore[return-value]


def tensor(numbers: Any) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def toy(
    n_workers: int = 3,
    local_steps: int = 1,
    attacks: Sequence[Assigned] = (),
    optimizer: Any = SGD,
    aggregation: Any = None,
) -> Averager:
    oracle = ToyOracle(n_workers)
    # Of slopes that are all positive Adam's first steps are all equal, and the projection takes them away.
    oracle.L -= 0.5
    rules = None if aggregation is None else AveragingRules.model_validate(aggregation)
    return Averager(GivenBench(oracle, n_workers, attacks), made(optimizer), local_steps, rules)


def sampled(n_workers: int, local_steps: int, use_demonstrations: bool = True) -> Averager:
    """Return an averager of the sampled in-context problem."""
    parameters = SurrogateParameters(
        base_alignment=0.5, demo_step=0.3, label_bias=0.8, word_gain=0.7, word_noise=0.4, demo_noise=0.5
    )
    task = Synthetic(parameters=parameters, n_words=3, n_candidates=5, n_demonstrations=4, train_per_class=2)
    problem = IclProblem(task=task, n_samples=4, batch=3, use_demonstrations=use_demonstrations)
    oracle = problem.prepare(Streams(3), n_workers)
    return Averager(GivenBench(oracle, n_workers), made(ADAM), local_steps)


class Server:
    """Hands out jobs to the clients drawn for a round, and their tickets in, as a synchronous server does."""

    def __init__(self, averager: Averager, n_workers: int) -> None:
        self.averager = averager
        self.jobs = [0] * n_workers
        self.version = 0

    def round(self, workers: Sequence[int], skipping: Sequence[int] = ()) -> Tensor:
        snapshot = Snapshot(self.version, self.averager.state)
        tickets = []
        for worker in workers:
            job, skips = self.jobs[worker], worker in skipping
            self.averager.hand_out(Job(worker, job, "local", snapshot.content, 0.0, skips))
            tickets.append(Ticket(worker, job, "local", snapshot, 0.0, 0.0, skips))
            self.jobs[worker] += 1
        self.version += 1
        return self.averager.take_step(tickets).z


class Told(MessageAttack):
    """Sends one value everywhere, or what it would honestly have sent but for the first number."""

    kind: Literal["told"] = "told"
    first: float

    def forge(
        self, own: Tensor, honest: Tensor, previous: Tensor, draws: Any = (), options: int | None = None
    ) -> Tensor:
        forged = own.clone()
        forged[:, 0] = self.first
        return forged


class NotANumber(MessageAttack):
    """Sends no numbers at all."""

    kind: Literal["not_a_number"] = "not_a_number"

    def forge(
        self, own: Tensor, honest: Tensor, previous: Tensor, draws: Any = (), options: int | None = None
    ) -> Tensor:
        return torch.full_like(own, torch.nan)


def by(attack: MessageAttack) -> list[Assigned]:
    return [Assigned(attack, frozenset(attack.workers))]


def slopes(averager: Averager, by_worker: list[list[float]]) -> None:
    """Let a worker's loss depend on the first word alone: these are then its slopes there."""
    averager._oracle.L[:] = tensor(by_worker)[:, :, None, None, None]  # type: ignore[attr-defined]


SLOPES = [[0.3, 0.0, 0.0], [0.0, 0.6, 0.0], [0.0, 0.0, 9.0]]
THIRD = 1 / 3
SENT = tensor([[-0.01, 0.005, 0.005], [0.01, -0.02, 0.01]]) + THIRD
"""What workers 0 and 1 send from the start: a step of 0.05 against the slopes less their mean."""


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (None, [0.0, -0.0075, 0.0075]),
        (AVERAGE | {"outer_rate": 0.2}, [0.0, -0.0015, 0.0015]),
    ],
)
def test_a_round_by_hand(rules: Any, expected: list[float]) -> None:
    averager = toy(aggregation=rules)
    slopes(averager, SLOPES)
    theta = Server(averager, 3).round([0, 1])
    torch.testing.assert_close(averager.received[:2, 0], SENT)
    torch.testing.assert_close(theta, tensor([expected, [0.0] * 3]) + THIRD)


def test_all_workers_weigh_the_same_however_often_they_took_part() -> None:
    averager = toy()
    slopes(averager, SLOPES)
    rounds = Server(averager, 3)
    for _ in range(3):
        before = rounds.round([0])
    theta = rounds.round([0, 1])
    torch.testing.assert_close(theta[0], before[0] + (SENT - THIRD).mean(0))


def test_workers_start_at_theta_and_not_where_they_were() -> None:
    averager = toy()
    slopes(averager, SLOPES)
    rounds = Server(averager, 3)
    rounds.round([0])
    theta = rounds.round([1])
    again = rounds.round([0])
    torch.testing.assert_close(again[0], theta[0] + SENT[0] - THIRD)


def test_local_steps_are_single_steps_one_after_the_other() -> None:
    twice, once = toy(2, local_steps=2, optimizer=ADAM), toy(2, optimizer=ADAM)
    two, one = Server(twice, 2), Server(once, 2)
    for _ in range(3):
        expected = [one.round([1]) for _ in "12"][-1]
        assert torch.equal(two.round([1]), expected)
    assert torch.equal(twice.tables.Q, once.tables.Q)
    for name in ("upper_jobs", "L"):
        found, wanted = getattr(twice._oracle, name), getattr(once._oracle, name)
        assert found == wanted if name == "upper_jobs" else torch.equal(found, wanted)
    assert twice._oracle.upper_jobs == [(1, number) for number in range(6)]  # type: ignore[attr-defined]


def test_deferred_batches_equal_jobs_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def walk(averager: Averager, late: bool) -> Tensor:
        drive, rng = Drive(averager, 5, late), np.random.default_rng(0)  # type: ignore[arg-type]
        for _ in range(12):
            drive.step(sorted(rng.choice(5, rng.integers(1, 6), replace=False).tolist()))
        return averager.state.z

    batched, single = sampled(5, 2), sampled(5, 2)
    theta = walk(batched, late=False)
    monkeypatch.setattr(chunks, "CHUNK_ELEMENTS", 1)
    torch.testing.assert_close(walk(single, late=True), theta, rtol=0, atol=1e-12)
    assert float((theta - batched._oracle.start_p).abs().max()) > 0.05
    for name, measured in batched.evaluate([0, 1, 2, 3, 4]).items():
        assert measured == pytest.approx(single.evaluate([0, 1, 2, 3, 4])[name], abs=1e-12), name


def test_jobs_in_flight_are_evaluated_in_one_batch() -> None:
    averager = toy(3, local_steps=2)
    Drive(averager, 3).step([2])  # type: ignore[arg-type]
    order = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]
    assert averager._oracle.upper_jobs == order  # type: ignore[attr-defined]


def test_the_order_in_which_workers_are_drawn_or_report_does_not_matter() -> None:
    found = []
    for order in itertools.permutations(range(3)):
        averager = toy(optimizer=ADAM)
        rounds = Server(averager, 3)
        rounds.round(order)
        found.append(rounds.round(order[::-1]))
    for theta in found:
        torch.testing.assert_close(theta, found[0], rtol=0, atol=1e-15)


def test_each_worker_keeps_the_memory_of_its_optimizer() -> None:
    """Adam's moments and step numbers are the worker's own, also over rounds that it sits out."""
    averager, adam = toy(2, optimizer=ADAM), Adam(learning_rate=0.05)
    rounds, memory = Server(averager, 2), {}
    q = averager._oracle.start_q.repeat(2, 1, 1)
    for count, worker in [(1, 0), (2, 0), (1, 1), (3, 0)]:
        theta = averager.state.z
        by_p, by_q = averager._oracle.upper([worker], [0], theta[None], q[[worker]])
        moments = memory.setdefault(worker, [tuple(torch.zeros_like(g) for _ in "mv") for g in (by_p, by_q)])
        p = averager._project(theta - adam.update(by_p, moments[0], tensor([count]))[0])
        q[worker] = averager._project(q[worker] - adam.update(by_q, moments[1], tensor([count]))[0])
        torch.testing.assert_close(rounds.round([worker]), p)
        torch.testing.assert_close(averager.tables.Q, q)


def nearest_distribution(row: list[float]) -> list[float]:
    """Project by trying every number of positive entries."""
    largest = sorted(row, reverse=True)
    for n in range(len(row), 0, -1):
        tau = (sum(largest[:n]) - 1) / n
        if largest[n - 1] > tau:
            return [max(entry - tau, 0.0) for entry in row]
    raise AssertionError


class Twin:
    """Fed-BDPL in plain loops over workers, words and candidates."""

    def __init__(self, losses: Any, local_steps: int, outer_rate: float, rate: float) -> None:
        self.losses, self.local_steps, self.outer_rate, self.rate = losses, local_steps, outer_rate, rate
        self.theta = [[1 / 3] * 3 for _ in range(2)]
        self.q = [[[0.5, 0.5], [0.5, 0.5]] for _ in losses]
        self.memory: list[dict[Any, tuple[float, float]]] = [{} for _ in losses]
        self.count = [0] * len(losses)

    def gradient(self, v: int, tables: list[list[list[float]]]) -> dict[tuple[int, int], float]:
        """Return the slope of E L by each probability, (which of p1 p2 q1 q2, entry), by enumeration."""
        slopes = {(at, entry): 0.0 for at in range(4) for entry in range(3 if at < 2 else 2)}
        rows = [tables[0][0], tables[0][1], tables[1][0], tables[1][1]]
        for picks in itertools.product(range(3), range(3), range(2), range(2)):
            for at in range(4):
                others = [rows[k][picks[k]] for k in range(4) if k != at]
                slopes[at, picks[at]] += self.losses[v][picks] * others[0] * others[1] * others[2]
        return slopes

    def sent(self, v: int) -> list[list[float]]:
        """Return the p of a worker after its local steps, Adam as the paper prints it."""
        p = [list(row) for row in self.theta]
        for _ in range(self.local_steps):
            self.count[v] += 1
            t = self.count[v]
            for (at, entry), slope in self.gradient(v, [p, self.q[v]]).items():
                m, s = self.memory[v].get((at, entry), (0.0, 0.0))
                m, s = 0.9 * m + 0.1 * slope, 0.999 * s + 0.001 * slope**2
                self.memory[v][at, entry] = m, s
                step = self.rate * (m / (1 - 0.9**t)) / ((s / (1 - 0.999**t)) ** 0.5 + 1e-8)
                (p[at] if at < 2 else self.q[v][at - 2])[entry] -= step
            p = [nearest_distribution(row) for row in p]
            self.q[v] = [nearest_distribution(row) for row in self.q[v]]
        return p

    def round(self, workers: Sequence[int]) -> None:
        sent = [self.sent(v) for v in workers]
        for i, n in itertools.product(range(2), range(3)):
            mean = sum(p[i][n] for p in sent) / len(sent)
            self.theta[i][n] += self.outer_rate * (mean - self.theta[i][n])


@pytest.mark.parametrize(("local_steps", "outer_rate"), [(1, 1.0), (3, 0.6)])
def test_whole_runs_equal_the_slow_twin(local_steps: int, outer_rate: float) -> None:
    averager = toy(
        4, local_steps, optimizer=ADAM, aggregation={"outer": {"kind": "mean"}, "outer_rate": outer_rate}
    )
    twin = Twin(averager._oracle.L.numpy(), local_steps, outer_rate, 0.05)  # type: ignore[attr-defined]
    rounds, rng = Server(averager, 4), np.random.default_rng(1)
    for _ in range(8):
        workers = rng.choice(4, 2, replace=False).tolist()
        theta = rounds.round(workers)
        twin.round(workers)
        torch.testing.assert_close(theta, tensor(twin.theta), rtol=0, atol=1e-10)
    torch.testing.assert_close(averager.tables.Q, tensor(twin.q), rtol=0, atol=1e-10)
    assert float(averager.tables.P.min()) == 0  # the projection had work to do


def test_with_all_workers_one_plain_step_is_a_step_of_the_centralised_form() -> None:
    """FedSGD: inside the simplex the mean of projected steps is the projected mean step."""
    averager = toy(3, optimizer={"kind": "sgd", "learning_rate": 0.01})
    rounds = Server(averager, 3)
    theta, q = averager.state.z, averager.tables.Q.clone()
    for _ in range(5):
        by_p, by_q = averager._oracle.upper([0, 1, 2], [0] * 3, theta.expand(3, 2, 3), q)
        theta = averager._project(theta - 0.01 * by_p.mean(0))
        q = averager._project(q - 0.01 * by_q)
        torch.testing.assert_close(rounds.round([0, 1, 2]), theta, rtol=0, atol=1e-14)
    assert float(theta.min()) > 0.2


def test_a_stale_message_adds_what_its_worker_did() -> None:
    averager = toy()
    slopes(averager, SLOPES)
    drive = Drive(averager, 3)  # type: ignore[arg-type]
    first, second = drive.step([0]).z, drive.step([0]).z
    torch.testing.assert_close(first[0], SENT[0])
    torch.testing.assert_close(second[0], 2 * SENT[0] - THIRD)
    theta = drive.step([0, 1]).z  # worker 1 read the start
    torch.testing.assert_close(theta[0], second[0] + (SENT - THIRD).mean(0))


def test_who_skips_the_work_sends_theta_as_it_read_it() -> None:
    averager = toy(local_steps=2)
    slopes(averager, SLOPES)
    rounds = Server(averager, 3)
    before = rounds.round([0])
    calls = list(averager._oracle.upper_jobs)  # type: ignore[attr-defined]
    assert torch.equal(rounds.round([1], skipping=[1]), before)
    assert averager._oracle.upper_jobs == calls  # type: ignore[attr-defined]
    theta = rounds.round([0, 1], skipping=[0])
    torch.testing.assert_close(theta[0], before[0] + SENT[1] - THIRD)  # two steps, half the weight
    assert torch.equal(averager.tables.Q[0], averager._oracle.start_q[0].expand(2, 2))


def test_a_message_that_is_turned_away_is_as_if_not_sent() -> None:
    averager = toy(attacks=by(NotANumber(workers=(1,))))
    averager._oracle.L[0] = 0.5  # type: ignore[attr-defined]
    slopes(averager, SLOPES)
    rounds = Server(averager, 3)
    theta = rounds.round([0, 1])
    torch.testing.assert_close(theta[0], SENT[0])
    assert torch.equal(rounds.round([1]), theta)
    assert averager.counts() == {"rejected": 2, "fallbacks": 1, "filtered": 0, "filter_calls": 0}
    assert torch.equal(averager.received[1], averager._oracle.start_p)


def test_what_is_turned_away_reports_no_demonstrations_either() -> None:
    averager = toy(attacks=by(NotANumber(workers=(1,))))
    Server(averager, 3).round([0, 1])
    assert torch.equal(averager._reported_q[0], averager.tables.Q[0])
    assert not torch.equal(averager.tables.Q[1], averager._oracle.start_q)
    assert torch.equal(averager._reported_q[1], averager._oracle.start_q)


def test_a_lie_by_hand() -> None:
    """Worker 1 says 1.01 for the first candidate; the mean is no distribution and is projected."""
    averager = toy(attacks=by(Told(workers=(1,), first=1.01)))
    slopes(averager, SLOPES)
    theta = Server(averager, 3).round([0, 1])
    rows = torch.stack([SENT[0], tensor([1.01, THIRD - 0.02, THIRD + 0.01])])
    torch.testing.assert_close(theta[0], averager._project(rows.mean(0)))
    assert averager.counts()["rejected"] == 0


@pytest.mark.parametrize("first", [1e300, -1.7e308])
def test_huge_lies_leave_theta_a_distribution(first: float) -> None:
    averager = toy(attacks=by(Told(workers=(1, 2), first=first)))
    theta = Server(averager, 3).round([0, 1, 2])
    torch.testing.assert_close(theta.sum(1), tensor([1.0, 1.0]))
    assert float(theta[0, 0]) == (1.0 if first > 0 else 0.0)


def test_an_honest_door_changes_no_bit() -> None:
    found = []
    for attacks in ((), (Assigned(Told(workers=(1,), first=7.0, start_s=5.0), frozenset({1})),)):
        averager = toy(attacks=attacks, optimizer=ADAM)
        drive = Drive(averager, 3)  # type: ignore[arg-type]
        found.append([drive.step(active).z for active in ([0], [1, 2], [0, 1, 2], [2])])
    for clean, attacked in zip(*found, strict=True):
        assert torch.equal(clean, attacked)


def test_a_filter_at_work() -> None:
    """Two buffers: nothing moves until both hold something, then theta moves by the mean of both updates."""
    averager = Averager(GivenBench(ToyOracle(3), 3, filtering=Basgd(buffers=2).open(3)), made(SGD))
    slopes(averager, SLOPES)
    drive = Drive(averager, 3)  # type: ignore[arg-type]
    start = averager.state.z
    assert torch.equal(drive.step([0]).z, start)
    assert torch.equal(drive.step([0]).z, start)
    theta = drive.step([1]).z
    torch.testing.assert_close(theta[0], SENT.mean(0))
    later = drive.step([1, 2]).z  # worker 2 read the start: its change counts, once
    by_worker_2 = 9.0 * 0.05 * tensor([1.0, 1.0, -2.0]) / 3
    changes = (SENT[1] - THIRD + averager._project(THIRD + by_worker_2) - THIRD) / 2
    torch.testing.assert_close(later[0], averager._project(theta[0] + changes))
    assert averager.counts() == {"rejected": 0, "fallbacks": 0, "filtered": 0, "filter_calls": 0}


class Watching:
    """A filter that passes everything and remembers what it saw."""

    refused = calls = 0

    def __init__(self) -> None:
        self.seen: list[Arrival] = []

    def passed(self, arrivals: list[Arrival], previous: Tensor) -> Tensor:
        self.seen += arrivals
        return torch.stack([one.message for one in arrivals])


def test_what_a_filter_is_shown() -> None:
    watching = Watching()
    averager = Averager(GivenBench(ToyOracle(3), 3, filtering=watching), made(SGD))
    slopes(averager, SLOPES)
    drive = Drive(averager, 3)  # type: ignore[arg-type]
    start, first = averager.state.z, drive.step([0]).z
    drive.step([0])
    drive.step([0, 1])
    assert [(one.worker, one.staleness) for one in watching.seen] == [(0, 0), (0, 0), (0, 0), (1, 2)]
    assert torch.equal(watching.seen[1].read, first.flatten())
    assert torch.equal(watching.seen[3].read, start.flatten())
    torch.testing.assert_close(watching.seen[3].message[:3], SENT[1])


def test_measurements_are_of_theta_and_of_what_was_reported() -> None:
    averager = toy()
    drive = Drive(averager, 3)  # type: ignore[arg-type]
    theta = drive.step([0, 1]).z
    drive._hand_out(2)
    oracle = averager._oracle
    q = averager.tables.Q.clone()
    q[2] = oracle.start_q  # its job is evaluated, but it has not reported
    assert not torch.equal(averager.tables.Q[2], q[2])
    expected = oracle.evaluate([0, 1, 2], theta.expand(3, 2, 3), q, theta)
    found = averager.evaluate([0, 1, 2])
    assert found["loss"] == expected["loss"] == pytest.approx(expected["loss_consensus"])


def test_without_demonstrations_q_stays_where_it_is() -> None:
    for use, moved in ((True, True), (False, False)):
        averager = sampled(2, 2, use)
        Server(averager, 2).round([0, 1])
        assert bool((averager._oracle.start_q != averager.tables.Q).any()) is moved
        assert not torch.equal(averager.state.z, averager._oracle.start_p)


def test_a_worker_that_was_given_up_takes_part_no_more() -> None:
    averager = toy()
    drive = Drive(averager, 3)  # type: ignore[arg-type]
    averager.evict(2)
    drive.step([0])
    assert averager._oracle.upper_jobs == [(0, 0), (1, 0)]  # type: ignore[attr-defined]
    assert list(averager.alive) == [0, 1]


# The part of a scenario.


def test_what_a_scenario_says_by_hand() -> None:
    assert ALGORITHMS["fedbdpl"] is Fedbdpl
    parts = Fedbdpl(), Fedbdpl(participants=3, local_steps=4), Fedbdpl(wait_for=2, tau=6)
    assert [part.rule(10) for part in parts] == [Steps(10, 1), Rounds(3), Steps(2, 6)]
    problem = Quadratic(calls=7, bytes_up=100, bytes_down=50)
    setting = SimpleNamespace(problem=problem, n_workers=10)
    costs = [part.schedule(setting).work["local"].cost for part in parts]  # type: ignore[arg-type]
    assert [cost.calls for cost in costs] == [7, 28, 7]
    assert {(cost.bytes_up, cost.bytes_down) for cost in costs} == {(100, 50)}
    assert {part.schedule(setting).interlude for part in parts} == {None}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"participants": 0}, "greater than or equal to 1"),
        ({"local_steps": 0}, "greater than or equal to 1"),
        ({"wait_for": 2}, "expected both wait_for and tau"),
        ({"tau": 2}, "expected both wait_for and tau"),
        ({"wait_for": 2, "tau": 3, "participants": 1}, "without rounds nobody is drawn"),
    ],
)
def test_bad_settings(settings: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Fedbdpl(**settings)


@pytest.mark.parametrize("aggregation", [{}, {"before": [{"kind": "norm_clipping", "radius": 1.0}]}])
def test_a_rule_must_be_named(aggregation: Any) -> None:
    with pytest.raises(ValidationError, match="outer: missing"):
        Fedbdpl(aggregation=aggregation)
