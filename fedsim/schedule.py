"""What an algorithm tells the clock: its step rule, its kinds of jobs, and its rounds behind a barrier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from fedsim.errors import nearest
from fedsim.messages import JobCost

UNBOUNDED = 2**62
"""A staleness bound that holds nobody up, for servers whose tickets need not be fresh."""


class Adapt(NamedTuple):
    """The server raises or lowers S by the times that it sees."""

    least: int = 1
    most: int | None = None
    """None: R."""
    every_steps: int = 10
    """After so many steps it looks for another S."""
    window: int = 5
    """It goes by the last so many jobs of each worker."""
    gain: float = 0.05
    """It takes another S only where that saves at least this part of the time per worker update."""


class Steps(NamedTuple):
    """The server steps when enough workers have reported and nobody would be too stale."""

    wait_for: int
    """S, how many workers must have reported."""
    tau: int
    """Staleness bound: a ticket is at most tau - 1 steps old when it is used; 1: every step waits for all."""
    adapt: Adapt | None = None
    """How S changes from there; none: it stays."""

    @property
    def fewest(self) -> int:
        """The smallest S that may come."""
        return self.wait_for if self.adapt is None else self.adapt.least


class Rounds(NamedTuple):
    """The server draws workers anew for each round, and steps when all of them have reported."""

    participants: int


class Work(NamedTuple):
    """A kind of job, as the clock sees it."""

    cost: JobCost
    activity: str | None = None
    """The name under which all seconds of such a job are booked; none: by phase (computing, calling, ...)."""


class Standing(NamedTuple):
    """What workers keep from job to job: sent once, with the next job, to every worker that lacks the newest.

    Who joins late or has lost its state lacks it.
    """

    n_bytes: int
    renewed_by: str | None = None
    """The kind of job whose results make a new one of it: so does each step that takes such a result. None:
    it is there from the start and stays as it is."""


class Interlude(NamedTuple):
    """Rounds after some of the steps, behind a barrier or in the background."""

    work: str
    """The kind of job in its rounds; no other job is of this kind."""
    every: int
    """It follows step t (from 0) whenever t is a multiple of this, unless worker updates are counted."""
    rounds: int
    stop_after: int | None = None
    """None from this step on; none: it never stops."""
    participation: Literal["all", "active", "rolling"] = "all"
    """All workers, behind a true barrier; those whose tickets were used in the step before; or, in the
    background while steps go on, in each round the next S workers that wait for a job."""
    leaves_bytes: int = 0
    """What it leaves behind: sent once to everybody who took part, with the next job, and later to every
    worker that has it not: who joins late or has lost its state."""
    counter: str = "interludes"
    """The column of results that counts interludes."""
    every_updates: int | None = None
    """In the place of `every`: it follows step 0, and then each step in which the worker updates taken since
    that step, drained ones included, have come to a multiple of this or passed it. Where they pass several
    at once, one interlude follows. None: steps are counted."""
    restart: Literal["after", "before"] = "after"
    """Where all workers take part: whether those whose tickets the step has used wait for the interlude, or
    get another regular job before its barrier, which then waits for these jobs too."""

    def due(self, step: int, updates: int = 0, before: int = 0) -> bool:
        """Whether an interlude follows a step.

        Args:
            step: the number of the step, from 0.
            updates: the worker updates taken since step 0, this step's included.
            before: the same after the step before this one.
        """
        if self.stop_after is not None and step >= self.stop_after:
            return False
        if self.every_updates is None:
            return step % self.every == 0
        return step == 0 or updates // self.every_updates > before // self.every_updates

    def drained(self, n_workers: int, wait_for: int) -> int:
        """Return how many worker updates come to its barrier after a step of S: of all who are busy then.

        Args:
            n_workers: R.
            wait_for: S.
        """
        if self.participation != "all":
            return 0
        return n_workers if self.restart == "before" else n_workers - wait_for

    def among(self, steps: int, each: int, drained: int) -> int:
        """Return how many interludes follow the first so many steps: those for which `due` is true.

        Args:
            steps: how many steps.
            each: the worker updates of a step.
            drained: the worker updates that come to the barrier of an interlude, see `drained`.
        """
        counted = steps if self.stop_after is None else min(steps, self.stop_after)
        if self.every_updates is None:
            return -(-counted // self.every)
        # Updates that are still to be taken in steps before the next multiple.
        between = self.every_updates - drained
        if counted <= 0 or between <= each:
            return max(0, counted)  # every step passes a multiple
        return 1 + (counted - 1) * each // between


class Schedule(NamedTuple):
    """All that an algorithm tells the clock."""

    rule: Steps | Rounds
    work: Mapping[str, Work]
    """Its kinds of jobs, by the algorithm's own names."""
    regular: str
    """The kind of the jobs that make worker updates."""
    opening: str | None = None
    """The kind of a worker's first job, and of the first one after it has joined late or lost its state. The
    step rule counts its report like any other, but it makes no worker update. None: there is no such job."""
    interlude: Interlude | None = None
    machine: int | None = None
    """The number of a group of workers: one machine like theirs holds the data of all and computes alone,
    beside the server. None: every worker computes."""
    standing: Standing | None = None
    alone: bool = False
    """Workers exchange nothing: neither server nor network stands between two jobs of a worker, and a step
    takes no time."""

    @property
    def interlude_activity(self) -> str:
        """The name under which the server books an interlude: that of its jobs, if they have one."""
        named = self.work[self.interlude.work].activity if self.interlude is not None else None
        return named or "interlude"

    @property
    def skipped_counter(self) -> str:
        """The column of results that counts interludes due and not held; empty: none ever is."""
        plan = self.interlude
        return f"skipped_{plan.counter}" if plan is not None and plan.participation == "rolling" else ""

    @property
    def sends_up(self) -> bool:
        """Whether a job has bytes for the server."""
        return any(work.cost.bytes_up for work in self.work.values())

    @property
    def sends_down(self) -> bool:
        """Whether there are bytes for workers: of a job, of what interludes leave, or of what is kept."""
        left_bytes = self.interlude.leaves_bytes if self.interlude is not None else 0
        kept_bytes = self.standing.n_bytes if self.standing is not None else 0
        return bool(left_bytes or kept_bytes) or any(work.cost.bytes_down for work in self.work.values())

    @property
    def activities(self) -> list[str]:
        """All names under which jobs and interludes are booked, each once."""
        named = [work.activity for work in self.work.values() if work.activity is not None]
        if self.interlude is not None:
            named.append(self.interlude_activity)
        return list(dict.fromkeys(named))

    def check(self) -> None:
        """Check what fits together.

        Raises:
            ValueError: a kind of job is named that is not there, or one kind has two parts to play.
        """
        parts = {"regular": self.regular}
        if self.opening is not None:
            parts["opening"] = self.opening
        if self.interlude is not None:
            parts["interlude.work"] = self.interlude.work
        background = self.interlude is not None and self.interlude.participation == "rolling"
        if background and isinstance(self.rule, Rounds):
            raise ValueError(
                'schedule.interlude.participation: found "rolling" with Rounds, expected Steps: who is drawn '
                "for a round has no time for another"
            )
        renewing = self.standing.renewed_by if self.standing is not None else None
        known = parts if renewing is None else parts | {"standing.renewed_by": renewing}
        for part, kind in known.items():
            if kind not in self.work:
                raise ValueError(
                    f"schedule.{part}: found {kind!r}, expected one of {', '.join(self.work)}"
                    f"{nearest(kind, self.work)}"
                )
            others = [other for other in parts if other != part and parts[other] == kind]
            if others and part in parts:
                raise ValueError(
                    f"schedule.{part}: found {kind!r}, which is schedule.{others[0]} too; expected another "
                    "kind of job"
                )

    def computing(self, n_workers: int) -> int:
        """Return how many machines compute for so many workers that hold data."""
        return n_workers if self.machine is None else 1
