"""Maximum-likelihood fits of the laws with one component. Delays are ``(n,)`` arrays of seconds, above 0.

Those of `scipy.stats`, in the words of a scenario; the Weibull law's shape, which scipy finds to five digits
only, is found to all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedsim.timing.delays.gamma import Gamma
from fedsim.timing.delays.lognormal import Lognormal
from fedsim.timing.delays.pareto import Pareto
from fedsim.timing.delays.shifted_exponential import ShiftedExponential
from fedsim.timing.delays.weibull import Weibull

Floats = NDArray[np.float64]


def fit_lognormal(delays_s: Floats) -> Lognormal:
    """Fit a lognormal law that starts at 0: mean and standard deviation (divided by n) of the logarithms."""
    from scipy import stats

    sigma, _, median_s = stats.lognorm.fit(delays_s, floc=0)
    return Lognormal(median_s=float(median_s), sigma=float(sigma))


def fit_gamma(delays_s: Floats) -> Gamma:
    """Fit a gamma law that starts at 0; its mean is that of the delays."""
    from scipy import stats

    shape, _, scale_s = stats.gamma.fit(delays_s, floc=0)
    return Gamma(shape=float(shape), mean_s=float(shape * scale_s))


def fit_shifted_exponential(delays_s: Floats) -> ShiftedExponential:
    """Fit a shifted exponential law: it starts at the least delay."""
    from scipy import stats

    shift_s, mean_excess_s = stats.expon.fit(delays_s)
    return ShiftedExponential(shift_s=float(shift_s), mean_excess_s=float(mean_excess_s))


def fit_pareto(delays_s: Floats) -> Pareto:
    """Fit a Pareto law: it starts at the least delay; 1 / its tail index is the mean log excess over that."""
    from scipy import stats

    tail_index, _, minimum_s = stats.pareto.fit(delays_s, floc=0)
    return Pareto(minimum_s=float(minimum_s), tail_index=float(tail_index))


def fit_weibull(delays_s: Floats) -> Weibull:
    """Fit a Weibull law that starts at 0: the root k of ``E[t^k log t] / E[t^k] - 1 / k - E[log t]``.

    Source: Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, vol. 1, 1994, chapter 21.
    """
    from scipy.optimize import brentq
    from scipy.special import gamma, softmax

    logs = np.log(delays_s)

    def excess(log_shape: float) -> float:
        shape = np.exp(log_shape)
        return float(softmax(shape * logs) @ logs - 1 / shape - logs.mean())

    # The first term lies between the mean and the largest of the logarithms, and grows with the shape.
    least = -np.log(logs.max() - logs.mean())
    most = least
    while excess(most) < 0:
        most += 1
    shape = float(np.exp(brentq(excess, least - 1e-9, most, xtol=1e-13)))
    scale_s = float(np.exp(np.log(np.mean(np.exp(shape * (logs - logs.max())))) / shape + logs.max()))
    return Weibull(shape=shape, mean_s=scale_s * float(gamma(1 + 1 / shape)))
