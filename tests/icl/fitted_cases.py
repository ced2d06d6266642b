"""A made-up truth in the closed form of `Fitted`, and black boxes that spoil its answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from text_cases import tiny_text_task

from fedsim.icl.encoders import WordLlama
from fedsim.icl.models.base import BlackBox, Prompts, Scorer
from fedsim.icl.models.fitted import Fitted
from fedsim.icl.models.fitted.arithmetic import rows_used
from fedsim.icl.models.fitted.parameters import FittedParameters, address, write
from fedsim.icl.models.reading import FragmentReading
from fedsim.icl.tasks.base import Form, TaskData, Texts
from fedsim.problems.icl.problem import IclProblem
from fedsim.streams import Streams
from fedsim_analysis.fitting.estimation import principal_components

N_WORKERS, DATA_SEED, N_FEATURES = 3, 0, 3


def truth(data: TaskData[Texts], **changes: Any) -> FittedParameters:
    """Return random parameters for every text and word of some data."""
    generator = np.random.default_rng(5)
    texts = [data.source.rows[row] for row in rows_used(data)]
    embeddings = torch.from_numpy(WordLlama().encode([text.joined() for text in texts]))
    centre, projection = principal_components(embeddings, N_FEATURES)
    labels = data.source.template.labels
    n = len(labels)

    def effects(names: Any, deviation: float) -> dict[str, tuple[float, ...]]:
        return {address(name): tuple(generator.normal(0, deviation, n).tolist()) for name in names}

    fields = {
        "labels": labels,
        "centre": tuple(centre.tolist()),
        "projection": tuple(map(tuple, projection.tolist())),
        "base": tuple(map(tuple, generator.normal(0, 0.7, (n, N_FEATURES + 1)).tolist())),
        "step": 0.5,
        "queries": effects(texts, 0.3),
        "demonstrations": effects(texts, 0.4),
        "fragment": FragmentReading(),
        "words": effects(data.source.words, 0.5),
        "gains": {name: row[0] for name, row in effects([*texts, *data.source.words], 0.15).items()},
    }
    return FittedParameters(**(fields | changes))


def true_problem(folder: Path, n_classes: int = 2, **settings: Any) -> tuple[IclProblem, TaskData[Texts]]:
    """Return a small problem whose model answers by `truth`, and the data of its run."""
    task = tiny_text_task(folder, n_classes=n_classes)
    data = task.draw(Streams(DATA_SEED), N_WORKERS)
    write(truth(data), folder / "truth.json")
    model = Fitted(file=str(folder / "truth.json"))
    return IclProblem(**({"task": task, "model": model, "n_samples": 2} | settings)), data


class Spoiled(BlackBox):
    """Answers of another black box with noise added to their log-odds, or dealt out to other prompts.

    Source: no paper; a stand-in for tests.
    """

    kind: Literal["fitted_cases:Spoiled"] = "fitted_cases:Spoiled"
    reads: ClassVar[Form] = "text"
    inner: Fitted
    noise: float = 0.0
    shuffled: bool = False

    def attach(self, data: TaskData[Texts]) -> Scorer:
        return SpoiledScorer(self, self.inner.attach(data))


class SpoiledScorer:
    questions = None

    def __init__(self, part: Spoiled, inner: Scorer) -> None:
        self._part, self._inner = part, inner
        self._generator = torch.Generator().manual_seed(7)

    def scores(self, prompts: Prompts) -> torch.Tensor:
        found = self._inner.scores(prompts)
        if self._part.shuffled:
            answers = found.transpose(2, 3).reshape(-1, found.shape[2])
            answers = answers[torch.randperm(len(answers), generator=self._generator)]
            found = answers.view(*found.transpose(2, 3).shape).transpose(2, 3)
        noise = torch.randn(found.shape, generator=self._generator, dtype=found.dtype) * self._part.noise
        return (found.log() + noise).softmax(2)
