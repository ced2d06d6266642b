"""Pre-aggregators, one per file."""

from __future__ import annotations

from typing import Annotated

from fedsim.catalog import Family
from fedsim.learning.preaggregators.base import Preaggregator
from fedsim.learning.preaggregators.bucketing import Bucketing
from fedsim.learning.preaggregators.nearest_neighbour_mixing import NearestNeighbourMixing
from fedsim.learning.preaggregators.norm_clipping import NormClipping
from fedsim.learning.preaggregators.simplex_projection import SimplexProjection

PREAGGREGATORS = Family(
    "preaggregators",
    Preaggregator,
    # each row by itself
    SimplexProjection,
    NormClipping,
    # rows with others
    Bucketing,
    NearestNeighbourMixing,
)
AnyPreaggregator = Annotated[Preaggregator, PREAGGREGATORS]

__all__ = ["PREAGGREGATORS", "AnyPreaggregator", "Preaggregator"]
