"""How long a scenario takes, and what limits it, worked out from the laws of its delays without a run."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from scipy import stats

from fedsim.messages import JobCost
from fedsim.scenario import Scenario
from fedsim.schedule import UNBOUNDED, Adapt, Rounds, Steps
from fedsim.simulation import timeline
from fedsim.streams import Stream, Streams
from fedsim.timing.attacks import TimingAttack
from fedsim.timing.availability.lifetime import Lifetime
from fedsim.timing.availability.on_off import OnOff
from fedsim.timing.llm_service.draws import CallDraws
from fedsim.timing.llm_service.independent import Independent
from fedsim.timing.llm_service.shared import Shared
from fedsim.timing.network.simple import Simple
from fedsim.timing.network.topology import Topology
from fedsim.timing.watch import seconds_per_update
from fedsim_analysis.advice.course import Course, Totals
from fedsim_analysis.advice.job_times import DRAWS, MOST_KINDS, JobTimes, PhaseTimes
from fedsim_analysis.advice.limits import NO_COST, Used, of_links, of_service, used
from fedsim_analysis.advice.renewal import MOST_AGES, Alike, Renewal, Step, longest_s

PHASES = ("downlink", "computing", "calls", "uplink", "down")
SHARES = (*PHASES, "stragglers", "barrier", "rate limit", "places", "server")
"""What the time of a run is limited by. First the phases of a job, as if everybody worked all the time
(uplink and downlink with what sharing links adds; down: until a worker is back); then waiting for slower
workers; interludes; the limits of the service; the server's own arithmetic."""
MOST = 10**12
"""Steps of a run."""
ROUNDS_DRAWN = 200
"""Draws of who takes part in a sampled round, where there are more ways than this."""
LOOKS = 2
"""How often it is worked out anew how long workers wait for their jobs."""
MOST_LOOKED_AT = 1000
"""Steps of which that is the mean."""
REPLICAS = 256
"""Draws of the messages that meet at a shared link."""


MOST_FAILURES = 0.9
"""Of requests: the failures of each call are drawn one by one."""
MOST_CALLS = 100_000
"""Of a job: they are drawn one by one, for some hundred jobs."""
GENERAL = (
    "all workers begin together, and are independent of each other at every later step",
    "delays are stood for by their quantiles, the calls of a job on its lanes by draws",
    "the run uses its whole budget",
)
"""What every estimate takes to be so."""
BELOW_LIMITS = "below a limit of the LLM service nobody waits, and refused calls lose no further time"
"""What that of a shared service does."""


class TimeEstimate(NamedTuple):
    """What is expected of a run, as means."""

    step_s: float
    """Between two server steps (s), interludes included."""
    update_s: float
    """Seconds of the clock for each worker update."""
    total_s: float
    """How long the budget of the scenario lasts (s)."""
    steps: float
    """Server steps in the budget."""
    updates: float
    """Worker updates in the budget."""
    drained: float
    """The part of the updates that come in at barriers."""
    interludes: float
    """How many there are in the budget."""
    shares: Mapping[str, float]
    """The part of the time that is due to each of `SHARES`; together 1."""
    assumptions: tuple[str, ...]
    """Sentences: what was taken to be so."""
    limits: tuple[Used, ...]
    """How much is used of each limit that all workers share, and of their lanes."""
    job_s: Mapping[str, float]
    """What each of `PHASES` takes in a regular job of the average worker (s)."""
    idle_s: float
    """How long a worker waits after a job until its next one begins, what limits cost included (s)."""
    interlude_jobs: float
    """Jobs of all interludes in the budget."""


def estimate(scenario: Scenario) -> TimeEstimate:
    """Estimate how long a scenario takes.

    Raises:
        ValueError: there is no estimate for it, and why, in one sentence.
    """
    if found := unknown(scenario):
        raise ValueError(found)
    # Absurd numbers, such as a worker slower than any, end in no time rather than in a warning.
    beyond = "there is no estimate: a run takes longer than any number can tell"
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            told = _Working(scenario).estimate()
    except (OverflowError, ValueError) as error:  # where infinity or NaN should become a whole number
        raise ValueError(beyond) from error
    if math.isnan(told.update_s + told.total_s):
        raise ValueError(beyond)
    return told


def unknown(scenario: Scenario) -> str:
    """Say why there is no estimate for a scenario; nothing where there is one."""
    schedule = scenario.schedule
    kind = scenario.algorithm.kind
    if schedule.alone or schedule.opening is not None or schedule.standing is not None:
        return f"there is no estimate for {kind!r}: its jobs are of several kinds, or its workers work alone"
    if scenario.llm is not None and not isinstance(scenario.llm, Independent | Shared):
        return f"there is no estimate for an LLM service of kind {scenario.llm.kind!r}"
    if isinstance(scenario.llm, Shared) and CallDraws(scenario.llm).failure_probability > MOST_FAILURES:
        return f"there is no estimate for a service where more than {MOST_FAILURES:.0%} of requests fail"
    if any(work.cost.calls > MOST_CALLS for work in schedule.work.values()):
        return f"there is no estimate for jobs of more than {MOST_CALLS:,} calls"
    for group in scenario.machines:
        if not isinstance(group.availability, OnOff | Lifetime | None):
            return f"there is no estimate for workers whose availability is {group.availability.kind!r}"
    if not isinstance(scenario.network, Simple | Topology):
        return f"there is no estimate for a network of kind {scenario.network.kind!r}"
    return ""


class _Working:
    """The parts of an estimate, put together step by step."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.line = timeline(scenario)
        self.schedule = self.line.schedule
        self.times = JobTimes(self.line, Streams(scenario.seed))
        self.n_workers = self.times.n_workers
        self.outer = self.times.of(self.schedule.regular)
        self.step_s = self.line.server.step_s
        jobs = self._jobs_of_interlude
        self.limits = [*of_links(self.line, self.times, jobs), *of_service(self.line, self.times, jobs)]
        self.idle_s = self.queued_s = 0.0
        self.course, self.links_s = self._course()
        for _ in range(LOOKS if self.times.come_and_go else 0):
            # Who waits for its next job may be down when it comes.
            totals = self.course.after(MOST_LOOKED_AT)
            self.idle_s = self._idle_each_s(totals, totals.all_s)
            self.outer = self.times.of(self.schedule.regular, self.idle_s)
            self.course, self.links_s = self._course()

    def estimate(self) -> TimeEstimate:
        steps = self._steps_of_the_budget()
        totals, time_s = self._after(steps)
        horizon_s = self.scenario.budget.horizon_s
        cut_off = horizon_s is not None and self._after(steps + 1)[1] >= horizon_s
        return TimeEstimate(
            step_s=time_s / steps if steps else math.inf,
            update_s=time_s / totals.updates if totals.updates else math.inf,
            total_s=horizon_s if cut_off and horizon_s is not None else time_s,
            steps=steps,
            updates=totals.updates,
            drained=totals.drained,
            interludes=totals.interludes,
            shares=self._shares(totals, time_s, steps),
            assumptions=tuple(assumptions(self.scenario)),
            limits=self._used(totals, time_s),
            job_s=self._phases_s(),
            idle_s=self._idle_each_s(totals, time_s),
            interlude_jobs=totals.interludes * self._jobs_of_interlude,
        )

    def _after(self, steps: int) -> tuple[Totals, float]:
        """Return what has passed after so many steps, and the time that this takes with all limits (s)."""
        totals = self.course.after(steps)
        least_s = max(limit.least_s(totals) for limit in self.limits)
        return totals, max(totals.all_s, least_s)

    def _steps_of_the_budget(self) -> int:
        budget, limits = self.scenario.budget, []
        if budget.server_steps is not None:
            limits.append(budget.server_steps)
        updates = budget.updates(self.n_workers)
        if updates is not None:
            limits.append(_first(lambda steps: self._after(steps)[0].updates > updates - 0.5))
        if (horizon_s := budget.horizon_s) is not None:
            limits.append(_first(lambda steps: self._after(steps)[1] >= horizon_s) - 1)
        return min(limits)

    def _course(self) -> tuple[Course, float]:
        """Return how steps follow each other, and what shared links add to each of them (s)."""
        rule, counts = self.schedule.rule, [phases.workers for phases in self.outer]
        if isinstance(rule, Rounds):
            length_s, links_s = self._sampled(rule.participants)
            first = [Step(length_s + self.step_s, min(rule.participants, self.n_workers))]
            return self._with_interludes(first, (Step(self._rounds_s(counts), 0.0),) * 2), links_s
        wait_for = rule.wait_for if rule.adapt is None else self._adapted(rule, rule.adapt)
        if rule.tau > 1 and wait_for < self.n_workers:
            return self._renewed(wait_for, rule.tau), 0.0
        length_s, links_s = self._together(self.schedule.regular, self.outer, counts)
        first = [Step(length_s + self.step_s, self.n_workers)]
        again = Step(length_s, self.n_workers) if self._restarts else Step(0.0, 0.0)
        held = Step(again.length_s + self._rounds_s(counts), again.updates)
        return self._with_interludes(first, (held, held)), links_s

    @property
    def _restarts(self) -> bool:
        """Whether the active workers get another job before the barrier of an interlude."""
        plan = self.schedule.interlude
        return plan is not None and plan.restart == "before" and plan.participation == "all"

    def _adapted(self, rule: Steps, adapt: Adapt) -> int:
        """Return the S at which adapting settles: the one that the server would take by the mean times."""
        generator = DRAWS.generator(Stream.ORDER, len(self.outer))
        jobs_s = [generator.choice(phases.all_s, size=(REPLICAS, phases.workers)) for phases in self.outer]
        arrivals_s = np.sort(np.concatenate(jobs_s, axis=1), axis=1).mean(0)
        rounds_s = self._rounds_s([phases.workers for phases in self.outer])
        plan = self.schedule.interlude
        barrier_s = rounds_s + (arrivals_s[-1] if plan is not None and plan.participation == "all" else 0.0)
        update_s = seconds_per_update(arrivals_s.tolist(), rule.tau, self.step_s, plan, barrier_s)
        most = min(self.n_workers, adapt.most or self.n_workers)
        return min(range(adapt.least, most + 1), key=lambda s: (update_s[s - 1], -s))

    def _renewed(self, wait_for: int, tau: int) -> Course:
        """Return how steps follow each other that do not wait for all workers."""
        self.queued_s = self._queued_s()
        alike = [Alike(phases.workers, phases.all_s + self.queued_s) for phases in self.outer]
        renewal = Renewal(alike, wait_for, tau, self.step_s)
        plan = self.schedule.interlude
        if plan is None:
            return self._with_interludes(renewal.steps(MOST), (Step(0.0, 0.0),) * 2)
        if plan.participation == "rolling":
            # Each of its jobs takes a worker from the steps for as long as it lasts.
            steps = renewal.steps(MOST)
            inner = plan.rounds * wait_for * self._mean_s(self.times.of(plan.work, self.idle_s))
            taken = inner / self._mean_s(self.outer) / steps[-1].updates
            return self._with_interludes(steps, (Step(taken * steps[-1].length_s, 0.0),) * 2)
        if plan.participation == "active":
            renewal.steps(MOST)
            rounds_s = self._rounds_s(renewal.active)
            renewal.pause(rounds_s)
            return self._with_interludes(renewal.steps(MOST), (Step(rounds_s, 0.0),) * 2)
        rounds_s = self._rounds_s([phases.workers for phases in self.outer])
        first = renewal.steps(1)
        drains = [renewal.drained(self._restarts)]
        most = plan.every if plan.every_updates is None else plan.every_updates
        first += renewal.steps(max(1, most) - 1)
        drains.append(renewal.drained(self._restarts))
        held = [Step(drained.length_s + rounds_s, drained.updates) for drained in drains]
        return self._with_interludes(first, (held[0], held[1]))

    def _queued_s(self) -> float:
        """Return how much longer a job's messages take on links that workers share, each at its own time (s).

        Source: mean value analysis of a closed network of queues; Reiser and Lavenberg, Journal of the ACM,
        1980.
        """
        cost = self._cost(self.schedule.regular)
        alone_s = np.array(self.times.ways.shared_s(cost.bytes_down, cost.bytes_up))
        elsewhere_s = max(0.0, self._mean_s(self.outer) - float(alone_s.sum()))
        queued, passing_s = np.zeros(2), alone_s
        for workers in range(1, self.n_workers + 1 if alone_s.any() else 1):
            passing_s = alone_s * (1 + queued)
            queued = passing_s * workers / (elsewhere_s + float(passing_s.sum()))
        return float((passing_s - alone_s).sum())

    def _idle_each_s(self, totals: Totals, time_s: float) -> float:
        """Return how long a worker waits between two jobs, where so much takes so long (s)."""
        plan = self.schedule.interlude
        jobs = totals.updates
        busy_s = jobs * self._mean_s(self.outer)
        if plan is not None:
            inner = totals.interludes * plan.rounds * self.n_workers
            jobs += inner
            busy_s += inner * self._mean_s(self.times.of(plan.work, self.idle_s))
        return max(0.0, self.n_workers * time_s - busy_s) / jobs if jobs else 0.0

    def _phases_s(self) -> Mapping[str, float]:
        """Return what each phase takes in a regular job of a worker that is as likely as any (s)."""
        means = np.array([[column.mean() for column in phases[1:]] for phases in self.outer])
        counts = np.array([phases.workers for phases in self.outer])
        return dict(zip(PHASES, (counts @ means / self.n_workers).tolist(), strict=True))

    def _used(self, totals: Totals, time_s: float) -> tuple[Used, ...]:
        """Return how much is used of each limit that all share, then of what each worker has for itself.

        The latter binds where nothing else does and it takes more than half of a job.
        """
        found = used(self.limits, totals, time_s)
        if not time_s:
            return found
        plan, regular, inner = self.schedule.interlude, self.schedule.regular, 0.0
        if plan is not None:
            inner = totals.interludes * self._jobs_of_interlude
        open_s = totals.updates * self.times.open_s(regular)
        open_s += inner * self.times.open_s(plan.work) if plan is not None else 0.0
        job_s, few = self._phases_s(), min(group.lanes for group in self.line.groups)
        whole_s, free = sum(job_s.values()), not any(each.binds for each in found)
        jobs = totals.updates + inner
        own = [("lanes of workers", "calls", open_s, self._cost(regular).calls > few)]
        own += [(f"{name}s of workers", name, jobs * job_s[name], True) for name in ("downlink", "uplink")]
        return found + tuple(
            Used(words, phase, busy_s / self.n_workers / time_s, free and some and job_s[phase] > whole_s / 2)
            for words, phase, busy_s, some in own
            if busy_s
        )

    def _mean_s(self, kinds: Sequence[PhaseTimes]) -> float:
        """Return the mean time of a job (s), of a worker that is as likely as any."""
        return sum(phases.workers * phases.alike.mean_s for phases in kinds) / self.n_workers

    def _with_interludes(self, first: Sequence[Step], held: tuple[Step, Step]) -> Course:
        plan = self.schedule.interlude
        if plan is None:
            return Course(first, math.inf, None, held)
        every = float(plan.every)
        if plan.every_updates is not None:
            every = max(1.0, (plan.every_updates - held[1].updates) / first[-1].updates)
        return Course(first, every, plan.stop_after, held)

    def _rounds_s(self, counts: Sequence[float]) -> float:
        """Return how long all rounds of an interlude take with so many participants of each kind (s)."""
        plan = self.schedule.interlude
        if plan is None:
            return 0.0
        round_s, _ = self._together(plan.work, self.times.of(plan.work, self.idle_s), counts)
        return plan.rounds * (round_s + self.step_s)

    def _sampled(self, participants: int) -> tuple[float, float]:
        """Return the mean length of a round of workers drawn anew, and what shared links add to it (s)."""
        counts = [phases.workers for phases in self.outer]
        participants = min(participants, self.n_workers)
        ranges = [range(min(count, participants) + 1) for count in counts]
        if math.prod(map(len, ranges)) <= ROUNDS_DRAWN:
            rows = np.array([row for row in product(*ranges) if sum(row) == participants])
            weights = stats.multivariate_hypergeom.pmf(rows, counts, participants)
        else:
            generator = DRAWS.generator(Stream.PARTICIPANTS)
            rows = generator.multivariate_hypergeometric(counts, participants, ROUNDS_DRAWN, "marginals")
            weights = np.ones(ROUNDS_DRAWN)
        found = [self._together(self.schedule.regular, self.outer, row.tolist()) for row in rows]
        length_s, links_s = np.average(found, axis=0, weights=weights).tolist()
        return length_s, links_s

    def _together(
        self, work: str, kinds: Sequence[PhaseTimes], counts: Sequence[float]
    ) -> tuple[float, float]:
        """Return the mean time until all of so many workers have done a job that they begin together (s).

        Messages that come to a shared link pass it one after the other in all: its last one is through at the
        largest over k of what the k-th arrives at plus the time of all from there on.

        Returns:
            It, and what shared links add to it.
        """
        alone_s = longest_s([Alike(count, phases.all_s) for count, phases in zip(counts, kinds, strict=True)])
        cost = self.schedule.work[work].cost
        down_s, up_s = self.times.ways.shared_s(cost.bytes_down, cost.bytes_up)
        if not (down_s or up_s):
            return alone_s, 0.0
        generator = DRAWS.generator(Stream.HOP)
        ready_s, done_s = [], []
        for count, phases in zip(counts, kinds, strict=True):
            jobs = generator.integers(len(phases.down_s), size=(REPLICAS, round(count)))
            arrived_s = np.maximum(phases.down_s[jobs], sum(counts) * down_s)
            ready_s.append(arrived_s + (phases.all_s - phases.down_s - phases.up_s)[jobs])
            done_s.append(ready_s[-1] + phases.up_s[jobs])
        ready = np.sort(np.concatenate(ready_s, axis=1), axis=1)
        queued_s = (ready + up_s * np.arange(ready.shape[1], 0, -1)).max(1)
        shared_s = float(np.maximum(queued_s, np.concatenate(done_s, axis=1).max(1)).mean())
        return shared_s, max(0.0, shared_s - alone_s)

    def _cost(self, kind: str | None) -> JobCost:
        return self.schedule.work[kind].cost if kind is not None else NO_COST

    @property
    def _jobs_of_interlude(self) -> float:
        plan, rule = self.schedule.interlude, self.schedule.rule
        if plan is None:
            return 0.0
        if isinstance(rule, Steps) and plan.participation != "all":
            return float(plan.rounds * rule.wait_for)
        return float(plan.rounds * self.n_workers)

    def _shares(self, totals: Totals, time_s: float, steps: int) -> Mapping[str, float]:
        if time_s <= 0:
            return dict.fromkeys(SHARES, 0.0)
        plan, rule = self.schedule.interlude, self.schedule.rule
        found = dict.fromkeys(SHARES, 0.0)
        rounds = plan.rounds * totals.interludes if plan is not None else 0
        found["server"] = self.step_s * (steps + rounds)
        found["barrier"] = totals.interludes_s - self.step_s * rounds
        slowest = max(self.limits, key=lambda limit: limit.least_s(totals))
        if time_s > totals.all_s:
            found[slowest.share] += time_s - totals.all_s
        rates = np.array([phases.workers / max(phases.alike.mean_s, 1e-300) for phases in self.outer])
        busy = rule.participants / self.n_workers if isinstance(rule, Rounds) else 1.0
        updates = totals.updates - totals.drained
        left_s = totals.steps_s - self.step_s * steps
        links_s = min(left_s, self.links_s * steps + self.queued_s * updates / self.n_workers)
        down_s, up_s = (limit.update_s for limit in self.limits[:2])
        for name, part_s in (("downlink", down_s), ("uplink", up_s)):
            found[name] += links_s * part_s / (down_s + up_s) if links_s else 0.0
        left_s -= links_s
        ideal_s = min(left_s, updates / busy / float(rates.sum()))
        found["stragglers"] = left_s - ideal_s
        means = np.array([[column.mean() for column in phases[1:]] for phases in self.outer])
        phase_s = rates @ means
        for name, part in zip(PHASES, phase_s / max(phase_s.sum(), 1e-300), strict=True):
            found[name] += ideal_s * float(part)
        return {name: max(0.0, float(seconds) / time_s) for name, seconds in found.items()}


def assumptions(scenario: Scenario) -> Iterator[str]:
    """Say what the estimate of a scenario takes to be so."""
    schedule, server = scenario.schedule, scenario.server
    yield from GENERAL
    if isinstance(schedule.rule, Steps) and schedule.rule.adapt is not None:
        yield "S is from the start where adapting would settle"
    if schedule.interlude is not None and schedule.interlude.participation == "rolling":
        yield "inner rounds in the background take their time from the steps, and none is left out"
    if isinstance(schedule.rule, Steps) and MOST_AGES < schedule.rule.tau < UNBOUNDED:
        yield f"the staleness bound, {schedule.rule.tau}, holds nobody up"
    if isinstance(scenario.llm, Shared):
        yield BELOW_LIMITS
        if scenario.llm.outages:
            yield "the LLM service has no outages"
    if isinstance(scenario.network, Topology):
        yield "messages meet on the one link that all together use most, and nowhere else"
        if any(wire.link.is_flaky for wire in scenario.network.plan(scenario.n_workers).wires):
            yield "links are never down"
    groups = scenario.machines
    if any(group.devices is not None for group in groups):
        yield f"devices of a group are put into {MOST_KINDS} classes"
    if any(group.availability is not None for group in groups):
        yield "workers go down independently of how long the limits of a service or a network hold them up"
    if any(group.stops_at_s is not None or isinstance(group.availability, Lifetime) for group in groups):
        yield "all workers are there from the start to the end"
    if server.evict_after_s is not None:
        yield "nobody is evicted"
    if any(isinstance(attack, TimingAttack) for attack in scenario.attacks):
        yield "nobody attacks on timing"


def _first(true_from: Callable[[int], bool]) -> int:
    """Return the first number, from 1, at which something is the case, and then for ever; `MOST`: none."""
    high = 1
    while not true_from(high):
        if high >= MOST:
            return MOST
        high *= 2
    return bisect_left(range(high + 1), True, lo=high // 2 + (high == 1), key=true_from)
