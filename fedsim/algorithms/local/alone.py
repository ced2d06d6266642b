"""The learning half of methods in which every worker learns alone."""

from __future__ import annotations

import torch

from fedsim.algorithms.base import Bench
from fedsim.learning.batching import BatchingLearner, Job
from fedsim.learning.chunks import chunks
from fedsim.learning.optimizers.base import Optimizer
from fedsim.learning.tables import WorkerTables
from fedsim.learning.tuned import Tuned, kept_workers, of_prompts
from fedsim.messages import Ticket


class Alone(BatchingLearner):
    """A job is E steps of the worker's own p and q, from where its last job ended.

    Step e of job j draws at address ``E j + e``, as under federated averaging.

    Args:
        bench: the problem, its data and who attacks them.
        optimizer: of the steps.
        local_steps: E.
    """

    def __init__(self, bench: Bench, optimizer: Optimizer, local_steps: int = 1) -> None:
        super().__init__(bench.n_workers, lasting=("local",))
        self._oracle = bench.oracle()
        self._local_steps = local_steps
        self.tables = WorkerTables(self._oracle, optimizer, bench.n_workers)
        # What is measured must not depend on which jobs in flight happen to have been evaluated already.
        self.reported_p, self.reported_q = self.tables.P.clone(), self.tables.Q.clone()

    def first(self) -> None:
        """Workers read nothing from anybody."""

    def counts(self) -> dict[str, int]:
        """Nothing is counted beside what the clock counts."""
        return {}

    def take_step(self, tickets: list[Ticket]) -> None:
        """Note that these workers have finished a job."""
        self.need(tickets)
        rows = [ticket.worker for ticket in tickets]
        self.reported_p[rows] = self.tables.P[rows]
        self.reported_q[rows] = self.tables.Q[rows]

    def reset(self, worker: int) -> None:
        """Put this worker back to the start: nobody else holds what it had learned."""
        self.tables.forget(worker)
        self.reported_p[worker] = self.tables.P[worker]
        self.reported_q[worker] = self.tables.Q[worker]

    def evaluate(self, workers: list[int], time_s: float = 0.0) -> dict[str, float]:
        """Measure these workers as they were when they last finished a job; see `Oracle.evaluate`.

        The consensus that is measured too, where the problem measures one, is the mean of the p of all who
        take part: what they would have if they averaged now, once.
        """
        rows = torch.tensor(workers)
        together = self.reported_p[list(self.alive)].mean(0)
        return self._oracle.evaluate(workers, self.reported_p[rows], self.reported_q[rows], together, time_s)

    def tuned(self) -> list[Tuned]:
        """Return what is measured of each worker; there is no consensus."""
        m_words, n_slots = self.reported_p.shape[1], self.reported_q.shape[1]
        workers = kept_workers(len(self.reported_p), m_words + n_slots)
        rows = torch.tensor(workers)
        return of_prompts(self._oracle, workers, self.reported_p[rows], self.reported_q[rows], None)

    def work(self, kind: str, jobs: list[Job]) -> None:
        """Let every worker among these jobs make its steps."""
        for part in chunks(len(jobs), self.reported_p[0].numel()):
            group = jobs[part]
            for e in range(self._local_steps):
                self.tables.descend(group, [job.job * self._local_steps + e for job in group])
