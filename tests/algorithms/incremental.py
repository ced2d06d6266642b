"""A method of two phases, as a user of fedsim would write it elsewhere, with nothing of ours but the seam."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from fedsim.algorithms.base import Algorithm, Bench, Setting, at_most
from fedsim.messages import Ticket
from fedsim.schedule import Schedule, Steps, Work

if TYPE_CHECKING:
    from torch import Tensor

    from fedsim.learning.batching import Job


class Incremental(Algorithm):
    """The server steps along the mean of the last gradient that it holds of each worker.

    A worker opens with "extract": `samples` estimates of its gradient, and `tokens` tokens through its own
    model. From then on each job, "calibrate", is one estimate.

    Source: Blatt, Hero and Gauchman, "A convergent incremental gradient method with a constant step size",
    SIAM Journal on Optimization 18(1), 2007.
    """

    kind: Literal["incremental"] = "incremental"
    counters: ClassVar[tuple[str, ...]] = ("estimates",)
    wait_for: int = Field(default=2, ge=1)
    tau: int = Field(default=3, ge=1)
    rate: float = Field(default=0.1, gt=0)
    samples: int = Field(default=3, ge=1)
    tokens: int = Field(default=100, ge=0)

    def schedule(self, setting: Setting) -> Schedule:
        one = setting.problem.cost()
        extract = one._replace(
            calls=one.calls * self.samples, bytes_up=2 * one.bytes_up, own_tokens=self.tokens
        )
        work = {"extract": Work(extract, "extracting"), "calibrate": Work(one)}
        return Schedule(Steps(self.wait_for, self.tau), work, regular="calibrate", opening="extract")

    def check(self, setting: Setting) -> None:
        at_most("wait_for", self.wait_for, setting.n_workers)

    def open(self, bench: Bench) -> IncrementalLearner:
        return IncrementalLearner(bench, self)


class IncrementalLearner:
    """The learning half, written from nothing: a job is evaluated when the server uses its ticket."""

    def __init__(self, bench: Bench, settings: Incremental) -> None:
        self.alive = dict.fromkeys(range(bench.n_workers))
        self.held: dict[int, Tensor] = {}
        """The last gradient of each worker that the server has heard of, (M, N)."""
        self._oracle = bench.oracle()
        self._settings = settings
        self._z = self._oracle.start_p
        self._jobs: dict[int, Job] = {}
        self._estimates = 0

    def first(self) -> Tensor:
        return self._z

    def hand_out(self, job: Job) -> None:
        self._jobs[job.worker] = job

    def take_step(self, tickets: list[Ticket]) -> Tensor:
        import torch

        for ticket in tickets:
            job = self._jobs.pop(ticket.worker)
            if not job.skipped:
                self.held[job.worker] = self._gradient(job)
        rows = [row for worker, row in self.held.items() if worker in self.alive]
        if rows:
            self._z = self._z - self._settings.rate * torch.stack(rows).mean(0)
        return self._z

    def evict(self, worker: int) -> None:
        del self.alive[worker]

    def admit(self, worker: int) -> None:
        self.alive = dict.fromkeys(sorted([*self.alive, worker]))

    def forget(self, worker: int) -> None:
        self._jobs.pop(worker, None)  # a worker keeps nothing itself

    def evaluate(self, workers: list[int], time_s: float) -> dict[str, float]:
        z, q = self._z, self._oracle.start_q
        many = len(workers)
        return self._oracle.evaluate(workers, z.expand(many, *z.shape), q.expand(many, *q.shape), z, time_s)

    def counts(self) -> Mapping[str, int]:
        return {"estimates": self._estimates}

    def _gradient(self, job: Job) -> Tensor:
        """Return the mean of this job's estimates, each of which draws at an address of its own, (M, N)."""
        import torch

        samples = self._settings.samples
        wanted = samples if job.kind == "extract" else 1
        start_q = self._oracle.start_q[None]
        found = [
            self._oracle.upper(
                [job.worker], [job.job * samples + number], job.content[None], start_q, [job.start_s]
            )[0][0]
            for number in range(wanted)
        ]
        self._estimates += wanted
        return torch.stack(found).mean(0)
