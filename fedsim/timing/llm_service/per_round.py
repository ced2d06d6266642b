"""A shared LLM service a round at a time: an approximation without an event per call."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from simpy.exceptions import Interrupt

from fedsim.streams import Streams
from fedsim.timing.activities import Activity, ActivityClock
from fedsim.timing.llm_service.base import Calls, Served
from fedsim.timing.llm_service.desks import Desks
from fedsim.timing.llm_service.round_demand import demand_of
from fedsim.timing.llm_service.round_fluid import Fluid
from fedsim.timing.llm_service.round_jobs import FluidJob

if TYPE_CHECKING:
    import simpy

    from fedsim.timing.llm_service.draws import CallDraws
    from fedsim.timing.llm_service.shared import Shared

CALLING, QUEUEING = Activity.CALLING, Activity.QUEUEING


class RoundDesk:
    """One service of `PerRound`: draws its jobs, lets them share it, and keeps the books.

    Takes the place of a `CallDesk`, and has its arguments.
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
        self._requests = self._too_many = self._errors = 0
        self._abandoned = 0.0  # an expectation

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

    def _end(self, job: FluidJob, calls: Calls, begun_s: float) -> None:
        """Enter a job that has left in the books."""
        if calls.booked and job.queued_s > 0:
            # Nothing has been booked since the job began: what was calling so far is told apart now.
            self._switch(calls.worker, QUEUEING, begun_s)
            self._switch(calls.worker, CALLING, min(begun_s + job.queued_s, self._env.now))
        self._abandoned += job.open_calls
        demand = job.demand
        # each rounded by itself: none may be less than 0
        answered = round(job.answered * demand.calls)
        too_many = round(job.answered * demand.too_many)
        errors = round(job.answered * (demand.requests - demand.calls - demand.too_many))
        self._requests += answered + too_many + errors
        self._too_many += too_many
        self._errors += errors

    def served(self) -> Served:
        """Return what has been counted of the jobs that have left."""
        fluid = self._fluid
        too_many, errors, abandoned = round(fluid.refused), fluid.outages.refused, round(self._abandoned)
        return Served(
            self._requests + too_many + errors + abandoned,
            self._too_many + too_many,
            self._errors + errors,
            abandoned,
            fluid.levels.rows if self._keep_levels else (),
        )


class PerRound(Desks):
    """`Shared` at work, approximately: all calls of a job at once, as a fluid, with a few events per job.

    What a job's calls are, how long each is answered and what of it fails is drawn as `PerCall` draws it, and
    how long the job takes alone is exact. What jobs take from each other is not followed call by call: every
    open call waits equally long before it is let in, and `Fluid` works out that wait each time that a job
    comes or goes. Without limits and failures every job ends at the very instant at which it ends with
    `PerCall` and with `Independent`. Where places or held requests are what limits, and each lane has many
    calls, a job's duration is right to a percent. It is less right, and `per_call` is not much slower,

    - where a job has few calls per lane: who stood first in the line then matters;
    - where requests are refused: all wait equally long here, but in truth some are lucky and some are not;
    - where all jobs begin together and have few calls per lane;
    - where a `queue_limit` is shorter than the line: in truth whoever has a place keeps it, for its next call
      comes as the place becomes free, and the pauses of those outside grow;
    - where places suffice on average: what a background or failures fill now and then is not seen.

    All that counts is averages. Pauses are taken at their mean, except those after failures, which are drawn.
    The background takes its mean number of places. A call that an outage cuts off is as old as the job's
    calls are on average. A worker that goes down frees its places at once, and its open calls count as
    abandoned. The books of a job are entered when it ends, as [queueing][calling], with the seconds of both;
    a job under way at the end of the run has been calling since it began and is not yet counted in `Served`.

    Source: processor sharing, the fluid form of taking turns; Kleinrock, "Time-shared systems: a theoretical
    treatment", Journal of the ACM, 1967. Waits, rates and places hang together by Little's law; Little, "A
    proof for the queuing formula L = lambda W", Operations Research, 1961.
    """

    desk = RoundDesk
