"""How long steps take that wait for S of R workers: worked out from the laws of their jobs, without a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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


FEW = 12
"""Of up to so many workers the law of the number of reports is worked out; of more it is approximated."""
TINY = 1e-12
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
    How many have reported by some time is then a sum of independent trials, which gives the law of the step's
    length, and the step shortens what is left of other jobs.

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
        ages = tau if self._bounded else 2  # then all ages but the first are one
        self._left = [np.zeros((ages, cells + 2)) for _ in workers]
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
        chances = [
            (self._chances_of(_only(left, 0, 1)), self._chances_of(_only(left, 1, None)))
            for left in self._left
        ]
        sizes = [
            _Headcount(count, count * float(left[0].sum()))
            for count, left in zip(self._counts, self._left, strict=True)
        ]
        length_s = self._seconds(_at_least(self._wait_for, sizes, chances))
        after, updates = [], 0.0
        for kind, (left, fresh) in enumerate(zip(self._left, self._fresh, strict=True)):
            reported, rest = 0.0, np.zeros_like(left)
            for begun, part in enumerate((_only(left, 1, None), _only(left, 0, 1))):
                if part.any():
                    others = list(sizes)
                    others[kind] = sizes[kind].without_one(bool(begun))
                    share, then = self._outcome(part, _at_least(self._wait_for, others, chances))
                    reported += share
                    rest += then
            rest[0] += reported * fresh
            after.append(rest)
            updates += self._counts[kind] * reported
        self._left = after
        return Step(length_s + self._step_s, updates)

    def _chances_of(self, part: Floats) -> Chances:
        """Return the chances of a worker that is one of these."""
        return self._chances(part / max(float(part.sum()), TINY))

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
        steps = steps[: np.flatnonzero(steps)[-1] + 1] if steps.any() else steps[:1]
        ages = [age for age in range(must) if left[age].any()]
        if ages:
            # what is left, less the step's length
            rest = signal.oaconvolve(left[ages], steps[None, ::-1], axes=1)[:, len(steps) - 1 :]
            rest[:, 0] = 0.0
            for age, of_age in zip(ages, rest, strict=True):
                after[min(age + 1, len(left) - 1)] += np.clip(of_age, 0.0, None)
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


class _Headcount(NamedTuple):
    """How many workers of a kind there are, and how many of them have begun with the last step."""

    workers: float
    begun: float
    """A mean: as many, or one more."""

    def without_one(self, begun: bool) -> _Headcount:
        """Return the others of one who has just begun, or has not."""
        count = self.workers - 1
        begun_too = self.begun - 1 if begun else count - max(0.0, self.workers - self.begun - 1)
        return _Headcount(count, min(max(0.0, begun_too), count))


Chances = tuple[Floats, Floats]
"""By time, the chance that a worker has reported, and that it has not and need not."""


def _at_least(enough: int, sizes: Sequence[_Headcount], chances: Sequence[tuple[Chances, Chances]]) -> Floats:
    """Return the chance, by time, that so many have reported and nobody else must be waited for.

    With more than `FEW` workers, the number of reports is taken to have the binomial law of the same mean and
    variance, which is exact where all are alike.

    Source: Ehm, "Binomial approximation to the Poisson binomial distribution", Statistics and Probability
    Letters, 1991.

    Args:
        enough: so many.
        sizes: how many workers there are of each kind.
        chances: of each kind, those of one who has begun with the last step, and those of another one.
    """
    if sum(size.workers for size in sizes) <= FEW:
        return _at_least_of_few(enough, sizes, chances)
    nothing = np.zeros_like(chances[0][0][0])
    mean, variance, free = nothing, nothing, nothing + 1
    for size, laws in zip(sizes, chances, strict=True):
        shares = []
        begun = round(size.begun, DIGITS)
        for number, (reported, need_not) in zip((begun, size.workers - begun), laws, strict=True):
            together = np.clip(reported + need_not, 0, 1)
            share = np.clip(reported / np.maximum(together, TINY), 0, 1)
            free = free * together ** max(0.0, number)
            mean = mean + number * share
            variance = variance + number * share * (1 - share)
            shares.append(share)
        more = begun % 1
        variance = variance + more * (1 - more) * (shares[0] - shares[1]) ** 2
    trials = mean**2 / np.maximum(mean - variance, TINY)
    failures = trials - enough + 1
    tail = special.betainc(enough, np.maximum(failures, TINY), np.clip(mean / np.maximum(trials, TINY), 0, 1))
    return np.asarray(np.where(failures > TINY, free * tail, 0.0))


def _at_least_of_few(
    enough: int, sizes: Sequence[_Headcount], chances: Sequence[tuple[Chances, Chances]]
) -> Floats:
    """Return what `_at_least` does, by the law of each number of reports."""
    reports = np.ones((len(chances[0][0][0]), 1))
    for size, (of_begun, of_others) in zip(sizes, chances, strict=True):
        count = round(size.workers)
        mean = min(float(count), round(size.begun, DIGITS))
        of_kind = np.zeros((len(reports), count + 1))
        for begun, weight in ((int(mean), 1 - mean % 1), (int(mean) + 1, mean % 1)):
            if weight > 0:
                split = _added(_binomial(begun, of_begun), _binomial(count - begun, of_others))
                of_kind += weight * split
        reports = _added(reports, of_kind)
    return np.asarray(reports[:, enough:].sum(1))


def _binomial(count: int, chances: Chances) -> Floats:
    """Return the chance of just 0, 1, ... `count` reports where the rest need not: (times, count + 1)."""
    numbers = np.arange(count + 1)
    reported, need_not = (law[:, None] for law in chances)
    return np.asarray(special.comb(count, numbers) * reported**numbers * need_not ** (count - numbers))


def _added(some: Floats, others: Floats) -> Floats:
    """Return the law of a sum, by time, from those of two independent numbers."""
    found = np.zeros((len(some), some.shape[1] + others.shape[1] - 1))
    for number in range(others.shape[1]):
        found[:, number : number + some.shape[1]] += some * others[:, [number]]
    return found


def _only(left: Floats, first: int, stop: int | None) -> Floats:
    """Return what is left of jobs at these ages alone."""
    found = np.zeros_like(left)
    found[first:stop] = left[first:stop]
    return found
