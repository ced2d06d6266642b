"""The interface of a task: how much data there is, how a run draws it, and what the data look like."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedsim.answering import answers, number, refuse
from fedsim.catalog import Part

if TYPE_CHECKING:
    from fedsim.icl.prompts import PromptTemplate
    from fedsim.streams import Streams

Floats = NDArray[np.float64]
Longs = NDArray[np.int64]

TestSet = Literal["fixed", "redrawn"]
"""Whether all runs of a task are tested on the same queries, or each seed draws its own. With a fixed set
runs are compared pair by pair, and a deviation over seeds is that of training and its data."""

Form = Literal["features", "text"]
"""What the data of a task are, and what a black box reads: points of R^d, or texts."""


class Text(NamedTuple):
    """What is asked about; templates call these ``text_a``, ``text_b`` and ``context``."""

    a: str
    b: str = ""
    context: str = ""

    def joined(self) -> str:
        """Return the fields that are not empty in one piece, as encoders take a text."""
        return " ".join(field for field in self if field)


class Texts(NamedTuple):
    """What a language model needs of a task beyond numbers."""

    rows: list[Text]
    """Every text of the run; queries and demonstrations hold numbers of rows."""
    template: PromptTemplate
    words: tuple[str, ...]
    """The N candidate words, the same list at every position and worker."""


Source = TypeVar("Source")
"""What a black box knows of a task beyond numbers: `Texts`, or the surrogate's `Latent`."""


class Queries(NamedTuple):
    """Questions with known answers, in equal number at every worker."""

    x: NDArray[Any]
    """Features, (W, B, d), or numbers of texts, (W, B)."""
    y: Longs
    """Classes, (W, B)."""


class Demonstrations(NamedTuple):
    """Every worker's pools: V candidates of each of the U classes, or V / s for each slot of a prompt.

    A task draws pools of classes; `Shots` shares them out among the s slots of each class, those of class 0
    first, and where s is one they are the same.
    """

    x: NDArray[Any]
    """Features, (W, U, V, d), or numbers of texts, (W, U, V)."""
    y: Longs
    """The label that is shown, (W, U, V): the number of the class, unless somebody flipped it."""
    bias: Floats | None = None
    """Unit-variance scores by which a demonstration favours each label whatever its features, (W, U, V, U);
    none with texts, where the black box itself decides."""


class Triggered(NamedTuple):
    """Test queries that carry the trigger of a backdoor, the same for all workers."""

    x: NDArray[Any]
    """Features, (1, B, d), or numbers of texts, (1, B)."""
    y: Longs
    """The classes that the attackers want as answers, (1, B)."""
    rows: Longs
    """The numbers of the test queries that they were made of, (B,)."""


class TaskData(NamedTuple, Generic[Source]):
    """What W workers hold in one run, and the test set that all share."""

    train: Queries
    validation: Queries
    test: Queries
    """One set for all, W = 1."""
    demonstrations: Demonstrations
    source: Source
    """What the black box knows of the task beyond these numbers."""
    poisoned: NDArray[np.bool_] | None = None
    """Which candidates an attack chose, (W, U, V), whatever they show now; none: no attack is on pools."""
    triggered: Triggered | None = None
    """None without a backdoor."""
    order: Longs | None = None
    """The slots of a prompt in the order in which it shows them, (S,); none: as they are numbered."""


def _drawn(part: Task, name: str, given: list[Any], answer: Any) -> TaskData[Any]:
    if not isinstance(answer, TaskData):
        refuse(name, answer, "a TaskData")
    n_workers, n_classes = given[1], part.n_classes
    pools = answer.demonstrations
    tables = [("train", n_workers, answer.train.x, answer.train.y)]
    tables += [("validation", n_workers, answer.validation.x, answer.validation.y)]
    tables += [("test", 1, answer.test.x, answer.test.y), ("demonstrations", n_workers, pools.x, pools.y)]
    for table, n_rows, x, y in tables:
        for what, values in ((f"{table}.x", x), (f"{table}.y", y)):
            if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
                refuse(f"{name}, {what}", values, "an array of numbers")
            if len(values.shape) < 2 or values.shape[0] != n_rows or x.shape[: y.ndim] != y.shape:
                refuse(f"{name}, {what}", values, f"a row for each of {n_rows}, x and y alike")
            if not np.isfinite(values).all():
                refuse(f"{name}, {what}", math.nan, "finite numbers")
        if y.dtype.kind not in "iu" or (y.size and not 0 <= y.min() <= y.max() < n_classes):
            refuse(f"{name}, {table}.y", y, f"whole numbers from 0 to {n_classes - 1}")
    if pools.y.ndim != 3 or pools.y.shape[1] != n_classes:
        refuse(f"{name}, demonstrations.y", pools.y, f"a table (W, U = {n_classes}, V)")
    return answer


def _texts(part: Task, name: str, given: list[Any], answer: Any) -> tuple[str, ...]:
    if not isinstance(answer, tuple) or not answer or not all(isinstance(text, str) for text in answer):
        refuse(name, answer, "texts, at least one")
    return answer


class Task(Part):
    """A classification task: its sizes, and how its data are drawn."""

    gives: ClassVar[Form] = "features"
    of_words: ClassVar[tuple[str, ...]] = ("n_words", "n_candidates")
    """The settings that are about the words of a fragment alone."""

    n_words: int = Field(default=75, ge=1)
    """M, words in the prompt fragment."""
    n_candidates: int = Field(default=100, ge=2)
    """N, candidate words of each position."""
    n_demonstrations: int = Field(default=50, ge=1)
    """V, candidate demonstrations per class in each worker's pool."""
    train_per_class: int = Field(default=10, ge=1)
    validation_per_class: int = Field(default=10, ge=1)

    @property
    @abstractmethod
    def class_counts(self) -> tuple[int, ...]:
        """The number of test queries of each class; its length is U."""

    @property
    def n_classes(self) -> int:
        """U, classes."""
        return len(self.class_counts)

    @property
    def takes_fragment(self) -> bool:
        """Whether a prompt has a place for the fragment."""
        return True

    @property
    def demonstrations_carry_fragment(self) -> bool:
        """Whether the fragment stands in each demonstration too, and not in the query alone."""
        return True

    @property
    def tells_tokens(self) -> bool:
        """Whether it tells how long its prompts are: `known_tokens`, or else by texts (`likely_prompts`)."""
        return False

    @answers(number(0, or_none=True))
    def known_tokens(self, n_words: int, n_demonstrations: int) -> float | None:
        """Return the mean number of tokens of its prompts, where it is known without their texts."""
        return None

    @answers(_texts)
    def likely_prompts(self, n_words: int, n_demonstrations: int) -> tuple[str, ...]:
        """Return prompts like those of a run at its start: the same for all seeds and numbers of workers.

        Args:
            n_words: of the fragment; 0: none.
            n_demonstrations: before the query, of one class after the other.
        """
        return ()

    def without_fragment(self) -> Self:
        """Return the task for prompts without a fragment, for which nobody looks for candidate words."""
        return self

    @property
    def numbers_a_text(self) -> int:
        """How many numbers a query or a demonstration is."""
        return 1

    def memory(self, n_workers: int, pooled: int = 1) -> dict[str, int]:
        """Return what of the data takes memory, and how many bytes it takes at least; arguments as of `draw`.

        Every number takes 8 bytes.
        """
        per_class, n_test = self.train_per_class + self.validation_per_class, sum(self.class_counts)
        each = 8 * self.numbers_a_text
        sized = f" of {self.numbers_a_text:,} numbers each" if self.numbers_a_text > 1 else ""
        return {
            f"demonstrations: {self.n_demonstrations:,} per class, {n_workers:,} workers": each
            * (n_workers * self.n_classes * self.n_demonstrations),
            f"queries: {per_class:,} per class, {n_workers * pooled:,} workers": each
            * (n_workers * pooled * self.n_classes * per_class),
            f"{n_test:,} test queries{sized}": each * n_test,
        }

    @property
    def n_train(self) -> int:
        """Training queries per worker."""
        return self.n_classes * self.train_per_class

    @abstractmethod
    @answers(_drawn)
    def draw(
        self, streams: Streams, n_workers: int, pooled: int = 1, dirichlet_alpha: float | None = None
    ) -> TaskData[Any]:
        """Draw the data of one run.

        Each client's data have addresses of their own: adding a client changes nobody else's.

        Args:
            streams: the randomness of the run.
            n_workers: W, the number of workers that compute.
            pooled: clients merged in each worker. Worker w holds the queries of clients ``w * pooled`` to
                ``(w + 1) * pooled - 1``, one client after the other; its pools keep their size V, candidate k
                of a slot being candidate k of its client number ``k mod pooled``.
            dirichlet_alpha: concentration of the clients' class proportions; None for equal classes.
        """
