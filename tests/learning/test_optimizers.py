"""Optimizers: by hand, and Adam against torch's own."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from fedsim.learning.optimizers import OPTIMIZERS, AnyOptimizer, Optimizer
from fedsim.learning.optimizers.adam import Adam
from fedsim.learning.optimizers.base import shrunk
from fedsim.learning.optimizers.sgd import Sgd


def f64(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def fresh_moments(optimizer: Optimizer, like: Tensor) -> tuple[Tensor, ...]:
    return tuple(torch.zeros_like(like) for _ in range(optimizer.n_moments))


def test_sgd_by_hand() -> None:
    step = Sgd(learning_rate=0.1).update(f64([[2.0, -3.0]]), (), torch.tensor([1]))
    torch.testing.assert_close(step, f64([[0.2, -0.3]]))


def test_adam_first_two_steps_by_hand() -> None:
    adam = Adam(learning_rate=0.5, beta1=0.5, beta2=0.75, epsilon=1.0)
    moments = (f64([[0.0]]), f64([[0.0]]))
    # m = 2, v = 4; corrected 4 and 16: 0.5 * 4 / (4 + 1)
    assert adam.update(f64([[4.0]]), moments, torch.tensor([1])).item() == pytest.approx(0.4, abs=1e-15)
    assert [m.item() for m in moments] == [2.0, 4.0]
    # gradient 0: m = 1, v = 3; corrected by 3/4 and 7/16: 0.5 * (4/3) / (sqrt(48/7) + 1)
    expected = 0.5 * (4 / 3) / ((48 / 7) ** 0.5 + 1)
    assert adam.update(f64([[0.0]]), moments, torch.tensor([2])).item() == pytest.approx(expected, abs=1e-15)
    assert [m.item() for m in moments] == [1.0, 3.0]


@pytest.mark.parametrize(
    ("kind", "more"), [(torch.optim.Adam, {}), (torch.optim.AdamW, {"weight_decay": 0.3})]
)
def test_adam_equals_torch(kind: type[torch.optim.Optimizer], more: dict[str, float]) -> None:
    settings = {"learning_rate": 0.01, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-6, **more}
    adam = OPTIMIZERS[kind.__name__.lower()].model_validate(settings)
    assert isinstance(adam, Optimizer)
    ours = random(1, 3, 4, seed=1)
    theirs = torch.nn.Parameter(ours.clone())
    reference = kind([theirs], lr=0.01, betas=(0.8, 0.95), eps=1e-6, **more)
    moments = fresh_moments(adam, ours)
    for count, gradient in enumerate(random(50, 1, 3, 4, seed=2), start=1):
        theirs.grad = gradient.clone()
        reference.step()
        ours = shrunk(ours, adam) - adam.update(gradient, moments, torch.tensor([count]))
        torch.testing.assert_close(ours, theirs.data, atol=1e-12, rtol=0)


# What every kind keeps to. A new kind needs settings here.
CASES: dict[str, dict[str, object]] = {"sgd": {}, "adam": {}, "adamw": {"weight_decay": 0.3}}
every_kind = pytest.mark.parametrize("kind", OPTIMIZERS.builtin)


def optimizer_of(kind: str, **more: object) -> Optimizer:
    assert kind in CASES, f"give settings of {kind!r} in CASES"
    found = OPTIMIZERS[kind].model_validate({"learning_rate": 0.1, **CASES[kind], **more})
    assert isinstance(found, Optimizer)
    return found


@every_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_first_step_goes_down_and_none_is_made_without_a_gradient(kind: str, dtype: torch.dtype) -> None:
    optimizer = optimizer_of(kind)
    gradient = random(3, 2, 5, seed=6).to(dtype)
    gradient[1] = 0
    step = optimizer.update(gradient.clone(), fresh_moments(optimizer, gradient), torch.tensor([1, 1, 1]))
    assert (step.shape, step.dtype) == (gradient.shape, dtype)
    assert not step[1].any()
    assert bool(((step * gradient).sum((1, 2)) > 0)[[0, 2]].all())
    assert bool((step[[0, 2]].sign() == gradient[[0, 2]].sign()).all())


@every_kind
def test_a_step_grows_with_the_learning_rate(kind: str) -> None:
    steps = []
    for rate in (0.1, 0.2):
        optimizer, gradient = optimizer_of(kind, learning_rate=rate), random(1, 4, seed=8)
        steps.append(optimizer.update(gradient, fresh_moments(optimizer, gradient), torch.tensor([1])))
    torch.testing.assert_close(2 * steps[0], steps[1], atol=1e-15, rtol=0)


@every_kind
def test_a_long_gradient_counts_no_more_than_its_clipped_one(kind: str) -> None:
    optimizer, gradient = optimizer_of(kind, clip_norm=0.5), random(1, 4, seed=8)
    plain, clipped = optimizer_of(kind), 0.5 * gradient / gradient.norm()
    found = optimizer.update(gradient, fresh_moments(optimizer, gradient), torch.tensor([1]))
    expected = plain.update(clipped, fresh_moments(plain, clipped), torch.tensor([1]))
    torch.testing.assert_close(found, expected, atol=1e-15, rtol=0)


@every_kind
@pytest.mark.parametrize("clip_norm", [None, 1.5])
def test_a_batch_equals_one_job_at_a_time(kind: str, clip_norm: float | None) -> None:
    optimizer = optimizer_of(kind, clip_norm=clip_norm)
    gradients, counts = random(3, 2, 5, seed=3), torch.tensor([1, 7, 400])
    moments = tuple(random(3, 2, 5, seed=4 + i).abs() for i in range(optimizer.n_moments))
    alone_moments = [tuple(m[j : j + 1].clone() for m in moments) for j in range(3)]
    alone = [
        optimizer.update(gradients[j : j + 1].clone(), alone_moments[j], counts[j : j + 1]) for j in range(3)
    ]
    together = optimizer.update(gradients.clone(), moments, counts)
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-14, rtol=0)
    for i, moment in enumerate(moments):
        torch.testing.assert_close(moment, torch.cat([a[i] for a in alone_moments]), atol=1e-14, rtol=0)


def test_clipping_by_hand() -> None:
    sgd = Sgd(learning_rate=1.0, clip_norm=3.0)
    gradients = f64([[[3.0, 0.0], [0.0, 4.0]], [[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    step = sgd.update(gradients, (), torch.tensor([1, 1, 1]))
    # Norm 5 is scaled by 3/5 over the whole table of its job; norm 1.4 and norm 0 stay as they are.
    expected = f64([[[1.8, 0.0], [0.0, 2.4]], [[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    torch.testing.assert_close(step, expected, atol=1e-15, rtol=0)


@every_kind
def test_no_jobs(kind: str) -> None:
    optimizer = optimizer_of(kind, clip_norm=1.0)
    gradient = torch.empty(0, 2, 3, dtype=torch.float64)
    step = optimizer.update(gradient, fresh_moments(optimizer, gradient), torch.empty(0, dtype=torch.int64))
    assert step.shape == (0, 2, 3)


@pytest.mark.parametrize(
    ("bad", "where"),
    [
        ({"kind": "sgd"}, "learning_rate"),
        ({"kind": "sgd", "learning_rate": 0}, "learning_rate"),
        ({"kind": "sgd", "learning_rate": 1, "clip_norm": 0}, "clip_norm"),
        ({"kind": "sgd", "learning_rate": 1, "beta1": 0.9}, "beta1"),
        ({"kind": "adam", "learning_rate": 1, "beta1": 1}, "beta1"),
        ({"kind": "adam", "learning_rate": 1, "beta2": -0.1}, "beta2"),
        ({"kind": "adam", "learning_rate": 1, "epsilon": 0}, "epsilon"),
        ({"kind": "adm", "learning_rate": 1}, "did you mean 'adam'"),
    ],
)
def test_bad_settings(bad: dict[str, object], where: str) -> None:
    class Holder(BaseModel):
        optimizer: AnyOptimizer

    with pytest.raises(ValidationError, match=where):
        Holder.model_validate({"optimizer": bad})


def test_the_settings_load_without_torch() -> None:
    code = "import sys, fedsim.learning.optimizers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
