"""What a scenario is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from fedsim.algorithms import AnyAlgorithm
from fedsim.attack import Assigned, Attack, malicious
from fedsim.catalog import Family, Strict
from fedsim.errors import InputError
from fedsim.icl.attacks import DATA_ATTACKS, DataAttack
from fedsim.learning.attacks import ATTACKS as MESSAGE_ATTACKS
from fedsim.learning.attacks import MessageAttack
from fedsim.problems import PROBLEMS, AnyProblem, Problem
from fedsim.scenario.names import wrong_with_name
from fedsim.scenario.sizes import MOST_WORKERS, WORKER_BYTES, spoken_bytes
from fedsim.scenario.times import check_times
from fedsim.scenario.unread import stated, unread, without_effect
from fedsim.schedule import Schedule, Steps
from fedsim.secrets import found_in
from fedsim.timing.attacks import TIMING_ATTACKS, TimingAttack
from fedsim.timing.groups import WorkerGroup
from fedsim.timing.jobs import check_jobs
from fedsim.timing.llm_service import AnyLlmService
from fedsim.timing.network import AnyNetwork
from fedsim.timing.network.simple import Simple
from fedsim.timing.pace import LONGEST_S
from fedsim.timing.settings import ClockSettings, ServerSettings

ATTACKS = Family("attacks", Attack, including=(DATA_ATTACKS, MESSAGE_ATTACKS, TIMING_ATTACKS))
AnyAttack = Annotated[Attack, ATTACKS]


class Budget(Strict):
    """When a run ends: at the first of these that is reached."""

    epochs: int | None = Field(None, ge=1)
    """Worker rounds per worker: ends at the first step by which R x epochs worker updates have been used. An
    epoch of one machine that holds all data is one update with the pooled calls."""
    server_steps: int | None = Field(None, ge=0)
    """0: nothing is done; the start is measured."""
    worker_updates: int | None = Field(None, ge=1)
    horizon_s: float | None = Field(None, gt=0, le=LONGEST_S)
    """Simulated seconds; the run covers [0, horizon_s)."""

    @model_validator(mode="after")
    def _bounded(self) -> Budget:
        limits = (self.epochs, self.server_steps, self.worker_updates, self.horizon_s)
        if all(limit is None for limit in limits):
            raise ValueError("expected at least one of epochs, server_steps, worker_updates, horizon_s")
        return self

    def updates(self, n_workers: int) -> int | None:
        """Return the number of worker updates to stop at."""
        limits = [self.worker_updates, self.epochs and self.epochs * n_workers]
        return min((limit for limit in limits if limit), default=None)


class Target(Strict):
    """The mark that `time_to_target_s` is about.

    A run is there by the first measurement from which on the mean over the last `window` measurements is at
    the mark or beyond until the end of the run. A curve that only touches the mark, or falls back behind it,
    has not reached it; nor has one that was there from the start, of which a time would say nothing.
    """

    metric: Literal["loss", "accuracy", "loss_sampled", "accuracy_sampled"] = "loss"
    """Of the likeliest prompts, which jump while distributions are still even, or the mean over drawn ones,
    which moves as training does."""
    value: float
    window: int = Field(5, ge=1)
    """Measurements, the start among them, over which a mean is taken."""
    stop: bool = False
    """End the run as soon as the mean is at the mark or beyond; whether it would have stayed is left open."""

    def met(self, value: float) -> bool:
        """Whether a value of the metric is at the mark or beyond."""
        return value <= self.value if self.metric.startswith("loss") else value >= self.value

    def reached_at(self, values: Sequence[float]) -> int | None:
        """Return the place of the measurement by which the mark was reached for good; None: never.

        Args:
            values: of the metric, from the start of the run to its end.
        """
        first = None
        for last in range(len(values), self.window - 1, -1):
            if not self.met(sum(values[last - self.window : last]) / self.window):
                break
            first = last - 1
        return None if first == self.window - 1 and self.met(values[0]) else first

    def caution(self, values: Sequence[float]) -> str:
        """Return a sentence if the start is at the mark or beyond; arguments as of `reached_at`."""
        if not values or not self.met(values[0]):
            return ""
        return (
            f"the start already meets the target: {self.metric} {values[0]:.4g}, and target.value is "
            f"{self.value:g}; expected one that only what is learned reaches"
        )


DISTANCES = {"every_steps": "step", "every_updates": "worker_updates", "every_s": "time_s"}
"""Settings that say how often the state is measured, each with what it counts of a server step."""
UPDATES_EACH = 10
"""Worker updates for each machine between two measurements, where a scenario does not say."""


class Evaluation(Strict):
    """When the state is measured, from outside: it costs no simulated time and no counted call.

    It is measured at the start, at the end, and at server steps in between: as one of the three settings
    ``every_...`` says or, where none is stated, after ten worker updates for each machine. Server steps of
    two methods hold different amounts of work, so that `every_steps` looks at one of them more often than at
    the other; `every_updates` and `every_s` look at all alike. A time to a target is known up to the time
    between two looks (`time_to_target_resolution_s`).
    """

    every_steps: int | None = Field(None, ge=1)
    """After so many server steps."""
    every_updates: int | None = Field(None, ge=1)
    """At the first server step by which so many more worker updates have been taken."""
    every_s: float | None = Field(None, gt=0)
    """At the first server step after so many more simulated seconds."""
    max_workers: int = Field(100, ge=1)
    """Measure the first so many workers only."""
    patience: int | None = Field(None, ge=1)
    """Early stopping: end after so many measurements without a better `validation_loss`; none: never."""

    @model_validator(mode="after")
    def _one_distance(self) -> Evaluation:
        given = [name for name in DISTANCES if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(
                f"found {' and '.join(given)}, expected one of them; evaluation.unset takes an inherited one "
                "away"
            )
        return self

    def distance(self, n_machines: int) -> tuple[str, float]:
        """Return how far apart measurements are: the counter of a server step, and by how much it grows."""
        for name, counter in DISTANCES.items():
            if (size := getattr(self, name)) is not None:
                return counter, size
        return "worker_updates", UPDATES_EACH * n_machines


class Record(Strict):
    """What a run writes besides its tables."""

    spans: bool = False
    """Keep every stretch of every activity (`spans.parquet`), for timelines."""
    learned: bool = False
    """Keep what was learned (`learned.json`), which the task store of IFed-ICL takes."""
    answers: bool = False
    """Keep every answer of a real model (`answers.jsonl`): numbers under hashed prompts, for a replay."""


def _as_folder(name: str) -> str:
    """Refuse a name that cannot be one of a folder."""
    if expected := wrong_with_name(name):
        raise ValueError(f"found {name if len(name) <= 40 else name[:37] + '...'!r}, expected {expected}")
    return name


Device = Annotated[
    Literal["cpu", "cuda"] | None, AfterValidator(lambda name: None if name == "cpu" else name)
]
"""The processor is none: a run that states it has the address of one that does not."""


class Scenario(Strict):
    """One run, fully stated."""

    name: Annotated[str, AfterValidator(_as_folder)]
    variant: Annotated[str, AfterValidator(lambda name: name and _as_folder(name))] = ""
    """Which of the file's variants this is."""
    description: str = ""
    seed: int = Field(0, ge=0)
    algorithm: AnyAlgorithm
    problem: AnyProblem
    workers: tuple[WorkerGroup, ...]
    llm: AnyLlmService | None = None
    """The service that answers calls; none where no job makes a call."""
    network: AnyNetwork = Simple()
    """What is between the workers' own access lines and the server."""
    clock: ClockSettings = ClockSettings()
    server: ServerSettings = ServerSettings()
    budget: Budget
    target: Target | None = None
    evaluation: Evaluation = Evaluation()
    device: Device = None
    """What computes the learning half: "cuda", a GPU, or "cpu", the processor, which is the same as none.
    Their results agree to rounding, so that they are two runs."""
    record: Record = Record()
    attacks: tuple[AnyAttack, ...] = ()
    """What malicious workers do to data, messages and timing: `[[attacks]]` tables."""

    @model_validator(mode="before")
    @classmethod
    def _no_secrets(cls, table: Any) -> Any:
        if secret := found_in(table):
            raise ValueError("\n".join(secret))
        return table

    @model_validator(mode="before")
    @classmethod
    def _fits_its_texts(cls, table: Any) -> Any:
        """Give a task of a file of texts the sizes that it leaves out, where its defaults are too large."""
        problem = table.get("problem") if isinstance(table, dict) else None
        task = problem.get("task") if isinstance(problem, dict) else None
        # Other problems do not read all of the sizes, and what is not read must not be stated.
        if not (isinstance(problem, dict) and isinstance(task, dict)) or problem.get("kind") != "icl":
            return table
        groups = found if isinstance(found := table.get("workers"), list | tuple) else ()
        counts: list[Any] = [group.get("count") for group in groups if isinstance(group, dict)]
        known = bool(counts) and all(type(count) is int and 0 < count <= MOST_WORKERS for count in counts)
        if not known or task.get("kind") != "text" or not isinstance(task.get("file"), str):
            return table
        from fedsim.icl.tasks.text_sizes import fitted_sizes

        sizes = fitted_sizes(task, sum(counts), problem.get("use_fragment", True) is True)
        return table | {"problem": problem | {"task": task | sizes}} if sizes else table

    @model_validator(mode="after")
    def _enough_workers(self) -> Scenario:
        if not self.workers:
            raise ValueError("workers: expected at least one group, as in [[workers]]")
        if self.n_workers > MOST_WORKERS:
            raise ValueError(
                f"workers: found {self.n_workers:,} in all, for which the clock alone would need "
                f"{spoken_bytes(WORKER_BYTES * self.n_workers)} of memory; expected at most {MOST_WORKERS:,}"
            )
        return self

    @model_validator(mode="after")
    def _asks_what_is_offered(self) -> Scenario:
        asked, offered = self.algorithm.asks, self.problem.offers
        if asked != offered:
            fitting = [kind for kind, part in PROBLEMS if issubclass(part, Problem) and part.offers == asked]
            raise ValueError(
                f"problem.kind: found {self.problem.kind!r}, which offers {offered}, but algorithm "
                f"{self.algorithm.kind!r} asks for {asked}; expected {' or '.join(fitting) or 'another one'}"
            )
        return self

    @model_validator(mode="after")
    def _possible_attacks(self) -> Scenario:
        for number, attack in enumerate(self.attacks):
            try:
                attack.members(self.n_workers, self.seed)
                self._check_attack(attack)
            except (InputError, ValueError) as error:
                raise ValueError(f"attacks.{number}: {error}") from error
        if len(self.malicious) == self.n_workers:
            raise ValueError("attacks: all workers are malicious, expected an honest one")
        return self

    def _check_attack(self, attack: Attack) -> None:
        if self.schedule.alone and not isinstance(attack, DataAttack):
            raise ValueError(
                f"{attack.kind!r} attacks what workers send or when, but under {self.algorithm.kind!r} they "
                "send nothing"
            )
        self.algorithm.check_attack(attack)
        if isinstance(attack, MessageAttack) and attack.deviates:
            self._check_messages(attack)
        horizon_s = self.budget.horizon_s
        if horizon_s is not None and attack.begins_s() >= horizon_s:
            raise ValueError(
                f"found that {attack.kind!r} begins at {attack.begins_s():g} s, expected a time before "
                f"budget.horizon_s = {horizon_s:g}, when the run ends"
            )
        if isinstance(attack, TimingAttack):
            self._check_always_on(attack)
            rule = self.schedule.rule
            attack.check(rule.tau if isinstance(rule, Steps) else 1)
        self.problem.check_attack(attack)

    def _check_messages(self, attack: MessageAttack) -> None:
        sent = self.problem.sends
        if sent is None:
            raise ValueError(f"{attack.kind!r} attacks the p that workers send, but here nothing tunes p")
        if attack.needs_distributions and sent not in ("distributions", "answers"):
            raise ValueError(
                f"{attack.kind!r} sends distributions, but in problem {self.problem.kind!r} workers send "
                f"{sent}"
            )

    def _check_always_on(self, attack: TimingAttack) -> None:
        groups = [group for group in self.workers for _ in range(group.count)]
        for worker in sorted(attack.members(self.n_workers, self.seed)):
            if groups[worker].availability is not None:
                raise ValueError(
                    f"{attack.kind!r}: found worker {worker}, of a group with an availability, expected "
                    "workers that are always on: who attacks on timing comes and goes as the attack says"
                )

    @model_validator(mode="after")
    def _network_fits(self) -> Scenario:
        try:
            self.network.check(self.n_workers)
        except ValueError as error:
            raise ValueError(f"network.{error}") from error
        return self

    @model_validator(mode="after")
    def _algorithm_fits(self) -> Scenario:
        self.algorithm.check(self)
        return self

    @model_validator(mode="after")
    def _jobs_can_be_done(self) -> Scenario:
        if self.llm is None and any(work.cost.calls for work in self.schedule.work.values()):
            raise ValueError("llm: missing; jobs make LLM calls, so a service must answer them")
        check_jobs(self.schedule, self.machines, self.llm is not None)
        return self

    @model_validator(mode="after")
    def _time_can_pass(self) -> Scenario:
        check_times(self)
        return self

    @model_validator(mode="after")
    def _all_is_read(self) -> Scenario:
        wrong = [without_effect(place, why) for place, why in unread(self).items() if stated(self, place)]
        if wrong:
            raise ValueError("\n".join(wrong))
        return self

    @cached_property
    def schedule(self) -> Schedule:
        """What the algorithm tells the clock."""
        return self.algorithm.schedule(self)

    @cached_property
    def machines(self) -> tuple[WorkerGroup, ...]:
        """The groups of machines that compute: all workers, or one machine that holds the data of all."""
        number = self.schedule.machine
        return self.workers if number is None else (self.workers[number].without_network(),)

    @cached_property
    def assigned(self) -> tuple[Assigned, ...]:
        """The attacks, each with the workers that carry it out."""
        return tuple(Assigned(attack, attack.members(self.n_workers, self.seed)) for attack in self.attacks)

    @property
    def malicious(self) -> frozenset[int]:
        """The numbers of the workers that deviate at some time."""
        return malicious(self.assigned)

    @property
    def malicious_machines(self) -> frozenset[int]:
        """Those of them that compute: where one machine holds the data of all, it is honest itself."""
        return self.malicious if self.schedule.machine is None else frozenset()

    def with_seed(self, seed: int) -> Scenario:
        """Return the scenario under another seed, a whole number from 0 up; nothing is checked anew."""
        return self.trusted_copy({"seed": seed})

    def replace(self, key: str | Mapping[str, Any], value: Any = None) -> Scenario:
        """Return the scenario with other settings, checked as if a file had stated them.

        Args:
            key: dotted, as of `--set`: ``"llm.latency.value_s"``; or several, each with its value.
            value: what any setting of that name takes; a table is laid over what is there.

        Raises:
            InputError: there is no such setting, or with it the scenario is impossible.
        """
        from fedsim.scenario.files import replaced

        return replaced(self, {key: value} if isinstance(key, str) else key)

    def __repr__(self) -> str:
        return f"<Scenario {self.label}: {self.algorithm.kind}, {self.n_workers} workers, seed {self.seed}>"

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """Return what a notebook shows: what was stated, as a file states it."""
        from html import escape

        from fedsim.scenario.files import stated_text

        return f"<b>{escape(repr(self))}</b><pre>{escape(stated_text(self))}</pre>"

    def __hash__(self) -> int:
        # Not by its fields: a part may hold a table of somebody else's settings.
        return hash(self.model_dump_json())

    @property
    def label(self) -> str:
        """Name and variant, as a person reads them."""
        return f"{self.name} {self.variant}".strip()

    @property
    def n_workers(self) -> int:
        """R: workers that hold data."""
        return sum(group.count for group in self.workers)

    @property
    def n_machines(self) -> int:
        """How many machines compute."""
        return self.schedule.computing(self.n_workers)
