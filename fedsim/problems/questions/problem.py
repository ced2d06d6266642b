"""Questions that a language model answers at clients: settings and costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from fedsim.attack import Assigned, Attack
from fedsim.icl.attacks import DataAttack
from fedsim.icl.attacks.backdoor import Backdoor
from fedsim.icl.call_tokens import Tokens, check_counted, tokens_in, unstated
from fedsim.icl.encoders import AnyEncoder, WordLlama
from fedsim.icl.models import AnyModel
from fedsim.icl.models.language import LanguageModel
from fedsim.icl.tasks import AnyTask
from fedsim.learning.attacks.worst_word import WorstWord
from fedsim.messages import JobCost
from fedsim.problems.base import ModelAccess
from fedsim.problems.questions.base import QuestionProblem, Shown

if TYPE_CHECKING:
    from fedsim.problems.questions.answerer import TextAnswerer
    from fedsim.streams import Streams

BYTE_BITS = 8


class QuestionsProblem(QuestionProblem):
    """A server's questions, answered by a language model at clients that show it their own labelled texts.

    The server's M questions are the test rows of the task: it is these that it wants answered, so the
    accuracy of its answers to them is what is measured. They are the same for all seeds unless
    ``task.test_set = "redrawn"``. A client's labelled texts D_i are all that it holds: its training queries,
    whose classes follow `dirichlet_alpha`, and its candidate demonstrations. Attacks on demonstrations act on
    the latter, attacks on queries on the former.

    Before a query stand the C labelled texts that are most like it, the nearest last. An answer is the label
    of largest probability (of equal ones the first class): the paper draws at temperature 0.1, which is
    nearly the same. On the wire it is one byte.

    Source: Wang et al., "Federated in-context learning: iterative refinement for improved answer quality",
    ICML 2025 (arXiv 2506.07440), Algorithm 2 and section 5; the nearest texts as in KATE (Liu et al., DeeLIO
    2022); its encoder is paraphrase-MiniLM-L6-v2.
    """

    kind: Literal["questions"] = "questions"
    task: AnyTask
    model: AnyModel
    n_demonstrations: int = Field(default=5, ge=0)
    """C, labelled texts of each sort that stand before a query; 0: none, which is the bound from below."""
    encoder: AnyEncoder = WordLlama()
    """What says which texts are near one another."""
    dirichlet_alpha: float | None = Field(default=None, gt=0)
    """Concentration of the clients' class proportions; None for equal classes at every client."""
    loss_floor: float = Field(default=1e-2, gt=0, lt=1)
    """The smallest share of the votes that counts in the loss."""
    tokens: Tokens = Tokens()
    text_bytes: int = Field(default=120, ge=0)
    """Of a question, in UTF-8: only for the cost of sending it."""

    @model_validator(mode="after")
    def _check_form(self) -> QuestionsProblem:
        if self.task.gives != "text":
            raise ValueError(
                f"questions are texts; found task {self.task.kind!r}, which gives {self.task.gives}"
            )
        if not isinstance(self.model, LanguageModel):
            raise ValueError(f"a language model answers questions; model {self.model.kind!r} is none")
        for held, what in ((self.n_held, "texts of a client"), (self.n_questions, "questions")):
            if self.n_demonstrations > held:
                raise ValueError(
                    f"n_demonstrations: found {self.n_demonstrations}, expected at most {held}, the number "
                    f"of {what}"
                )
        return self

    def idle(self) -> Mapping[str, str]:
        keys = [*(f"task.{key}" for key in self.task.of_words), "tokens.tokens_per_word"]
        found = {**dict.fromkeys(keys, "questions have no fragment"), **unstated(self)}
        if not self.n_demonstrations:
            found["encoder"] = "nothing stands before a query (n_demonstrations = 0)"
        return found

    def unread(self, attack: Attack) -> Mapping[str, str]:
        return attack.unread(self.task) if isinstance(attack, DataAttack) else {}

    def check_attack(self, attack: Attack) -> None:
        if isinstance(attack, Backdoor):
            raise ValueError("'backdoor' waits for a trigger, which none of the server's questions carries")
        if isinstance(attack, DataAttack):
            attack.check(self.task)
        if isinstance(attack, WorstWord):
            attack.check(self.task.n_classes)

    @property
    def access(self) -> ModelAccess:
        return "probabilities" if self.model.calls_per_prompt else "text"

    @property
    def asks_model(self) -> bool:
        return True

    @property
    def n_questions(self) -> int:
        """M."""
        return sum(self.task.class_counts)

    @property
    def n_held(self) -> int:
        """Labelled texts of a client."""
        return self.task.n_train + self.task.n_classes * self.task.n_demonstrations

    @property
    def question_bytes(self) -> int:
        return self.n_questions * self.text_bytes

    def job_cost(self, shows: Shown) -> JobCost:
        """Return what a round costs: N_i calls to relabel and M to answer, each with its own prompt.

        N_i is taken to be the least of what a client holds and M C: so many texts can be nearest to a
        question. How many really are is counted in the column `asked`.
        """
        shown, each = self.n_demonstrations, 1 + self.model.calls_per_prompt
        n_relabelled = min(self.n_held, self.n_questions * shown) if shows.relabelled else 0
        n_before = shown * (shows.own + shows.relabelled)
        n_tokens = each * (
            n_relabelled * tokens_in(self, 0, shown) + self.n_questions * tokens_in(self, 0, n_before)
        )
        calls = each * (n_relabelled + self.n_questions)
        answers_bytes = self.n_questions * self.answer_bytes
        return JobCost(
            calls=calls,
            tokens_in=n_tokens,
            tokens_out=calls * self.tokens.tokens_out,
            bytes_up=answers_bytes,
            bytes_down=answers_bytes if shows.relabelled else 0,
        )

    @property
    def answer_bytes(self) -> int:
        """Of an answer: the number of its class."""
        return -(-(self.task.n_classes - 1).bit_length() // BYTE_BITS)

    def check_cost(self) -> None:
        check_counted(self)

    def memory(self, n_workers: int, pooled: int = 1) -> dict[str, int]:
        return self.task.memory(n_workers, pooled)

    def check_data(self, streams: Streams, n_workers: int, pooled: int = 1) -> None:
        self.task.without_fragment().draw(streams, n_workers, pooled, self.dirichlet_alpha)

    def prepare(
        self, streams: Streams, n_workers: int, pooled: int = 1, attacks: Sequence[Assigned] = ()
    ) -> TextAnswerer:
        from fedsim.problems.questions.answerer import TextAnswerer

        return TextAnswerer(self, streams, n_workers, pooled, attacks)
