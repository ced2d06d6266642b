"""Malicious workers that report and are silent by turns."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from fedsim.timing.attacks.base import HONEST, Conduct, TimingAttack
from fedsim.timing.pace import RESOLUTION_S


class Flapping(TimingAttack):
    """Reports for a while, is silent for a while, and so on.

    Who is silent still does what it was asked to, but sends nothing: a report that is ready then is sent
    when the worker comes back, and until then it is down. An upload that has begun is finished. A server
    that waits for the report waits; one that loses patience (`server.evict_after_s`) evicts it.

    Source: the unstable processes of Aguilera, Chen and Toueg, "Failure detection and consensus in the
    crash-recovery model", Distributed Computing 13, 2000, which crash and recover again and again; here
    nothing is lost, as on the flapping routes of Villamizar, Chandra and Govindan, RFC 2439, 1998.
    """

    kind: Literal["flapping"] = "flapping"
    on_s: float = Field(ge=RESOLUTION_S)
    """How long it reports."""
    off_s: float = Field(ge=RESOLUTION_S)
    """How long it is silent."""
    phase_s: float = Field(0.0, ge=0)
    """How far into its cycle it is at `start_s`; a cycle begins with reports."""

    def conduct(self, start_s: float) -> Conduct:
        flaps = HONEST._replace(sends_s=self.sends_s)
        return flaps.without_work() if self.skip_calls else flaps

    def sends_s(self, ready_s: float) -> float:
        """Return when (s) a report is sent that is ready at this instant (s)."""
        first_s, cycle_s = self.start_s - self.phase_s, self.on_s + self.off_s
        cycle = math.floor((ready_s - first_s) / cycle_s)
        silent_s = first_s + cycle * cycle_s + self.on_s
        return ready_s if ready_s < silent_s else max(ready_s, first_s + (cycle + 1) * cycle_s)
