"""Availabilities, one per file: when workers are on, and when they are down."""

from __future__ import annotations

from fedsim.timing.availability.base import AVAILABILITIES, AnyAvailability, Availability, Stretch
from fedsim.timing.availability.diurnal import Diurnal
from fedsim.timing.availability.lifetime import Lifetime
from fedsim.timing.availability.on_off import OnOff
from fedsim.timing.availability.trace import Trace

AVAILABILITIES.add(OnOff, Diurnal, Lifetime, Trace)

__all__ = ["AVAILABILITIES", "AnyAvailability", "Availability", "Stretch"]
