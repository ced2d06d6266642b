"""The interface of a baseline: what it does once per worker, and how it then answers the test queries."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from fedsim.answering import answers, tensor
from fedsim.catalog import Part
from fedsim.icl.models.label_probabilities import content_free, probabilities
from fedsim.icl.tasks.base import Text
from fedsim.streams import Stream, Streams

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from fedsim.icl.answers.asking import Asking
    from fedsim.icl.prompts import PromptTemplate
    from fedsim.icl.tasks.base import TaskData, Texts

Labelled = tuple[Text, int]
"""A text and its class."""


class PreparationCalls(NamedTuple):
    """Questions to the model that a worker's preparation asks."""

    queries: int
    n_demonstrations: int
    """Shown before each query."""
    heads: int
    """How many different prompts they belong to: each costs the model's `calls_per_prompt` on top."""


def _probabilities(part: Part, name: str, given: list[Any], answer: Any) -> Tensor:
    desk: Desk = given[0]
    found: Tensor = tensor(name, answer, (len(desk.test), desk.n_classes))
    return found


class Baseline(Part):
    """The settings of a method of the paper's Table 3 that tunes no prompt by gradients."""

    calls_per_query: ClassVar[int] = 1
    """Of the model, to answer a test query."""

    def preparation(self, pool_size: int) -> tuple[PreparationCalls, ...]:
        """Return what a worker with `pool_size` demonstrations asks the model before it can answer."""
        return ()

    def check(self, n_classes: int, per_class: int) -> None:
        """Raise a ValueError if a pool of `per_class` demonstrations per class is too small."""
        return

    @abstractmethod
    def prepare(self, worker: Desk) -> Any:
        """Do a worker's work that comes before any test query; what is returned, `answer` gets."""

    @abstractmethod
    @answers(_probabilities)
    def answer(self, worker: Desk, prepared: Any) -> Tensor:
        """Return the probabilities of the labels for each test query, (n, U)."""


class Desk:
    """What a baseline finds at one worker: its texts, the model, and randomness of its own."""

    def __init__(
        self, number: int, data: TaskData[Texts], asking: Asking, correction: bool, streams: Streams
    ) -> None:
        self.number = number
        self.template: PromptTemplate = data.source.template
        self._asking = asking
        self._correction = correction
        self._streams = streams
        rows = data.source.rows

        def labelled(x: NDArray[Any], y: NDArray[Any]) -> list[Labelled]:
            return [(rows[i], int(label)) for i, label in zip(x.ravel(), y.ravel(), strict=True)]

        shown = data.demonstrations
        self.pool = labelled(shown.x[number], shown.y[number])
        """Demonstrations, class 0 first, with the labels that are shown."""
        self.per_class = shown.x.shape[-1]
        """V, how many of each class the pool holds."""
        self.train = labelled(data.train.x[number], data.train.y[number])
        self.validation = labelled(data.validation.x[number], data.validation.y[number])
        self.test = [text for text, _ in labelled(data.test.x, data.test.y)]

    @property
    def n_classes(self) -> int:
        """U."""
        return len(self.template.labels)

    def generator(self, draw: int = 0) -> np.random.Generator:
        """Return the generator at an address of this worker's own."""
        return self._streams.generator(Stream.BASELINE, self.number, draw)

    def score(
        self,
        shown: Sequence[Sequence[Labelled]],
        queries: Sequence[Text],
        extend: Callable[[list[str]], list[str]] | None = None,
    ) -> Tensor:
        """Return the probabilities of the labels for each query, (n, U).

        Args:
            shown: the demonstrations before each query, in the order in which they stand.
            queries: the queries.
            extend: turns the prompts' texts into those after which the label is to follow.
        """
        import torch

        heads = [self.template.head(demonstrations, "") for demonstrations in shown]
        prompts = _joined(heads, [self.template.tail(query, "") for query in queries])
        if self._correction:
            prompts += _joined(heads, [self.template.tail(content_free(query), "") for query in queries])
        # Asked for together, so that a model that can answer many at once does.
        distinct = list(dict.fromkeys(prompts))
        final = extend(distinct) if extend else distinct
        answers = self._asking.ask(final, self.template.labels)
        found = {prompt: answer.logprobs for prompt, answer in zip(distinct, answers, strict=True)}
        table = torch.tensor([found[prompt] for prompt in prompts], dtype=torch.float64)
        n = len(queries)
        return probabilities(table[:n], table[n:] if self._correction else None)

    def write(self, prompts: Sequence[str], max_tokens: int) -> list[str]:
        """Return what the model writes after each prompt."""
        return [writing.text for writing in self._asking.write(prompts, max_tokens)]


def _joined(heads: list[str], tails: list[str]) -> list[str]:
    return [head + tail for head, tail in zip(heads, tails, strict=True)]
