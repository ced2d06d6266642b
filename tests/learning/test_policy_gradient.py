"""Policy gradients: by hand, against loops, and against the enumerated gradient (P8)."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from fedsim.learning.categorical import draw
from fedsim.learning.optimizers.adam import Adam
from fedsim.learning.optimizers.base import Optimizer
from fedsim.learning.optimizers.sgd import Sgd
from fedsim.learning.policy_gradient import Estimator, gradient
from fedsim.learning.simplex import project

ESTIMATORS: tuple[Estimator, ...] = ("zero", "code", "paper")
SLOPES = [("zero", 1.0), ("code", 2.0), ("paper", 2.0)]


def f64(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def random(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def centred(table: Tensor) -> Tensor:
    """Without the constant along each row, which plain steps with a projection on the simplex do not see."""
    return table - table.mean(dim=-1, keepdim=True)


def stepped(estimator: Estimator, optimizer: Optimizer, n_updates: int = 1) -> Tensor:
    """Return p after updates from (1/2, 1/4, 1/4), words 0 and 1 drawn each time with losses 1 and 3."""
    p = f64([[[0.5, 0.25, 0.25]]])
    moments = tuple(torch.zeros_like(p) for _ in range(optimizer.n_moments))
    for update in range(1, n_updates + 1):
        found = gradient(f64([[1, 3]]), torch.tensor([[[0, 1]]]), p, estimator)
        p = project(p - optimizer.step(found, moments, torch.tensor([update])))
    return p.flatten()


def test_plain_steps_do_not_see_the_constant_of_the_estimators() -> None:
    # Weights -1 and 1 make (-2, 4, 0); the constant of `paper` is 2.
    expected = stepped("zero", Sgd(learning_rate=0.02))
    torch.testing.assert_close(expected, f64([0.54 + 0.04 / 3, 0.17 + 0.04 / 3, 0.25 + 0.04 / 3]))
    for estimator in ("code", "paper"):
        torch.testing.assert_close(stepped(estimator, Sgd(learning_rate=0.01)), expected)


def test_adam_sees_the_constant_of_the_estimators() -> None:
    # The first step is the rate against the sign of each coordinate: of (-2, 4, 0), and of (-6, 6, -2).
    adam = Adam(learning_rate=0.1)
    for estimator in ("zero", "code"):
        torch.testing.assert_close(stepped(estimator, adam), f64([0.6, 0.15, 0.25]), rtol=0, atol=1e-6)
    # The word that was not drawn goes up as if it had been the good one.
    expected = f64([0.6, 0.15, 0.35]) - 0.1 / 3
    torch.testing.assert_close(stepped("paper", adam), expected, rtol=0, atol=1e-6)


def score(j: int, p: list[float], estimator: str) -> list[float]:
    """The score vector as the table of the three estimators prints it, 0 where p is 0."""
    elsewhere = {
        "zero": [0.0 for _ in p],
        "code": [-1 / p_n if p_n > 0 else 0.0 for p_n in p],
        "paper": [-1 / p[j] for _ in p],
    }[estimator]
    return [1 / p[j] if n == j else s for n, s in enumerate(elsewhere)]


def gradient_by_loops(losses: Tensor, drawn: Tensor, probabilities: Tensor, estimator: str) -> Tensor:
    n_jobs, n_positions, n_words = probabilities.shape
    n_samples = losses.shape[1]
    out = torch.zeros_like(probabilities)
    for job, i in itertools.product(range(n_jobs), range(n_positions)):
        mean = sum(losses[job].tolist()) / n_samples
        for r in range(n_samples):
            s = score(int(drawn[job, i, r]), probabilities[job, i].tolist(), estimator)
            for n in range(n_words):
                out[job, i, n] += (float(losses[job, r]) - mean) * s[n] / (n_samples - 1)
    return out


def exact_gradient(loss: Tensor, p: Tensor) -> Tensor:
    """The gradient of sum_j loss[j] prod_i p[i, j_i], entries of p taken as free, by enumeration."""
    out = torch.zeros_like(p)
    for outcome in itertools.product(range(p.shape[1]), repeat=p.shape[0]):
        for i, n in enumerate(outcome):
            others = [p[k, j] for k, j in enumerate(outcome) if k != i]
            out[i, n] += loss[outcome] * torch.stack(others).prod()
    return out


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [("zero", [4.0, -4 / 3]), ("code", [8.0, -8 / 3]), ("paper", [16 / 3, -16 / 3])],
)
def test_by_hand(estimator: Estimator, expected: list[float]) -> None:
    # Losses 3 and 1 weigh +1 and -1; the first sample drew word 0 (p = 1/4), the second word 1 (p = 3/4).
    # paper at word 0: 1 / (1/4) from the first, (-1) (-1 / (3/4)) from the second: 4 + 4/3.
    estimate = gradient(f64([[3.0, 1.0]]), torch.tensor([[[0, 1]]]), f64([[[0.25, 0.75]]]), estimator)
    torch.testing.assert_close(estimate, f64([[expected]]), atol=1e-14, rtol=0)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_agrees_with_loops(estimator: Estimator) -> None:
    probabilities = random(3, 4, 6, seed=1) + 0.05
    probabilities[:, :, 2] = 0.0  # never drawn, and no division by it
    probabilities /= probabilities.sum(-1, keepdim=True)
    drawn = draw(probabilities, random(3, 4, 5, seed=2))
    losses = random(3, 5, seed=3)
    estimate = gradient(losses, drawn, probabilities, estimator)
    expected = gradient_by_loops(losses, drawn, probabilities, estimator)
    torch.testing.assert_close(estimate, expected, atol=1e-12, rtol=1e-12)


def test_zero_is_the_default() -> None:
    losses, drawn, p = f64([[3.0, 1.0]]), torch.tensor([[[0, 1]]]), f64([[[0.25, 0.75]]])
    assert torch.equal(gradient(losses, drawn, p), gradient(losses, drawn, p, "zero"))


@pytest.mark.parametrize(("estimator", "slope"), SLOPES)
def test_expectation_equals_the_enumerated_gradient(estimator: Estimator, slope: float) -> None:
    p = f64([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    loss = random(3, 3, seed=4)
    outcomes = torch.tensor(list(itertools.product(range(3), repeat=4)))  # two positions, two samples: 81
    drawn = outcomes.reshape(81, 2, 2)
    chance = p[torch.tensor([[0], [1]]), drawn].prod(-1).prod(-1)
    losses = loss[drawn[:, 0], drawn[:, 1]]
    estimates = gradient(losses, drawn, p.expand(81, 2, 3), estimator)
    expectation = (chance[:, None, None] * estimates).sum(0)
    assert float(chance.sum()) == pytest.approx(1, abs=1e-14)
    torch.testing.assert_close(
        centred(expectation), slope * centred(exact_gradient(loss, p)), atol=1e-14, rtol=0
    )


@pytest.mark.parametrize(("estimator", "slope"), SLOPES)
def test_unbiased_on_a_larger_toy(estimator: Estimator, slope: float) -> None:
    p = random(3, 4, seed=8) + 0.1
    p /= p.sum(-1, keepdim=True)
    loss = random(4, 4, 4, seed=9)
    n_repetitions = 20_000
    p_repeated = p.expand(n_repetitions, 3, 4)
    drawn = draw(p_repeated, random(n_repetitions, 3, 4, seed=10))
    losses = loss[drawn[:, 0], drawn[:, 1], drawn[:, 2]]
    estimates = centred(gradient(losses, drawn, p_repeated, estimator))
    standard_error = estimates.std(0) / n_repetitions**0.5
    exact = slope * centred(exact_gradient(loss, p))
    errors = (estimates.mean(0) - exact) / standard_error
    assert errors.abs().max() < 3.5, f"in standard errors: {errors}"
    assert exact.abs().max() > 20 * standard_error.max(), "a wrong slope would not be noticed"


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_equal_losses_give_no_gradient(estimator: Estimator) -> None:
    p = f64([[[0.5, 0.5, 0.0]]])
    assert not gradient(f64([[2.0, 2.0, 2.0]]), torch.tensor([[[0, 1, 1]]]), p, estimator).any()


def test_one_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 samples for its baseline, got 1"):
        gradient(f64([[1.0]]), torch.tensor([[[0]]]), f64([[[0.5, 0.5]]]))


def test_unknown_estimator_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown estimator 'negative' \(known: zero, code, paper\)"):
        gradient(
            f64([[3.0, 1.0]]),
            torch.tensor([[[0, 1]]]),
            f64([[[0.25, 0.75]]]),
            "negative",  # type: ignore[arg-type]  # wrong on purpose
        )
