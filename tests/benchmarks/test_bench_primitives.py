"""What the numerical primitives cost at the paper's sizes: 75 words, 100 candidates, 20 samples."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from fedsim.learning.categorical import draw
from fedsim.learning.optimizers.adam import Adam
from fedsim.learning.policy_gradient import Estimator, gradient
from fedsim.learning.simplex import project

N_WORDS, N_CANDIDATES, N_SAMPLES = 75, 100, 20

jobs = pytest.mark.parametrize("n_jobs", [1, 3, 100])


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def distributions(n_jobs: int, sharpness: float) -> Tensor:
    return torch.softmax(sharpness * random(n_jobs, N_WORDS, N_CANDIDATES), dim=-1)


@jobs
@pytest.mark.parametrize("sharpness", [0.0, 1.0, 8.0], ids=["uniform", "dense", "sparse"])
def test_projection(benchmark: BenchmarkFixture, n_jobs: int, sharpness: float) -> None:
    start = distributions(n_jobs, sharpness)
    rows = start + 1e-3 * random(*start.shape).sign()
    benchmark(project, rows)


@jobs
def test_projection_of_arbitrary_rows(benchmark: BenchmarkFixture, n_jobs: int) -> None:
    benchmark(project, random(n_jobs, N_WORDS, N_CANDIDATES))


@jobs
def test_draw(benchmark: BenchmarkFixture, n_jobs: int) -> None:
    uniforms = torch.rand(n_jobs, N_WORDS, N_SAMPLES, dtype=torch.float64)
    benchmark(draw, distributions(n_jobs, 1.0), uniforms)


@jobs
@pytest.mark.parametrize("estimator", ["zero", "paper"])
def test_gradient(benchmark: BenchmarkFixture, n_jobs: int, estimator: Estimator) -> None:
    probabilities = distributions(n_jobs, 1.0)
    drawn = draw(probabilities, torch.rand(n_jobs, N_WORDS, N_SAMPLES, dtype=torch.float64))
    benchmark(gradient, random(n_jobs, N_SAMPLES), drawn, probabilities, estimator)


@jobs
@pytest.mark.parametrize("clip_norm", [None, 3.0], ids=["free", "clipped"])
def test_adam(benchmark: BenchmarkFixture, n_jobs: int, clip_norm: float | None) -> None:
    adam = Adam(learning_rate=1e-3, clip_norm=clip_norm)
    source = random(n_jobs, N_WORDS, N_CANDIDATES)
    gradient, moments = source.clone(), (torch.zeros_like(source), torch.zeros_like(source))
    count = torch.full((n_jobs,), 10)

    def run() -> None:
        adam.update(gradient.copy_(source), moments, count)

    benchmark(run)
