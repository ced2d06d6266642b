"""The search: an estimate, timing by halving, fresh seeds, what would help, and learning for the few."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from fedsim.errors import RunError
from fedsim.scenario import Scenario
from fedsim.scenario.model import Record
from fedsim.sweep import Outcome
from fedsim_analysis.advice.candidates import Bracket, Candidate, Grid
from fedsim_analysis.advice.changes import Help, helps
from fedsim_analysis.advice.estimate import TimeEstimate
from fedsim_analysis.advice.estimate import estimate as estimate_time
from fedsim_analysis.advice.halving import WAVES, Pair, by_estimate, halved, wave
from fedsim_analysis.advice.learning import (
    Curve,
    Fared,
    Goal,
    curve_of,
    fared,
    goal_of,
    in_order,
    metric_of,
    watched,
)
from fedsim_analysis.advice.runs import RunOf, Runs
from fedsim_analysis.statistics import Estimate, estimate, saving_percent

FRESH = 1000
"""Seeds that choose count up from the scenario's own, seeds that judge from this many further on."""
AS_STATED = -1
"""The number of the scenario with its own budget, where that is not in worker updates alone."""
CHOOSING = 3
"""Seeds of learning runs by which the setting is chosen, as far as there is time."""
FEWEST_CHOOSING = 2
JUDGED = (12, 24, 48)
"""Fresh seeds of the advised setting; of all else at most half as many."""
FEWEST_JUDGED = 4
LEARNED = (5, 10, 20)
"""Fresh seeds of learning runs of the advised setting."""
ESTIMATED, TIMED, CHOSEN = 0.15, 0.35, 0.65
"""By when (parts of the seconds) estimates, the search by time alone and learning runs that choose end."""
TIMED_ALONE = 0.5
"""The same of the search by time, where nothing is learned."""


@dataclass(frozen=True)
class Gain:
    """What is saved against the scenario as it stands in simulated time, paired by fresh seeds (percent)."""

    time: Estimate
    """Of a run (s)."""
    saving: Estimate
    low_of_one: float
    """A run with one more seed saves between these, with 95 %."""
    high_of_one: float

    @property
    def is_sure(self) -> bool:
        """Whether the interval of the mean lies above 0."""
        return self.saving.low > 0


def difference(times_s: Mapping[int, float], own_s: Mapping[int, float]) -> Gain:
    """Return what runs of some seeds save against those of the scenario as it stands.

    Source: Student, 1908, for the mean; Hahn and Meeker, Statistical intervals, 1991, section 4.7: a further
    value lies within mean -+ t(0.975, n - 1) * deviation * sqrt(1 + 1 / n).

    >>> found = difference({1: 6.0, 2: 8.0}, {1: 10.0, 2: 10.0})
    >>> print(f"{found.saving.mean:.0f} ({found.low_of_one:.0f} to {found.high_of_one:.0f})")
    30 (-190 to 250)
    """
    times, own = pd.Series(times_s, dtype=float), pd.Series(own_s, dtype=float)
    saving = estimate(saving_percent(times, own))
    # The interval of the mean is as wide as that of one more value, but for a root.
    half_width = (saving.high - saving.mean) * math.sqrt(saving.count + 1)
    return Gain(estimate(times), saving, saving.mean - half_width, saving.mean + half_width)


@dataclass
class Judged:
    """A candidate of the final table."""

    candidate: Candidate
    difference: Gain
    learned: Fared | None = None
    """In learning runs of fresh seeds."""


@dataclass
class Advice:
    """All that a search has found."""

    scenario: Scenario
    """As it stands."""
    updates: int
    """The work of all runs, in worker updates."""
    own_budget: bool
    """Whether that is what the scenario's own budget says."""
    grid: Grid
    unestimated: str
    """Why there is no estimate of the scenario as it stands."""
    measured_s: float
    """The time of the one run of it that the estimate is compared with (s)."""
    advised: Candidate
    waves: int = 0
    """How far the search by time came."""
    complete: bool = False
    """Whether every candidate was looked at."""
    rows: dict[int, Judged] = field(default_factory=dict)
    """What was judged on fresh seeds, by the number of the candidate."""
    chosen: dict[int, Fared] = field(default_factory=dict)
    """The learning runs by which the setting was chosen."""
    helps: list[tuple[Help, Gain]] = field(default_factory=list)
    """What would help, the most helpful first."""
    limits: dict[str, float] = field(default_factory=dict)
    """Shares of the workers' time by activity, in the scenario as it stands."""
    server_limits: dict[str, float] = field(default_factory=dict)
    goal: Goal | None = None
    unlearned: str = ""
    """Why the advice goes by time alone."""
    failed: list[str] = field(default_factory=list)
    """Sentences of candidates whose runs failed."""
    runs: tuple[int, int] = (0, 0)
    """Made now, and found."""
    seconds: float = 0.0

    @property
    def best(self) -> Judged | None:
        """The advised setting; none: there was no time to judge it."""
        return self.rows.get(self.advised.number)

    @property
    def in_order(self) -> list[Judged]:
        """The rows: the scenario as it stands, then the advised one, then the others by their time."""
        first = (0, self.advised.number)
        rows = self.rows.values()
        return sorted(
            rows, key=lambda row: (*(row.candidate.number != n for n in first), row.difference.time.mean)
        )


class Search:
    """Looks for the best settings of a scenario.

    Args:
        scenario: as it stands; its seed is the first.
        runs: makes the runs.
        extensions: whether to try what is not in the papers.
        learn: whether to learn; none: unless a real model would be asked.
    """

    def __init__(
        self, scenario: Scenario, runs: Runs, extensions: bool = False, learn: bool | None = None
    ) -> None:
        self._runs = runs
        self._plain = scenario.trusted_copy({"record": Record()})
        own_budget = _is_of_work(self._plain)
        first = self._first_run(0 if own_budget else AS_STATED)
        updates = _work(self._plain, first, own_budget)
        self._base = self._plain if own_budget else _with_work(self._plain, updates)
        self._updates = updates
        unlearned = _why_not_learned(scenario, learn)
        if not unlearned:
            runs.warm_up()
        self._unestimated = ""
        self._failed: list[str] = []
        grid = Grid(self._base, updates, self._look, extensions)
        self._scenarios = {candidate.number: self._adapted(candidate) for candidate in grid.candidates}
        measured_s = self._times([(0, 0)], 0, math.inf)[0, 0]
        self.advice = Advice(
            scenario=scenario,
            updates=updates,
            own_budget=own_budget,
            grid=grid,
            unestimated=self._unestimated,
            measured_s=measured_s,
            advised=grid.candidates[0],
            unlearned=unlearned,
            failed=self._failed,
        )

    def carry_out(self) -> Advice:
        """Search until all is looked at or the time is up."""
        found = self.advice
        winners = self._choose_by_time(TIMED_ALONE if found.unlearned else TIMED)
        own = found.grid.candidates[0]
        found.advised = winners[own.bracket]
        finalists = list(dict.fromkeys([own, *winners.values()]))
        if not found.unlearned:
            self._choose_by_learning(finalists)
        self._judge(finalists)
        self._tell_limits()
        found.runs = self._runs.made, self._runs.kept
        found.seconds = self._runs.passed_s
        return found

    def _look(self, scenario: Scenario) -> TimeEstimate | None:
        """Return an estimate; none where there is none, or no time for it."""
        if self._runs.are_over(ESTIMATED):
            self._unestimated = self._unestimated or "there was no time for it"
            return None
        try:
            return estimate_time(scenario)
        except ValueError as error:
            self._unestimated = self._unestimated or str(error)
            return None

    def _first_run(self, number: int) -> Outcome:
        order = RunOf(number, self._plain.seed, True)
        self._runs.make([(order, self._plain)], math.inf)
        outcome = self._runs.get(order)
        assert outcome is not None
        if outcome.failure:
            raise RunError(outcome.failure)
        return outcome

    def _adapted(self, candidate: Candidate) -> Scenario:
        """Return the scenario of a candidate with the budget that is as much work for it as for the others.

        One machine that holds all data has a worker update of its own for one of all workers.
        """
        scenario = candidate.scenario
        if not candidate.pooled or scenario.budget.worker_updates is None or candidate.number == 0:
            return scenario
        return scenario.replace("budget.worker_updates", math.ceil(self._updates / scenario.n_workers))

    def _times(self, pairs: Sequence[Pair], first: int, share: float) -> dict[Pair, float]:
        """Make timing-only runs and return their simulated times; what there was no time for is left out.

        Args:
            pairs: of a candidate's number and a seed.
            first: the seed 0 of the pairs, counted from the scenario's own.
            share: of the seconds; after it no further run begins.
        """
        orders = {pair: RunOf(pair[0], self._base.seed + first + pair[1], True) for pair in pairs}
        self._runs.make([(order, self._scenarios[order.candidate]) for order in orders.values()], share)
        outcomes = {pair: self._runs.get(order) for pair, order in orders.items()}
        return {pair: self._time_s(outcome) for pair, outcome in outcomes.items() if outcome is not None}

    def _time_s(self, outcome: Outcome) -> float:
        if outcome.failure:
            if outcome.failure not in self._failed:
                self._failed.append(outcome.failure)
            return math.inf
        return float(outcome.summary["simulated_time_s"])

    def _choose_by_time(self, share: float) -> dict[Bracket, Candidate]:
        """Return the quickest candidate of each bracket; by estimate where there is no time for more."""
        brackets = self.advice.grid.brackets
        largest = max(map(len, brackets.values()))

        def times(pairs: Sequence[Pair]) -> Mapping[Pair, float] | None:
            found = self._times(pairs, 0, share)
            return found if len(found) == len(set(pairs)) else None

        winners = [min(each, key=by_estimate) for each in brackets.values()]
        for number, most in enumerate(WAVES):
            found = halved(wave(list(brackets.values()), most), times)
            if found is None:
                break
            winners, self.advice.waves = found, number + 1
            if most is None or most >= largest:
                self.advice.complete = True
                break
        return dict(zip(brackets, winners, strict=True))

    def _choose_by_learning(self, finalists: Sequence[Candidate]) -> None:
        """Let the quickest of each bracket learn, and advise what reaches the target the soonest.

        By successive halving again: twice the seeds for the better half, as long as there is time.
        """
        found, metric = self.advice, metric_of(self._base)
        left, count = [candidate.number for candidate in finalists], CHOOSING
        while len(left) > 1 or not found.chosen:
            curves = self._curves(list(dict.fromkeys([0, *left])), count, 0, CHOSEN)
            own = curves[0]
            if len(own) < max(FEWEST_CHOOSING, count // 2 + 1):
                break
            found.goal = found.goal or goal_of(self._base, own.values())
            if found.goal is None:
                found.unlearned = f"{metric} of the scenario as it stands does not fall"
                return
            goal = found.goal
            found.chosen |= {number: fared(goal, each, own) for number, each in curves.items()}
            order = in_order(goal, {number: curves[number] for number in left}, own)
            if not order:
                found.unlearned = f"no run reached the target ({goal.words})"
                return
            left = order[: math.ceil(len(left) / 2)]
            found.advised = found.grid.candidates[left[0]]
            count *= 2
        if not found.chosen:
            found.unlearned = "there was no time for enough runs that learn"

    def _judge(self, finalists: Sequence[Candidate]) -> None:
        """Compare with the scenario as it stands on seeds that chose nothing, the advised setting first.

        What would help comes second, the other settings third, and then all of them with more seeds.
        """
        found, candidates = self.advice, self.advice.grid.candidates
        own, advised = candidates[0], found.advised
        synchronous = [each for each in candidates if _is_synchronous(each, own.bracket)]
        pooled = [each for each in candidates if each.pooled]
        others = [
            each for each in dict.fromkeys([*finalists, *synchronous, *pooled]) if each not in (own, advised)
        ]
        changes = helps(self._base)
        first = len(candidates)
        self._scenarios |= {first + place: change.scenario for place, change in enumerate(changes)}
        for rung, count in enumerate(JUDGED):
            for each, difference in self._differences([advised.number, own.number], count).items():
                found.rows[each] = Judged(candidates[each], difference)
            of_changes = self._differences(range(first, first + len(changes)), count // 2)
            if of_changes:
                pairs = [(changes[number - first], gain) for number, gain in of_changes.items()]
                found.helps = sorted(pairs, key=lambda pair: -pair[1].saving.mean)
            for each, difference in self._differences([each.number for each in others], count // 2).items():
                found.rows[each] = Judged(candidates[each], difference)
            if found.goal is not None and not found.unlearned:
                self._judge_learning(LEARNED[rung])

    def _differences(self, numbers: Sequence[int], count: int) -> dict[int, Gain]:
        """Return what each saves on so many fresh seeds, or on as many as there was time for.

        One after the other, so that some are done where there is no time for all.
        """
        pairs = [
            (number, seed) for each in numbers for seed in range(count) for number in dict.fromkeys([0, each])
        ]
        times = self._times(pairs, FRESH, 1.0)
        found = {}
        for each in numbers:
            seeds = [seed for seed in range(count) if (0, seed) in times and (each, seed) in times]
            if len(seeds) >= FEWEST_JUDGED:
                own_s = {seed: times[0, seed] for seed in seeds}
                found[each] = difference({seed: times[each, seed] for seed in seeds}, own_s)
        return found

    def _judge_learning(self, count: int) -> None:
        found = self.advice
        numbers = list(dict.fromkeys([0, found.advised.number]))
        curves = self._curves(numbers, count, FRESH, 1.0)
        for number in numbers:
            if found.goal is not None and number in found.rows and len(curves[number]) > 1:
                found.rows[number].learned = fared(found.goal, curves[number], curves[0])

    def _tell_limits(self) -> None:
        row = self.advice.rows.get(0)
        orders = [
            RunOf(0, self._base.seed + FRESH + seed, True)
            for seed in range(row.difference.time.count if row else 0)
        ]
        summaries = [outcome.summary for order in orders if (outcome := self._runs.get(order)) is not None]
        self.advice.limits = _activities(summaries, "seconds_by_activity")
        self.advice.server_limits = _activities(summaries, "server_seconds_by_activity")

    def _curves(
        self, numbers: Sequence[int], count: int, first: int, share: float
    ) -> dict[int, dict[int, Curve]]:
        """Make learning runs and return what they measured, by candidate and seed.

        Seeds for which there was no time for all candidates are left out.
        """
        base = self._base.seed + first
        seeds = [base + place for place in range(count)]
        orders = [RunOf(number, seed, False) for seed in seeds for number in numbers]
        self._runs.make([(order, self._watched(order.candidate)) for order in orders], share)
        metric = metric_of(self._base)
        found: dict[int, dict[int, Curve]] = {number: {} for number in numbers}
        for seed in seeds:
            outcomes = [self._runs.get(RunOf(number, seed, False)) for number in numbers]
            for number, outcome in zip(numbers, outcomes, strict=True):
                if outcome is not None and None not in outcomes:
                    found[number][seed] = curve_of(outcome, metric)
        return found

    def _watched(self, number: int) -> Scenario:
        scenario = self._scenarios[number]
        updates = self._updates if scenario.schedule.machine is None else self._updates // scenario.n_workers
        return watched(scenario, updates)


def _is_of_work(scenario: Scenario) -> bool:
    """Whether the budget is in worker updates alone, so that other settings do the same work under it."""
    budget = scenario.budget
    stated = budget.updates(scenario.n_machines)
    return stated is not None and budget.horizon_s is None and budget.server_steps is None


def _work(scenario: Scenario, first: Outcome, own_budget: bool) -> int:
    """Return the worker updates of a run; one of a machine that holds all data is one of each worker."""
    each = scenario.n_workers if scenario.schedule.machine is not None else 1
    stated = scenario.budget.updates(scenario.n_machines) if own_budget else None
    return each * (int(first.summary["worker_updates"]) if stated is None else stated)


def _with_work(scenario: Scenario, updates: int) -> Scenario:
    """Return a scenario with a budget in worker updates alone."""
    each = scenario.n_workers if scenario.schedule.machine is not None else 1
    gone = [
        name for name in ("epochs", "server_steps", "horizon_s") if getattr(scenario.budget, name) is not None
    ]
    return scenario.replace({"budget": {"worker_updates": max(1, updates // each), "unset": gone}})


def _is_synchronous(candidate: Candidate, bracket: Bracket) -> bool:
    """Whether it is the synchronous form to compare with."""
    return candidate.bracket == bracket and candidate.scenario.algorithm.kind == "sdbt"


def _why_not_learned(scenario: Scenario, learn: bool | None) -> str:
    if not scenario.algorithm.learns:
        return f"{scenario.algorithm.kind} is a model of costs, which learns nothing"
    if learn is False:
        return "--no-learn was given"
    if learn is None and scenario.problem.asks_model:
        return "a real model would be asked, which takes minutes or money (--learn allows it)"
    return ""


def _activities(summaries: Sequence[Mapping[str, Any]], key: str) -> dict[str, float]:
    """Return the share of each activity in the seconds of runs."""
    totals: dict[str, float] = {}
    for summary in summaries:
        for activity, seconds in summary[key].items():
            totals[activity] = totals.get(activity, 0.0) + seconds
    whole = sum(totals.values()) or 1.0
    return {activity: seconds / whole for activity, seconds in totals.items() if seconds}
