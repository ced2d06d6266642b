"""The problem of injecting task vectors into a language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from fedsim.attack import Assigned, Attack
from fedsim.icl.attacks import DataAttack
from fedsim.icl.attacks.adversarial import Adversarial
from fedsim.icl.attacks.flipped_queries import FlippedQueries
from fedsim.icl.attacks.out_of_class import OutOfClass
from fedsim.icl.call_tokens import Tokens, check_counted, tokens_in, unstated
from fedsim.icl.models import AnyModel
from fedsim.icl.models.open_weights import OpenWeights, Shape
from fedsim.icl.tasks import AnyTask
from fedsim.messages import JobCost
from fedsim.problems.base import ModelAccess, Offer, Problem, Sent

if TYPE_CHECKING:
    from fedsim.problems.injection.oracle import InjectionOracle
    from fedsim.streams import Streams

FLOAT16_BYTES, FLOAT32_BYTES = 2, 4
MODULES = 2
"""Attention and MLP: what adds to the residual stream in each layer."""
NUMBERS = 2
"""Coefficients of a module: lambda and beta."""


class InjectionProblem(Problem):
    """Calibrate what a model adds to its residual stream, so that a prompt needs no demonstration.

    A worker writes each of its labelled texts as a demonstration, alone, and keeps what the attention and the
    MLP of each layer add to the residual stream at one token of it: 2 L vectors, whose means over its texts
    are the worker's vectors. With vectors v from somewhere, a module's output y becomes
    ``beta y + lambda v`` wherever a prompt without demonstrations is read, and lambda and beta, 4 L numbers,
    are calibrated by gradients on the same texts: every worker's calibration data are its demonstrations, as
    in the single-client method. Weights stay as they are.

    An attack on demonstrations changes the worker's texts themselves, so it acts on its vectors and on its
    calibration; an attack on queries changes the right answers of the calibration alone.

    Source: Li et al., "IFed-ICL", arXiv 2511.06757, (1), (2), (4)-(6); Li et al., "Implicit in-context
    learning", ICLR 2025, and its code for what the former leaves open: start, tokens, noise.
    """

    kind: Literal["injection"] = "injection"
    offers: ClassVar[Offer] = "injection"

    task: AnyTask
    model: AnyModel
    """One with open weights."""
    texts: Literal["queries", "pools", "all"] = "queries"
    """Which of a task's rows are a worker's labelled texts: its training queries, whose classes follow
    `dirichlet_alpha`; its pools of demonstrations, with equally many of each class; or both, which are the
    very rows that a worker of other problems with this task holds."""
    extraction: Literal["end", "predicting"] = "end"
    """At which token vectors are taken: the last one of a demonstration with its label and the separator (the
    single-client method's code), or the last one before the label (as IFed-ICL's text may be read)."""
    at: Literal["predicting", "all"] = "predicting"
    """Where vectors are injected: at the token that predicts the label, which is cheap, because all before it
    is computed once; or at all tokens of a prompt, as in the papers."""
    loss: Literal["labels", "vocabulary"] = "labels"
    """Whether the label words share all probability among them, or are words among all others (the
    single-client method's code). Measurements are always among the label words."""
    noise: float = Field(default=0.001, ge=0)
    """In calibration, normal noise on each module's output, in parts of its own Euclidean norm."""
    batch: int = Field(default=4, ge=1)
    """Texts of one local step, drawn without replacement."""
    dirichlet_alpha: float | None = Field(default=None, gt=0)
    """Concentration of the workers' class proportions; None for equal classes at every worker."""
    loss_floor: float = Field(default=1e-2, gt=0, lt=1)
    """The smallest probability that counts in the measured loss."""
    tokens: Tokens = Tokens()
    """How long a text with its template is, for the clock."""

    @model_validator(mode="after")
    def _check_form(self) -> InjectionProblem:
        if not isinstance(self.model, OpenWeights):
            raise ValueError(
                f"model: found {self.model.kind!r}, expected a model with open weights ('open_weights'): "
                "vectors are taken from inside it"
            )
        if self.task.gives != "text":
            raise ValueError(
                f"task: found {self.task.kind!r}, which gives {self.task.gives}, expected a task of texts"
            )
        if self.batch > self.n_texts:
            raise ValueError(
                f"batch: found {self.batch}, expected at most {self.n_texts}, the texts of a worker"
            )
        return self

    def idle(self) -> Mapping[str, str]:
        keys = [*(f"task.{key}" for key in self.task.of_words), "tokens.tokens_per_word", "model.fragment"]
        found = {**dict.fromkeys(keys, "prompts have no fragment"), **unstated(self)}
        found |= dict.fromkeys(
            ("tokens.tokens_out", "model.correction"), "the model is not asked for answers"
        )
        if self.texts != "all":  # there it moves the rows of workers, as in other problems
            found["task.validation_per_class"] = "nothing is validated"
        if self.texts == "queries":
            found["task.n_demonstrations"] = 'the texts of a worker are its queries (texts = "queries")'
        if self.texts == "pools":
            found |= dict.fromkeys(
                ("task.train_per_class", "dirichlet_alpha"),
                'the texts of a worker are its pools, alike of each class (texts = "pools")',
            )
        return found

    def unread(self, attack: Attack) -> Mapping[str, str]:
        return attack.unread(self.task) if isinstance(attack, DataAttack) else {}

    @property
    def tunes_p(self) -> bool:
        return False

    @property
    def sends(self) -> Sent:
        return "vectors"

    @property
    def access(self) -> ModelAccess:
        return "weights"

    @property
    def drawn_task(self) -> AnyTask:
        """The task whose data are drawn: without rows of which nothing is read."""
        if self.texts == "all":
            return self.task.without_fragment()
        unread = "n_demonstrations" if self.texts == "queries" else "train_per_class"
        return self.task.without_fragment().trusted_copy({unread: 0, "validation_per_class": 0})

    @property
    def n_texts(self) -> int:
        """Labelled texts of a worker."""
        task = self.drawn_task
        return task.n_classes * (task.train_per_class + task.n_demonstrations)

    @property
    def text_tokens(self) -> int:
        """Of a text with its template."""
        return tokens_in(self, 0, 0)

    @property
    def shape(self) -> Shape:
        """Layers and width of the model, known without its weights."""
        assert isinstance(self.model, OpenWeights)
        return self.model.shape

    @property
    def value_width(self) -> int:
        """How many numbers a layer's values have: fewer than the residual stream where heads share them."""
        assert isinstance(self.model, OpenWeights)
        sizes = self.model.sizes
        return sizes.n_kv_heads * sizes.head_width

    @property
    def model_identity(self) -> dict[str, Any]:
        """What the model is, as a task store tells it."""
        assert isinstance(self.model, OpenWeights)
        return self.model.identity

    @property
    def vectors_bytes(self) -> int:
        """The size of a message with 2 L vectors of half precision."""
        return MODULES * self.shape.n_layers * self.shape.width * FLOAT16_BYTES

    @property
    def coefficients_bytes(self) -> int:
        """The size of a message with 4 L coefficients."""
        return MODULES * NUMBERS * self.shape.n_layers * FLOAT32_BYTES

    def check_attack(self, attack: Attack) -> None:
        if not isinstance(attack, DataAttack):
            return
        # Whatever its texts are, they are in the place of the pools.
        each = self.n_texts // self.task.n_classes
        attack.check(self.task.trusted_copy({"n_demonstrations": each, "train_per_class": each}))
        if self.texts != "pools" and isinstance(attack, OutOfClass):
            raise ValueError(
                f"{attack.kind!r} takes texts of another class from a worker's pools, but among its texts "
                f'are queries (problem.texts = "{self.texts}"); expected problem.texts = "pools"'
            )
        if self.texts == "pools" and isinstance(attack, FlippedQueries | Adversarial):
            raise ValueError(
                f'{attack.kind!r} is about training queries, and workers have none (problem.texts = "pools")'
            )

    def extraction_cost(self) -> JobCost:
        """Return what it costs a worker to take its vectors and send them: each text passes forward once."""
        tokens = self.n_texts * self.text_tokens
        return JobCost(0, 0, 0, bytes_up=self.vectors_bytes, bytes_down=0, own_tokens=tokens)

    def cost(self, pooled: int = 1) -> JobCost:
        """Return what a local step costs, with the coefficients sent both ways.

        At the predicting token a text costs one token: all before it was computed when vectors were taken.
        """
        each = 1 if self.at == "predicting" else self.text_tokens
        size_bytes = self.coefficients_bytes
        return JobCost(0, 0, 0, size_bytes, size_bytes, own_gradient_tokens=self.batch * each)

    def check_cost(self) -> None:
        check_counted(self)

    def memory(self, n_workers: int, pooled: int = 1) -> dict[str, int]:
        found = self.drawn_task.memory(n_workers, pooled)
        numbers = MODULES * self.shape.n_layers * self.shape.width
        found[f"vectors of {n_workers:,} workers"] = 2 * 8 * n_workers * numbers
        return found

    def check_data(self, streams: Streams, n_workers: int, pooled: int = 1) -> None:
        self.drawn_task.draw(streams, n_workers, pooled, self.dirichlet_alpha)

    def prepare(
        self, streams: Streams, n_workers: int, pooled: int = 1, attacks: Sequence[Assigned] = ()
    ) -> InjectionOracle:
        from fedsim.problems.injection.oracle import InjectionOracle

        return InjectionOracle(self, streams, n_workers, attacks)
