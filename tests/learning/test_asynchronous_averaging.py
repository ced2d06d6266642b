"""FedAvg, FedAsync and FedBuff against plain loops over clients, whole runs included; weights by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from learning_cases import Drive
from test_averager import Server

from fedsim.algorithms.averaging.fedasync import Fedasync
from fedsim.algorithms.averaging.fedavg import Fedavg
from fedsim.algorithms.averaging.fedbuff import Fedbuff
from fedsim.algorithms.base import Bench
from fedsim.problems.softmax import Softmax, draw_samples
from fedsim.scenario.files import parse
from fedsim.schedule import UNBOUNDED, Rounds, Steps
from fedsim.simulation import run
from fedsim.streams import Stream, Streams

RATE = 0.3
SGD: Any = {"kind": "sgd", "learning_rate": RATE}
PROBLEM: dict[str, Any] = {"features": 3, "classes": 3, "samples_per_worker": 5, "batch_size": 2}
R = 4
SEED = 6
JOB_S = (1.0, 1.3217, 1.6139, 1.9071)
"""What a job of each worker takes in whole runs; no two of their sums are equal."""
Floats = Any


class Clients:
    """The clients of a federation, one at a time, in NumPy."""

    def __init__(self, local_steps: int, rho: float = 0.0) -> None:
        settings = Softmax(**PROBLEM)
        self.data = draw_samples(settings, Streams(SEED), R)
        self.local_steps, self.rho, self.jobs = local_steps, rho, [0] * R

    def trained(self, worker: int, start: Floats) -> Floats:
        """Return the model of a client after its next job."""
        model, job = start, self.jobs[worker]
        self.jobs[worker] += 1
        for e in range(self.local_steps):
            number = job * self.local_steps + e
            order = Streams(SEED).generator(Stream.QUERIES, worker, number).random(5).argsort()[:2]
            gradient = np.zeros_like(model)
            for sample in order:
                x = np.append(self.data.features[worker, sample], 1.0)
                powers = np.exp(model @ x)
                for c in range(3):
                    error = powers[c] / powers.sum() - (self.data.labels[worker, sample] == c)
                    gradient[c] += error * x / 2
            model = model - RATE * (gradient + self.rho * (model - start))
        return model

    def loss(self, model: Floats) -> float:
        """Return the mean cross-entropy of all samples of all clients."""
        total = 0.0
        for worker in range(R):
            for x, label in zip(self.data.features[worker], self.data.labels[worker], strict=True):
                logits = model @ np.append(x, 1.0)
                total += math.log(np.exp(logits).sum()) - logits[label]
        return total / (R * 5)


def fedasync(
    orders: Sequence[Sequence[int]], clients: Clients, weight: Callable[[int], float]
) -> list[Floats]:
    """Return the server's models under Algorithm 1 of FedAsync: one worker of each order reports."""
    models = [np.zeros((3, 4))]
    read = [0] * R
    for t, (worker,) in enumerate(orders):
        new, a = clients.trained(worker, models[read[worker]]), weight(t - read[worker])
        models.append((1 - a) * models[-1] + a * new)
        read[worker] = t + 1
    return models


def fedbuff(orders: Sequence[Sequence[int]], clients: Clients, eta: float, weighs: bool) -> list[Floats]:
    """Return the server's models under Algorithm 1 of FedBuff: the workers of an order fill a buffer."""
    models = [np.zeros((3, 4))]
    read = [0] * R
    for t, order in enumerate(orders):
        total = np.zeros((3, 4))
        for worker in order:
            start = models[read[worker]]
            change = clients.trained(worker, start) - start
            total = total + (change / math.sqrt(1 + t - read[worker]) if weighs else change)
            read[worker] = t + 1
        models.append(models[-1] + eta * total / len(order))
    return models


def orders(size: int, steps: int = 15) -> list[list[int]]:
    rng = np.random.default_rng(1)
    return [sorted(rng.choice(R, size, replace=False).tolist()) for _ in range(steps)]


def learned(algorithm: Any, reports: Sequence[Sequence[int]]) -> list[Floats]:
    """Return the models that the learning half makes of these reports."""
    learner = algorithm.open(Bench(Softmax(**PROBLEM), R, Streams(SEED)))
    drive = Drive(learner, R)
    return [learner.first().z.numpy(), *(drive.step(list(order)).z.numpy() for order in reports)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "settings",
    [
        {"staleness": "constant", "alpha": 0.4},
        {"staleness": "polynomial", "a": 0.7},
        {"staleness": "hinge", "a": 2.0, "b": 1, "alpha": 1.0},
        {"local_steps": 3, "rho": 0.5},
    ],
)
def test_fedasync_is_a_loop_over_clients(settings: dict[str, Any]) -> None:
    algorithm, reports = Fedasync(optimizer=SGD, **settings), orders(1)
    assert max(_stalenesses(reports)) > 4
    clients = Clients(algorithm.local_steps, algorithm.rho)
    expected = fedasync(reports, clients, lambda u: _by_the_paper(settings, u))
    np.testing.assert_allclose(learned(algorithm, reports), expected, atol=1e-12)
    assert np.abs(expected[-1]).max() > 0.1


def _by_the_paper(settings: dict[str, Any], u: int) -> float:
    alpha, a, b = settings.get("alpha", 0.6), settings.get("a", 0.5), settings.get("b", 4)
    falls = {
        "constant": 1.0,
        "polynomial": 1 / (u + 1) ** a,
        "hinge": 1.0 if u <= b else 1 / (a * (u - b) + 1),
    }
    return float(alpha * falls[settings.get("staleness", "polynomial")])


def _stalenesses(reports: Sequence[Sequence[int]]) -> list[int]:
    read, found = [0] * R, []
    for t, order in enumerate(reports):
        for worker in order:
            found.append(t - read[worker])
            read[worker] = t + 1
    return found


@pytest.mark.parametrize("weighs", [True, False])
@pytest.mark.parametrize(("size", "local_steps", "eta"), [(1, 1, 1.0), (2, 3, 0.7), (4, 1, 1.5)])
def test_fedbuff_is_a_loop_over_clients(size: int, local_steps: int, eta: float, weighs: bool) -> None:
    algorithm = Fedbuff(
        optimizer=SGD, local_steps=local_steps, buffer=size, server_rate=eta, weighs_staleness=weighs
    )
    reports = orders(size)
    expected = fedbuff(reports, Clients(local_steps), eta, weighs)
    np.testing.assert_allclose(learned(algorithm, reports), expected, atol=1e-12)
    assert np.abs(expected[-1]).max() > 0.1


def test_fedavg_is_a_loop_over_clients() -> None:
    algorithm, clients = Fedavg(optimizer=SGD, participants=2, local_steps=3), Clients(3)
    learner, rounds, model = (
        algorithm.open(Bench(Softmax(**PROBLEM), R, Streams(SEED))),
        orders(2),
        np.zeros((3, 4)),
    )
    server = Server(learner, R)
    for order in rounds:
        model = sum(clients.trained(worker, model) for worker in order) / 2
        np.testing.assert_allclose(server.round(order).numpy(), model, atol=1e-12)
    assert np.abs(model).max() > 0.1


def whole_run(algorithm: dict[str, Any], steps: int) -> list[float]:
    """Return the loss after each step of a run whose workers take the times of `JOB_S` for a job."""
    tables = {
        "name": "twin",
        "seed": SEED,
        "problem": {"kind": "softmax", **PROBLEM},
        "algorithm": {"optimizer": SGD, **algorithm},
        "server": {"step_s": 0.0},
        "workers": [
            {"name": f"w{v}", "count": 1, "compute": {"kind": "constant", "value_s": JOB_S[v]}}
            for v in range(R)
        ],
        "budget": {"server_steps": steps},
        "evaluation": {"every_steps": 1},
    }
    return run(parse(tables)).steps["loss"].dropna().tolist()


def reporting(size: int, steps: int) -> list[list[int]]:
    """Return who reports in each step where messages take no time and who has reported waits for the step."""
    ends = list(JOB_S)
    found = []
    for _ in range(steps):
        order = sorted(sorted(range(R), key=lambda worker: ends[worker])[:size])
        now = max(ends[worker] for worker in order)
        for worker in order:
            ends[worker] = now + JOB_S[worker]
        found.append(order)
    return found


def test_whole_runs_are_loops_over_clients() -> None:
    clients = Clients(1)
    weight = Fedasync().weight
    for algorithm, models in [
        ({"kind": "fedasync"}, fedasync(reporting(1, 20), Clients(1), weight)),
        ({"kind": "fedbuff", "buffer": 2}, fedbuff(reporting(2, 20), Clients(1), 1.0, True)),
        ({"kind": "fedavg"}, fedbuff([range(R)] * 20, Clients(1), 1.0, True)),
    ]:
        expected = [clients.loss(model) for model in models]
        found = whole_run(algorithm, 20)
        np.testing.assert_allclose(found[-20:], expected[1:], rtol=1e-9, err_msg=algorithm["kind"])


def test_weights_by_hand() -> None:
    polynomial = Fedasync(alpha=0.8, staleness="polynomial", a=0.5)
    assert [polynomial.weight(u) for u in (0, 3, 8)] == pytest.approx([0.8, 0.4, 0.8 / 3])
    hinge = Fedasync(alpha=0.5, staleness="hinge", a=2.0, b=3)
    assert [hinge.weight(u) for u in (0, 3, 4, 5)] == pytest.approx([0.5, 0.5, 0.5 / 3, 0.1])
    assert {Fedasync(alpha=0.3, staleness="constant").weight(u) for u in (0, 9)} == {0.3}
    assert [Fedbuff(server_rate=2.0).weight(u) for u in (0, 3)] == [2.0, 1.0]
    assert Fedbuff(server_rate=2.0, weighs_staleness=False).weight(3) == 2.0


def test_what_the_clock_is_told() -> None:
    setting: Any = SimpleNamespace(problem=Softmax(), n_workers=20)
    parts = Fedasync(local_steps=3), Fedbuff(buffer=7), Fedavg(), Fedavg(participants=5)
    rules = [part.schedule(setting).rule for part in parts]
    assert rules == [Steps(1, UNBOUNDED), Steps(7, UNBOUNDED), Steps(20, 1), Rounds(5)]
    assert parts[0].schedule(setting).work["local"].cost.bytes_up == 2440
    Fedbuff(buffer=20).check(setting)
    with pytest.raises(ValueError, match="buffer: found 21, expected at most 20"):
        Fedbuff(buffer=21).check(setting)
