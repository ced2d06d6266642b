"""Malicious workers that report at the last moment."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fedsim.timing.attacks.base import HONEST, Conduct, TimingAttack


class SlowRolling(TimingAttack):
    """Does its work, then holds the report back until the server is about to wait for it.

    A ticket may be at most tau - 1 steps stale. A worker that read version v starts to upload its report when
    the server has taken v + tau - 1 - `margin_steps` steps. If the report is not ready by then, the attack
    changes nothing. The attack never blocks the server: when all others have reported and the server waits
    for held-back reports only (S workers cannot be reached without them), as many as are needed are sent at
    once, those held longest first. The same happens at the barrier of a polyhedron update; in its inner
    rounds nothing is held back, nor with tau = 1. A server that loses patience (`server.evict_after_s`)
    evicts a worker that holds back for too long.

    Source: a leader that delays its messages just short of what would make others suspect it, the
    pre-prepare delay of Amir et al., "Prime: Byzantine replication under attack", IEEE Transactions on
    Dependable and Secure Computing 8(4), 2011, section 3; here the limit is the staleness bound tau of Jiao
    et al., "Asynchronous Distributed Bilevel Optimization", ICLR 2023.
    """

    kind: Literal["slow_rolling"] = "slow_rolling"
    margin_steps: int = Field(1, ge=0)
    """How many steps before the server would have to wait for it the report is sent; with 0 the server waits
    for its upload."""

    def conduct(self, start_s: float) -> Conduct:
        held = HONEST._replace(margin_steps=self.margin_steps)
        return held.without_work() if self.skip_calls else held
