"""A shared service that has no limit and never fails: nobody waits for anybody."""

from __future__ import annotations

from collections.abc import Generator
from heapq import heapreplace
from typing import TYPE_CHECKING

import numpy as np
from simpy.exceptions import Interrupt

from fedsim.timing.activities import Activity, ActivityClock
from fedsim.timing.lanes import makespan_s
from fedsim.timing.llm_service.base import Calls, QueueLevel, Served
from fedsim.timing.llm_service.draws import Array

if TYPE_CHECKING:
    import simpy

    from fedsim.streams import Streams
    from fedsim.timing.llm_service.draws import CallDraws

CALLING = Activity.CALLING


class Undisturbed:
    """One timeout per job, as with `Independent`, and to the last digit its times.

    What happens to single calls is worked out where somebody asks: when a worker goes down, and at the end.

    Args:
        number: the number of the service.
        draws: what is drawn for calls.
        env: the simulation.
        streams: the randomness of the run.
        clock: the books of seconds.
        keep_levels: whether to remember how many are being answered.
    """

    def __init__(
        self,
        number: int,
        draws: CallDraws,
        env: simpy.Environment,
        streams: Streams,
        clock: ActivityClock,
        keep_levels: bool,
    ) -> None:
        self._number = number
        self._draws = draws
        self._env = env
        self._streams = streams
        self._clock = clock
        self._keep_levels = keep_levels
        self._open: dict[int, tuple[float, Calls, Array]] = {}  # of each worker, since when
        self._sent = self._abandoned = 0
        self._begun_s: list[Array] = []
        self._ended_s: list[Array] = []

    def serve(self, calls: Calls) -> Generator[simpy.Event, object, None]:
        """Return when all calls of a job are answered: see `LlmService.serve`."""
        worker, lanes, scale = calls.worker, calls.lanes, calls.scale
        start_s = self._env.now
        if calls.booked:
            self._clock.switch(worker, CALLING, start_s)
        busy_s = self._draws.answers_s(self._streams, calls)
        self._open[worker] = start_s, calls, busy_s
        seconds = scale * makespan_s(busy_s, lanes)
        try:
            if seconds > 0:
                yield self._env.timeout(seconds)
        except Interrupt:
            begun_s, ended_s = self._begun(worker)
            self._sent += len(begun_s)
            self._abandoned += int((ended_s >= self._env.now).sum())
            self._keep(begun_s, ended_s)
            raise
        else:
            self._sent += calls.cost.calls
            if self._keep_levels:
                self._keep(*_schedule(start_s, scale * busy_s, lanes))
        finally:
            self._open.pop(worker, None)

    def served(self) -> Served:
        """Return what has been counted before this instant."""
        under_way = [self._begun(worker) for worker in self._open]
        sent = self._sent + sum(len(begun_s) for begun_s, _ in under_way)
        levels: list[QueueLevel] = []
        if self._keep_levels:
            begun = [*self._begun_s, *(begun_s for begun_s, _ in under_way)]
            ended = [*self._ended_s, *(ended_s[ended_s < self._env.now] for _, ended_s in under_way)]
            levels = self._levels(np.concatenate([[], *begun]), np.concatenate([[], *ended]))
        return Served(sent, abandoned_calls=self._abandoned, levels=levels)

    def _begun(self, worker: int) -> tuple[Array, Array]:
        """Return when each call of an open job that has begun by now did so, and when it ends (s)."""
        start_s, calls, busy_s = self._open[worker]
        begun_s, ended_s = _schedule(start_s, calls.scale * busy_s, calls.lanes)
        so_far = (begun_s == start_s) | (begun_s < self._env.now)
        return begun_s[so_far], ended_s[so_far]

    def _keep(self, begun_s: Array, ended_s: Array) -> None:
        if self._keep_levels:
            self._begun_s.append(begun_s)
            self._ended_s.append(ended_s)

    def _levels(self, begun_s: Array, ended_s: Array) -> list[QueueLevel]:
        """Return how many calls are being answered, a row per change, the first at 0 s."""
        times_s, place = np.unique(np.concatenate([[0.0], begun_s, ended_s]), return_inverse=True)
        changes = np.concatenate([[0], np.ones(len(begun_s)), -np.ones(len(ended_s))])
        serving = np.cumsum(np.bincount(place, changes)).astype(int)
        told = np.diff(serving, prepend=-1) != 0
        told &= times_s <= self._env.now
        rows = zip(times_s[told].tolist(), serving[told].tolist(), strict=True)
        return [QueueLevel(self._number, time_s, 0, count) for time_s, count in rows]


def _schedule(start_s: float, busy_s: Array, lanes: int) -> tuple[Array, Array]:
    """Return when each call begins and ends (s), each as soon as a lane is free: two ``(n,)`` arrays."""
    free_s = [start_s] * lanes
    begun_s = []
    for seconds in busy_s.tolist():
        begun_s.append(free_s[0])
        heapreplace(free_s, free_s[0] + seconds)
    begun = np.array(begun_s)
    return begun, begun + busy_s
