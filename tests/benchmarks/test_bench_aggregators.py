"""What combining the messages of a step costs: 1,000 rows of 75 words x 100 candidates, on one thread.

The target is 1 second of the processor each; ``--benchmark-timer=time.process_time`` where others use it too.
Rules that try all subsets refuse that many rows; they are timed at 12.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from fedsim.learning.aggregators import AGGREGATORS, Aggregator
from fedsim.learning.preaggregators import PREAGGREGATORS, Preaggregator

N_ROWS, N_FEW, N_COLUMNS, N_LIES = 1000, 12, 7500, 100
ROUNDS = 3

SETTINGS: dict[str, dict[str, Any]] = {
    "centred_clipping": {"radius": 1.0},
    "rsa": {"step": 1e-3},
    "dp_rsa": {"step": 1e-3},
    "bucketing": {"size": 2},
    "norm_clipping": {"radius": 1.0},
    "simplex_projection": {"options": 100},
}
COMBINATORIAL = {"minimum_diameter"}


def made(part: type[Any], kind: str, f: int = N_LIES) -> Any:
    """Return the part with its f set, if it has one."""
    return part(**SETTINGS.get(kind, {}), **({"f": f} if "f" in part.model_fields else {}))


def rows(m: int, dtype: torch.dtype, scattered: bool = False) -> Tensor:
    """Distributions over 100 words, and malicious workers that send the same, or each something else."""
    generator = torch.Generator().manual_seed(1)
    messages = torch.randn(m, N_COLUMNS // 100, 100, generator=generator, dtype=dtype).softmax(-1).flatten(1)
    messages[: m // 10] *= 50
    if not scattered:
        messages[: m // 10] = messages[0].clone()
    return messages


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


@dtypes
@pytest.mark.parametrize("kind", AGGREGATORS.builtin)
def test_aggregator(benchmark: BenchmarkFixture, kind: str, dtype: torch.dtype) -> None:
    few = kind in COMBINATORIAL
    rule = made(AGGREGATORS[kind], kind, f=4 if few else N_LIES)
    assert isinstance(rule, Aggregator)
    messages = rows(N_FEW if few else N_ROWS, dtype)
    previous = torch.full((N_COLUMNS,), 0.01, dtype=dtype)
    benchmark.pedantic(rule.aggregate, args=[messages, previous], rounds=ROUNDS, warmup_rounds=1)


@pytest.mark.parametrize("kind", ["geometric_median", "caf"])
def test_malicious_workers_that_each_send_something_else(benchmark: BenchmarkFixture, kind: str) -> None:
    """CAF then takes a round for each of them."""
    rule = made(AGGREGATORS[kind], kind)
    messages = rows(N_ROWS, torch.float64, scattered=True)
    benchmark.pedantic(rule.aggregate, args=[messages, torch.zeros(N_COLUMNS).double()], rounds=2)


@dtypes
@pytest.mark.parametrize("kind", PREAGGREGATORS.builtin)
def test_preaggregator(benchmark: BenchmarkFixture, kind: str, dtype: torch.dtype) -> None:
    stage = made(PREAGGREGATORS[kind], kind)
    assert isinstance(stage, Preaggregator)
    previous = torch.full((N_COLUMNS,), 0.01, dtype=dtype)
    benchmark.pedantic(stage.apply, args=[rows(N_ROWS, dtype), previous], rounds=ROUNDS, warmup_rounds=1)
