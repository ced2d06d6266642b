"""What methods of federated averaging share: rounds, local steps, and how messages are combined."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, model_validator

from fedsim.algorithms.base import Algorithm, Setting, at_most
from fedsim.attack import Attack
from fedsim.learning.aggregation import COUNTERS, Aggregation
from fedsim.learning.optimizers import Optimized
from fedsim.schedule import Rounds, Schedule, Steps, Work


class AveragingRules(Aggregation):
    """How the messages of a step are combined, in the place of their mean."""

    @model_validator(mode="after")
    def _check_rule(self) -> AveragingRules:
        if self.outer is None:
            raise ValueError("outer: missing; this key is required")
        return self


class Averaging(Optimized, Algorithm):
    """A job is some local steps from the server's theta; a step of the server averages what was sent.

    `open` usually returns an `Averager`.
    """

    counters: ClassVar[tuple[str, ...]] = COUNTERS
    participants: int | None = Field(default=None, ge=1)
    """K*, workers drawn for a round; none: all."""
    local_steps: int = Field(default=1, ge=1, le=1_000_000)
    """E, steps of a worker in a round, each with the calls of a whole estimate."""
    aggregation: AveragingRules | None = None
    """Another rule than the mean."""

    def schedule(self, setting: Setting) -> Schedule:
        cost, rules = setting.problem.cost(), self.aggregation or Aggregation()
        local = cost.repeated(self.local_steps)._replace(bytes_up=rules.sent_bytes(cost.bytes_up))
        return Schedule(self.rule(setting.n_workers), {"local": Work(local)}, "local")

    def rule(self, n_workers: int) -> Steps | Rounds:
        """Return when the server steps: after each round of the workers drawn for it."""
        return Steps(n_workers, 1) if self.participants is None else Rounds(self.participants)

    def check(self, setting: Setting) -> None:
        rule = self.rule(setting.n_workers)
        key = "wait_for" if isinstance(rule, Steps) else "participants"
        wait_for = rule.wait_for if isinstance(rule, Steps) else rule.participants
        at_most(key, wait_for, setting.n_workers)
        if self.aggregation is not None and setting.problem.tunes_p:
            self.aggregation.check_steps(wait_for, setting.n_workers)

    def check_attack(self, attack: Attack) -> None:
        """Messages come in by a `Door`, so all attacks are possible."""

    def unread(self, setting: Setting) -> Mapping[str, str]:
        if setting.problem.tunes_p:
            return {}
        found = {"algorithm.aggregation": "the problem tunes no words, which workers would send"}
        return (
            found if setting.problem.tunes_q else found | {"algorithm.optimizer": "the problem tunes nothing"}
        )
