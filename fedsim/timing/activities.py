"""Where every simulated second of every entity goes."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple


class Activity(IntEnum):
    """What an entity is doing. At every instant it does exactly one of these."""

    COMPUTING = 0
    """The worker's own arithmetic (gradients, projections)."""
    CALLING = 1
    """Waiting for the answers of the LLM service."""
    UPLOADING = 2
    DOWNLOADING = 3
    WAITING = 4
    """A worker for the server's reply; the server for messages."""
    CUTTING = 5
    """A worker busy with an inner round of a polyhedron update; the server holding the update's barrier."""
    STEPPING = 6
    """The server's own arithmetic."""
    DOWN = 7
    """Stopped, evicted by the server, or silent for a while."""
    HOLDING = 8
    """A malicious worker that holds a finished answer back."""
    QUEUEING = 9
    """All open calls of a worker wait: for a place at the LLM service, its limits, or to be sent again."""

    @property
    def label(self) -> str:
        """The name used in result tables."""
        return self.name.lower()


class Span(NamedTuple):
    """One stretch of one activity; workers are the entities 0 to R - 1, number R is the server."""

    entity: int
    activity: Activity
    start_s: float
    end_s: float


class ActivityClock:
    """Books the seconds of each entity by activity, and the spans when asked to.

    Args:
        entities: how many there are, R + 1: a worker's number is its entity's, and R is the server (the one
            machine of the centralised form is worker 0). All start `WAITING` at time 0.
        keep_spans: also remember every stretch.
    """

    def __init__(self, entities: int, keep_spans: bool = False) -> None:
        self.seconds = [[0.0] * entities for _ in Activity]
        self.spans: list[Span] = []
        self._doing = [Activity.WAITING] * entities
        self._since = [0.0] * entities
        self._keep: Callable[[Span], None] | None = self.spans.append if keep_spans else None

    def switch(self, entity: int, activity: Activity, now_s: float) -> None:
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
