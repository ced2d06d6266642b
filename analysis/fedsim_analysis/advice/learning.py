"""Whether the few candidates that matter learn as well: their times to a target."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fedsim import results
from fedsim.scenario import Scenario
from fedsim.scenario.model import DISTANCES, Target
from fedsim.sweep import Outcome
from fedsim_analysis.statistics import Estimate, estimate, saving_percent
from fedsim_analysis.survival import TimeToTarget, time_to_target

MEASUREMENTS = 40
"""In a run whose scenario has no target, and may measure too seldom to see when something is reached."""
FALL = 0.5
"""Where a scenario has no target: this part of what the loss of the scenario as it stands falls by, in a run
with the same seed; what is learned from differs from seed to seed."""


@dataclass(frozen=True)
class Curve:
    """What was measured in a run."""

    times_s: Sequence[float]
    values: Sequence[float]
    ended_s: float


@dataclass(frozen=True)
class Goal:
    """A mark that candidates are to reach."""

    metric: str
    stated: Target | None
    """By the scenario; none: the mark of a seed is made from the run of the scenario as it stands."""

    def mark(self, own: Curve) -> Target | None:
        """Return the target in runs of a seed; none where the scenario as it stands does not learn there.

        Args:
            own: what the scenario as it stands has measured with this seed.
        """
        window: int = Target.model_fields["window"].default
        if self.stated is not None or len(own.values) <= window:
            return self.stated
        start, end = own.values[0], float(np.mean(own.values[-window:]))
        value = start - FALL * (start - end)
        return Target.model_validate({"metric": self.metric, "value": value}) if end < start else None

    def reached_s(self, curve: Curve, own: Curve) -> float:
        """Return when a run was there for good (s), NaN if never; `own` as of `mark`."""
        target = self.mark(own)
        place = None if target is None else target.reached_at(curve.values)
        return math.nan if place is None else curve.times_s[place]

    @property
    def words(self) -> str:
        """The mark as a person reads it."""
        if self.stated is not None:
            return f"{self.metric} {self.stated.value:.4g}, the scenario's target"
        return f"half of what {self.metric} falls by in the scenario as it stands, which states no target"


@dataclass(frozen=True)
class Fared:
    """How a candidate does what the target asks, in runs of some seeds."""

    time: TimeToTarget
    saving: Estimate
    """Of the time to the target against the scenario as it stands, in percent, over seeds in which both are
    there."""


def metric_of(scenario: Scenario) -> str:
    """Return the name of what the target of a scenario is about, or would be."""
    if scenario.target is not None:
        return scenario.target.metric
    return "loss_sampled" if scenario.problem.measures_drawn else "loss"


def watched(scenario: Scenario, updates: int) -> Scenario:
    """Return a scenario that is measured often enough.

    Args:
        scenario: one that states a target stays as it is.
        updates: worker updates of a run.
    """
    if scenario.target is not None:
        return scenario
    stated = [name for name in DISTANCES if getattr(scenario.evaluation, name) is not None]
    often = {"every_updates": max(1, updates // MEASUREMENTS)}
    gone = {"unset": rest} if (rest := [name for name in stated if name != "every_updates"]) else {}
    return scenario.replace({"evaluation": often | gone})


def curve_of(outcome: Outcome, metric: str) -> Curve:
    """Return what a finished run has measured."""
    if outcome.failure:
        return Curve((), (), float(outcome.summary.get("simulated_time_s", 0.0)))
    steps = results.read_table(outcome.folder, "steps")
    if metric not in steps:
        return Curve((), (), float(outcome.summary["simulated_time_s"]))
    rows = steps[["time_s", metric]].dropna()
    ended_s = float(outcome.summary["simulated_time_s"])
    return Curve(rows["time_s"].tolist(), rows[metric].tolist(), ended_s)


def goal_of(scenario: Scenario, own: Iterable[Curve]) -> Goal | None:
    """Return the target of a scenario, or one made from its own runs; none where its loss does not fall.

    Args:
        scenario: as it stands.
        own: its runs.
    """
    goal = Goal(metric_of(scenario), scenario.target)
    return goal if any(goal.mark(curve) is not None for curve in own) else None


def fared(goal: Goal, curves: Mapping[int, Curve], own: Mapping[int, Curve]) -> Fared:
    """Return how runs of some seeds fare.

    Args:
        goal: what they are to reach.
        curves: of a candidate, by seed.
        own: of the scenario as it stands.
    """
    reached, theirs = (
        pd.Series({seed: goal.reached_s(each[seed], own[seed]) for seed in curves}, dtype=float)
        for each in (curves, own)
    )
    ended = pd.Series({seed: curve.ended_s for seed, curve in curves.items()}, dtype=float)
    return Fared(time_to_target(reached, ended), estimate(saving_percent(reached, theirs).dropna()))


def in_order(goal: Goal, curves: Mapping[int, Mapping[int, Curve]], own: Mapping[int, Curve]) -> list[int]:
    """Return the candidates by number: who reaches the target in most runs, and of those the soonest, first.

    Whoever reaches it in no run is left out.

    Args:
        goal: what they are to reach.
        curves: by the candidate's number, then by seed.
        own: of the scenario as it stands, by seed.
    """
    scores = {}
    for number, each in curves.items():
        times = [goal.reached_s(curve, own[seed]) for seed, curve in each.items()]
        there = [time for time in times if not math.isnan(time)]
        if there:
            scores[number] = (len(times) - len(there), float(np.mean(there)), number)
    return sorted(scores, key=lambda number: scores[number])
