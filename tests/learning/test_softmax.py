"""The softmax problem: its gradients, its optimum, its data, its batches, its pooled form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.optimize import minimize
from scipy.stats import chi2
from torch import Tensor

from fedsim.problems.softmax import Samples, Softmax, SoftmaxOracle, draw_samples
from fedsim.streams import Stream, Streams

SMALL = {"features": 4, "classes": 3, "samples_per_worker": 6, "test_samples": 9}


def prepared(n_workers: int = 3, pooled: int = 1, seed: int = 2, **settings: Any) -> SoftmaxOracle:
    oracle = Softmax(**(SMALL | settings)).prepare(Streams(seed), n_workers, pooled)
    assert isinstance(oracle, SoftmaxOracle)
    return oracle


def models(n: int, classes: int = 3, features: int = 4) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(n, classes, features + 1)))


def plain_loss(p: Any, features: Any, labels: Any) -> float:
    """Return the mean cross-entropy of one model, sample by sample."""
    total = 0.0
    for x, label in zip(features, labels, strict=True):
        logits = [sum(w * v for w, v in zip(row[:-1], x, strict=True)) + row[-1] for row in p]
        total += math.log(sum(math.exp(logit) for logit in logits)) - logits[label]
    return total / len(labels)


def test_a_gradient_by_hand() -> None:
    """One sample x = (2), of class 1 of two, at p = 0: both classes have 1/2, so that errors are +-1/2."""
    samples = Samples(
        np.array([[[2.0]]]), np.array([[1]]), np.array([[1.0], [-1.0], [3.0]]), np.array([1, 1, 0])
    )
    oracle = SoftmaxOracle(samples, 2, Streams(0))
    gradient, by_q = oracle.upper([0], [0], oracle.start_p[None], oracle.start_q[None])
    assert gradient.tolist() == [[[1.0, 0.5], [-1.0, -0.5]]]
    assert by_q.tolist() == [[[0.0]]]
    # A model by which class 1 has the logit x and class 0 none: right on 1 only of the tests.
    z = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    found = oracle.evaluate([0], z[None], oracle.start_q[None], z)
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["loss"] == pytest.approx(math.log(1 + math.exp(-2)))
    each = [math.log(1 + math.exp(-1)), math.log(1 + math.exp(1)), math.log(1 + math.exp(3))]
    assert found["loss_test"] == pytest.approx(sum(each) / 3)


def test_gradients_are_those_of_the_measured_loss() -> None:
    settings, workers = Softmax(**SMALL), [2, 0]
    oracle, data = prepared(), draw_samples(settings, Streams(2), 3)
    P = models(2)
    q = oracle.start_q.expand(2, 1, 1)
    found = oracle.lower(workers, [0, 5], P, q)
    assert torch.equal(oracle.upper(workers, [0, 5], P, q)[0], found)
    for place, worker in enumerate(workers):
        measured = oracle.evaluate([worker], P[[place]], q[:1], P[place])["loss"]
        assert measured == pytest.approx(
            plain_loss(P[place].tolist(), data.features[worker], data.labels[worker])
        )
        with torch.enable_grad():
            p = P[place].clone().requires_grad_()
            x = torch.from_numpy(data.features[worker])
            logits = x @ p[:, :-1].T + p[:, -1]
            loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(data.labels[worker]))
            (expected,) = torch.autograd.grad(loss, p)
        torch.testing.assert_close(found[place], expected)


def test_the_loss_of_several_workers_is_their_mean() -> None:
    oracle, P = prepared(), models(3)
    q = oracle.start_q.expand(3, 1, 1)
    each = [oracle.evaluate([v], P[[v]], q[:1], P[0])["loss"] for v in range(3)]
    assert oracle.evaluate([0, 1, 2], P, q, P[0])["loss"] == pytest.approx(sum(each) / 3)


def test_gradient_descent_finds_the_optimum_of_scipy() -> None:
    # Classes that overlap have an optimum at a finite p.
    oracle = prepared(4, separation=0.3, samples_per_worker=30)
    workers, q = [0, 1, 2, 3], oracle.start_q.expand(4, 1, 1)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        z = torch.from_numpy(flat.reshape(3, 5))
        P = z.expand(4, 3, 5)
        gradient = oracle.lower(workers, [0] * 4, P, q).mean(0)
        return oracle.evaluate(workers, P, q, z)["loss"], gradient.numpy().ravel()

    best = minimize(objective, np.zeros(15), jac=True, method="BFGS", options={"gtol": 1e-8})
    flat = np.zeros(15)
    for _ in range(500):
        flat = flat - 1.0 * objective(flat)[1]
    np.testing.assert_allclose(flat, best.x, atol=1e-5)
    assert best.fun < math.log(3) - 0.01


def test_a_batch_is_drawn_by_worker_and_job_without_replacement() -> None:
    n, size = 6, 2
    oracle, data = prepared(batch_size=size), draw_samples(Softmax(**SMALL), Streams(2), 3)
    P = models(2)
    found = oracle.lower([2, 1], [7, 4], P, oracle.start_q)
    seen = set()
    for place, (worker, job) in enumerate([(2, 7), (1, 4)]):
        draws = Streams(2).generator(Stream.QUERIES, worker, job).random(n)
        chosen = sorted(range(n), key=lambda sample: draws[sample])[:size]
        seen.add(tuple(chosen))
        part = Samples(
            data.features[[worker]][:, chosen],
            data.labels[[worker]][:, chosen],
            data.test_features,
            data.test_labels,
        )
        alone = SoftmaxOracle(part, 3, Streams(2)).lower([0], [0], P[[place]], oracle.start_q)
        torch.testing.assert_close(found[[place]], alone)
    assert len(seen) == 2


def test_data_of_a_worker_depend_on_its_number_alone() -> None:
    few, many = (draw_samples(Softmax(**SMALL), Streams(3), n) for n in (2, 5))
    np.testing.assert_array_equal(few.features, many.features[:2])
    np.testing.assert_array_equal(few.labels, many.labels[:2])
    np.testing.assert_array_equal(few.test_features, many.test_features)
    assert not np.array_equal(many.features[0], many.features[1])
    assert not np.array_equal(few.features, draw_samples(Softmax(**SMALL), Streams(4), 2).features)


def test_samples_stand_around_the_means_of_their_classes() -> None:
    """Without their class's mean, squared lengths are chi-squared; the means are as long as was said."""
    settings = Softmax(features=50, classes=4, samples_per_worker=500, separation=5.0)
    data = draw_samples(settings, Streams(1), 8)
    means = Streams(1).generator(Stream.TASK).normal(size=(4, 50)) * 5.0 / np.sqrt(50)
    noise = (data.features - means[data.labels]).ravel()
    assert chi2.cdf(float((noise**2).sum()), noise.size) == pytest.approx(0.5, abs=0.499)
    assert np.linalg.norm(means, axis=1) == pytest.approx(np.full(4, 5.0), rel=0.3)
    # 1,000 of each class are expected, give or take 27.
    assert np.bincount(data.labels.ravel()) == pytest.approx(np.full(4, 1000), abs=110)


def test_small_concentrations_leave_workers_few_classes() -> None:
    def classes_held(alpha: float | None) -> float:
        settings = Softmax(features=1, classes=10, samples_per_worker=50, dirichlet_alpha=alpha)
        labels = draw_samples(settings, Streams(0), 200).labels
        return float(np.mean([len(set(row)) for row in labels]))

    # With alpha 0.5 a label equals another one of its worker with probability (1 + alpha/10) / (1 + alpha).
    settings = Softmax(features=1, classes=10, samples_per_worker=50, dirichlet_alpha=0.5)
    labels = draw_samples(settings, Streams(0), 500).labels
    counts = (labels[:, :, None] == np.arange(10)).sum(1)
    same = ((counts * (counts - 1)).sum(1) / (50 * 49)).astype(float)
    error = same.std(ddof=1) / math.sqrt(500)
    assert abs(same.mean() - 1.05 / 1.5) < 4 * error
    assert classes_held(0.5) < 5 < 9 < classes_held(None)


def test_one_machine_with_all_data_has_the_mean_gradient() -> None:
    one, three = prepared(1, pooled=3), prepared(3)
    p = models(1)
    together = one.lower([0], [0], p, one.start_q)
    torch.testing.assert_close(
        together, three.lower([0, 1, 2], [0] * 3, p.expand(3, 3, 5), one.start_q).mean(0, True)
    )


def test_what_a_job_costs_and_a_run_takes() -> None:
    cost = Softmax().cost()
    assert (cost.calls, cost.bytes_up, cost.bytes_down) == (0, 4 * 610, 4 * 610)
    data, tables = Softmax().memory(100).values()
    assert (data, tables) == (8 * 100 * 20 * (61 + 10), 2 * 8 * 100 * 610)
    oracle = prepared(5)
    assert Softmax(**SMALL).memory(5).popitem()[1] == 2 * 5 * oracle.start_p.nbytes
    assert sum(t.nbytes for t in (oracle._x, oracle._y)) == next(iter(Softmax(**SMALL).memory(5).values()))


@pytest.mark.parametrize("size", [6, 7])
def test_a_batch_of_all_samples_is_said_otherwise(size: int) -> None:
    with pytest.raises(ValidationError, match="expected less than samples_per_worker = 6"):
        Softmax(**SMALL, batch_size=size)
