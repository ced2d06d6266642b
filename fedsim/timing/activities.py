"""Where every simulated second of every entity goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import NamedTuple


class Activity(IntEnum):
    """What an entity is doing, in the words of the clock; an algorithm may add names of its own."""

    COMPUTING = 0
    """The worker's own arithmetic: gradients, projections, its own model."""
    CALLING = 1
    """Waiting for the answers of the LLM service."""
    UPLOADING = 2
    DOWNLOADING = 3
    WAITING = 4
    """A worker for its next job; the server for messages."""
    STEPPING = 5
    """The server's own arithmetic."""
    DOWN = 6
    """Stopped, evicted by the server, or silent for a while."""
    HOLDING = 7
    """A malicious worker that withholds a finished report."""
    QUEUEING = 8
    """All open calls of a worker wait: for a place at the LLM service, its limits, or to be sent again."""

    @property
    def label(self) -> str:
        """The name used in result tables."""
        return self.name.lower()


LABELS = tuple(activity.label for activity in Activity)


class Span(NamedTuple):
    """One stretch of one activity; workers are the entities 0 to R - 1, number R is the server."""

    entity: int
    activity: int
    """A member of `Activity`, or the number of an activity that the algorithm has named."""
    start_s: float
    end_s: float


class ActivityClock:
    """Books the seconds of each entity by activity, and the spans when asked to.

    At every instant an entity does exactly one thing.

    Args:
        entities: how many there are, R + 1: a worker's number is its entity's, and R is the server (one
            machine that computes for all is worker 0). All start `WAITING` at time 0.
        keep_spans: also remember every stretch.
        named: activities that the algorithm has named; they are numbered after those of `Activity`.
    """

    def __init__(self, entities: int, keep_spans: bool = False, named: Sequence[str] = ()) -> None:
        self.labels = [*LABELS, *named]
        """The name of each activity in result tables, in order of number."""
        self.seconds = [[0.0] * entities for _ in self.labels]
        """By number of the activity, then by entity."""
        self.spans: list[Span] = []
        self._doing: list[int] = [Activity.WAITING] * entities
        self._since = [0.0] * entities
        self._keep: Callable[[Span], None] | None = self.spans.append if keep_spans else None

    def switch(self, entity: int, activity: int, now_s: float) -> None:
        """From now on the entity does something else; ask in order of time."""
        since, doing = self._since[entity], self._doing[entity]
        if now_s > since:
            self.seconds[doing][entity] += now_s - since
            if self._keep:
                self._keep(Span(entity, doing, since, now_s))
            self._since[entity] = now_s
        self._doing[entity] = activity

    @property
    def last_switch_s(self) -> float:
        """When an entity last began to do something else (s)."""
        return max(self._since)

    def close(self, now_s: float) -> None:
        """Book what is still going on when the run ends."""
        for entity, doing in enumerate(self._doing):
            self.switch(entity, doing, now_s)
