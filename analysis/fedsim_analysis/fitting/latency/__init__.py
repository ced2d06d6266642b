"""Laws fitted to measured delays by maximum likelihood, held to the data, and written as a scenario has them.

scipy is imported only where something is fitted.
"""

from __future__ import annotations

from fedsim_analysis.fitting.latency.compare import LawFit, fit_all
from fedsim_analysis.fitting.latency.shown import comparison
from fedsim_analysis.fitting.latency.verdict import remarks, verdict
from fedsim_analysis.fitting.latency.written import rounded, toml_value

__all__ = ["LawFit", "comparison", "fit_all", "remarks", "rounded", "toml_value", "verdict"]
