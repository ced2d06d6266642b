"""A baseline as a problem: results, tables, sweeps and seeds work as for the tuned methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from fedsim.attack import Assigned, Attack
from fedsim.icl.attacks import Access, DataAttack
from fedsim.icl.attacks.backdoor import Backdoor
from fedsim.icl.baselines import AnyBaseline
from fedsim.icl.call_tokens import Tokens, check_counted, tokens_in, unstated
from fedsim.icl.models import AnyModel
from fedsim.icl.models.language import LanguageModel
from fedsim.icl.phases import Phases, over_time, with_tests
from fedsim.icl.tasks import AnyTask
from fedsim.icl.tasks.base import Queries
from fedsim.messages import JobCost
from fedsim.problems.base import ModelAccess, Oracle, Problem, Questions, RealisationRule

if TYPE_CHECKING:
    from torch import Tensor

    from fedsim.icl.baselines.base import Desk
    from fedsim.icl.tasks.base import TaskData, Texts
    from fedsim.streams import Streams


class BaselineProblem(Problem):
    """Answer the test queries by a method that tunes no prompt: a job is its preparation.

    Federated (algorithm ``sdbt``): every worker prepares on its own pool and training queries, and the
    accuracy is the mean over workers. Centralised (``cendbt``): once, on what all of them hold together.
    Either way ``budget.server_steps = 1``: a worker's only job makes the calls that the preparation needs,
    none for a method that only looks up texts. Test queries are measured from outside, as for all problems.

    Source: Ma et al., "AsynDBT", Scientific Reports 16:9381 (2026), section 4 and Table 3.
    """

    kind: Literal["baseline"] = "baseline"
    task: AnyTask
    model: AnyModel
    method: AnyBaseline
    dirichlet_alpha: float | None = Field(default=None, gt=0)
    """Concentration of the workers' class proportions; None for equal classes at every worker."""
    loss_floor: float = Field(default=1e-2, gt=0, lt=1)
    tokens: Tokens = Tokens()

    @model_validator(mode="after")
    def _check_form(self) -> BaselineProblem:
        if self.task.gives != "text":
            raise ValueError(
                f"a baseline needs a task of texts; task {self.task.kind!r} gives {self.task.gives}"
            )
        if not isinstance(self.model, LanguageModel):
            raise ValueError(f"a baseline asks a language model; model {self.model.kind!r} is none")
        self.method.check(self.task.n_classes, self.task.n_demonstrations)
        return self

    def idle(self) -> Mapping[str, str]:
        keys = [*(f"task.{key}" for key in self.task.of_words), "tokens.tokens_per_word"]
        found = {**dict.fromkeys(keys, "the prompts of a baseline have no fragment"), **unstated(self)}
        if not self.cost().calls:
            found["tokens"] = f"method {self.method.kind!r} asks nothing before the test queries"
        return found

    def unread(self, attack: Attack) -> Mapping[str, str]:
        return attack.unread(self.task) if isinstance(attack, DataAttack) else {}

    @property
    def access(self) -> ModelAccess:
        # Who asks before it is tested asks how sure the model is; an answer to a test query is a word.
        return "probabilities" if self.cost().calls else "text"

    @property
    def asks_model(self) -> bool:
        return True

    @property
    def tunes_p(self) -> bool:
        return False

    @property
    def tunes_q(self) -> bool:
        return False

    def check_attack(self, attack: Attack) -> None:
        if isinstance(attack, DataAttack):
            attack.check(self.task)

    def cost(self, pooled: int = 1) -> JobCost:
        """Return what the preparation costs a worker; pooled pools keep their size, so they cost the same.

        A question that is asked again, word for word, counts again, as in the problem `icl`.
        """
        counts, n_tokens = 0, 0
        for calls in self.method.preparation(self.task.n_classes * self.task.n_demonstrations):
            count = calls.queries + calls.heads * self.model.calls_per_prompt
            counts += count
            n_tokens += count * tokens_in(self, 0, calls.n_demonstrations)
        return JobCost(counts, n_tokens, counts * self.tokens.tokens_out, 0, 0)

    def check_cost(self) -> None:
        if self.cost().calls:
            check_counted(self)

    def evaluation_calls(self, n_workers: int, times: int, attacks: Sequence[Attack] = ()) -> int:
        # Answers are the same at each measurement, and asked for once.
        sets = 1 + any(isinstance(attack, Backdoor) for attack in attacks)
        each = self.method.calls_per_query * (1 + self.model.calls_per_prompt)
        return n_workers * sets * sum(self.task.class_counts) * each

    def memory(self, n_workers: int, pooled: int = 1) -> dict[str, int]:
        return self.task.memory(n_workers, pooled)

    def check_data(self, streams: Streams, n_workers: int, pooled: int = 1) -> None:
        self.task.without_fragment().draw(streams, n_workers, pooled, self.dirichlet_alpha)

    def prepare(
        self, streams: Streams, n_workers: int, pooled: int = 1, attacks: Sequence[Assigned] = ()
    ) -> Oracle:
        return BaselineOracle(self, streams, n_workers, pooled, attacks)


class BaselineOracle:
    """A baseline with its data in place; see `fedsim.problems.base.Oracle`. There is nothing to tune."""

    on_simplex = True

    def __init__(
        self,
        problem: BaselineProblem,
        streams: Streams,
        n_workers: int,
        pooled: int,
        attacks: Sequence[Assigned] = (),
    ) -> None:
        import torch

        from fedsim.icl.answers.asking import Asking
        from fedsim.icl.models.text_scorer import TextScorer

        assert isinstance(problem.model, LanguageModel)
        self.problem = problem
        self._model = model = problem.model
        self._asking = asking = Asking(model)
        self.questions: Questions | None = asking
        task = problem.task.without_fragment()
        clean = task.draw(streams, n_workers, pooled, problem.dirichlet_alpha)
        access = Access(lambda data: TextScorer(model, data, asking), problem.loss_floor)
        phases = over_time(clean, attacks, streams, pooled, access)
        self._phases = Phases(phases.changes_s, tuple(with_tests(data, attacks) for data in phases.data))
        self.data: TaskData[Texts] = self._phases.data[0]
        """As they are at the start."""
        self._held: dict[int, TaskData[Texts]] = {}
        # One word, one demonstration: distributions that no step can move.
        self.start_p = torch.ones(1, 1, dtype=torch.float64)
        self.start_q = torch.ones(1, 1, dtype=torch.float64)
        self._streams = streams
        self._prepared: dict[int, Any] = {}
        self._measured: dict[int, dict[str, float]] = {}

    def upper(
        self, workers: list[int], jobs: list[int], P: Tensor, Q: Tensor, starts_s: Sequence[float] = ()
    ) -> tuple[Tensor, Tensor]:
        """Prepare the workers that are not yet, and return gradients of zero."""
        import torch

        for worker, start_s in zip(workers, starts_s or [0.0] * len(workers), strict=True):
            self._prepare(worker, start_s)
        return torch.zeros_like(P), torch.zeros_like(Q)

    def lower(
        self,
        workers: list[int],
        jobs: list[int],
        P: Tensor,
        realised: Tensor,
        starts_s: Sequence[float] = (),
    ) -> Tensor:
        import torch

        return torch.zeros_like(P)

    def realise(self, workers: list[int], Q: Tensor, rule: RealisationRule, update: int) -> Tensor:
        return Q.argmax(-1)

    def evaluate(
        self, workers: list[int], P: Tensor, Q: Tensor, z: Tensor, time_s: float = 0.0
    ) -> dict[str, float]:
        """Measure test loss and accuracy, averaged over `workers`.

        They are the same at each measurement: what is not prepared yet is prepared now, and kept. With a
        backdoor also its success, as in the problem `icl`.
        """
        found = [self._measure(worker, time_s) for worker in workers]
        return {name: sum(of_worker[name] for of_worker in found) / len(found) for name in found[0]}

    def _measure(self, worker: int, time_s: float) -> dict[str, float]:
        import torch

        from fedsim.icl.loss import accuracy, cross_entropy

        if worker not in self._measured:
            self._prepare(worker, time_s)
            data = self._held[worker]
            scores, labels = self._answered(worker, data), torch.from_numpy(data.test.y)
            loss = cross_entropy(scores, labels, self.problem.loss_floor)
            found = {"loss": float(loss), "accuracy": float(accuracy(scores, labels))}
            if data.triggered is not None:
                x, y, rows = data.triggered
                wanted = torch.from_numpy(y)
                answered = self._answered(worker, data._replace(test=Queries(x, y)))
                found["backdoor_success"] = float(accuracy(answered, wanted))
                found["backdoor_base"] = float(accuracy(scores[..., torch.from_numpy(rows)], wanted))
            self._measured[worker] = found
        return self._measured[worker]

    def _answered(self, worker: int, data: TaskData[Texts]) -> Tensor:
        """Return the probabilities of the labels for the test queries in `data`, (1, 1, U, b)."""
        answered = self.problem.method.answer(self._desk(worker, data), self._prepared[worker])
        return answered.T[None, None]

    def _prepare(self, worker: int, time_s: float) -> None:
        """Do a worker's preparation, on the data that it has at this instant, unless it is done."""
        if worker not in self._prepared:
            self._held[worker] = data = self._phases.at(time_s)
            self._prepared[worker] = self.problem.method.prepare(self._desk(worker, data))

    def _desk(self, worker: int, data: TaskData[Texts] | None = None) -> Desk:
        from fedsim.icl.baselines.base import Desk

        corrected = self._model.correction == "content_free"
        return Desk(worker, self.data if data is None else data, self._asking, corrected, self._streams)
