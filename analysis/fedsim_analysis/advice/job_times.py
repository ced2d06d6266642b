"""How long jobs take, phase by phase, on workers that do not disturb each other: laws, not runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np

from fedsim.messages import JobCost
from fedsim.streams import Stream, Streams
from fedsim.timing.availability import Stretch
from fedsim.timing.delays import Delay
from fedsim.timing.groups import WorkerGroup
from fedsim.timing.lanes import makespan_s
from fedsim.timing.llm_service import Calls
from fedsim.timing.llm_service.draws import CallDraws
from fedsim.timing.llm_service.independent import Independent
from fedsim.timing.llm_service.shared import Backoff, Shared
from fedsim.timing.loop import Timeline
from fedsim.timing.network.channels import Channels
from fedsim.timing.network.links import Link
from fedsim.timing.network.plan import NetworkPlan
from fedsim.timing.network.routes import Path, shortest_paths
from fedsim.timing.network.topology import Topology
from fedsim_analysis.advice.renewal import Alike, Floats

TIMES = 4096
"""Equally likely times that stand for a law."""
CALLS_DRAWN = 200_000
"""Calls drawn for the jobs of one worker, within `JOBS_DRAWN`."""
JOBS_DRAWN = (256, TIMES)
MOST_KINDS = 8
"""Devices of a group are put into so many classes, by the mean time of their jobs."""
MOST_ROUTES = 32
"""Of the routes of workers that are otherwise alike so many stand for all."""
MOST_STRETCHES = 10_000
DRAWS = Streams(0, branch=(2**31,))
"""Draws of the estimate: the same for all scenarios and seeds, and none of them the clock's."""


class PhaseTimes(NamedTuple):
    """Equally likely jobs of workers that are alike: how long each phase of each takes (s)."""

    workers: int
    """How many they are."""
    down_s: Floats
    computing_s: Floats
    calling_s: Floats
    up_s: Floats
    away_s: Floats
    """What a job takes longer because the worker goes down: until it is back, and all over again."""

    @property
    def all_s(self) -> Floats:
        """The times of whole jobs (s)."""
        return self.down_s + self.computing_s + self.calling_s + self.up_s + self.away_s

    @property
    def alike(self) -> Alike:
        return Alike(self.workers, self.all_s)


class Kind(NamedTuple):
    """Workers that are taken to be alike: their numbers, and what holds for each of them."""

    workers: list[int]
    groups: list[WorkerGroup]


Member = tuple[int, WorkerGroup]


class Way(NamedTuple):
    """What the network adds to a message of a worker."""

    links: tuple[tuple[Link, float], ...] = ()
    """Each with what its length adds to its latency (s)."""

    @property
    def s_per_byte(self) -> float:
        """Of its narrowest link, with nobody else on it."""
        return max((1 / link.capacity_bytes_s for link, _ in self.links), default=0.0)


class Ways:
    """The routes of all workers through a network.

    Args:
        line: the scenario's settings of the clock.
        n_workers: how many machines there are.
    """

    def __init__(self, line: Timeline, n_workers: int) -> None:
        self._plan: NetworkPlan | None = None
        if isinstance(line.network, Topology):
            self._plan = line.network.plan(n_workers)
            self._paths = shortest_paths(self._plan)
        self._n_workers = n_workers

    def of(self, worker: int) -> tuple[Way, Way]:
        """Return the ways to and from a worker."""
        if self._plan is None:
            return Way(), Way()
        return self._way(self._paths.down[worker]), self._way(self._paths.up[worker])

    def shared_s(self, bytes_down: float, bytes_up: float) -> tuple[float, float]:
        """Return for how long a worker's messages fill the link that all together use most, down and up (s).

        That is, per message of the average worker; a link that nobody else uses is no shared one. On a
        half-duplex link both messages count both ways.
        """
        if self._plan is None:
            return 0.0, 0.0
        channels = Channels(self._plan)
        load = np.zeros((2, len(channels.ends)))
        for row, paths, n_bytes in ((0, self._paths.down, bytes_down), (1, self._paths.up, bytes_up)):
            for path in paths:
                for channel in channels.passed(path):
                    load[row, channel] += n_bytes
        capacities = np.array(channels.capacities_bytes_s)
        capacities[list(channels.private(self._paths))] = math.inf
        both = np.where(load > 0, load.sum(0), 0.0)
        down_s, up_s = ((both / capacities).max(1, initial=0.0) / self._n_workers).tolist()
        return down_s, up_s

    def _way(self, path: Path) -> Way:
        assert self._plan is not None
        wires = [self._plan.wires[hop.wire] for hop in path]
        return Way(tuple((wire.link, wire.extra_s) for wire in wires))


class JobTimes:
    """The laws of a scenario's jobs.

    A delay is stood for by its quantiles, in an order of their own; the calls of a job by draws, since the
    time of many calls on a few lanes has no law that could be written down.

    Args:
        line: the scenario's settings of the clock.
        streams: the randomness of its run, which tells what devices its workers are.
    """

    def __init__(self, line: Timeline, streams: Streams) -> None:
        self._line = line
        self.n_workers = sum(group.count for group in line.groups)
        self.ways = Ways(line, self.n_workers)
        self._kinds = _kinds(line.groups, streams)
        self._calling = cache(self._drawn_calling_s)
        self.come_and_go = any(group.availability is not None for group in line.groups)
        """Whether workers are down at times."""

    def of(self, work: str, idle_s: float = 0.0) -> list[PhaseTimes]:
        """Return the law of the jobs of a kind, for each kind of workers, idle so long between two (s)."""
        cost = self._line.schedule.work[work].cost
        return [self._phases(number, kind, cost, idle_s) for number, kind in enumerate(self._kinds)]

    def call_s(self, work: str) -> float:
        """Return for how long, on average, a call of such a job takes a place of a shared service (s)."""
        service, cost = self._line.service, self._line.schedule.work[work].cost
        if not isinstance(service, Shared) or not cost.calls:
            return 0.0
        draws = CallDraws(service)
        jobs = [Calls(0, job, cost, 1, 1.0, False) for job in range(max(1, TIMES // cost.calls))]
        busy_s = [
            draws.answers_s(DRAWS, calls).sum() + draws.failures(DRAWS, calls).seconds.sum() for calls in jobs
        ]
        return float(np.mean(busy_s)) / cost.calls

    def open_s(self, work: str) -> float:
        """Return how long a lane is open in such a job, on average over lanes and workers (s)."""
        cost = self._line.schedule.work[work].cost
        if not cost.calls:
            return 0.0
        one_lane_s = float(self._calling(cost, 1).mean())
        each = [group.slow_down / group.lanes for kind in self._kinds for group in kind.groups]
        return one_lane_s * float(np.mean(each))

    def _phases(self, number: int, kind: Kind, cost: JobCost, idle_s: float) -> PhaseTimes:
        generator = DRAWS.generator(Stream.ORDER, number)
        members = _spread(list(zip(kind.workers, kind.groups, strict=True)))
        ways = [self.ways.of(worker) for worker, _ in members]
        comes_and_goes = any(group.availability is not None for _, group in members)
        one = all(way == ways[0] for way in ways) and all(group is members[0][1] for _, group in members)
        sizes = [TIMES] if one else [len(part) for part in np.array_split(np.arange(TIMES), len(members))]
        parts = [
            self._of_worker(group, *way, cost, size, generator)
            for (_, group), way, size in zip(members, ways, sizes, strict=False)
        ]
        down_s, computing_s, calling_s, up_s = (np.concatenate(phase) for phase in zip(*parts, strict=True))
        away_s = np.zeros(TIMES)
        if comes_and_goes:
            job_s = generator.permutation(down_s + computing_s + calling_s + up_s)
            away_s = generator.permutation(self._away_s(members, job_s, idle_s))
        return PhaseTimes(len(kind.workers), down_s, computing_s, calling_s, up_s, away_s)

    def _of_worker(
        self, group: WorkerGroup, down: Way, up: Way, cost: JobCost, size: int, generator: np.random.Generator
    ) -> tuple[Floats, Floats, Floats, Floats]:
        factor = np.full(size, group.slow_down)
        if group.transient is not None:
            slow = np.arange(size) < round(group.transient.probability * size)
            factor = factor * np.where(generator.permutation(slow), group.transient.factor, 1.0)
        own_s = group.own_model.job_s(cost) if group.own_model is not None else 0.0
        computing_s = factor * (_quantiles(group.compute, size, generator) + own_s) / group.compute_speed
        calling_s = np.zeros(size)
        if cost.calls:
            calling_s = factor * generator.permutation(_resized(self._calling(cost, group.lanes), size))

        def message_s(delay: Delay, mbps: float | None, n_bytes: int, way: Way) -> Floats:
            access_s = factor * _quantiles(delay, size, generator)
            per_byte = np.maximum(factor * (8e-6 / mbps if mbps else 0.0), way.s_per_byte)
            seconds = access_s + n_bytes * per_byte
            for link, extra_s in way.links:
                seconds = seconds + _quantiles(link.latency, size, generator) + extra_s
                if link.loss and link.retransmit_s:
                    seconds = seconds + link.retransmit_s * (generator.geometric(1 - link.loss, size) - 1)
            return seconds

        return (
            message_s(group.download, group.download_mbps, cost.bytes_down, down),
            computing_s,
            calling_s,
            message_s(group.upload, group.upload_mbps, cost.bytes_up, up),
        )

    def _drawn_calling_s(self, cost: JobCost, lanes: int) -> Floats:
        """Draw how long the calls of jobs take (s), in order of length."""
        jobs = int(np.clip(CALLS_DRAWN // cost.calls, *JOBS_DRAWN))
        service = self._line.service
        assert service is not None
        if isinstance(service, Independent):
            return np.sort([service.job_s(DRAWS, 0, job, cost, lanes) for job in range(jobs)])
        assert isinstance(service, Shared)
        draws = CallDraws(service)
        return np.sort(
            [_shared_s(draws, service.backoff, Calls(0, job, cost, lanes, 1.0, False)) for job in range(jobs)]
        )

    def _away_s(self, members: Sequence[Member], job_s: Floats, idle_s: float) -> Floats:
        """Return what jobs take longer because workers go down and begin them again (s)."""
        found: list[float] = []
        for place, ((worker, group), jobs) in enumerate(
            zip(members, np.array_split(job_s, len(members)), strict=True)
        ):
            stretches = group.stretches(DRAWS, worker, place)
            if stretches is not None:
                found += _downtimes_s(islice(stretches, MOST_STRETCHES), iter(jobs.tolist()), idle_s)
        return np.resize(found or [0.0], TIMES)


def _downtimes_s(stretches: Iterable[Stretch], jobs_s: Iterator[float], idle_s: float) -> Iterator[float]:
    """Yield how much longer jobs take on a worker that is on in stretches (s).

    Args:
        stretches: when it is on.
        jobs_s: how long jobs take without that, one after the other.
        idle_s: how long after each job it gets the next, whether it is on or not.
    """
    job_s, asked_s = next(jobs_s), None
    for on_s, off_s in stretches:
        asked_s = on_s if asked_s is None else asked_s
        while (began_s := max(on_s, asked_s)) + job_s < off_s:
            ended_s = began_s + job_s
            yield ended_s - asked_s - job_s
            asked_s, following = ended_s + idle_s, next(jobs_s, None)
            if following is None:
                return
            job_s = following


def _kinds(groups: Sequence[WorkerGroup], streams: Streams) -> list[Kind]:
    found, first = [], 0
    for group in groups:
        each = group.each(streams, first)
        numbers = list(range(first, first + group.count))
        first += group.count
        if group.devices is None:
            found.append(Kind(numbers, each))
            continue
        speeds = [1 / device.compute_speed for device in each]
        order = np.lexsort(([device.upload_mbps or 0.0 for device in each], speeds))
        found += [
            Kind([numbers[place] for place in part], [each[place] for place in part])
            for part in np.array_split(order, min(MOST_KINDS, group.count))
        ]
    return found


def _shared_s(draws: CallDraws, backoff: Backoff, calls: Calls) -> float:
    """Return how long the calls of a job take at a service that nobody else uses (s)."""
    seconds = draws.answers_s(DRAWS, calls)
    failed = draws.failures(DRAWS, calls)
    if len(failed.call):
        seconds = seconds + np.bincount(failed.call, failed.seconds, calls.cost.calls)
        counts = np.bincount(failed.call, minlength=calls.cost.calls)
        seconds = seconds + np.array([_pauses_s(backoff, int(count)) for count in counts])
    return makespan_s(seconds, calls.lanes)


def _pauses_s(backoff: Backoff, refusals: int) -> float:
    """Return the mean of all pauses after so many refusals of a call (s)."""
    longest_s = sum(backoff.longest_pause_s(number) for number in range(1, refusals + 1))
    return longest_s * (1 - backoff.jitter / 2)


def _quantiles(delay: Delay, size: int, generator: np.random.Generator) -> Floats:
    """Return so many equally likely values of a delay (s), in an order of their own."""
    values = np.asarray(delay.law().ppf((np.arange(size) + 0.5) / size), dtype=np.float64)
    return generator.permutation(values)


def _resized(values: Floats, size: int) -> Floats:
    """Return so many of these values in order of size, as evenly spread as they are."""
    return values[((np.arange(size) + 0.5) / size * len(values)).astype(int)]


T = TypeVar("T")


def _spread(members: list[T]) -> list[T]:
    """Return all, or `MOST_ROUTES` of them that are evenly spread."""
    if len(members) <= MOST_ROUTES:
        return members
    return [members[place * len(members) // MOST_ROUTES] for place in range(MOST_ROUTES)]
