"""A picture of any sweep: what stands on which axis, the numbers behind it, and its panels."""

from __future__ import annotations

from fedsim_analysis.grids.choice import Placing, choose
from fedsim_analysis.grids.numbers import numbers
from fedsim_analysis.grids.panels import drawn

__all__ = ["Placing", "choose", "drawn", "numbers"]
