"""Links between the nodes of a network."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, field_validator, model_validator

from fedsim.catalog import Strict
from fedsim.timing.delays import AnyDelay, Delay
from fedsim.timing.delays.constant import Constant
from fedsim.timing.outages import Outages

LEAST_UP_S = 0.001
"""What a link must be up on average: with less, its turns would leave the clock where it is."""


LEAST_MBPS = 1e-6
"""One bit per second: what is slower carries nothing before the clock ends."""


class Link(Strict):
    """A link between two nodes, the same in both directions.

    Where it is down, what is being sent over it stands still and goes on afterwards; nothing takes another
    way. It is down in `outages`, or time and again: up for a draw of `up`, from the start, then down for one
    of `down`, and so on.
    """

    latency: AnyDelay = Constant(value_s=0.0)
    """From one end to the other; drawn anew for each message. Routes are chosen by its mean."""
    mbps: float | None = Field(None, ge=LEAST_MBPS)
    """Megabits per second, in each direction; none: no limit."""
    duplex: Literal["full", "half"] = "full"
    """Half: both directions share the bandwidth."""
    loss: float = Field(0.0, ge=0, lt=1)
    """Probability that a message is lost; it is then sent again, until it arrives."""
    retransmit_s: float | None = Field(None, gt=0)
    """What each loss of a message costs: it takes no bandwidth, but this time."""
    up: AnyDelay | None = None
    down: AnyDelay | None = None
    outages: Outages = ()

    @field_validator("latency")
    @classmethod
    def _finite_mean(cls, latency: Delay) -> Delay:
        if math.isinf(latency.mean_value_s):
            raise ValueError(
                "found a delay whose mean is infinite, expected a finite one: routes are chosen by it"
            )
        return latency

    @field_validator("up")
    @classmethod
    def _ever_up(cls, up: Delay | None) -> Delay | None:
        if up is not None and up.mean_value_s < LEAST_UP_S:
            raise ValueError(f"found a mean of {up.mean_value_s:g} s, expected at least {LEAST_UP_S:g}")
        return up

    @model_validator(mode="after")
    def _possible(self) -> Link:
        if self.loss > 0 and self.retransmit_s is None:
            raise ValueError(f"found loss = {self.loss:g}, expected retransmit_s as well")
        if (self.up is None) != (self.down is None):
            missing = "down" if self.down is None else "up"
            raise ValueError(f"expected {missing} as well: a link that goes down comes up again")
        if self.up is not None and self.outages:
            raise ValueError("expected either up and down or outages, found both")
        return self

    @property
    def is_flaky(self) -> bool:
        """Whether it is ever down."""
        return self.up is not None or bool(self.outages)

    @property
    def down_at_once(self) -> bool:
        """Whether it is down at time 0."""
        return any(outage.start_s == 0 for outage in self.outages)

    @property
    def capacity_bytes_s(self) -> float:
        """Bytes per second that it carries when it is up; infinite without a limit."""
        return math.inf if self.mbps is None else self.mbps * 1e6 / 8
