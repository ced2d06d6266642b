"""The quadratic problem: its closed-form optimum, its gradients, its noise, and its pooled form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from fedsim.problems.quadratic import Bilevel, Quadratic
from fedsim.streams import Streams


def prepared(n_workers: int = 3, pooled: int = 1, seed: int = 2, **settings: Any) -> Bilevel:
    oracle = Quadratic(**({"dimension": 4} | settings)).prepare(Streams(seed), n_workers, pooled)
    assert isinstance(oracle, Bilevel)
    return oracle


def tables(oracle: Bilevel) -> tuple[np.ndarray, ...]:
    return tuple(table.numpy() for table in (oracle._h, oracle._c, oracle._b, oracle._t))


@pytest.mark.parametrize("coupling", [0.0, 0.6])
@pytest.mark.parametrize("n_workers", [1, 3])
def test_the_optimum_agrees_with_numerical_minimisation(coupling: float, n_workers: int) -> None:
    oracle = prepared(n_workers, coupling=coupling, upper_weight=0.7)
    h, c, b, t = tables(oracle)

    def solution_below(q: np.ndarray) -> np.ndarray:
        return (h * (c + coupling * q)).sum(0) / h.sum(0)

    def objective(flat: np.ndarray) -> float:
        q = flat.reshape(n_workers, 4)
        z = solution_below(q)
        return 0.5 * float(((q - z - b) ** 2).sum() + 0.7 * ((z - t) ** 2).sum())

    found = minimize(objective, np.zeros(n_workers * 4), method="BFGS", options={"gtol": 1e-7})
    q = found.x.reshape(n_workers, 4)
    optimum = oracle.optimum()
    np.testing.assert_allclose(optimum.q, q, atol=1e-5)
    np.testing.assert_allclose(optimum.z, solution_below(q), atol=1e-5)


def test_the_optimum_by_hand() -> None:
    """Two workers, h = (1, 3), c = (0, 4): z = 12 / 4 = 3 whatever the q, and q_v = z + b_v."""
    oracle = prepared(2, dimension=1)
    for name, numbers in {"_h": [1, 3], "_c": [0, 4], "_b": [0.5, -1], "_t": [7, 8]}.items():
        setattr(oracle, name, torch.tensor(numbers, dtype=torch.float64)[:, None])
    optimum = oracle.optimum()
    assert optimum.z.tolist() == [3.0]
    assert optimum.q.tolist() == [[3.5], [2.0]]


@pytest.mark.parametrize("level", ["upper", "lower"])
def test_gradients_agree_with_finite_differences(level: str) -> None:
    oracle = prepared(coupling=0.4, upper_weight=0.7)
    h, c, b, t = (table[1] for table in tables(oracle))
    rng = np.random.default_rng(0)
    p, q, step = rng.normal(size=4), rng.normal(size=4), 1e-6

    def value(p: np.ndarray, q: np.ndarray) -> float:
        if level == "upper":
            return 0.5 * float(((q - p - b) ** 2).sum() + 0.7 * ((p - t) ** 2).sum())
        return 0.5 * float((h * (p - c - 0.4 * q) ** 2).sum())

    P, Q = torch.from_numpy(p)[None, None], torch.from_numpy(q)[None, None]
    found = oracle.upper([1], [0], P, Q) if level == "upper" else (oracle.lower([1], [0], P, Q),)
    for n, e in enumerate(np.eye(4) * step):
        by_p = (value(p + e, q) - value(p - e, q)) / (2 * step)
        assert float(found[0][0, 0, n]) == pytest.approx(by_p, abs=1e-7)
        if level == "upper":
            by_q = (value(p, q + e) - value(p, q - e)) / (2 * step)
            assert float(found[1][0, 0, n]) == pytest.approx(by_q, abs=1e-7)


def test_noise_is_unbiased_and_of_the_stated_size() -> None:
    noisy, exact = prepared(noise_std=0.5), prepared()
    n_jobs = 4_000
    P, Q = torch.zeros(n_jobs, 1, 4).double(), torch.ones(n_jobs, 1, 4).double()
    workers, jobs = [1] * n_jobs, list(range(n_jobs))
    standard_error = 0.5 / np.sqrt(n_jobs)
    pairs = list(zip(noisy.upper(workers, jobs, P, Q), exact.upper(workers, jobs, P, Q), strict=True))
    pairs.append((noisy.lower(workers, jobs, P, Q), exact.lower(workers, jobs, P, Q)))
    for drawn, true in pairs:
        noise = (drawn - true)[:, 0]
        assert float(noise.mean(0).abs().max()) < 4 * standard_error
        assert float(noise.std()) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(2 * n_jobs * 4))
    by_p, by_q = ((drawn - true).flatten() for drawn, true in pairs[:2])
    assert abs(float(torch.corrcoef(torch.stack([by_p, by_q]))[0, 1])) < 4 / np.sqrt(4 * n_jobs)


def test_noise_has_an_address() -> None:
    oracle = prepared(noise_std=0.5)
    P = torch.zeros(2, 1, 4).double()
    together = oracle.lower([0, 2], [5, 7], P, P)
    alone = oracle.lower([2], [7], P[:1], P[:1])
    assert torch.equal(together[1:], alone)
    for worker, job in ((2, 8), (1, 7)):
        other = oracle.lower([worker], [job], P[:1], P[:1]) - prepared().lower([worker], [job], P[:1], P[:1])
        assert not torch.allclose(other, alone - prepared().lower([2], [7], P[:1], P[:1]))


def test_pooled_functions_are_means() -> None:
    """One worker that holds the data of three has the mean of their gradients, up to no constant."""
    apart, pooled = prepared(3, coupling=0.4), prepared(1, pooled=3, coupling=0.4)
    rng = np.random.default_rng(1)
    P, Q = (torch.from_numpy(rng.normal(size=(1, 1, 4))) for _ in "pq")
    workers, jobs, three = [0, 1, 2], [0, 0, 0], (3, 1, 4)
    mean_upper = [one.mean(0) for one in apart.upper(workers, jobs, P.expand(three), Q.expand(three))]
    for one, mean in zip(pooled.upper([0], [0], P, Q), mean_upper, strict=True):
        torch.testing.assert_close(one[0], mean)
    mean_lower = apart.lower(workers, jobs, P.expand(three), Q.expand(three)).mean(0)
    torch.testing.assert_close(pooled.lower([0], [0], P, Q)[0], mean_lower)


def test_measurements_by_hand() -> None:
    oracle = prepared(2, upper_weight=0.1)
    optimum = oracle.optimum()
    z, q = torch.from_numpy(optimum.z)[None], torch.from_numpy(optimum.q)[:, None]
    P = z.expand(2, 1, 4)
    at_best = oracle.evaluate([0, 1], P, q, z)
    assert at_best["distance_z"] == pytest.approx(0)
    assert at_best["distance_q"] == pytest.approx(0)
    # Without a coupling q_v = z + b_v fits exactly, so only the second part of f is left.
    _, _, _, t = tables(oracle)
    assert at_best["loss"] == pytest.approx(0.05 * ((optimum.z - t) ** 2).sum(1).mean())
    moved = oracle.evaluate([0, 1], P, q + 1, z - 0.5)
    assert moved["distance_z"] == pytest.approx(4 * 0.5)
    assert moved["distance_q"] == pytest.approx(4)
    assert moved["loss"] == pytest.approx(at_best["loss"] + 0.5 * 4)
