"""The interface of an attack on timing: how a malicious worker does its jobs, and when it reports them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from fedsim.answering import answers, number, refuse
from fedsim.attack import Assigned, Attack
from fedsim.catalog import Family

SendsAt = Callable[[float], float]


class Conduct(NamedTuple):
    """How a worker goes about one job; the defaults are an honest worker's.

    The phases of a job follow each other as always: download, arithmetic, calls, upload. Before the upload a
    malicious worker may first withhold its report and then be silent.
    """

    computes: bool = True
    """Whether its arithmetic takes time, that of its own model included."""
    calls: bool = True
    """Whether it makes its LLM calls; without them the job is not done and its ticket is `skipped`."""
    margin_steps: int | None = None
    """Withhold a report, but in an interlude, until so many steps before the server must wait for it."""
    sends_s: SendsAt | None = None
    """When (s) a report is sent that is ready at a given instant (s); none: at once."""
    reports: bool = True
    """False: from this job on the worker does nothing and never reports again."""

    def then(self, later: Conduct) -> Conduct:
        """Return what a worker does that follows both, the later one on top of this one."""
        margins = [margin for margin in (self.margin_steps, later.margin_steps) if margin is not None]
        return Conduct(
            computes=self.computes and later.computes,
            calls=self.calls and later.calls,
            margin_steps=max(margins, default=None),  # whoever is more careful not to be waited for
            sends_s=_after(self.sends_s, later.sends_s),
            reports=self.reports and later.reports,
        )

    def without_work(self) -> Conduct:
        """Return the same with neither arithmetic nor calls."""
        return self._replace(computes=False, calls=False)


def _after(first: SendsAt | None, second: SendsAt | None) -> SendsAt | None:
    if first is None or second is None:
        return first or second
    return lambda ready_s: second(first(ready_s))


HONEST = Conduct()


def _conduct(part: Attack, name: str, given: list[Any], answer: Any) -> Conduct:
    if not isinstance(answer, Conduct):
        refuse(name, answer, "a Conduct")
    margin, sends_s = answer.margin_steps, answer.sends_s
    if margin is not None and (isinstance(margin, bool) or not isinstance(margin, int) or margin < 0):
        refuse(name, margin, "margin_steps that is a whole number from 0, or none")
    if sends_s is None:
        return answer
    if not callable(sends_s):
        refuse(name, sends_s, "sends_s that is a function of time, or none")

    def sent_s(ready_s: float) -> float:
        return _when(part, sends_s, ready_s)

    return answer._replace(sends_s=sent_s)


def _when(part: Attack, sends_s: SendsAt, ready_s: float) -> float:
    return number(least=ready_s)(part, "sends_s", [ready_s], sends_s(ready_s))


class TimingAttack(Attack):
    """A malicious worker that reports at other moments than an honest one would.

    It cannot report for another worker, and has one job in flight like everybody else: at most one ticket of
    a worker is in a step.
    """

    skip_calls: bool = Field(default=False)
    """Report without the work: no arithmetic, no LLM call. Its variables then stay what they were."""

    def check(self, tau: int) -> None:
        """Say, before anything runs, that the attack changes nothing under this staleness bound.

        Args:
            tau: 1 where the server waits for all whom it asks.

        Raises:
            ValueError: it does not.
        """

    @abstractmethod
    @answers(_conduct)
    def conduct(self, start_s: float) -> Conduct:
        """Return how a job is done that starts at this instant (s), when the attack is on."""


# Listed in __init__.py. The family stands here because a sleeper, itself an attack on timing, holds another.
TIMING_ATTACKS = Family("timing_attacks", TimingAttack)
AnyTimingAttack = Annotated[TimingAttack, TIMING_ATTACKS]

Misconduct = dict[int, tuple[TimingAttack, ...]]
"""The attacks on timing of each malicious worker, in the order of the scenario; nobody else has an entry."""


def by_worker(attacks: Sequence[Assigned]) -> Misconduct:
    """Return which workers attack on timing, and how."""
    found: Misconduct = {}
    for attack, workers in attacks:
        if isinstance(attack, TimingAttack):
            for worker in workers:
                found[worker] = (*found.get(worker, ()), attack)
    return found


def conduct_of(attacks: Sequence[TimingAttack], start_s: float) -> Conduct:
    """Return how a worker with these attacks does a job that starts at this instant (s)."""
    return reduce(Conduct.then, (attack.conduct(start_s) for attack in attacks if attack.on(start_s)), HONEST)
