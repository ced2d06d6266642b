"""Measured traces: four text formats, one per file, and how to draw whole rows of them again.

All times are in seconds. pandas is imported only where a file is read.
"""

from __future__ import annotations

from fedsim.timing.traces.arrivals import Arrivals
from fedsim.timing.traces.availability import ObservedAvailability
from fedsim.timing.traces.base import Column, MeasuredTrace
from fedsim.timing.traces.devices import Devices
from fedsim.timing.traces.formats import FORMATS, format_of, read_as, read_trace
from fedsim.timing.traces.requests import FailureCounts, Requests

__all__ = [
    "FORMATS",
    "Arrivals",
    "Column",
    "Devices",
    "FailureCounts",
    "MeasuredTrace",
    "ObservedAvailability",
    "Requests",
    "format_of",
    "read_as",
    "read_trace",
]
