"""The in-context-learning problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from fedsim.attack import Assigned, Attack
from fedsim.icl.attacks import DataAttack, DemonstrationAttack
from fedsim.icl.attacks.backdoor import Backdoor
from fedsim.icl.call_tokens import Tokens, check_counted, tokens_in, unstated
from fedsim.icl.models import AnyModel
from fedsim.icl.models.language import LanguageModel
from fedsim.icl.models.surrogate import Surrogate
from fedsim.icl.pools import Pool
from fedsim.icl.shots import Shots
from fedsim.icl.tasks import AnyTask
from fedsim.learning.attacks.worst_word import WorstWord
from fedsim.messages import JobCost
from fedsim.problems.base import ModelAccess, Oracle, Problem

if TYPE_CHECKING:
    from fedsim.streams import Streams

Estimator = Literal["zero", "code", "paper"]
AlsoMeasured = Literal["consensus", "validation", "sampled"]

FLOAT32_BYTES = 4


class IclProblem(Problem):
    """Choose prompt words (lower level) and demonstrations (upper level) for a black-box language model.

    Source: Ma et al., "AsynDBT", Scientific Reports 16:9381 (2026), (1)-(3); sampled gradients (27) in the
    form of Diao et al., "Black-box Prompt Learning for Pre-trained Language Models", TMLR 2023.
    """

    on_device: ClassVar[bool] = True
    kind: Literal["icl"] = "icl"
    task: AnyTask
    model: AnyModel = Surrogate()
    n_samples: int = Field(default=20, ge=2)
    """I_s, prompts sampled for one gradient estimate."""
    batch: int | None = Field(default=None, ge=1)
    """b, queries a gradient estimate, drawn without replacement for every job; None for all."""
    estimator: Estimator = "zero"
    """The score vector; "code" is twice "zero", and "paper" learns less under Adam."""
    use_demonstrations: bool = True
    use_fragment: bool = True
    dirichlet_alpha: float | None = Field(default=None, gt=0)
    """Concentration of the workers' class proportions; None for equal classes at every worker."""
    upper_split: bool = False
    """Whether the two levels see disjoint halves of the training queries instead of the same queries."""
    loss_floor: float = Field(default=1e-2, gt=0, lt=1)
    evaluation: Literal["modal", "sampled"] = "modal"
    """Prompts to evaluate: the likeliest candidates (of several, one drawn once), or drawn ones."""
    evaluation_samples: int = Field(default=20, ge=1)
    """Drawn prompts a worker."""
    also_measured: tuple[AlsoMeasured, ...] | None = None
    """What to measure besides the workers' own prompts on the test set: the consensus words there, the own
    prompts on the workers' validation queries, and prompts drawn from the workers' distributions on the test
    set, with their spread. None: all that costs nothing, which is the first two where a real model is asked,
    and all three where answers are computed."""
    tokens: Tokens = Tokens()
    shots: Shots = Shots()
    """How many demonstrations of each class a prompt shows, and in which order."""
    pool: Pool = Pool()
    """Whose demonstrations a worker may show."""

    @model_validator(mode="after")
    def _check_form(self) -> IclProblem:
        if self.use_fragment and not self.task.takes_fragment:
            raise ValueError(
                "the task's question has no {{ fragment }}, so the words would do nothing: put it in, or say "
                "use_fragment = false"
            )
        if self.model.reads != self.task.gives:
            raise ValueError(
                f"model {self.model.kind!r} reads {self.model.reads}, but task {self.task.kind!r} gives "
                f"{self.task.gives}"
            )
        return self

    @model_validator(mode="after")
    def _check_batch(self) -> IclProblem:
        if self.upper_split and self.task.n_train % 2:
            raise ValueError(
                f"upper_split needs an even number of training queries per worker, got {self.task.n_train}"
            )
        if self.batch is not None and self.batch > self.level_size:
            raise ValueError(f"batch={self.batch} exceeds the {self.level_size} training queries of a level")
        return self

    @model_validator(mode="after")
    def _check_pool(self) -> IclProblem:
        offered, held = self.pool.offered_per_class, self.task.n_demonstrations
        if self.pool.sharing == "shared" and offered > held:
            raise ValueError(
                f"pool.offered_per_class: found {offered}, expected at most {held}, the demonstrations of a "
                "class in a worker's own pool"
            )
        self.shots.check(self.task, self.pool)
        return self

    def idle(self) -> Mapping[str, str]:
        found: dict[str, str] = dict(unstated(self))
        if not self.use_fragment:
            keys = [
                *(f"task.{key}" for key in self.task.of_words),
                "tokens.tokens_per_word",
                "model.fragment",
            ]
            found |= dict.fromkeys(keys, "prompts have no fragment (use_fragment = false)")
        if not self.use_demonstrations:
            keys = ["pool", "shots"]
            keys += [] if self.task.gives == "text" else ["task.n_demonstrations"]
            found |= dict.fromkeys(
                [*keys, "model.demonstrations"], "prompts show no demonstration (use_demonstrations = false)"
            )
        elif not self.model.reads_order:
            found["shots.order"] = f"model {self.model.kind!r} adds demonstrations up, whatever their order"
        if self.shots.per_class == 1:
            found["model.demonstrations.shots_exponent"] = (
                "prompts show one demonstration of each class (shots.per_class = 1)"
            )
        if not self.draws_prompts:
            found["evaluation_samples"] = (
                'one prompt a worker is measured (evaluation = "modal", no "sampled" in also_measured)'
            )
        if not (self.use_fragment or self.use_demonstrations):
            off = "nothing is drawn for a prompt (use_fragment = false, use_demonstrations = false)"
            found |= dict.fromkeys(("estimator", "evaluation", "evaluation_samples"), off)
        if "validation" not in self.measures and self.task.gives == "features":
            found["task.validation_per_class"] = "nothing asks validation queries (also_measured)"
        return found

    def unread(self, attack: Attack) -> Mapping[str, str]:
        return attack.unread(self.task) if isinstance(attack, DataAttack) else {}

    @property
    def access(self) -> ModelAccess:
        return "probabilities"

    @property
    def asks_model(self) -> bool:
        return isinstance(self.model, LanguageModel)

    @property
    def measures(self) -> tuple[AlsoMeasured, ...]:
        """What is measured besides the workers' own prompts on the test set."""
        if self.also_measured is not None:
            return self.also_measured
        asked: tuple[AlsoMeasured, ...] = ("consensus", "validation")
        return asked if self.asks_model else (*asked, "sampled")

    @property
    def measures_drawn(self) -> bool:
        return "sampled" in self.measures

    @property
    def draws_prompts(self) -> bool:
        """Whether prompts are drawn for a measurement."""
        return self.evaluation == "sampled" or self.measures_drawn

    @property
    def level_size(self) -> int:
        """Training queries that one level sees at one worker."""
        return self.task.n_train // 2 if self.upper_split else self.task.n_train

    @property
    def tunes_p(self) -> bool:
        return self.use_fragment

    @property
    def tunes_q(self) -> bool:
        return self.use_demonstrations

    def check_attack(self, attack: Attack) -> None:
        if isinstance(attack, DataAttack):
            attack.check(self.task)
        if isinstance(attack, DemonstrationAttack) and not self.use_demonstrations:
            raise ValueError(
                f"{attack.kind!r} attacks demonstrations, but prompts show none (use_demonstrations = false)"
            )
        if isinstance(attack, WorstWord):
            attack.check(self.task.n_candidates)

    def cost(self, pooled: int = 1) -> JobCost:
        """Return what one job costs: a call per sampled prompt and query, and p sent both ways."""
        queries = (self.batch or self.level_size) * pooled
        calls = self.n_samples * (queries + self.model.calls_per_prompt)
        n_words = self.task.n_words if self.use_fragment else 0
        n_demonstrations = self.shots.slots(self.task.n_classes) if self.use_demonstrations else 0
        size_bytes = FLOAT32_BYTES * n_words * self.task.n_candidates
        return JobCost(
            calls=calls,
            tokens_in=calls * tokens_in(self, n_words, n_demonstrations),
            tokens_out=calls * self.tokens.tokens_out,
            bytes_up=size_bytes,
            bytes_down=size_bytes,
        )

    def check_cost(self) -> None:
        check_counted(self)

    def evaluation_calls(self, n_workers: int, times: int, attacks: Sequence[Attack] = ()) -> int:
        if not self.asks_model:
            return 0
        per_prompt, measured, task = self.model.calls_per_prompt, self.measures, self.task
        n_test, n_validation = sum(task.class_counts), task.n_classes * task.validation_per_class
        n_prompts = self.evaluation_samples if self.evaluation == "sampled" else 1
        sets = 1 + any(isinstance(attack, Backdoor) for attack in attacks)
        sets += "consensus" in measured and self.tunes_p  # the same prompts where there are no words
        calls = n_prompts * sets * (n_test + per_prompt)
        if "validation" in measured:
            calls += n_prompts * (n_validation + per_prompt)
        if "sampled" in measured:
            calls += self.evaluation_samples * (n_test + per_prompt)
        return times * n_workers * calls

    def memory(self, n_workers: int, pooled: int = 1) -> dict[str, int]:
        task = self.task
        found = task.memory(n_workers, pooled)
        if self.tunes_p:  # p, its gradient and what was last received
            numbers = 3 * n_workers * task.n_words * task.n_candidates
            found[f"p of {task.n_words:,} words x {task.n_candidates:,} candidates"] = 8 * numbers
        if self.tunes_q:  # q and its gradient
            numbers = 2 * n_workers * task.n_classes * task.n_demonstrations
            found[f"q of {task.n_demonstrations:,} demonstrations per class"] = 8 * numbers
        # The prompts of one job: jobs of a batch may be done one after the other.
        n_slots = self.shots.slots(task.n_classes) if self.tunes_q else 0
        positions = (task.n_words if self.tunes_p else 0) + n_slots
        numbers = positions + (self.batch or self.level_size) * task.n_classes
        found[f"problem.n_samples = {self.n_samples:,} prompts of one job"] = 8 * self.n_samples * numbers
        if self.draws_prompts:
            count = self.evaluation_samples
            found[f"problem.evaluation_samples = {count:,} prompts"] = 8 * count * max(1, positions)
        return found

    @property
    def drawn_task(self) -> AnyTask:
        """The task whose data are drawn: without what only words need where there are none."""
        return self.task if self.use_fragment else self.task.without_fragment()

    def check_data(self, streams: Streams, n_workers: int, pooled: int = 1) -> None:
        if self.task.gives == "text":  # what is computed never runs out
            self.drawn_task.draw(streams, n_workers, pooled, self.dirichlet_alpha)

    def prepare(
        self, streams: Streams, n_workers: int, pooled: int = 1, attacks: Sequence[Assigned] = ()
    ) -> Oracle:
        from fedsim.problems.icl.oracle import IclOracle

        return IclOracle(self, streams, n_workers, pooled, attacks)
