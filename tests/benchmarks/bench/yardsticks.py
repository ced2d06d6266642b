"""What fedsim is measured against: the same work by as little code as can do it.

Timing: the same events in bare SimPy. Learning: the same arithmetic on the same tensors, in a plain loop. A
run of fedsim is recorded, which jobs it computed together and which messages came in at each step, and the
plain loop does that again, from the tables that the run had at the start of the recording. It draws its
random numbers from one generator, where fedsim gives each job an address; it knows no clock, no settings and
no tickets, and checks nothing. The black box, drawing, gradients, the optimizer and the projection are
fedsim's own functions, called with batches of the same size: they are the arithmetic.
"""

from __future__ import annotations

import copy
import gc
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import pytest
import simpy
import torch
from torch import Tensor

from fedsim.algorithms.dbt.tuner import Tuner
from fedsim.icl.loss import cross_entropy
from fedsim.icl.models.base import Prompts
from fedsim.learning import simplex
from fedsim.learning.batching import Job
from fedsim.learning.categorical import draw
from fedsim.learning.policy_gradient import gradient
from fedsim.messages import Ticket
from fedsim.problems.icl.oracle import JOBS_AT_ONCE, IclOracle
from fedsim.problems.quadratic import Bilevel
from fedsim.recorder import Recorder
from fedsim.streams import Stream, Streams
from fedsim.timing.delays import Delay
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.worker import drawn

EXPONENTIAL = Exponential(mean_s=1.0)


def bare_simpy(
    n_workers: int,
    wait_for: int,
    steps: int,
    delay: Delay = EXPONENTIAL,
    stepped: Callable[[int], None] = lambda step: None,
) -> float:
    """Run the events of an asynchronous server without books, tickets, counters or a staleness bound.

    Args:
        n_workers: R.
        wait_for: S.
        steps: how many server steps.
        delay: how long a job takes.
        stepped: called with the number of each step when it is over.

    Returns:
        The simulated time (s), which is that of fedsim with the same settings and seed 0.
    """
    env, streams = simpy.Environment(), Streams(0)
    inbox: deque[simpy.Event] = deque()
    wake: simpy.Event | None = None

    def worker(number: int) -> Generator[simpy.Event, object, None]:
        nonlocal wake
        delay_s = drawn(delay, streams, Stream.COMPUTE, number)
        job = 0
        while True:
            yield env.timeout(delay_s(job))
            reply = env.event()
            inbox.append(reply)
            if wake is not None:
                wake.succeed()
                wake = None
            yield reply
            job += 1

    def server() -> Generator[simpy.Event, object, None]:
        nonlocal wake
        for step in range(1, steps + 1):
            active: list[simpy.Event] = []
            while len(active) < wait_for:
                if inbox:
                    active.append(inbox.popleft())
                else:
                    wake = env.event()
                    yield wake
            for reply in active:
                reply.succeed()
            stepped(step)

    process = env.process(server())
    gc.disable()  # the same courtesy that fedsim grants itself
    for number in range(n_workers):
        env.process(worker(number))
    gc.freeze()
    gc.enable()
    env.run(until=process)
    gc.unfreeze()
    return env.now


class Computed(NamedTuple):
    """Jobs that were computed together."""

    workers: list[int]
    jobs: list[int]
    contents: list[Any]
    """What each of them had read from the server."""


class Stepped(NamedTuple):
    """The workers whose messages came in at a server step."""

    workers: list[int]


class Recording:
    """What a learner did from some step on, and its tables then."""

    def __init__(self) -> None:
        self.events: list[Computed | Stepped] = []
        self.plain: PlainTuner | None = None

    def start(self, recorder: Recorder) -> None:
        """Keep the tables that the learner has now, and what it does from now on."""
        learner = recorder._learner
        assert isinstance(learner, Tuner)
        kinds = {Bilevel: PlainQuadratic, IclOracle: PlainIcl}
        self.plain = kinds[type(learner._oracle)](learner)
        self.events.clear()

    @contextmanager
    def recording(self) -> Iterator[Recording]:
        """Record while a run lasts."""
        work, take_step = Tuner.work, Tuner.take_step

        def noted_work(tuner: Tuner, kind: str, jobs: list[Job]) -> None:
            contents = [job.content for job in jobs]
            self.events.append(Computed([job.worker for job in jobs], [job.job for job in jobs], contents))
            work(tuner, kind, jobs)

        def noted_step(tuner: Tuner, tickets: list[Ticket]) -> Any:
            tuner.need(tickets)  # what is computed for them comes before the step
            self.events.append(Stepped([ticket.worker for ticket in tickets]))
            return take_step(tuner, tickets)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Tuner, "work", noted_work)
            patch.setattr(Tuner, "take_step", noted_step)
            yield self


Uniforms = Callable[[list[int], list[int], int], Tensor]
"""Random numbers on [0, 1) for some workers and jobs, (J, size)."""


def any_uniforms(workers: list[int], jobs: list[int], size: int) -> Tensor:
    """Return random numbers of no address."""
    return torch.rand(len(workers), size, dtype=torch.float64)


class PlainTuner(ABC):
    """AsynDBT's workers and server as a plain loop over what was recorded, with the cuts that there are.

    Args:
        tuner: a learner between two steps; its tables are copied.
    """

    at_once: ClassVar[int]
    """Jobs computed together, at most."""

    def __init__(self, tuner: Tuner) -> None:
        tables = tuner.tables
        self.P, self.Q, self.received = tables.P.clone(), tables.Q.clone(), tuner.received.clone()
        self.moments = [[table.clone() for table in kept] for kept in (tables._p_moments, tables._q_moments)]
        self.count = tables._count.clone()
        self.z, multipliers, self.polyhedron = tuner.state
        self.now, self.weighed = multipliers.now, multipliers.weighed.clone()
        self.steps = tuner.steps
        self.optimizer, self.rules = tables._optimizer, tuner.rules
        self.project = simplex.project if tuner._oracle.on_simplex else lambda rows: rows

    def copied(self) -> PlainTuner:
        """Return the same with tables of its own."""
        other = copy.copy(self)
        for name in ("P", "Q", "received", "count", "weighed"):
            setattr(other, name, getattr(self, name).clone())
        other.moments = [[table.clone() for table in kept] for kept in self.moments]
        return other

    @abstractmethod
    def gradients(
        self, rows: Tensor, workers: list[int], jobs: list[int], P: Tensor, Q: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the gradients by p and by q of some workers' jobs."""

    def prepared(self, events: list[Computed | Stepped]) -> list[tuple[Any, ...]]:
        """Return what `replay` takes: indices as tensors, and the multipliers that jobs had read."""
        found: list[tuple[Any, ...]] = []
        for event in events:
            if isinstance(event, Stepped):
                found.append((torch.tensor(event.workers),))
                continue
            for first in range(0, len(event.workers), self.at_once):
                part = slice(first, first + self.at_once)
                workers, read = event.workers[part], event.contents[part]
                multipliers = torch.stack([content.multipliers.now for content in read])
                found.append((torch.tensor(workers), workers, event.jobs[part], multipliers))
        return found

    def replay(self, prepared: list[tuple[Any, ...]]) -> None:
        """Do again what was recorded."""
        for event in prepared:
            if len(event) == 1:
                self.step(event[0])
            else:
                self.work(*event)

    def work(self, rows: Tensor, workers: list[int], jobs: list[int], multipliers: Tensor) -> None:
        """Let workers step their p and q, (19) and (20)."""
        P, Q = self.P[rows], self.Q[rows]
        by_p, by_q = self.gradients(rows, workers, jobs, P, Q)
        if self.polyhedron.columns:
            a = self.polyhedron.a.index_select(0, rows).double()
            by_p += torch.matmul(multipliers.unsqueeze(2), a).squeeze(2)
        self.count[rows] += 1
        for table, old, slope, moments in zip(
            (self.P, self.Q), (P, Q), (by_p, by_q), self.moments, strict=True
        ):
            own = tuple(kept[rows] for kept in moments)
            table[rows] = self.project(old - self.optimizer.update(slope, own, self.count[rows]))
            for kept, changed in zip(moments, own, strict=True):
                kept[rows] = changed

    def step(self, rows: Tensor) -> None:
        """Take messages in and step z and the multipliers, (21) and (22)."""
        messages = self.P[rows]
        if not self.polyhedron.columns:
            self.received[rows] = messages
            return
        b, c = self.polyhedron.b, self.polyhedron.c
        a = self.polyhedron.a.index_select(0, rows).double()
        change = messages - self.received[rows]
        self.received[rows] = messages
        # A row times a matrix: four times faster than the matrix times a column.
        self.weighed += torch.matmul(change.unsqueeze(2), a.transpose(2, 3)).sum(0).squeeze(1)
        pull = torch.matmul(self.now.unsqueeze(1), b).squeeze(1)
        self.z = self.project(self.z - self.rules.z_rate * pull)
        along_z = torch.matmul(self.z.unsqueeze(1), b.transpose(1, 2)).squeeze(1)
        values = along_z + self.weighed + c
        rate, c1 = self.rules.multipliers.rate, self.rules.multipliers.regulariser(self.steps)
        self.now = (self.now + rate * (values - c1 * self.now)).clamp_(min=0)
        self.steps += 1


class PlainQuadratic(PlainTuner):
    """The quadratic problem."""

    at_once = 10**9

    def __init__(self, tuner: Tuner) -> None:
        super().__init__(tuner)
        oracle = tuner._oracle
        assert isinstance(oracle, Bilevel)
        self.b, self.t, self.weight = oracle._b, oracle._t, oracle.settings.upper_weight

    def gradients(
        self, rows: Tensor, workers: list[int], jobs: list[int], P: Tensor, Q: Tensor
    ) -> tuple[Tensor, Tensor]:
        p = P[:, 0]
        residual = Q[:, 0] - p - self.b[rows]
        return (self.weight * (p - self.t[rows]) - residual)[:, None], residual[:, None]


class PlainIcl(PlainTuner):
    """Prompts for the surrogate."""

    at_once = JOBS_AT_ONCE

    def __init__(self, tuner: Tuner, uniforms: Uniforms = any_uniforms) -> None:
        super().__init__(tuner)
        oracle = tuner._oracle
        assert isinstance(oracle, IclOracle)
        assert oracle.problem.batch is None
        self.oracle, self.uniforms = oracle, uniforms

    def gradients(
        self, rows: Tensor, workers: list[int], jobs: list[int], P: Tensor, Q: Tensor
    ) -> tuple[Tensor, Tensor]:
        oracle, problem = self.oracle, self.oracle.problem
        n_slots, n_samples = Q.shape[1], problem.n_samples
        uniforms = self.uniforms(workers, jobs, (n_slots + P.shape[1]) * n_samples)
        uniforms = uniforms.view(len(workers), -1, n_samples)
        shown, words = draw(Q, uniforms[:, :n_slots]), draw(P, uniforms[:, n_slots:])
        scores = oracle.scorer.scores(Prompts(rows, words, shown, "train", None))
        losses = cross_entropy(scores, oracle._train_y[rows], problem.loss_floor)
        kind = problem.estimator
        return gradient(losses, words, P, kind), gradient(losses, shown, Q, kind)
