"""How S is adapted: what the server sees of its workers' times, and which S would take the least of it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from fedsim.schedule import Adapt, Interlude


class Watch:
    """Finds the S that takes the least time per worker update, by what the server has seen.

    It sees how long each job took, from handing it out until its report was read. If all members began
    together, a step that waits for s of them would take the s-th smallest of these times (a mean over their
    last jobs); and since nobody may be tau steps late, no less than the largest over tau. The server's own
    arithmetic adds to each step, and what the last interlude took to each that has one. The time per worker
    update is that of a step over s; what comes in at a barrier counts too.

    A job under way counts with the time that it has taken so far, where that is more than its worker's last.

    An extension of ours. Source of the idea, in whose place this rule stands: ASPIRE-ADP, which changes the
    number of active workers as it runs; Jiao, Yang and Song, "Federated distributionally robust optimization
    with non-convex objectives", arXiv 2307.14364.

    Args:
        adapt: the bounds of S, and how often to look.
        tau: the staleness bound.
        step_s: the server's own arithmetic in a step (s).
        interlude: the rounds that follow some of the steps; none: there are none.
        now: tells the time (s).
    """

    def __init__(
        self, adapt: Adapt, tau: int, step_s: float, interlude: Interlude | None, now: Callable[[], float]
    ) -> None:
        self._adapt = adapt
        self._tau = tau
        self._step_s = step_s
        self._interlude = interlude
        self._now = now
        self._began_s: dict[int, float] = {}  # when each member got its last job
        self._took_s: dict[int, deque[float]] = {}  # how long its last jobs took
        self._busy: set[int] = set()
        self._stepped_s = 0.0
        self._interlude_s = 0.0  # how long the last one has lasted

    def asked(self, workers: Iterable[int]) -> None:
        """These workers get a job after a step, or after the interlude that has followed it."""
        self._interlude_s = (self._now() - self._stepped_s) or self._interlude_s
        self.handed_out(workers)

    def handed_out(self, workers: Iterable[int]) -> None:
        """These workers get a job now."""
        now_s = self._now()
        for worker in workers:
            self._began_s[worker] = now_s
            self._busy.add(worker)

    def reported(self, worker: int) -> None:
        """The report of this worker has been read."""
        took_s = self._took_s.setdefault(worker, deque(maxlen=self._adapt.window))
        took_s.append(self._now() - self._began_s[worker])
        self._busy.discard(worker)

    def away(self, worker: int) -> None:
        """What this worker does now is for no step: how long it takes does not count."""
        self._busy.discard(worker)

    def left(self, worker: int) -> None:
        """This worker takes part no longer."""
        self._began_s.pop(worker, None)
        self._took_s.pop(worker, None)
        self._busy.discard(worker)

    def stepped(self, step: int, wait_for: int) -> int:
        """Return S from now on.

        Args:
            step: how many steps have been taken.
            wait_for: S so far.
        """
        self._stepped_s = self._now()
        if step % self._adapt.every_steps or not (update_s := self.update_s(step)):
            return wait_for
        return self._better(wait_for, update_s)

    def _better(self, wait_for: int, update_s: Sequence[float]) -> int:
        """Return the S with which an update takes least, if it is worth it; of equals the largest.

        Args:
            wait_for: S so far.
            update_s: the seconds per worker update with S = 1, 2, ...
        """
        n_members = len(update_s)
        most = min(n_members, self._adapt.most or n_members)
        allowed = range(min(self._adapt.least, most), most + 1)
        best = min(allowed, key=lambda s: (update_s[s - 1], -s))
        now = update_s[min(wait_for, n_members) - 1]
        return best if update_s[best - 1] < (1 - self._adapt.gain) * now else wait_for

    def update_s(self, step: int) -> list[float]:
        """Return the seconds per worker update with S = 1, 2, ... up to all members."""
        plan = self._interlude
        if plan is not None and plan.stop_after is not None and step >= plan.stop_after:
            plan = None
        return seconds_per_update(self._arrivals_s(), self._tau, self._step_s, plan, self._interlude_s)

    def _arrivals_s(self) -> list[float]:
        """Return when the first, the second, ... of all members would report that begin together (s)."""
        # Nothing is known yet of who has done nothing but jobs that are for no step.
        rows = [times_s for worker in self._began_s if (times_s := self._times_s(worker))]
        looks = [sorted(row[-1 - look % len(row)] for row in rows) for look in range(self._adapt.window)]
        return [math.fsum(column) / len(looks) for column in zip(*looks, strict=True)]

    def _times_s(self, worker: int) -> list[float]:
        """Return how long the last jobs of a worker took, the newest last (s)."""
        times_s = list(self._took_s.get(worker, ()))
        if worker in self._busy:
            so_far_s = self._now() - self._began_s[worker]
            if not times_s or so_far_s > times_s[-1]:
                times_s.append(so_far_s)
        return times_s


def seconds_per_update(
    arrivals_s: Sequence[float], tau: int, step_s: float, interlude: Interlude | None, interlude_s: float
) -> list[float]:
    """Return the seconds per worker update with S = 1, 2, ..., R, if all workers begin each step together.

    Args:
        arrivals_s: when the first, the second, ... and the last of R workers reports (s).
        tau: the staleness bound.
        step_s: the server's own arithmetic in a step (s).
        interlude: the rounds that follow some of the steps; none: there are none.
        interlude_s: how long they last, their barrier included (s).
    """
    lengths_s = [max(each_s, arrivals_s[-1] / tau) + step_s for each_s in arrivals_s]
    numbered = enumerate(lengths_s, start=1)
    if interlude is None or interlude.every_updates is not None:  # then any update bears the same of them
        return [length_s / s for s, length_s in numbered]
    found = []
    for s, length_s in numbered:
        drained = interlude.drained(len(arrivals_s), s)
        found.append((interlude.every * length_s + interlude_s) / (interlude.every * s + drained))
    return found
