"""Federated implicit in-context learning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from fedsim.algorithms.averaging.base import AveragingRules
from fedsim.algorithms.base import Bench, Setting, at_most
from fedsim.algorithms.ifedicl.base import CALIBRATE, EXTRACT, Calibration, problem_of
from fedsim.algorithms.ifedicl.store import TaskStore
from fedsim.attack import Attack
from fedsim.errors import InputError
from fedsim.learning.aggregation import COUNTERS
from fedsim.messages import JobCost
from fedsim.schedule import Schedule, Standing, Steps, Work

if TYPE_CHECKING:
    from fedsim.algorithms.ifedicl.calibrator import Calibrator
    from fedsim.algorithms.ifedicl.recaller import Recaller

FETCH = "fetch"
"""The only kind of job where the task is known."""


class Ifedicl(Calibration):
    """IFed-ICL: workers send vectors of their demonstrations once, then coefficients of their injection.

    A worker's first job takes its vectors, which the server averages, all workers alike. In every job after
    that it makes E local steps on the coefficients from those of the server, with the server's vectors, and
    the server averages the coefficients. Vectors are sent in half precision and coefficients in single
    precision; what workers keep of the vectors they are sent again when these have changed. The server waits
    for all of them. With `wait_for` it does not: an extension, in which it steps when S of them have
    reported.

    Source: Li et al., "IFed-ICL", arXiv 2511.06757, (1)-(7); Li et al., "Implicit in-context learning", ICLR
    2025, and its code, for what the former leaves open; the extension after Nguyen et al., "Federated
    learning with buffered asynchronous aggregation", AISTATS 2022, Algorithm 1, without its weights for
    staleness.
    """

    kind: Literal["ifedicl"] = "ifedicl"
    counters: ClassVar[tuple[str, ...]] = COUNTERS
    keeps: ClassVar[bool] = True

    wait_for: int | None = Field(default=None, ge=1)
    """S, how many workers must have reported (the asynchronous extension); none: all."""
    tau: int | None = Field(default=None, ge=1)
    """With `wait_for`: a message is at most tau - 1 steps old when used."""
    aggregation: AveragingRules | None = None
    """Another rule than the mean, for vectors and for coefficients; a filter judges coefficients alone."""
    measure_clients: bool = False
    """Whether each worker's own coefficients are measured before they are averaged, as in the paper's Figure
    2: ``accuracy_clients``. It takes as many passes over the test queries as there are workers."""
    task_store: TaskStore | None = None
    """What was learned of the task before: workers fetch it, and nothing is learned."""

    @model_validator(mode="after")
    def _check_extension(self) -> Ifedicl:
        if (self.wait_for is None) != (self.tau is None):
            raise ValueError("expected both wait_for and tau (the asynchronous extension) or none of them")
        rules = self.aggregation
        if rules is not None and rules.sends_signs:
            assert rules.outer is not None
            raise ValueError(
                f"aggregation.outer: with {rules.outer.kind!r} workers send signs in every step, of which "
                "vectors that are sent once cannot be made"
            )
        if rules is not None and rules.filter is not None and rules.filter.needs_trusted:
            raise ValueError(
                f"aggregation.filter: {rules.filter.kind!r} needs data of the server's own, and it has none "
                "in IFed-ICL"
            )
        return self

    def idle(self) -> Mapping[str, str]:
        if self.task_store is None:
            return {}
        keys = ["optimizer", "local_steps", "lambda_start", "beta_start", "control", "wait_for", "tau"]
        keys += ["aggregation", "measure_clients"]
        return dict.fromkeys(keys, "the task is known (task_store), so nothing is learned")

    def schedule(self, setting: Setting) -> Schedule:
        problem, n_workers = problem_of(setting), setting.n_workers
        if self.task_store is not None:
            size_bytes = problem.vectors_bytes + problem.coefficients_bytes
            # What is there from the start is sent with the first job, which is the only one.
            kept, fetch = Standing(size_bytes, renewed_by=None), JobCost(0, 0, 0, 0, 0)
            return Schedule(Steps(n_workers, 1), {FETCH: Work(fetch)}, FETCH, standing=kept)
        work = {EXTRACT: Work(problem.extraction_cost()), CALIBRATE: Work(self.calibration_cost(setting))}
        standing = Standing(problem.vectors_bytes, renewed_by=EXTRACT)
        return Schedule(self._rule(n_workers), work, CALIBRATE, EXTRACT, standing=standing)

    def check(self, setting: Setting) -> None:
        wait_for = self._rule(setting.n_workers).wait_for
        at_most("wait_for", wait_for, setting.n_workers)
        if self.aggregation is not None:
            self.aggregation.check_steps(wait_for, setting.n_workers)
        if self.task_store is not None:
            try:
                self.task_store.learned().check(problem_of(setting))
            except (InputError, ValueError) as error:
                raise ValueError(f"algorithm.task_store: {error}") from error

    def check_attack(self, attack: Attack) -> None:
        """Messages come in by a `Door`, so all attacks are possible; where nothing is learned, none is."""
        if self.task_store is not None:
            raise ValueError(f"{attack.kind!r} attacks what is learned, but the task is known (task_store)")

    def unread(self, setting: Setting) -> Mapping[str, str]:
        if self.task_store is None:
            return {}
        keys = [f"problem.{key}" for key in ("extraction", "loss", "noise", "batch", "tokens")]
        return dict.fromkeys(keys, "the task is known (algorithm.task_store), so nothing is learned")

    def reveals(self, setting: Setting) -> str:
        return "nothing" if self.task_store is not None else "vectors, numbers"

    def open(self, bench: Bench) -> Calibrator | Recaller:
        if self.task_store is not None:
            from fedsim.algorithms.ifedicl.recaller import Recaller

            return Recaller(bench, self.task_store.learned())
        from fedsim.algorithms.ifedicl.calibrator import Calibrator

        return Calibrator(
            bench,
            self.optimizer,
            self.local_steps,
            (self.lambda_start, self.beta_start),
            self.control,
            self.measure_clients,
            self.aggregation,
        )

    def _rule(self, n_workers: int) -> Steps:
        if self.wait_for is None or self.tau is None:
            return Steps(n_workers, 1)
        return Steps(self.wait_for, self.tau)
