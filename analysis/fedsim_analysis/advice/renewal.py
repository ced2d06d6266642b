"""How long steps take that wait for S of R workers: worked out from the laws of their jobs, without a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from scipy import signal, special

Floats = NDArray[np.float64]

FEWEST_CELLS, MOST_CELLS = 1024, 4096
"""Cells of the grid of times."""
CELLS_A_STEP = 16
"""So many cells for a step, where that takes no more than `MOST_CELLS`."""
MOST_AGES = 40
"""Ages are told apart up to this one; a larger staleness bound is taken not to bind."""
MOST_STEPS = 150
SETTLED = 1e-3
"""Steps whose lengths differ by less than this part have settled."""


LOOK = 32
"""At every so many times of the grid it is looked where a chance is neither 0 nor 1."""
TINY = 1e-9
"""Chances nearer than this to 0 or 1 are taken to be 0 or 1."""


DIGITS = 9
"""Mean numbers of workers are exact to so many digits after the point."""


class Alike(NamedTuple):
    """Workers whose jobs have one law."""

    workers: float
    job_s: Floats
    """Equally likely times of a job (s)."""

    @property
    def mean_s(self) -> float:
        """The mean time of a job (s)."""
        return float(self.job_s.mean())


class Step(NamedTuple):
    """A step, as means."""

    length_s: float
    updates: float
    """How many reports it takes."""


class Renewal:
    """Workers that do their jobs, report, wait for the step, and begin anew; all have just begun together.

    The state of a worker is the law of the time that is left of its job, on a grid of times, for each age.
    How many have begun with the last step is known; all else of different workers is taken to be independent.
    The number of those who have reported by some time is then a sum of binomials, which gives the law of the
    step's length, and the step shortens what is left of other jobs.

    Source: David and Nagaraja, Order Statistics, 2003, section 5.2 (independent, not identically
    distributed); Le Boudec et al., "A generic mean field convergence result for systems of interacting
    objects", QEST 2007, for the independence.

    Args:
        workers: those that are alike, kind by kind.
        wait_for: S.
        tau: the staleness bound.
        step_s: the server's own arithmetic in a step (s).
    """

    def __init__(self, workers: Sequence[Alike], wait_for: int, tau: int, step_s: float = 0.0) -> None:
        self._counts = [round(alike.workers) for alike in workers]
        self._wait_for = wait_for
        self._bounded = tau <= MOST_AGES
        longest_s = max(float(alike.job_s.max()) for alike in workers)
        rate = sum(alike.workers / max(alike.mean_s, longest_s / MOST_CELLS) for alike in workers)
        cells = int(np.clip(CELLS_A_STEP * longest_s * rate / wait_for, FEWEST_CELLS, MOST_CELLS))
        self._cell_s = longest_s / cells
        self._step_s = step_s
        self._fresh = [_on_grid(alike.job_s / self._cell_s, cells + 2) for alike in workers]
        self._left = [np.zeros((min(tau, MOST_AGES), cells + 2)) for _ in workers]
        for left, fresh in zip(self._left, self._fresh, strict=True):
            left[0] = fresh

    @property
    def active(self) -> list[float]:
        """How many workers of each kind have begun their jobs with the last step."""
        return [count * float(left[0].sum()) for count, left in zip(self._counts, self._left, strict=True)]

    def steps(self, most: int) -> list[Step]:
        """Take steps until they have settled, at most so many; the last one stands for all that follow."""
        passed: list[Step] = []
        calm = 0
        while len(passed) < min(most, MOST_STEPS) and calm * self._wait_for <= 2 * sum(self._counts):
            step = self._step()
            same = passed and abs(step.length_s - passed[-1].length_s) < SETTLED * step.length_s
            calm = calm + 1 if same else 0
            passed.append(step)
        if len(passed) == MOST_STEPS:  # it swings: the mean of what has passed stands for the rest
            passed[-1] = Step(*np.mean(passed[MOST_STEPS // 2 :], axis=0).tolist())
        return passed

    def drained(self, active_too: bool) -> Step:
        """Return how long it takes until all who are busy have reported, and how many they are.

        Args:
            active_too: those who have begun with the last step are waited for like all others.
        """
        rest: list[Floats] = [left.sum(0) if active_too else left[1:].sum(0) for left in self._left]
        reported, busy = np.ones(len(rest[0])), 0.0
        for count, law in zip(self._counts, rest, strict=True):
            share = float(law.sum())
            busy += count * share
            reported *= np.clip(1 - share + np.cumsum(law), 0, 1) ** count
        return Step(self._seconds(reported), busy)

    def pause(self, seconds: float) -> None:
        """Let so many seconds pass for those alone who were busy before the last step."""
        for left in self._left:
            left[1:] = _later(left[1:], round(seconds / self._cell_s))

    def _step(self) -> Step:
        groups = [self._group(count, left) for count, left in zip(self._counts, self._left, strict=True)]
        length_s = self._seconds(_at_least(self._wait_for, groups))
        after, updates = [], 0.0
        for kind, (left, fresh) in enumerate(zip(self._left, self._fresh, strict=True)):
            reported, rest = 0.0, np.zeros_like(left)
            for begun, part in enumerate((_only(left, 1, None), _only(left, 0, 1))):
                if part.any():
                    others = list(groups)
                    others[kind] = groups[kind].without_one(bool(begun))
                    share, then = self._outcome(part, _at_least(self._wait_for, others))
                    reported += share
                    rest += then
            rest[0] += reported * fresh
            after.append(rest)
            updates += self._counts[kind] * reported
        self._left = after
        return Step(length_s + self._step_s, updates)

    def _group(self, count: int, left: Floats) -> _Group:
        begun, others = _only(left, 0, 1), _only(left, 1, None)
        laws = [self._chances(part / max(float(part.sum()), 1e-300)) for part in (begun, others)]
        return _Group(count, count * float(begun.sum()), *(np.stack(law) for law in laws))

    def _chances(self, left: Floats) -> tuple[Floats, Floats]:
        """Return the chances, by time, that a worker has reported, and that it has not and need not."""
        overdue = left[-1] if self._bounded else np.zeros(left.shape[1])
        free = left.sum(0) - overdue
        by_now = np.cumsum(free)
        return by_now + np.cumsum(overdue), np.clip(by_now[-1] - by_now, 0, 1)

    def _outcome(self, left: Floats, without: Floats) -> tuple[float, Floats]:
        """Return the chance that a worker reports in a step, and what is left of its job if it does not.

        Args:
            left: what is left before the step, by age.
            without: the chance, by time, that the others alone are enough for the step.
        """
        without = np.maximum.accumulate(np.clip(without, 0, 1))
        in_time = 1 - np.concatenate(([0.0], without[:-1]))
        must = len(left) - 1 if self._bounded else len(left)  # whoever has this age is waited for
        reported = float((left[:must] * in_time).sum() + left[must:].sum())
        after = np.zeros_like(left)
        steps = np.diff(without, prepend=0.0)
        for age in range(must):
            if left[age].any():
                # what is left, less the step's length
                rest = signal.fftconvolve(left[age], steps[::-1])[len(steps) - 1 :]
                rest[0] = 0.0
                after[min(age + 1, len(left) - 1)] += np.clip(rest, 0.0, None)
        return reported, _later(after, round(self._step_s / self._cell_s))

    def _seconds(self, by_now: Floats) -> float:
        """Return the mean of what has happened by each time of the grid with this chance (s)."""
        return self._cell_s * float((1 - by_now).sum())


def longest_s(workers: Sequence[Alike]) -> float:
    """Return the mean of the longest job, where each worker does one (s); counts may be mean values."""
    times = np.unique(np.concatenate([alike.job_s for alike in workers]))
    done = np.ones(len(times))
    for alike in workers:
        done *= (
            np.searchsorted(np.sort(alike.job_s), times, side="right") / len(alike.job_s)
        ) ** alike.workers
    return float(times[0] + ((1 - done[:-1]) * np.diff(times)).sum())


def _on_grid(cells: Floats, size: int) -> Floats:
    """Return the law of equally likely times, in cells, each split between two of them: the mean is kept."""
    before = np.floor(cells).astype(int)
    after = cells - before
    law = np.bincount(before, 1 - after, size) + np.bincount(before + 1, after, size)
    return law / len(cells)


def _later(left: Floats, cells: int) -> Floats:
    """Return what is left of jobs so many cells later; what is done by then is left with nothing."""
    if cells == 0:
        return left
    cells = min(cells, left.shape[1] - 1)
    after = np.zeros_like(left)
    after[:, 0] = left[:, : cells + 1].sum(1)
    after[:, 1 : left.shape[1] - cells] = left[:, cells + 1 :]
    return after


class _Group(NamedTuple):
    """Workers of one kind, of whom some have begun with the last step, and some have reported by now."""

    size: int
    begun: float
    """How many have begun with the last step: as many or one more, such that this is the mean."""
    of_begun: Floats
    """By time, the chance that one of them has reported, and that it has not and need not: (2, times)."""
    of_others: Floats
    """The same of one of the others."""

    def without_one(self, begun: bool) -> _Group:
        """Return the others of one who has just begun, or has not."""
        size = self.size - 1
        mean = self.begun - 1 if begun else size - max(0.0, self.size - self.begun - 1)
        return self._replace(size=size, begun=min(max(0.0, mean), float(size)))

    def at(self, times: slice) -> _Group:
        """Return the same at some times of the grid."""
        return self._replace(of_begun=self.of_begun[:, times], of_others=self.of_others[:, times])

    def reported(self) -> Floats:
        """Return the chance that just so many have reported and the rest need not: (times, size + 1)."""
        found = np.zeros((self.of_begun.shape[1], self.size + 1))
        for begun, weight in self._splits():
            found += weight * signal.fftconvolve(
                _binomial(begun, self.of_begun), _binomial(self.size - begun, self.of_others), axes=1
            )
        return found

    def at_least(self, numbers: NDArray[np.int_]) -> Floats:
        """Return the chance that at least so many have reported and the rest need not: (times, numbers)."""
        found = np.zeros((self.of_begun.shape[1], len(numbers)))
        for begun, weight in self._splits():
            some = _binomial(begun, self.of_begun)
            missing = numbers[:, None] - np.arange(begun + 1)
            enough = _binomial_tail(self.size - begun, self.of_others, missing.ravel())
            enough = enough.reshape(len(found), *missing.shape)
            found += weight * np.einsum("tj,tnj->tn", some, enough)
        return found

    def _splits(self) -> Iterator[tuple[int, float]]:
        """Yield how many may have begun, and how likely that is."""
        mean = min(float(self.size), round(self.begun, DIGITS))
        fewer = int(mean)
        yield fewer, fewer + 1 - mean
        if mean > fewer:
            yield fewer + 1, mean - fewer


def _binomial(count: int, chances: Floats) -> Floats:
    """Return the chance of just 0, 1, ... `count` reports where the rest need not: (times, count + 1)."""
    numbers = np.arange(count + 1)
    reported, need_not = chances[:, :, None]
    ways = special.gammaln(count + 1) - special.gammaln(numbers + 1) - special.gammaln(count - numbers + 1)
    return np.exp(ways + special.xlogy(numbers, reported) + special.xlogy(count - numbers, need_not))


def _binomial_tail(count: int, chances: Floats, numbers: NDArray[np.int_]) -> Floats:
    """Return the chance of at least so many reports where the rest need not: (times, numbers)."""
    together = np.clip(chances.sum(0), 0, 1)
    share = np.clip(chances[0] / np.maximum(together, 1e-300), 0, 1)[:, None]
    wanted = np.unique(np.clip(numbers, 0, count + 1))
    tails = np.where(wanted == 0, 1.0, special.bdtrc(np.maximum(wanted - 1, 0), count, share))
    tails[:, wanted > count] = 0.0
    places = np.searchsorted(wanted, np.clip(numbers, 0, count + 1))
    return cast("Floats", (together[:, None] ** count * tails)[:, places])


def _at_least(enough: int, groups: Sequence[_Group]) -> Floats:
    """Return the chance, by time, that so many have reported and nobody must be waited for."""
    size = groups[0].of_begun.shape[1]
    # It grows with time: a look at few times tells where it is neither 0 nor 1.
    seen = _law_of([group.at(slice(None, None, LOOK)) for group in groups], enough)
    first = LOOK * max(0, int((seen < TINY).sum()) - 1)
    certain = np.flatnonzero(seen > 1 - TINY)
    last = LOOK * int(certain[0]) + 1 if len(certain) else size
    found = np.zeros(size)
    found[last:] = 1.0
    found[first:last] = _law_of([group.at(slice(first, last)) for group in groups], enough)
    return found


def _law_of(groups: Sequence[_Group], enough: int) -> Floats:
    *fewer, most = sorted(groups, key=lambda group: group.size)
    few = np.ones((most.of_begun.shape[1], 1))  # how many have reported of all but the largest group
    for group in fewer:
        few = signal.fftconvolve(few, group.reported(), axes=1)
    enough_of_most = most.at_least(enough - np.arange(few.shape[1]))
    return cast("Floats", (few * enough_of_most).sum(1))


def _only(left: Floats, first: int, stop: int | None) -> Floats:
    """Return what is left of jobs at these ages alone."""
    found = np.zeros_like(left)
    found[first:stop] = left[first:stop]
    return found
