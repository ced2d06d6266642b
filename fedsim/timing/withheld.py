"""Reports that malicious workers withhold, and when they let go of them."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import simpy


class Withheld:
    """The reports withheld at present, those held longest first; all of them the server has yet to get.

    Args:
        outstanding: the workers that the server has yet to hear from; changes as the run goes on.
        lost: the workers that will never report again; grows as the run goes on.
    """

    def __init__(self, outstanding: Collection[int], lost: Collection[int]) -> None:
        self._outstanding = outstanding
        self._lost = lost
        self._held: dict[int, simpy.Event] = {}
        # By the number of the step with which they are due. The entry of a report that was let go before
        # stays until then; its event tells it from a later report of the same worker.
        self._due: dict[int, list[tuple[int, simpy.Event]]] = {}

    def hold(self, worker: int, until_step: int, event: simpy.Event) -> None:
        """Withhold a worker's report until so many steps have been taken, if it is not let go before.

        Args:
            worker: who withholds it.
            until_step: more steps than have been taken so far.
            event: will succeed when the report may be sent.
        """
        self._held[worker] = event
        self._due.setdefault(until_step, []).append((worker, event))

    def stepped(self, steps: int) -> None:
        """So many steps have now been taken, one more than before: let go of what is due."""
        for worker, event in self._due.pop(steps, ()):
            if self._held.get(worker) is event:
                self.let_go(worker)

    def let_go(self, worker: int) -> None:
        """Let go of a worker's report, if it is withheld."""
        if worker in self._held:
            self._held.pop(worker).succeed()

    def let_go_of_all(self) -> None:
        """Let go of every report."""
        for worker in list(self._held):
            self.let_go(worker)

    def ask(self, needed: int) -> None:
        """Where nobody else will report, let go of as many reports as are needed, and of one at least."""
        if not self._held:
            return
        coming = len(self._outstanding) - sum(worker in self._outstanding for worker in self._lost)
        if coming == len(self._held):
            for worker in list(islice(self._held, max(1, needed))):
                self.let_go(worker)

    def forget(self, worker: int) -> None:
        """What this worker withholds will never come."""
        self._held.pop(worker, None)
