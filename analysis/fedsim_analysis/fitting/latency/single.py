"""Maximum-likelihood fits of the laws with one component. Delays are ``(n,)`` arrays of seconds, above 0."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fedsim.timing.delays.gamma import Gamma
from fedsim.timing.delays.lognormal import Lognormal
from fedsim.timing.delays.shifted_exponential import ShiftedExponential

Floats = NDArray[np.float64]


def fit_lognormal(delays_s: Floats) -> Lognormal:
    """Fit a lognormal: mean and standard deviation (divided by n) of the logarithms.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, vol. 1, 1994, chapter 14.
    """
    logs = np.log(delays_s)
    return Lognormal(median_s=math.exp(logs.mean()), sigma=float(logs.std()))


def fit_gamma(delays_s: Floats) -> Gamma:
    """Fit a gamma law that starts at 0.

    Its mean is that of the delays; its shape a solves ``log a - digamma(a) = log mean - mean log``.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, vol. 1, 1994, chapter 17.
    """
    from scipy.optimize import brentq
    from scipy.special import digamma

    mean_s = float(delays_s.mean())
    spread = math.log(mean_s) - float(np.log(delays_s).mean())

    def excess(log_shape: float) -> float:
        return log_shape - float(digamma(math.exp(log_shape))) - spread

    # 1 / (2 a) < log a - digamma(a) < 1 / a: the root lies between; a little wider against rounding
    shape = math.exp(brentq(excess, math.log(0.5 / spread) - 0.5, math.log(1 / spread) + 0.5, xtol=1e-13))
    return Gamma(shape=shape, mean_s=mean_s)


def fit_shifted_exponential(delays_s: Floats) -> ShiftedExponential:
    """Fit a shifted exponential: it starts at the least delay.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, vol. 1, 1994, chapter 19.
    """
    shift_s = float(delays_s.min())
    return ShiftedExponential(shift_s=shift_s, mean_excess_s=float(delays_s.mean()) - shift_s)
