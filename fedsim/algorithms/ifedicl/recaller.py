"""The learning half of a task that is known already: workers fetch what was learned, and use it."""

from __future__ import annotations

from fedsim.algorithms.base import Bench
from fedsim.algorithms.ifedicl.store import Learned
from fedsim.algorithms.ifedicl.workshop import controls
from fedsim.learning.batching import BatchingLearner, Job
from fedsim.learning.tuned import CONSENSUS, Tuned, of_vectors
from fedsim.messages import Ticket
from fedsim.problems.injection.oracle import InjectionOracle


class Recaller(BatchingLearner):
    """Nothing is computed: after one step, in which all workers have fetched it, there is nothing left to do.

    Args:
        bench: the problem and its data.
        learned: what a store holds of the task.
    """

    def __init__(self, bench: Bench, learned: Learned) -> None:
        super().__init__(bench.n_workers, lasting=())
        oracle = bench.prepared()
        assert isinstance(oracle, InjectionOracle)
        self._oracle = oracle
        self._vectors, self._coefficients = learned.tensors()
        self._learned = learned

    def first(self) -> None:
        """Nothing has to be known to fetch what is in a store."""

    def counts(self) -> dict[str, int]:
        """Nothing is counted beside what the clock counts."""
        return {}

    def take_step(self, tickets: list[Ticket]) -> None:
        """All have it."""
        self.finished = "task known"

    def reset(self, worker: int) -> None:
        """There is nothing to lose."""

    def evaluate(self, workers: list[int], time_s: float = 0.0) -> dict[str, float]:
        """Measure what was learned: it is the same at every worker and time."""
        return self._oracle.evaluate(self._vectors, self._coefficients) | controls(self._oracle, None)

    def tuned(self) -> list[Tuned]:
        """Return what was fetched, layer by layer."""
        return of_vectors(CONSENSUS, self._vectors, self._coefficients)

    def learned(self) -> str:
        """Return what the store holds."""
        return self._learned.text()

    def work(self, kind: str, jobs: list[Job]) -> None:
        """Nothing is computed."""
