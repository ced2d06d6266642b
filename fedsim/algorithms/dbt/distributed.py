"""What AsynDBT and its synchronous form share: everything but the step rule."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from fedsim.algorithms.base import Algorithm, Bench, Setting, at_most
from fedsim.algorithms.dbt.settings import CommonRules, Rules
from fedsim.attack import Attack
from fedsim.learning.aggregation import COUNTERS, Aggregation
from fedsim.schedule import Interlude, Schedule, Steps, Work

if TYPE_CHECKING:
    from fedsim.algorithms.dbt.tuner import Tuner

TUNES_NO_WORDS = ("cuts", "multipliers", "polyhedron", "inner", "z_rate", "robust", "aggregation")


class Distributed(Rules, Algorithm):
    """Bilevel tuning by workers and a server that agree on z."""

    counters: ClassVar[tuple[str, ...]] = COUNTERS

    @abstractmethod
    def steps(self, n_workers: int) -> Steps:
        """Return the step rule for so many workers."""

    def schedule(self, setting: Setting) -> Schedule:
        """Return the step rule, with polyhedron updates as interludes.

        A worker gets its pull of the cuts, and z as well where it compares p with it; an inner round sends z
        down and p up.
        """
        cost = setting.problem.cost()
        rules = self.aggregation or Aggregation()
        compares = rules.sends_signs or (self.robust is not None and self.robust.outer == "R1")
        outer = cost._replace(
            bytes_up=rules.sent_bytes(cost.bytes_up),
            bytes_down=cost.bytes_down * (2 if compares else 1),
        )
        return schedule(self.steps(setting.n_workers), self, setting, Work(outer), Work(cost, "cutting"))

    def open(self, bench: Bench) -> Tuner:
        from fedsim.algorithms.dbt.tuner import Tuner

        return Tuner(bench, self)

    def check(self, setting: Setting) -> None:
        rule = self.steps(setting.n_workers)
        at_most("wait_for", rule.wait_for, setting.n_workers)
        wait_for = rule.fewest
        rules, cuts = self.aggregation, self.cuts
        if rules is None or not setting.problem.tunes_p:
            return
        rules.check_steps(wait_for if rules.rows == "active" else setting.n_workers, setting.n_workers)
        if cuts and rules.inner is not None:
            rows = wait_for if cuts.participation == "active" else setting.n_workers
            rules.check_rows("inner", rules.inner, rows)
        if rules.outer is not None and rules.sends_signs:
            self._check_signs(rules.outer.kind)

    def _check_signs(self, kind: str) -> None:
        if self.cuts:
            raise ValueError(
                f"algorithm.aggregation.outer: {kind!r} sends signs, from which no cuts can be made; "
                "expected algorithm.cuts = false"
            )
        if self.robust is not None and self.robust.project_messages:
            raise ValueError(
                f"algorithm.robust.project_messages: found true, expected false: {kind!r} sends signs, which "
                "are no distributions"
            )

    def check_attack(self, attack: Attack) -> None:
        """Messages come in by a `Door`, so all attacks are possible."""

    def unread(self, setting: Setting) -> Mapping[str, str]:
        return without_words(setting, TUNES_NO_WORDS)


def schedule(
    rule: Steps,
    rules: Rules | CommonRules,
    setting: Setting,
    outer: Work,
    inner: Work,
    machine: int | None = None,
) -> Schedule:
    """Return the schedule of a form of bilevel tuning.

    Args:
        rule: its step rule.
        rules: its update rules.
        setting: the scenario.
        outer: a gradient step of a worker, (19) and (20).
        inner: a round (8) of the loop that estimates the lower solution.
        machine: the group whose machine computes for all; none: every worker computes.
    """
    cuts = rules.cuts if setting.problem.tunes_p else False
    interlude = cuts and Interlude(
        "inner",
        cuts.every,
        cuts.rounds,
        cuts.stop_after,
        cuts.participation,
        leaves_bytes=inner.cost.bytes_up,
        counter="cut_updates",
        every_updates=cuts.every_updates,
        restart=cuts.restart,
    )
    return Schedule(rule, {"outer": outer, "inner": inner}, "outer", None, interlude or None, machine)


def without_words(setting: Setting, keys: tuple[str, ...]) -> dict[str, str]:
    """Return which of these keys of the algorithm do nothing because the problem tunes no words."""
    problem = setting.problem
    found: dict[str, str] = {}
    if not problem.tunes_p:
        found |= {f"algorithm.{key}": "the problem tunes no words, which these are about" for key in keys}
        if not problem.tunes_q:
            found["algorithm.optimizer"] = "the problem tunes nothing"
    if not problem.realises:
        found["algorithm.inner.realisation"] = "the problem has no demonstrations to draw"
    return found
