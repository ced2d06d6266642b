"""The learning half of the single-client method, by each worker alone."""

from __future__ import annotations

from fedsim.algorithms.base import Bench
from fedsim.algorithms.ifedicl.base import EXTRACT
from fedsim.algorithms.ifedicl.workshop import Workshop, alike, controls, mean_of
from fedsim.learning.batching import BatchingLearner, Job
from fedsim.learning.optimizers.base import Optimizer
from fedsim.learning.tuned import Tuned, kept_workers, of_vectors, worker
from fedsim.messages import Ticket
from fedsim.problems.injection.oracle import InjectionOracle


class LoneCalibrator(BatchingLearner):
    """Every worker has vectors and coefficients of its own, and goes on from where its last job ended.

    Args:
        bench: the problem, its data and who attacks them.
        optimizer: of the local steps.
        local_steps: E.
        start: lambda and beta at first.
        control: whether the same is done with vectors of zero.
    """

    def __init__(
        self, bench: Bench, optimizer: Optimizer, local_steps: int, start: tuple[float, float], control: bool
    ) -> None:
        super().__init__(bench.n_workers, lasting=())
        oracle = bench.prepared()
        assert isinstance(oracle, InjectionOracle)
        self._oracle = oracle
        self.workshop = Workshop(oracle, optimizer, local_steps, start, bench.n_workers, control)
        # What is measured must not depend on which jobs in flight happen to have been computed already.
        self._reported_vectors = self.workshop.vectors.clone()
        self._reported = [lane.own.clone() for lane in self.workshop.lanes]

    def first(self) -> None:
        """Workers read nothing from anybody."""

    def counts(self) -> dict[str, int]:
        """Nothing is counted beside what the clock counts."""
        return {}

    def take_step(self, tickets: list[Ticket]) -> None:
        """Note that these workers have finished a job."""
        self.need(tickets)
        self._note([ticket.worker for ticket in tickets])

    def reset(self, worker: int) -> None:
        """Put this worker back to the start: nobody else holds what it had learned."""
        self.workshop.forget(worker)
        self._note([worker])

    def evaluate(self, workers: list[int], time_s: float = 0.0) -> dict[str, float]:
        """Measure these workers as they were when they last finished a job: means over them."""
        found = []
        for group in alike(workers, [self._reported_vectors, *self._reported]):
            worker = group[0]
            own = self._oracle.evaluate(self._reported_vectors[worker], self._reported[0][worker])
            control = self._reported[1][worker] if len(self._reported) > 1 else None
            found += [own | controls(self._oracle, control)] * len(group)
        return mean_of(found)

    def tuned(self) -> list[Tuned]:
        """Return the vectors and coefficients of each worker, layer by layer."""
        vectors, own = self._reported_vectors, self._reported[0]
        return [
            row
            for number in kept_workers(len(vectors), 2 * vectors.shape[1])
            for row in of_vectors(worker(number), vectors[number], own[number])
        ]

    def work(self, kind: str, jobs: list[Job]) -> None:
        """Take the vectors of these workers, or let them make their local steps from where they are."""
        if kind == EXTRACT:
            self.workshop.extract(jobs)
        else:
            self.workshop.calibrate(jobs, self.workshop.vectors[[job.worker for job in jobs]])

    def _note(self, workers: list[int]) -> None:
        self._reported_vectors[workers] = self.workshop.vectors[workers]
        for reported, lane in zip(self._reported, self.workshop.lanes, strict=True):
            reported[workers] = lane.own[workers]
