"""Laws fitted to measured delays by maximum likelihood, compared, and written as a scenario has them.

scipy is imported only where something is fitted.
"""

from __future__ import annotations

from fedsim_analysis.fitting.latency.compare import LawFit, fit_all
from fedsim_analysis.fitting.latency.shown import comparison, counted
from fedsim_analysis.fitting.latency.written import rounded, toml_value

__all__ = ["LawFit", "comparison", "counted", "fit_all", "rounded", "toml_value"]
