"""What asking a language model costs besides the model: rendering, addresses, the cache, scores.

`python tests/benchmarks/test_bench_text.py` prints all figures.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from fedsim.icl.answers.asking import Asking
from fedsim.icl.answers.cache import AnswerCache
from fedsim.icl.answers.kept import addresses, scoring
from fedsim.icl.models.base import Prompts
from fedsim.icl.models.language import Answer, LanguageModel, Writing
from fedsim.icl.models.text_scorer import TextScorer, texts_of
from fedsim.icl.prompts import TEMPLATES
from fedsim.icl.tasks.base import Demonstrations, Queries, TaskData, Text, Texts

M, N, V, SAMPLES, B = 75, 100, 50, 20, 20
"""The paper's sizes: words, candidates, demonstrations of a class, sampled prompts, queries."""
LABELS = ("Terrible", "Great")


class Instant(LanguageModel):
    """A model that answers at once."""

    kind: Literal["instant"] = "instant"

    @property
    def identity(self) -> dict[str, Any]:
        return {"kind": self.kind}

    def connect(self) -> InstantSession:
        return InstantSession()


class InstantSession:
    """`Instant`, ready to answer."""

    answer = Answer((-0.5, -1.5), 1500, 1, 0.0, 0.0)

    def ask(
        self, prompts: Sequence[str], labels: tuple[str, ...], done: Callable[[int, Answer], None]
    ) -> None:
        for place in range(len(prompts)):
            done(place, self.answer)

    def write(self, prompts: Sequence[str], max_tokens: int, done: Callable[[int, Writing], None]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass


Draw = Callable[[int], Prompts]
"""Draws fresh prompts for both workers, by seed."""


def data_of_paper_sizes(n_words: int = M, n_samples: int = SAMPLES) -> tuple[TaskData[Texts], Draw]:
    """Return the data of two workers, and what draws prompts."""
    text = "a film about the number {} that is neither very long nor too short"
    rows = [Text(text.format(row)) for row in range(500)]
    rng = np.random.default_rng(0)
    queries = Queries(rng.integers(500, size=(2, B)), rng.integers(2, size=(2, B)))
    pools = Demonstrations(rng.integers(500, size=(2, 2, V)), np.zeros((2, 2, V), dtype=np.int64))
    words = tuple(f"word {number}" for number in range(N))
    data = TaskData(queries, queries, queries, pools, Texts(rows, TEMPLATES["sst2"], words))

    def draw(seed: int) -> Prompts:
        rng = np.random.default_rng(seed)
        return Prompts(
            workers=torch.tensor([0, 1]),
            words=torch.from_numpy(rng.integers(N, size=(2, n_words, n_samples))),
            demonstrations=torch.from_numpy(rng.integers(V, size=(2, 2, n_samples))),
            split="train",
            queries=None,
        )

    return data, draw


def scorer_us(cache: bool, again: bool = False, repeats: int = 5) -> float:
    """Return the microseconds of a (prompt, query) under a model that answers at once.

    Args:
        cache: look answers up on disk and store them there.
        again: in a second run, which finds all of them on disk.
    """
    data, draw = data_of_paper_sizes()
    for spent in [_scorer_s(cache, data, draw, repeats) for _ in range(1 + again)]:
        latest = spent
    return 1e6 * latest / (repeats * 2 * SAMPLES * B)


def _scorer_s(cache: bool, data: TaskData[Texts], draw: Draw, repeats: int) -> float:
    scorer = TextScorer(Instant(cache=cache), data)
    # The first one compiles the templates and opens the cache.
    scorer.scores(draw(repeats))
    start_s = perf_counter()
    for seed in range(repeats):
        scorer.scores(draw(seed))
    spent_s = perf_counter() - start_s
    assert scorer.questions is not None
    scorer.questions.close()
    return spent_s


def breakdown_us(repeats: int = 5) -> dict[str, float]:
    """Return the microseconds of a (prompt, query) that each part costs; the model answers at once."""
    data, draw = data_of_paper_sizes()
    spent = dict.fromkeys(("rendering", "addresses", "the rest"), 0.0)
    asking = Asking(Instant(cache=False))
    list(texts_of(draw(repeats), data))
    for seed in range(repeats):
        start_s = perf_counter()
        calls = [each.head + tail for each in texts_of(draw(seed), data) for tail in each.tails]
        rendered_s = perf_counter()
        addresses({"kind": "instant"}, scoring(LABELS), calls)
        addressed_s = perf_counter()
        asking.ask(calls, LABELS)
        spent["rendering"] += rendered_s - start_s
        spent["addresses"] += addressed_s - rendered_s
        spent["the rest"] += perf_counter() - addressed_s - (addressed_s - rendered_s)
    return {name: 1e6 * spent_s / (repeats * 2 * SAMPLES * B) for name, spent_s in spent.items()}


def share_of_local_model(n_words: int) -> tuple[float, float]:
    """Return what the simulator adds to a local model's own time (a share), and the seconds of a call."""
    from fedsim.icl.models.local import Local

    data, draw = data_of_paper_sizes(n_words, n_samples=1)
    scorer = TextScorer(Local(), data)
    scorer.scores(draw(0))  # loads the weights
    before, start_s = scorer.usage(), perf_counter()
    scorer.scores(draw(1))
    wall_s, after = perf_counter() - start_s, scorer.usage()
    assert scorer.questions is not None
    scorer.questions.close()
    model_s = after["seconds"] - before["seconds"]
    return wall_s / model_s - 1, model_s / (after["from_model"] - before["from_model"])


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("FEDSIM_CACHE", str(tmp_path))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


HIT_TARGET_MS = 0.2


def test_a_cache_hit(benchmark: BenchmarkFixture) -> None:
    """An answer from disk, its address included, at the length of a prompt of the paper."""
    data, draw = data_of_paper_sizes()
    first = next(texts_of(draw(0), data))
    prompt = first.head + first.tails[0]
    with closing(AnswerCache()) as cache:
        (place,) = addresses({"kind": "instant"}, scoring(LABELS), [prompt])
        cache.add(place, InstantSession.answer)
        found = benchmark(lambda: cache.get(addresses({"kind": "instant"}, scoring(LABELS), [prompt])[0]))
    assert found == InstantSession.answer
    benchmark.extra_info["characters"] = len(prompt)
    if benchmark.stats is not None:  # none when benchmarks run once, as plain tests
        assert 1e3 * benchmark.stats.stats.median < HIT_TARGET_MS


@pytest.mark.parametrize("cache", [False, True], ids=["memory", "disk"])
def test_the_scorer_itself(benchmark: BenchmarkFixture, cache: bool) -> None:
    benchmark.extra_info["us_per_call"] = benchmark.pedantic(scorer_us, args=[cache, False, 1], rounds=1)


def test_breakdown(benchmark: BenchmarkFixture) -> None:
    benchmark.extra_info.update(benchmark.pedantic(breakdown_us, args=[1], rounds=1))


def main() -> None:
    """Print every figure."""
    write = sys.stdout.write
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FEDSIM_CACHE"] = folder
        write("microseconds a (prompt, query) at the paper's sizes (target: a few tens without a disk)\n")
        write(f"  in memory {scorer_us(False):.1f}, stored on disk {scorer_us(True):.1f}, ")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FEDSIM_CACHE"] = folder
        write(f"found on disk {scorer_us(True, again=True):.1f}\n")
        for name, spent_us in breakdown_us().items():
            write(f"      {name:12} {spent_us:.1f}\n")
        if sys.argv[1:] == ["local"]:
            for n_words in (0, 10):
                share, call_s = share_of_local_model(n_words)
                write(
                    f"  local model, M = {n_words}: {1e3 * call_s:.1f} ms per call, and {share:.2%} on top\n"
                )


if __name__ == "__main__":
    main()
