"""Malicious workers that are honest for a while."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, field_validator

from fedsim.timing.attacks.base import HONEST, AnyTimingAttack, Conduct, TimingAttack, conduct_of

SILENT = HONEST._replace(reports=False).without_work()


class Sleeper(TimingAttack):
    """Honest until it wakes, then it does as another attack says, or falls silent for good.

    A job that starts before `wakes_at_s` is done as by an honest worker, even after that instant. A
    worker that has fallen silent stalls a server that waits for it and has no patience
    (`server.evict_after_s`). An attack on data or on messages sleeps by its `start_s`.

    Source: a faulty processor that cannot be told from a correct one before it fails, Lamport, Shostak and
    Pease, "The Byzantine generals problem", ACM TOPLAS 4(3), 1982, section 1; silence for good is the
    fail-stop of Schlichting and Schneider, "Fail-stop processors", ACM TOCS 1(3), 1983.
    """

    kind: Literal["sleeper"] = "sleeper"
    wakes_at_s: float = Field(ge=0)
    then: AnyTimingAttack | None = None
    """What it does once awake; none: it never reports again."""

    @field_validator("then")
    @classmethod
    def _no_workers_of_its_own(cls, then: TimingAttack | None) -> TimingAttack | None:
        if then is not None and (then.workers or then.fraction is not None):
            raise ValueError(
                f"found workers of its own ({then.kind!r}), expected none: they are the sleeper's"
            )
        return then

    def idle(self) -> Mapping[str, str]:
        return {} if self.then is not None else {"skip_calls": "once awake it does nothing at all"}

    def begins_s(self) -> float:
        return max(
            super().begins_s(), self.wakes_at_s, self.then.begins_s() if self.then is not None else 0.0
        )

    def check(self, tau: int) -> None:
        if self.then is not None and not self.skip_calls:
            self.then.check(tau)

    def conduct(self, start_s: float) -> Conduct:
        if start_s < self.wakes_at_s:
            return HONEST
        awake = SILENT if self.then is None else conduct_of([self.then], start_s)
        return awake.without_work() if self.skip_calls else awake
