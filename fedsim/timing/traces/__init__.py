"""Measured traces: four text formats, one per file, and how to draw whole rows of them again.

All times are in seconds. pandas is imported only where a file is read.
"""

from __future__ import annotations

from fedsim.timing.traces.arrivals import Arrivals
from fedsim.timing.traces.availability import Availability
from fedsim.timing.traces.base import Column, Trace
from fedsim.timing.traces.devices import Devices
from fedsim.timing.traces.formats import FORMATS, format_of, read_as, read_trace
from fedsim.timing.traces.requests import Failures, Requests

__all__ = [
    "FORMATS",
    "Arrivals",
    "Availability",
    "Column",
    "Devices",
    "Failures",
    "Requests",
    "Trace",
    "format_of",
    "read_as",
    "read_trace",
]
