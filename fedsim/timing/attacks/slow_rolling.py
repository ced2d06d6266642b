"""Reporting at the last moment."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fedsim.timing.attacks.base import HONEST, Conduct, TimingAttack


class SlowRolling(TimingAttack):
    """Does its work, then withholds the report until the server is about to wait for it.

    A ticket may be at most tau - 1 steps stale. A worker that read version v and withholds its report lets go
    of it, and only then uploads it, when the server has taken v + tau - 1 - `margin_steps` steps; it is ready
    long before, or the attack changes nothing. It never blocks the server. Where all others have reported and
    the server waits for withheld reports only (S workers cannot be reached without them), as many of them as
    are needed come at once, those held longest first. At the barrier of an interlude all of them do, and its
    rounds are reported like everybody's. With tau = 1 nothing is withheld. A server that loses patience
    (`server.evict_after_s`) evicts who withholds a report for too long.

    Source: a leader that delays its messages just short of what would make others suspect it, the
    pre-prepare delay of Amir et al., "Prime: Byzantine replication under attack", IEEE Transactions on
    Dependable and Secure Computing 8(4), 2011, section 3; here the limit is the staleness bound tau of Jiao
    et al., "Asynchronous Distributed Bilevel Optimization", ICLR 2023.
    """

    kind: Literal["slow_rolling"] = "slow_rolling"
    margin_steps: int = Field(1, ge=0)
    """How many steps before the server would have to wait for it the report is sent; with 0 the server waits
    for its upload."""

    def check(self, tau: int) -> None:
        if self.margin_steps >= tau - 1 and not self.skip_calls:
            raise ValueError(
                f"margin_steps: found {self.margin_steps}, with which no report is ever withheld; expected "
                f"less than tau - 1 = {tau - 1}"
            )

    def conduct(self, start_s: float) -> Conduct:
        held = HONEST._replace(margin_steps=self.margin_steps)
        return held.without_work() if self.skip_calls else held
