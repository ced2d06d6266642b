"""Delay distributions, one per file. All times are in simulated seconds."""

from __future__ import annotations

from fedsim.timing.delays.base import DELAYS, AnyDelay, Delay
from fedsim.timing.delays.constant import Constant
from fedsim.timing.delays.empirical import Empirical
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.delays.gamma import Gamma
from fedsim.timing.delays.lognormal import Lognormal
from fedsim.timing.delays.mixture import Mixture
from fedsim.timing.delays.pareto import Pareto
from fedsim.timing.delays.shifted_exponential import ShiftedExponential
from fedsim.timing.delays.uniform import Uniform
from fedsim.timing.delays.weibull import Weibull

DELAYS.add(
    Constant,
    Uniform,
    Exponential,
    ShiftedExponential,
    Lognormal,
    Gamma,
    Weibull,
    Pareto,
    Mixture,
    Empirical,
)

__all__ = ["DELAYS", "AnyDelay", "Delay"]
