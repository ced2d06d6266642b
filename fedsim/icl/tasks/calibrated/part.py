"""The part `calibrated`, and the tables that its six tasks are read from."""

from __future__ import annotations

import csv
import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field

from fedsim.icl.tasks.base import Task, TaskData, TestSet
from fedsim.icl.tasks.gaussian import Latent, SurrogateParameters, draw_data, draw_latent
from fedsim.streams import Streams

FOLDER = Path(__file__).parent

Name = Literal["5g", "cola", "sst2", "mrpc", "qqp", "qnli"]
NAMES: tuple[str, ...] = get_args(Name)


@cache
def parameters() -> dict[str, SurrogateParameters]:
    """Return the committed parameters of each task, by name."""
    tables = tomllib.loads((FOLDER / "parameters.toml").read_text())
    return {name: SurrogateParameters.model_validate(tables[name]) for name in NAMES}


@cache
def published() -> dict[str, dict[str, float]]:
    """Return the paper's numbers that the fit and the test sets use, by name and column (accuracies in %)."""
    with (FOLDER / "published.csv").open(newline="") as file:
        return {
            row.pop("name"): {key: float(value) for key, value in row.items()} for row in csv.DictReader(file)
        }


@cache
def tokens() -> dict[str, tuple[float, float]]:
    """Return how long prompts are by Qwen's vocabulary: tokens of a word, and of a question without words."""
    with (FOLDER / "tokens.csv").open(newline="") as file:
        return {
            row["name"]: (float(row["tokens_per_word"]), float(row["question_tokens"]))
            for row in csv.DictReader(file)
            if row["tokenizer"] == "qwen"
        }


class Calibrated(Task):
    """One of the paper's six data sets, its surrogate fitted to four published accuracies.

    The run's seed draws training queries and pools, as the paper's five runs draw samples; the fitted task,
    candidate words included, and its test set stay the same. The paper's test set must have stayed too: with
    200 queries drawn anew, its deviations of 0.27 points could not be.

    Source: Ma et al., "AsynDBT", Scientific Reports 16:9381 (2026), Table 2 (class counts; which class is
    first is not stated, the first count is class 0 here), Table 3 (Random ICL) and Table 4 (ablations).
    """

    kind: Literal["calibrated"] = "calibrated"
    name: Name
    test_counts: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = None
    """Test queries of class 0 and class 1; None for those of Table 2."""
    test_set: TestSet = "fixed"
    """fixed: the same queries in every run, spread as draws are on average. redrawn: each seed's own draw."""

    @property
    def class_counts(self) -> tuple[int, ...]:
        row = published()[self.name]
        return self.test_counts or (int(row["test_class_0"]), int(row["test_class_1"]))

    @property
    def tells_tokens(self) -> bool:
        return True

    def known_tokens(self, n_words: int, n_demonstrations: int) -> float:
        per_word, per_question = tokens()[self.name]
        return (n_demonstrations + 1) * (n_words * per_word + per_question)

    def draw(
        self, streams: Streams, n_workers: int, pooled: int = 1, dirichlet_alpha: float | None = None
    ) -> TaskData[Latent]:
        # The number of the task is its seed: each task has candidate words of its own.
        latent = draw_latent(parameters()[self.name], 2, self.n_candidates, NAMES.index(self.name))
        return draw_data(self, latent, streams, n_workers, pooled, dirichlet_alpha, self.test_set)
