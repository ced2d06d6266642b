"""What is expected of a run: how much is done, how long it takes, what it costs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, cast

from fedsim.icl.call_tokens import Charged, tokens_in
from fedsim.icl.models.language import LanguageModel
from fedsim.messages import JobCost
from fedsim.problems.base import Problem
from fedsim.scenario import Scenario
from fedsim.scenario.implausible import implausible
from fedsim.schedule import UNBOUNDED, Rounds, Steps
from fedsim.sweep.forecast import Effort, work_of
from fedsim.timing.availability.lifetime import Lifetime
from fedsim.timing.availability.on_off import OnOff
from fedsim_analysis.advice.estimate import TimeEstimate, estimate

LONG_S = 365 * 86_400.0
"""A year: a run that takes longer is no study of training, but a slip in a rate or a time."""


class AskedOfRun(NamedTuple):
    """How much is asked and sent."""

    calls: float
    tokens_in: float
    tokens_out: float
    bytes_up: float
    bytes_down: float
    """To workers; what is there at the start is not sent."""

    @property
    def tokens(self) -> float:
        """Of prompts and answers."""
        return self.tokens_in + self.tokens_out

    def over(self, number: float) -> AskedOfRun:
        """Return one of so many equal parts."""
        return AskedOfRun(*(amount / number for amount in self)) if number else self


class RealCalls(NamedTuple):
    """What a real model is asked, at most: equal questions are asked once, and kept answers not again."""

    jobs: float
    """Calls of jobs."""
    evaluation: float
    """Calls of measurements, of which the simulated clock knows nothing."""
    tokens_in: float
    tokens_out: float
    price: float | None
    """None: nobody here can say."""
    has_prices: bool
    """Whether prices could be stated."""
    stops: tuple[str, ...]
    """Settings that would end the run before."""


@dataclass(frozen=True)
class Outlook:
    """What is expected of a run, as means."""

    scenario: Scenario
    exact: bool
    """Whether nothing that is counted depends on who is faster."""
    at_most: bool
    """Whether a target, a horizon or early stopping may end the run before."""
    estimated: TimeEstimate | None
    unestimated: str
    """Why there is no estimate of its times, or why it is one as if all workers were always on."""
    steps: float | None
    """None: nobody can say, and so it is with what follows."""
    updates: float | None
    measurements: float
    run: AskedOfRun
    price: float
    """Of the simulated service."""
    real: RealCalls | None
    """None: no real model is asked."""

    @property
    def job(self) -> JobCost:
        """What one regular job costs."""
        schedule = self.scenario.schedule
        return schedule.work[schedule.regular].cost

    @property
    def step(self) -> AskedOfRun:
        """What a step costs, with its part of the interludes."""
        return self.run.over(self.steps or 0)

    @property
    def total_s(self) -> float | None:
        """How long the run takes by the simulated clock (s)."""
        return None if self.estimated is None else self.estimated.total_s


def outlook(scenario: Scenario) -> Outlook:
    """Return what is expected of a run of a scenario, without making it."""
    work, found, why = work_of(scenario), None, ""
    if scenario.budget.server_steps != 0:
        try:
            found = estimate(scenario)
        except ValueError as error:
            found, why = _as_if_on(scenario), str(error)
        except ArithmeticError:  # nothing takes any time, or times beyond what floats can tell apart
            why = "there is no estimate for times such as these"
    return called(scenario, work, found, why)


def _as_if_on(scenario: Scenario) -> TimeEstimate | None:
    """Return the estimate as if workers were always on whose times no law tells; None: there is none."""
    always_on = tuple(
        group
        if isinstance(group.availability, OnOff | Lifetime | None)
        else group.model_copy(update={"availability": None, "on_return": "restart"})
        for group in scenario.workers
    )
    try:
        return estimate(scenario.trusted_copy({"workers": always_on}))
    except (ValueError, ArithmeticError):
        return None


def called(scenario: Scenario, work: Effort, found: TimeEstimate | None = None, why: str = "") -> Outlook:
    """Return what is expected of a run, with or without an estimate of its times.

    Args:
        scenario: what is to be run.
        work: its work by arithmetic, which is right where all workers report in each step.
        found: the estimate.
        why: there is none.
    """
    exact = work.exact and scenario.budget.horizon_s is None
    steps: float | None = work.steps
    updates: float | None = work.updates
    interludes: float = work.interludes
    jobs: dict[str, float] = dict(work.jobs)
    if found is not None and not exact:
        schedule = scenario.schedule
        steps, updates, interludes = found.steps, found.updates, found.interludes
        jobs[schedule.regular] = found.updates
        if schedule.interlude is not None:
            jobs[schedule.interlude.work] = found.interlude_jobs
    run = _amounts(scenario, jobs, interludes)
    times = _measurements(scenario, steps or 0, updates or 0, found.total_s if found is not None else 0.0)
    return Outlook(
        scenario=scenario,
        exact=exact,
        at_most=work.at_most,
        estimated=found,
        unestimated=why,
        steps=steps,
        updates=updates,
        measurements=times,
        run=run,
        price=_price(scenario, jobs),
        real=_real(scenario, run, times),
    )


def noted(expected: Outlook) -> Iterator[str]:
    """Yield a sentence for each thing that is likely not to be meant."""
    scenario, found = expected.scenario, expected.estimated
    yield from implausible(scenario)
    if found is None:
        return
    if found.total_s > LONG_S and not expected.at_most:
        bound = next((f" ({limit.words} bind)" for limit in found.limits if limit.binds), "")
        yield f"the run takes {found.total_s / LONG_S:,.3g} years by its own clock{bound}"
    patience_s, job_s = scenario.server.evict_after_s, sum(found.job_s.values())
    if patience_s is not None and patience_s < job_s:
        yield (
            f"server.evict_after_s = {patience_s:g}: shorter than a job, which takes {job_s:,.4g} s on "
            "average"
        )
    for number, (attack, workers) in enumerate(scenario.assigned):
        if workers and not expected.at_most and attack.begins_s() >= found.total_s:
            yield (
                f"attacks.{number}: {attack.kind!r} begins at {attack.begins_s():,.10g} s, and the run is "
                f"expected to end at {found.total_s:,.0f} s"
            )


def waits(scenario: Scenario) -> Iterator[str]:
    """Yield who waits for whom, and who is never given up."""
    schedule, n_machines = scenario.schedule, scenario.n_machines
    rule, plan = schedule.rule, schedule.interlude
    if schedule.alone or n_machines == 1:
        yield "nobody waits for anybody"
    elif isinstance(rule, Rounds):
        few = min(rule.participants, n_machines)
        drawn = "all" if few == n_machines else f"{few:,} of {n_machines:,}"
        yield f"a round waits for {drawn} workers{'' if few == n_machines else ', drawn anew'}"
    elif rule.fewest >= n_machines or rule.tau == 1:
        yield f"a step waits for all {n_machines:,} workers"
    else:
        late = f", and for whoever would be {rule.tau:,} steps late" if rule.tau < UNBOUNDED else ""
        first = rule.wait_for if rule.adapt is None else f"at first {rule.wait_for}"
        yield f"a step waits for {first} of {n_machines:,} workers{late}"
    if plan is not None and n_machines > 1:
        often = f"{plan.every} steps" if plan.every_updates is None else f"{plan.every_updates} updates"
        whom = {"all": "all workers stop", "active": "the active workers stop", "rolling": "nobody stops"}
        yield f"every {often} {whom[plan.participation]} for {plan.rounds} rounds of cuts"
    if scenario.server.evict_after_s is not None or schedule.alone:
        return
    bounded = not isinstance(rule, Steps) or rule.tau < UNBOUNDED
    for number, group in enumerate(scenario.machines):
        if group.stops_at_s is not None:
            ends = "the others then wait for ever" if bounded else "the others go on"
            yield (
                f"workers.{number} ({group.name}) stop at {group.stops_at_s:g} s and nobody is evicted "
                f"(server.evict_after_s): {ends}"
            )
        elif group.availability is not None:
            yield f"workers.{number} ({group.name}) are off at times and never evicted (server.evict_after_s)"


def _amounts(scenario: Scenario, jobs: Mapping[str, float], interludes: float) -> AskedOfRun:
    """Return what so many jobs of each kind ask and send."""
    schedule, rule, plan = scenario.schedule, scenario.schedule.rule, scenario.schedule.interlude
    calls, tokens_in, tokens_out, bytes_up, bytes_down = (
        sum(number * getattr(schedule.work[kind].cost, name) for kind, number in jobs.items())
        for name in AskedOfRun._fields
    )
    # Everybody starts from what is known: the first jobs are sent without it. At the end of the run others
    # are under way.
    under_way = scenario.n_machines - rule.wait_for if isinstance(rule, Steps) else 0
    begun = scenario.n_machines if isinstance(rule, Steps) else min(rule.participants, scenario.n_machines)
    regular = schedule.work[schedule.regular].cost.bytes_down
    bytes_down += min(0.0, under_way - begun) * regular if jobs else 0.0
    if plan is not None:
        each = rule.wait_for if isinstance(rule, Steps) and plan.participation != "all" else begun
        bytes_down += interludes * each * plan.leaves_bytes
    if schedule.standing is not None and jobs:
        bytes_down += scenario.n_machines * schedule.standing.n_bytes
    return AskedOfRun(calls, tokens_in, tokens_out, bytes_up, max(0.0, bytes_down))


def _price(scenario: Scenario, jobs: Mapping[str, float]) -> float:
    """Return what these jobs cost at the simulated service."""
    if scenario.llm is None:
        return 0.0
    total = 0.0
    for kind, number in jobs.items():
        cost = scenario.schedule.work[kind].cost
        if cost.calls:
            cached = scenario.llm.cached_tokens(cost)
            total += number * scenario.llm.price(cost.tokens_in, cost.tokens_out, cached)
    return total


def _measurements(scenario: Scenario, steps: float, updates: float, time_s: float) -> float:
    """Return how often the state is measured, the start and the end included."""
    counter, size = scenario.evaluation.distance(scenario.n_machines)
    counted = {"step": steps, "worker_updates": updates, "time_s": time_s}[counter]
    between = min(steps, counted // size)
    # The last step is measured at any rate.
    at_the_end = steps > 0 and (between < steps) and not (counter == "step" and counted % size == 0)
    return 1 + between + at_the_end


def _real(scenario: Scenario, run: AskedOfRun, times: float) -> RealCalls | None:
    problem = scenario.problem
    model = getattr(problem, "model", None)
    if not problem.asks_model or not isinstance(model, LanguageModel):
        return None
    measured = min(scenario.evaluation.max_workers, scenario.n_machines - len(scenario.malicious_machines))
    attacks = [assigned.attack for assigned in scenario.assigned if assigned.workers]
    evaluation = problem.evaluation_calls(measured, math.ceil(times), attacks)
    cost = scenario.schedule.work[scenario.schedule.regular].cost
    each_in, each_out = _tokens_each(problem, cost)
    read, written = run.tokens_in + evaluation * each_in, run.tokens_out + evaluation * each_out
    needs = {"max_calls": run.calls + evaluation, "max_tokens": read + written}
    price = model.price(read, written)
    has_prices = "price_per_million_tokens_in" in type(model).model_fields
    if price is not None:
        needs["max_cost"] = price
    stops = [
        f"{name} = {limit:,.10g}" for name, limit in model.bounds.items() if needs.get(name, 0.0) > limit
    ]
    return RealCalls(run.calls, evaluation, read, written, price, has_prices, tuple(stops))


def _tokens_each(problem: Problem, cost: JobCost) -> tuple[float, float]:
    """Return prompt and answer tokens of a call of a measurement: as long as one of a job."""
    if cost.calls:
        return cost.tokens_in / cost.calls, cost.tokens_out / cost.calls
    tokens, task = getattr(problem, "tokens", None), getattr(problem, "task", None)
    if tokens is None or task is None:
        return 0.0, 0.0
    return float(tokens_in(cast("Charged", problem), 0, task.n_classes)), float(tokens.tokens_out)
