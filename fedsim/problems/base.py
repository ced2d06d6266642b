"""What an algorithm may ask of a problem: gradients at workers, and a measurement.

Letters as in the AsynDBT paper: `P` holds the lower-level variables p (word distributions, M x N for each
worker), `Q` the upper-level ones q (demonstration distributions, U x V for each worker), `z` the consensus
copy of p.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from fedsim.answering import answers, is_finite, measured, of_type, opens, refuse, tensor
from fedsim.attack import Assigned, Attack
from fedsim.catalog import Part
from fedsim.icl.attacks.base import DataAttack
from fedsim.messages import JobCost

if TYPE_CHECKING:
    from torch import Tensor

    from fedsim.icl.answers.naming import Judgement
    from fedsim.streams import Streams

Offer = Literal["gradients", "injection", "questions"]
"""What can be asked of a problem: sampled gradients by words and demonstrations (`Oracle`); activations of
the workers' own model, and gradients by the coefficients of their injection; answers to questions."""

Sent = Literal["distributions", "numbers", "vectors", "answers"]
"""What the messages of workers are: distributions over words; free numbers; activations, and the coefficients
of their injection; answers to questions, as distributions over the classes."""

RealisationRule = Literal["modal", "sampled", "fixed"]
"""Where the demonstrations of the lower problem come from: the likeliest, fresh draws at each polyhedron
update, or one draw for the whole run."""


class Questions(Protocol):
    """The questions put to a real model during a run."""

    def usage(self) -> dict[str, Any]:
        """Return how many were asked, how many a cache answered, and what that took."""
        ...

    def judge(self) -> Judgement:
        """Return whether the answers of a run, which is at its end, mean something."""
        ...

    def recording(self) -> str:
        """Return all answers that the run used, in the form that a replay reads."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...


class Oracle(Protocol):
    """A problem with its data in place, for a fixed number of workers.

    Everything is batched over J jobs of distinct workers; `workers` and `jobs` are their numbers, the address
    of every draw. Nothing depends on the composition of a batch beyond rounding.
    """

    start_p: Tensor
    """Starting point of every worker's p and of z, (M, N)."""
    start_q: Tensor
    """Starting point of every worker's q, (U, V)."""
    on_simplex: bool
    """Whether rows of p and q are distributions (projected on the simplex) or free."""
    questions: Questions | None
    """What a real model was asked; none where answers are computed."""

    def upper(
        self, workers: list[int], jobs: list[int], P: Tensor, Q: Tensor, starts_s: Sequence[float] = ()
    ) -> tuple[Tensor, Tensor]:
        """Return estimates of the gradients of f_v by p, (J, M, N), and by q, (J, U, V), at (P, Q).

        `starts_s` tells when each job started, for data that are attacked for some time only; none: at 0.
        """
        ...

    def lower(
        self,
        workers: list[int],
        jobs: list[int],
        P: Tensor,
        realised: Tensor,
        starts_s: Sequence[float] = (),
    ) -> Tensor:
        """Return estimates of the gradient of g_v by p, (J, M, N), the upper level held at `realised`."""
        ...

    def realise(self, workers: list[int], Q: Tensor, rule: RealisationRule, update: int) -> Tensor:
        """Return what the lower level sees of the upper one during polyhedron update number `update`."""
        ...

    def evaluate(
        self, workers: list[int], P: Tensor, Q: Tensor, z: Tensor, time_s: float = 0.0
    ) -> dict[str, float]:
        """Measure the state at `time_s`: at least ``loss`` and ``accuracy`` (NaN where it has no meaning).

        A view from outside: costs no simulated time and no counted call.
        """
        ...


def _wrong_cost(cost: JobCost) -> str:
    for name, value in cost._asdict().items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            return f"{name} is {value!r}, expected a whole number from 0"
    return ""


def _gradient(name: str, answer: Any, like: Tensor) -> Tensor:
    found: Tensor = tensor(name, answer, tuple(like.shape), finite=False)
    if found.isnan().any() and is_finite(like):
        refuse(name, math.nan, "numbers")
    return found


def _upper(part: Part, name: str, given: list[Any], answer: Any) -> tuple[Tensor, Tensor]:
    if not isinstance(answer, tuple) or len(answer) != 2:
        refuse(name, answer, "two gradients, by p and by q")
    return _gradient(name, answer[0], given[2]), _gradient(name, answer[1], given[3])


def _lower(part: Part, name: str, given: list[Any], answer: Any) -> Tensor:
    return _gradient(name, answer, given[2])


def _realised(part: Part, name: str, given: list[Any], answer: Any) -> Tensor:
    shape = (len(given[0]), *[None] * (getattr(answer, "ndim", 2) - 1))
    found: Tensor = tensor(name, answer, shape, finite=False)
    return found


def _prepared(part: Problem, name: str, given: list[Any], answer: Any) -> Any:
    if part.offers != "gradients":
        return answer
    checks = {"upper": _upper, "lower": _lower, "realise": _realised, "evaluate": measured}
    oracle: Oracle = opens(checks)(part, name, given, answer)
    for start in ("start_p", "start_q"):
        tensor(f"{name}, {start}", getattr(answer, start, None), (None, None))
    for attribute in ("on_simplex", "questions"):
        if not hasattr(answer, attribute):
            refuse(name, answer, f"an oracle with {attribute!r}")
    return oracle


ModelAccess = Literal["nothing", "text", "probabilities", "weights"]
"""What somebody must have of the language model, each including the one before."""


class Problem(Part):
    """The settings of a problem."""

    offers: ClassVar[Offer] = "gradients"
    """What an algorithm may ask of it. What `prepare` returns answers that."""
    on_device: ClassVar[bool] = False
    """Whether its oracle makes tensors where the scenario's `device` says (`fedsim.learning.device`), so that
    all that is learned can be computed there."""
    has_accuracy: ClassVar[bool] = True
    """Whether the measured accuracy is a number."""

    @property
    @abstractmethod
    def tunes_p(self) -> bool:
        """Whether there are words to tune: a lower level, which workers agree on."""

    @property
    def tunes_q(self) -> bool:
        """Whether there are demonstrations to tune: an upper level, private to each worker."""
        return self.offers == "gradients"

    @property
    def realises(self) -> bool:
        """Whether `Oracle.realise` depends on its rule."""
        return self.tunes_q

    @property
    def sends(self) -> Sent | None:
        """What workers send to the server; None: nothing that could be attacked."""
        return "distributions" if self.tunes_p else None

    @property
    def measures_drawn(self) -> bool:
        """Whether drawn prompts are measured beside the likeliest: ``loss_sampled``, ``accuracy_sampled``."""
        return False

    @property
    def access(self) -> ModelAccess:
        """What is needed of the language model: its answers as text, label probabilities, or its weights."""
        return "nothing"

    @property
    def asks_model(self) -> bool:
        """Whether a real model answers, whose answers can be kept."""
        return False

    def unread(self, attack: Attack) -> Mapping[str, str]:
        """Return the settings of an attack that have no effect on this problem, each with the reason."""
        return {}

    def check_attack(self, attack: Attack) -> None:
        """Say, before anything runs, that an attack is impossible here.

        Raises:
            ValueError: it is. Attacks on data are, unless a problem of texts applies them in `prepare`.
        """
        if isinstance(attack, DataAttack):
            raise ValueError(f"{attack.kind!r} attacks texts, but problem {self.kind!r} has none")

    @abstractmethod
    @answers(of_type(JobCost, _wrong_cost))
    def cost(self, pooled: int = 1) -> JobCost:
        """Return what one regular job costs a worker that holds the data of `pooled` workers.

        Where the problem offers gradients that is one estimate, of the outer or of the inner level.
        """

    def check_cost(self) -> None:
        """Check that `cost` is exact, and no estimate in the place of what is not there now.

        Raises:
            InputError: something is missing.
        """

    def evaluation_calls(self, n_workers: int, times: int, attacks: Sequence[Attack] = ()) -> int:
        """Return how many calls of a real model measuring takes, equal ones that are asked once included.

        Args:
            n_workers: how many are measured.
            times: how often.
            attacks: all attacks of the run; a backdoor is measured too.
        """
        return 0

    def memory(self, n_workers: int, pooled: int = 1) -> dict[str, int]:
        """Return what takes memory in a run, and how many bytes it takes at least.

        Args:
            n_workers: R, the number of workers that compute.
            pooled: how many workers' data each of them holds.
        """
        return {}

    def check_data(self, streams: Streams, n_workers: int, pooled: int = 1) -> None:
        """Check that there are data enough for `prepare`, which finds it out too, but later.

        Raises:
            InputError: there are not.
        """

    @abstractmethod
    @answers(_prepared)
    def prepare(
        self, streams: Streams, n_workers: int, pooled: int = 1, attacks: Sequence[Assigned] = ()
    ) -> Any:
        """Draw the data and return the oracle: an `Oracle`, where the problem offers gradients.

        Args:
            streams: the randomness of the run.
            n_workers: R, the number of workers that compute.
            pooled: how many workers' data each of them holds; one machine for all has ``n_workers = 1``
                and ``pooled = R``, and sees exactly the queries that R workers would have drawn.
            attacks: all attacks of the run; those on data act here.
        """
