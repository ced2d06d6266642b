"""Filters of asynchronous servers, one per file."""

from __future__ import annotations

from typing import Annotated

from fedsim.catalog import Family
from fedsim.learning.filters.base import Arrival, Filter, Filtering
from fedsim.learning.filters.basgd import Basgd
from fedsim.learning.filters.fldetector import FlDetector
from fedsim.learning.filters.kardam import Kardam
from fedsim.learning.filters.zeno_plus_plus import ZenoPlusPlus

FILTERS = Family("filters", Filter, Basgd, FlDetector, Kardam, ZenoPlusPlus)
AnyFilter = Annotated[Filter, FILTERS]

__all__ = ["FILTERS", "AnyFilter", "Arrival", "Filter", "Filtering"]
