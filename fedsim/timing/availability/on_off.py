"""Workers that are on and off by turns, for stretches of random length."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, Self

import numpy as np
from pydantic import model_validator

from fedsim.streams import Stream, Streams
from fedsim.timing.availability.base import Availability, Stretch
from fedsim.timing.delays import AnyDelay, Delay
from fedsim.timing.pace import RESOLUTION_S

STRETCHES_LAID_OUT = 1000
"""So many stretches are laid end to end; the rest of the first one is that after a random instant in them."""


class OnOff(Availability):
    """On and off by turns, each stretch an independent draw: an alternating renewal process.

    With ``starts = "stationary"`` the worker has been coming and going for ever: at time 0 it is on with
    probability ``E[on] / (E[on] + E[off])``, and what is left of its present stretch is found by the
    inspection paradox (of 1,000 draws laid end to end, the rest of the one in which a random instant falls).
    An off stretch of no length is a crash after which the worker is back at once.

    Source: Barlow and Proschan, Statistical Theory of Reliability and Life Testing, 1975, chapter 7; what is
    left of a stretch: Feller, An Introduction to Probability Theory and Its Applications, vol. 2, 1971,
    section XI.4.
    """

    kind: Literal["on_off"] = "on_off"
    on: AnyDelay
    """How long a worker stays on."""
    off: AnyDelay
    """How long it then stays down."""
    starts: Literal["on", "off", "stationary"] = "stationary"
    """The state at time 0; "on" and "off": at the beginning of such a stretch."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if (mean_s := self.on.mean_value_s) < RESOLUTION_S:
            raise ValueError(f"on: found a mean of {mean_s:g} s, expected at least {RESOLUTION_S:g}")
        means_s = self.on.mean_value_s, self.off.mean_value_s
        if self.starts == "stationary" and not all(map(math.isfinite, means_s)):
            raise ValueError("starts: found 'stationary', expected 'on' or 'off': a mean is infinite")
        return self

    def stretches(self, streams: Streams, worker: int, place: int) -> Iterator[Stretch]:
        """Yield the stretches; cycle k is drawn at job k + 1, the beginning at job 0."""
        on_s, left_s = self._beginning(streams.seat(Stream.AVAILABILITY, worker, 0))
        cycle = 0
        while True:
            cycle += 1
            generator = streams.seat(Stream.AVAILABILITY, worker, cycle)
            lasts_s, off_s = (float(delay.sample(generator, 1)[0]) for delay in (self.on, self.off))
            if left_s is not None:
                lasts_s, left_s = left_s, None
            yield on_s, on_s + lasts_s
            on_s += lasts_s + off_s

    def _beginning(self, generator: np.random.Generator) -> tuple[float, float | None]:
        """Return when the first stretch begins (s), and how long it lasts (s) if it is no plain draw."""
        if self.starts == "on":
            return 0.0, None
        if self.starts == "off":
            return float(self.off.sample(generator, 1)[0]), None
        mean_on_s, mean_off_s = self.on.mean_value_s, self.off.mean_value_s
        if generator.random() * (mean_on_s + mean_off_s) < mean_on_s:
            return 0.0, _rest_s(self.on, generator)
        return _rest_s(self.off, generator), None


def _rest_s(delay: Delay, generator: np.random.Generator) -> float:
    """Return how much is left (s) of the stretch that is under way at a random instant."""
    ends_s = np.cumsum(delay.sample(generator, STRETCHES_LAID_OUT))
    now_s = generator.random() * ends_s[-1]
    return float(ends_s[np.searchsorted(ends_s, now_s, side="right")] - now_s)
