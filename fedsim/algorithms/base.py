"""The interface of an algorithm: what it tells the clock, and what it computes when the clock asks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from fedsim.answering import answers, measured, of_type, opens, refuse
from fedsim.attack import Assigned, Attack
from fedsim.catalog import Part
from fedsim.learning.attacks.base import MessageAttack
from fedsim.learning.tuned import MOST_ROWS, Tuned
from fedsim.messages import JobCost, Ticket
from fedsim.problems.base import Offer, Oracle, Problem, Questions
from fedsim.schedule import Adapt, Interlude, Rounds, Schedule, Steps, Work
from fedsim.streams import Streams

if TYPE_CHECKING:
    from torch import Tensor

    from fedsim.learning.batching import Job
    from fedsim.learning.filters.base import Filter, Filtering


class Group(Protocol):
    """What an algorithm may know of a group of workers; none of it is about time."""

    @property
    def name(self) -> str: ...

    @property
    def count(self) -> int: ...


class Setting(Protocol):
    """What an algorithm may know of the scenario it stands in, before anything runs."""

    @property
    def problem(self) -> Problem: ...

    @property
    def workers(self) -> Sequence[Group]: ...

    @property
    def n_workers(self) -> int:
        """R: workers that hold data."""
        ...


class Learner(Protocol):
    """An algorithm at work, in one run.

    The clock decides when each of these is called, and passes on what they return without looking at it. A
    ticket's numbers are needed when it comes back in `take_step` or in a round of an interlude; until then a
    job that was handed out may wait, to be evaluated with others in one batch.

    Two attributes may be left out, and a `BatchingLearner` has them. ``expelled``: the workers that are to be
    out for good, all so far. The clock asks after steps and interludes; of whom it has not been told before
    it tells `evict`, and gives that worker no job any more. ``finished``: why nothing is left to do, which
    ends the run with this step; empty while something is.

    And a method ``tuned()``, asked once at the end: the result of tuning, as rows of
    `fedsim.learning.tuned`, which the run keeps as its table `prompt`. What learns nothing has no row.
    """

    @property
    def alive(self) -> Collection[int]:
        """The workers that take part, in order of number."""
        ...

    def first(self) -> Any:
        """Return the content that every worker starts from."""
        ...

    def hand_out(self, job: Job) -> None:
        """A job has been handed out; everything that its result depends on is fixed now."""
        ...

    def take_step(self, tickets: list[Ticket]) -> Any:
        """Take one server step with these tickets; return the new content."""
        ...

    def evict(self, worker: int) -> None:
        """Go on without this worker, which may do its present job all the same."""
        ...

    def admit(self, worker: int) -> None:
        """Go on with this worker, which was out. The job that nobody heard of is done now."""
        ...

    def forget(self, worker: int) -> None:
        """This worker has lost its state, and with it the job that it may have been busy with."""
        ...

    def evaluate(self, workers: list[int], time_s: float) -> dict[str, float]:
        """Measure these workers: at least ``loss`` and ``accuracy``. Costs no simulated time and no call."""
        ...

    def counts(self) -> Mapping[str, int]:
        """Return the counters named in `Algorithm.counters`, since the start of the run."""
        ...


class InterludeLearner(Learner, Protocol):
    """The learner of an algorithm whose schedule has an interlude."""

    def interlude(self, drained: list[Ticket], participants: list[int]) -> Generator[Any, list[Ticket], Any]:
        """Go through the rounds of an interlude.

        Yields the content of each round and is sent the tickets of those who reported. Returns the content
        that regular jobs go on with. It may return early. It is closed where nobody is left to report.

        Args:
            drained: tickets of regular jobs that came in at the barrier, outside any active set.
            participants: who takes part.
        """
        ...


class Bench:
    """The workbench on which an algorithm opens its learner: the problem, its data, and who attacks.

    Args:
        problem: its settings.
        n_workers: R, the number of workers that hold data.
        streams: the randomness of the run.
        attacks: all attacks of the run.
    """

    def __init__(
        self, problem: Problem, n_workers: int, streams: Streams, attacks: Sequence[Assigned] = ()
    ) -> None:
        self.problem = problem
        self.n_workers = n_workers
        self.streams = streams
        self.attacks = attacks
        self.questions: Questions | None = None
        """What a real model is asked, once the data are there; the run closes it."""

    def oracle(self, *, pooled: bool = False, judge: Filter | None = None) -> Oracle:
        """Draw the data and return what answers for them.

        Args:
            pooled: one machine holds the data of all workers.
            judge: what judges messages; where it needs data of the server's own, they are those of one
                worker more, number R, that takes no part.
        """
        spare = int(judge is not None and judge.needs_trusted)
        oracle: Oracle = self.prepared(pooled=pooled, spare=spare)
        return oracle

    def prepared(self, *, pooled: bool = False, spare: int = 0) -> Any:
        """Draw the data and return what answers for them, whatever the problem offers.

        Args:
            pooled: one machine holds the data of all workers.
            spare: how many more hold data, and take no part.
        """
        n_machines, each = (1, self.n_workers) if pooled else (self.n_workers, 1)
        oracle = self.problem.prepare(self.streams, n_machines + spare, each, self.attacks)
        self.questions = oracle.questions
        return oracle

    def filtering(self, judge: Filter | None, oracle: Oracle) -> Filtering | None:
        """Return what judges the messages of a run; none where nothing does."""
        if judge is None:
            return None
        trusted = _trusted_gradient(oracle, self.n_workers) if judge.needs_trusted else None
        return judge.open(self.n_workers, trusted, self.problem.cost().calls)


def _trusted_gradient(oracle: Oracle, worker: int) -> Callable[[Tensor, int], Tensor]:
    """Return the gradient by p on the data of a worker that takes no part: (d,), at a consensus (d,)."""

    def gradient(z: Tensor, step: int) -> Tensor:
        by_p, _ = oracle.upper([worker], [step], z.view_as(oracle.start_p)[None], oracle.start_q[None])
        if oracle.on_simplex:  # a constant added to a word's gradient moves nothing
            by_p = by_p - by_p.mean(-1, keepdim=True)
        return by_p.flatten()

    return gradient


def _wrong_schedule(schedule: Schedule) -> str:
    """Return what is wrong with the types of a schedule; what does not fit together it says itself."""
    rule = schedule.rule
    if not isinstance(rule, Steps | Rounds):
        return f"rule is {rule!r}, expected Steps or Rounds"
    numbers = [(f"rule.{name}", value, 1) for name, value in rule._asdict().items() if name != "adapt"]
    if isinstance(rule, Steps) and (adapt := rule.adapt) is not None:
        if not isinstance(adapt, Adapt):
            return f"rule.adapt is {adapt!r}, expected an Adapt or none"
        whole = ("least", "every_steps", "window", *(["most"] if adapt.most is not None else []))
        numbers += [(f"rule.adapt.{name}", getattr(adapt, name), 1) for name in whole]
    if not isinstance(schedule.work, Mapping) or not schedule.work:
        return f"work is {schedule.work!r}, expected its kinds of jobs by name"
    for kind, work in schedule.work.items():
        if not isinstance(work, Work) or not isinstance(work.cost, JobCost):
            return f"work.{kind} is {work!r}, expected a Work with a JobCost"
        numbers += [(f"work.{kind}.{name}", value, 0) for name, value in work.cost._asdict().items()]
    if (between := schedule.interlude) is not None:
        if not isinstance(between, Interlude):
            return f"interlude is {between!r}, expected an Interlude or none"
        numbers += [("interlude.every", between.every, 1), ("interlude.rounds", between.rounds, 0)]
        numbers += [("interlude.leaves_bytes", between.leaves_bytes, 0)]
        if between.every_updates is not None:
            numbers += [("interlude.every_updates", between.every_updates, 1)]
    for name, value, least in numbers:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            return f"{name} is {value!r}, expected a whole number from {least}"
    return ""


def _counted(part: Algorithm, name: str, given: list[Any], answer: Any) -> Mapping[str, int]:
    whole = isinstance(answer, Mapping) and all(
        isinstance(value, int) and not isinstance(value, bool) for value in answer.values()
    )
    if not whole or set(answer) != set(part.counters):
        refuse(name, answer, f"a whole number for each of {list(part.counters)}")
    return answer


def _anything(part: Algorithm, name: str, given: list[Any], answer: Any) -> Any:
    return answer


LEARNS = {
    **dict.fromkeys(("first", "hand_out", "take_step", "evict", "admit", "forget"), _anything),
    "evaluate": measured,
    "counts": _counted,
}
"""The checks of what a learner returns; contents of snapshots are its own business."""


class Algorithm(Part):
    """A federated method: everything of its paper.

    Its fields are what it reads, and nothing else is: a key that the chosen method does not know is an error.
    """

    asks: ClassVar[Offer] = "gradients"
    """What it asks of the problem, which must offer it."""
    keeps: ClassVar[bool] = False
    """Whether its learner has a method `learned`: the text of a file with which another run can start."""
    learns: ClassVar[bool] = True
    """Whether anything is learned; otherwise it is a cost model, for which the clock alone runs."""
    beside: ClassVar[Mapping[str, str]] = {}
    """Accuracies that are told beside a run's own, by column, with what each is."""
    counters: ClassVar[tuple[str, ...]] = ()
    """The cumulative columns that its learner counts."""

    @abstractmethod
    @answers(of_type(Schedule, _wrong_schedule), copies=False)
    def schedule(self, setting: Setting) -> Schedule:
        """Return all that the clock must know."""

    @abstractmethod
    @answers(opens(LEARNS, copies=False), copies=False)
    def open(self, bench: Bench) -> Learner:
        """Return the learner of one run. Torch runs without gradients, on one thread."""

    def check(self, setting: Setting) -> None:
        """Say, before anything runs, what cannot go together.

        Raises:
            ValueError: something cannot; the sentence names the setting, its value and what was expected.
        """

    def check_attack(self, attack: Attack) -> None:
        """Say, before anything runs, that an attack is impossible under this algorithm.

        Raises:
            ValueError: it is. Attacks on messages are, unless an algorithm lets them in: see `Door`.
        """
        if isinstance(attack, MessageAttack) and attack.deviates:
            raise ValueError(
                f"{attack.kind!r} attacks messages, but {self.kind!r} does not say what workers send"
            )

    def reveals(self, setting: Setting) -> str:
        """Return in a word or two what of a worker's data leaves it; "nothing" where nothing does."""
        sent = None if self.schedule(setting).alone else setting.problem.sends
        return sent or "nothing"

    def unread(self, setting: Setting) -> Mapping[str, str]:
        """Return the dotted places of the scenario that have no effect under this algorithm, with the reason.

        Stating one of them is an error. Own settings that others switch off are said by `idle`.
        """
        return {}

    def cautions(self, summary: Mapping[str, Any]) -> Sequence[str]:
        """Return sentences on what makes a run mean less than it seems to, from its headline numbers."""
        return ()


def check_expelled(part: Algorithm, expelled: Collection[int], n_machines: int) -> None:
    """Check whom a learner wants out.

    Raises:
        AnswerError: they are no workers.
    """
    for worker in expelled:
        if isinstance(worker, bool) or not isinstance(worker, int) or not 0 <= worker < n_machines:
            refuse("expelled", worker, f"whole numbers from 0 to {n_machines - 1}: workers")


def tuned_by(learner: Learner) -> list[Tuned]:
    """Return the result of tuning; nothing where a learner does not tell it.

    Raises:
        AnswerError: it is no list of rows, or too long a one.
    """
    rows: Any = getattr(learner, "tuned", list)()
    if not isinstance(rows, list) or not all(isinstance(row, Tuned) for row in rows):
        refuse("tuned", rows, "a list of Tuned")
    if len(rows) > 2 * MOST_ROWS:
        refuse("tuned", len(rows), f"at most {2 * MOST_ROWS:,} rows")
    return rows


def at_most(setting: str, found: int, n_workers: int) -> None:
    """Check a number of workers.

    Raises:
        ValueError: there are not so many.
    """
    if found > n_workers:
        raise ValueError(
            f"algorithm.{setting}: found {found}, expected at most {n_workers}, the number of workers"
        )
