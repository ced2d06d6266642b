"""Aggregators, one per file."""

from __future__ import annotations

from typing import Annotated

from fedsim.catalog import Family
from fedsim.learning.aggregators.base import Aggregator
from fedsim.learning.aggregators.caf import Caf
from fedsim.learning.aggregators.centred_clipping import CentredClipping
from fedsim.learning.aggregators.dp_rsa import DpRsa
from fedsim.learning.aggregators.geometric_median import GeometricMedian
from fedsim.learning.aggregators.krum import Krum
from fedsim.learning.aggregators.meamed import Meamed
from fedsim.learning.aggregators.mean import Mean
from fedsim.learning.aggregators.median import Median
from fedsim.learning.aggregators.minimum_diameter import MinimumDiameter
from fedsim.learning.aggregators.multi_krum import MultiKrum
from fedsim.learning.aggregators.rsa import Rsa
from fedsim.learning.aggregators.trimmed_mean import TrimmedMean
from fedsim.learning.aggregators.vote import Vote

AGGREGATORS = Family(
    "aggregators",
    Aggregator,
    Mean,
    Vote,
    # the middle, coordinate by coordinate or of all rows
    Median,
    TrimmedMean,
    Meamed,
    GeometricMedian,
    # the rows that go together
    Krum,
    MultiKrum,
    MinimumDiameter,
    Caf,
    # a small pull for each row, from the consensus before
    CentredClipping,
    Rsa,
    DpRsa,
)
AnyAggregator = Annotated[Aggregator, AGGREGATORS]

__all__ = ["AGGREGATORS", "Aggregator", "AnyAggregator"]
