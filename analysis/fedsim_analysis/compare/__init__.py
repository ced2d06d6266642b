"""Methods and settings compared with a baseline, seed by seed, and what is best."""

from __future__ import annotations

from fedsim_analysis.compare.choosing import DEFAULT_METRICS, metric_named
from fedsim_analysis.compare.comparing import Comparison, compare, means
from fedsim_analysis.compare.contrasts import CORRECTIONS
from fedsim_analysis.compare.showing import cells

__all__ = ["CORRECTIONS", "DEFAULT_METRICS", "Comparison", "cells", "compare", "means", "metric_named"]
