"""One shared LLM service a round at a time: the books of its jobs."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from simpy.exceptions import Interrupt

from fedsim.streams import Streams
from fedsim.timing.activities import Activity, ActivityClock
from fedsim.timing.llm_service.base import Calls, Served
from fedsim.timing.llm_service.round_demand import demand_of
from fedsim.timing.llm_service.round_fluid import Fluid
from fedsim.timing.llm_service.round_jobs import Job

if TYPE_CHECKING:
    import simpy

    from fedsim.timing.llm_service.draws import CallDraws
    from fedsim.timing.llm_service.shared import Shared

CALLING, QUEUEING = Activity.CALLING, Activity.QUEUEING


class RoundDesk:
    """One service of `PerRound`: draws its jobs, lets them share it, and keeps the books.

    Args:
        number: the number of the service.
        settings: its limits.
        draws: what is drawn for calls.
        env: the simulation.
        streams: the randomness of the run.
        clock: the books of seconds.
        keep_levels: whether to remember queue lengths over time.
    """

    def __init__(
        self,
        number: int,
        settings: Shared,
        draws: CallDraws,
        env: simpy.Environment,
        streams: Streams,
        clock: ActivityClock,
        keep_levels: bool,
    ) -> None:
        self._backoff = settings.backoff
        self._draws = draws
        self._env = env
        self._streams = streams
        self._switch = clock.switch
        self._keep_levels = keep_levels
        self._fluid = Fluid(settings, env, number, keep_levels)
        self._requests = self._too_many = self._errors = self._abandoned = 0

    def serve(self, calls: Calls) -> Generator[simpy.Event, object, None]:
        """Return when all calls of a job are answered: see `LlmService.serve`."""
        begun_s = self._env.now
        if calls.booked:
            self._switch(calls.worker, CALLING, begun_s)
        job = self._fluid.enter(demand_of(self._draws, self._backoff, self._streams, calls))
        try:
            yield job.done
        except Interrupt:
            self._fluid.leave(job)
            self._end(job, calls, begun_s)
            raise
        self._end(job, calls, begun_s)

    def _end(self, job: Job, calls: Calls, begun_s: float) -> None:
        """Enter a job that has left in the books."""
        if calls.booked and job.queued_s > 0:
            # Nothing has been booked since the job began: what was calling so far is told apart now.
            self._switch(calls.worker, QUEUEING, begun_s)
            self._switch(calls.worker, CALLING, min(begun_s + job.queued_s, self._env.now))
        self._abandoned += job.open_calls
        answered = round(job.answered * job.demand.calls)
        requests = round(job.answered * job.demand.requests)
        too_many = round(job.answered * job.demand.too_many)
        self._requests += requests + job.open_calls
        self._too_many += too_many
        self._errors += requests - answered - too_many

    def served(self) -> Served:
        """Return what has been counted of the jobs that have left."""
        fluid = self._fluid
        too_many, errors = round(fluid.refused), fluid.unavailable
        return Served(
            self._requests + too_many + errors,
            self._too_many + too_many,
            self._errors + errors,
            self._abandoned,
            fluid.levels.rows if self._keep_levels else (),
        )
