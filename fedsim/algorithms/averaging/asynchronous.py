"""What asynchronous averaging shares: all workers work all the time, and what is old counts for less."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from fedsim.algorithms.base import Algorithm, Setting, at_most
from fedsim.attack import Attack
from fedsim.learning.aggregation import COUNTERS
from fedsim.learning.optimizers import Optimized
from fedsim.schedule import UNBOUNDED, Schedule, Steps, Work


class AsynchronousAveraging(Optimized, Algorithm):
    """A job is some local steps from the model that the worker read, however old that is when it reports.

    Who has reported waits for the server's step and starts again from the model that this makes; nobody is
    waited for because what it sends would be too old. Messages are combined by their mean.
    """

    counters: ClassVar[tuple[str, ...]] = COUNTERS
    local_steps: int = Field(default=1, ge=1, le=1_000_000)
    """Steps of a worker in a job, each with the calls of a whole estimate."""

    def schedule(self, setting: Setting) -> Schedule:
        cost = setting.problem.cost().repeated(self.local_steps)
        return Schedule(Steps(self.messages_a_step(), UNBOUNDED), {"local": Work(cost)}, "local")

    def messages_a_step(self) -> int:
        """Return of how many workers the server takes a message in one step."""
        return 1

    def check(self, setting: Setting) -> None:
        if not setting.problem.tunes_p:
            raise ValueError(
                f"algorithm.kind: {self.kind!r} averages what workers send, but problem "
                f"{setting.problem.kind!r} tunes nothing that they would"
            )
        at_most("buffer", self.messages_a_step(), setting.n_workers)

    def check_attack(self, attack: Attack) -> None:
        """Messages come in by a `Door`, so all attacks are possible."""

    def unread(self, setting: Setting) -> Mapping[str, str]:
        return {}
