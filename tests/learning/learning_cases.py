"""A tiny in-context problem that can be enumerated, and a clockless way to drive the learning half."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedsim.algorithms.base import Bench
from fedsim.algorithms.dbt.cendbt import Cendbt
from fedsim.algorithms.dbt.settings import CommonRules, Cuts, Rules
from fedsim.algorithms.dbt.tuner import ServerState, Tuner
from fedsim.attack import Assigned
from fedsim.learning.batching import Job
from fedsim.learning.filters.base import Filtering
from fedsim.messages import Snapshot, Ticket
from fedsim.problems.base import RealisationRule
from fedsim.problems.quadratic import Quadratic
from fedsim.streams import Streams

SGD = {"kind": "sgd", "learning_rate": 0.05}
TOY = {
    "optimizer": SGD,
    "z_rate": 0.05,
    "inner": {"p_rate": 0.05, "z_rate": 0.05, "rho_rate": 0.05},
}
"""Plain gradient steps of 0.05 at every place."""


SURROGATE = {
    "base_alignment": 0.5,
    "demo_step": 0.3,
    "label_bias": 0.8,
    "word_gain": 0.7,
    "word_noise": 0.4,
    "demo_noise": 0.5,
}
"""Parameters of a surrogate on which a few updates show."""


def toy_settings(**changes: Any) -> Rules:
    """Return the toy's settings with these tables laid over."""
    table: dict[str, Any] = {
        key: dict(value) if isinstance(value, dict) else value for key, value in TOY.items()
    }
    for key, value in changes.items():
        table[key] = table.get(key, {}) | value if isinstance(value, dict) and key != "optimizer" else value
    return Rules.model_validate(table)


class ToyOracle:
    """M = 2 words of N = 3 candidates, U = 2 slots of V = 2 demonstrations; gradients by full enumeration.

    Worker v's black box is a table of losses ``L[v, j1, j2, k1, k2]``, on [0, 1): a common part, something
    to agree on, and one of its own. Nothing is sampled.
    """

    on_simplex = True
    questions = None

    def __init__(self, n_workers: int = 3, seed: int = 0, own: float = 0.3, pooled: bool = False) -> None:
        common = np.random.default_rng(seed).random((3, 3, 2, 2))
        private = np.stack([np.random.default_rng([seed, v]).random((3, 3, 2, 2)) for v in range(n_workers)])
        losses = (1 - own) * common + own * private
        self.L = torch.from_numpy(losses.mean(0, keepdims=True) if pooled else losses)
        self.start_p = torch.full((2, 3), 1 / 3, dtype=torch.float64)
        self.start_q = torch.full((2, 2), 1 / 2, dtype=torch.float64)
        self.upper_jobs: list[tuple[int, int]] = []
        self.lower_jobs: list[tuple[int, int]] = []

    def upper(
        self, workers: list[int], jobs: list[int], P: Tensor, Q: Tensor, starts_s: Sequence[float] = ()
    ) -> tuple[Tensor, Tensor]:
        self.upper_jobs += zip(workers, jobs, strict=True)
        losses = self.L[workers]
        p1, p2, q1, q2 = P[:, 0], P[:, 1], Q[:, 0], Q[:, 1]
        by_p = torch.stack(
            [
                torch.einsum("vabcd,vb,vc,vd->va", losses, p2, q1, q2),
                torch.einsum("vabcd,va,vc,vd->vb", losses, p1, q1, q2),
            ],
            1,
        )
        by_q = torch.stack(
            [
                torch.einsum("vabcd,va,vb,vd->vc", losses, p1, p2, q2),
                torch.einsum("vabcd,va,vb,vc->vd", losses, p1, p2, q1),
            ],
            1,
        )
        return by_p, by_q

    def lower(
        self,
        workers: list[int],
        jobs: list[int],
        P: Tensor,
        realised: Tensor,
        starts_s: Sequence[float] = (),
    ) -> Tensor:
        self.lower_jobs += zip(workers, jobs, strict=True)
        losses = self.held(workers, realised)
        return torch.stack(
            [
                torch.einsum("vab,vb->va", losses, P[:, 1]),
                torch.einsum("vab,va->vb", losses, P[:, 0]),
            ],
            1,
        )

    def held(self, workers: list[int], realised: Tensor) -> Tensor:
        """Return the losses (J, N, N) with the demonstrations held at `realised`, (J, U)."""
        return torch.stack(
            [self.L[v, :, :, k1, k2] for v, (k1, k2) in zip(workers, realised.tolist(), strict=True)]
        )

    def realise(self, workers: list[int], Q: Tensor, rule: RealisationRule, update: int) -> Tensor:
        if rule == "modal":
            return Q.argmax(-1)
        return torch.zeros(len(workers), 2, dtype=torch.long)

    def evaluate(
        self, workers: list[int], P: Tensor, Q: Tensor, z: Tensor, time_s: float = 0.0
    ) -> dict[str, float]:
        """Measure exact expected losses, with the workers' own p and with z."""
        losses = self.L[workers]
        each = "vabcd,va,vb,vc,vd->v"
        own = torch.einsum(each, losses, P[:, 0], P[:, 1], Q[:, 0], Q[:, 1])
        shared = torch.einsum("vabcd,a,b,vc,vd->v", losses, z[0], z[1], Q[:, 0], Q[:, 1])
        return {"loss": float(own.mean()), "accuracy": float("nan"), "loss_consensus": float(shared.mean())}


class GivenBench(Bench):
    """A workbench whose oracle, and what judges messages, are given."""

    def __init__(
        self,
        oracle: Any,
        n_workers: int,
        attacks: Sequence[Assigned] = (),
        filtering: Filtering | None = None,
    ) -> None:
        super().__init__(Quadratic(), n_workers, Streams(0), attacks)
        self._oracle = oracle
        self._filtering = filtering

    def oracle(self, *, pooled: bool = False, judge: Any = None) -> Any:
        return self._oracle

    def filtering(self, judge: Any, oracle: Any) -> Filtering | None:
        return self._filtering


def centralised(oracle: Any, attacks: Sequence[Assigned] = (), **changes: Any) -> Tuner:
    """Return the tuner of cenDBT with the toy's settings."""
    rules = toy_settings(**changes)
    shared = {name: getattr(rules, name) for name in CommonRules.model_fields}
    return Cendbt(**shared).open(GivenBench(oracle, 1, attacks))


class Drive:
    """Hands jobs out and tickets in as the event loop would, in an order that the test decides.

    With `late`, a job is shown to the learning half only when its result is asked for: then nothing in flight
    is ever evaluated ahead of its turn.
    """

    def __init__(self, tuner: Tuner, n_workers: int, late: bool = False) -> None:
        self.tuner = tuner
        self.kind = "outer" if hasattr(tuner, "rules") else "local"
        self.late = late
        self.version = 0
        self.jobs = [0] * n_workers
        self.read = [Snapshot(0, tuner.state)] * n_workers
        for worker in range(n_workers):
            self._hand_out(worker)

    def step(
        self, active: list[int], cut_rounds: int = 0, participants: list[int] | None = None
    ) -> ServerState:
        """Take a server step with these workers' results and, with `cut_rounds`, a polyhedron update after.

        The update is for `participants`; for none, all workers, the others being drained first.
        """
        state = self.tuner.take_step(self._finished(active))
        self.version += 1
        started = active
        if cut_rounds:
            everyone = list(self.tuner.alive)
            started = everyone if participants is None else participants
            drained = [worker for worker in started if worker not in active]
            state = self.interlude(self._finished(drained), started, cut_rounds)
        for worker in started:
            self.read[worker] = Snapshot(self.version, state)
            self._hand_out(worker)
        return state

    def interlude(self, drained: list[Ticket], participants: list[int], rounds: int) -> ServerState:
        """Go through a polyhedron update with these workers."""
        self.tuner.rules = self.tuner.rules.model_copy(update={"cuts": Cuts(rounds=rounds)})
        inside = self.tuner.interlude(drained, participants)
        content = next(inside)
        while True:
            try:
                content = inside.send(self.round(participants, content))
            except StopIteration as end:
                return end.value

    def round(self, workers: list[int], content: Any) -> list[Ticket]:
        """One inner round with these workers."""
        tickets = []
        for worker in workers:
            snapshot, job = Snapshot(self.version, content), self.jobs[worker]
            self.tuner.hand_out(Job(worker, job, "inner", content))
            tickets.append(Ticket(worker, job, "inner", snapshot, 0.0, 0.0))
            self.jobs[worker] += 1
        return tickets

    def _hand_out(self, worker: int) -> None:
        if not self.late:
            self.tuner.hand_out(Job(worker, self.jobs[worker], self.kind, self.read[worker].content))

    def _finished(self, workers: list[int]) -> list[Ticket]:
        tickets = []
        for worker in workers:
            if self.late:
                self.tuner.hand_out(Job(worker, self.jobs[worker], self.kind, self.read[worker].content))
            tickets.append(Ticket(worker, self.jobs[worker], self.kind, self.read[worker], 0.0, 0.0))
            self.jobs[worker] += 1
        return tickets


def random_walk(drive: Drive, steps: int, seed: int = 0, cut_every: int = 10, rounds: int = 5) -> None:
    """Take steps with random active sets of 1 to R workers and a polyhedron update now and then."""
    n_workers = len(drive.jobs)
    rng = np.random.default_rng(seed)
    for t in range(steps):
        active = sorted(rng.choice(n_workers, rng.integers(1, n_workers + 1), replace=False).tolist())
        drive.step(active, rounds if t % cut_every == 0 else 0)


def distributions(*shape: int, seed: int = 0) -> Tensor:
    """Return random rows of the simplex."""
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(shape[-1]), shape[:-1]))
