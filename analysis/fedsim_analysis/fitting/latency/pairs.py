"""Two kinds of calls, fast and slow: the maximum-likelihood fit of a mixture of two lognormals."""

from __future__ import annotations

import math

import numpy as np

from fedsim.timing.delays.lognormal import Lognormal
from fedsim.timing.delays.mixture import Mixture, Weighted
from fedsim_analysis.fitting.latency.single import Floats

LARGEST_RATIO = 30.0
"""Of the two sigmas, whichever is the larger."""
FIRST_GUESSES = (0.98, 0.9, 0.7, 0.5, 0.3, 0.1, 0.03)
"""Shares of the delays, the longest ones, that may be the slow kind."""
LOG_2_PI = math.log(2 * math.pi)


def fit_two_lognormals(delays_s: Floats) -> Mixture:
    """Fit a mixture of two lognormals, the one with the smaller median first. Their shares are free.

    Either may be as rare as one delay of all. Without a bound on the ratio of the two sigmas the likelihood
    has no maximum: a component that shrinks onto one delay makes it infinite. scipy's L-BFGS-B climbs from
    several first guesses and the best end is taken.

    Source: McLachlan and Peel, Finite Mixture Models, 2000, chapter 3; Hathaway, "A constrained formulation
    of maximum-likelihood estimation for normal mixture distributions", The Annals of Statistics, 1985 (the
    bounded ratio).
    """
    from scipy.optimize import minimize

    logs = np.sort(np.log(delays_s))
    centre, scale = float(np.median(logs)), float(logs.std())
    units = (logs - centre) / scale
    rarest, widest = 1 / len(logs), math.log(LARGEST_RATIO)
    bounds = [
        (float(units[0]), float(units[-1])),
        (math.log(1e-3), math.log(10)),
        (0.0, float(units[-1] - units[0])),
        (-widest, widest),
        (rarest, 1 - rarest),
    ]
    low, high = np.array(bounds).T
    guesses = [_guess(units, share) for share in FIRST_GUESSES]
    # one is spread more than the other and neither is longer on average
    guesses.append(np.array([0.0, math.log(0.5), 0.0, math.log(4), 0.2]))
    ends = [
        minimize(_loss, np.clip(guess, low, high), (units,), "L-BFGS-B", jac=True, bounds=bounds)
        for guess in guesses
    ]
    middle, log_sigma, gap, log_ratio, share = map(float, min(ends, key=lambda end: float(end.fun)).x)
    sigma = scale * math.exp(log_sigma)
    fast = Lognormal(median_s=math.exp(centre + scale * middle), sigma=sigma)
    slow = Lognormal(median_s=math.exp(centre + scale * (middle + gap)), sigma=sigma * math.exp(log_ratio))
    return Mixture(components=(Weighted(weight=1 - share, delay=fast), Weighted(weight=share, delay=slow)))


def _guess(units: Floats, share: float) -> Floats:
    """Return the parameters that fit if the longest delays, this share of them, are the slow kind."""
    n_slow = min(max(2, round(share * len(units))), len(units) - 2)
    fast, slow = units[:-n_slow], units[-n_slow:]
    sigma = max(float(fast.std()), 1e-3)
    ratio = max(float(slow.std()) / sigma, 1 / LARGEST_RATIO)
    return np.array(
        [fast.mean(), math.log(sigma), slow.mean() - fast.mean(), math.log(ratio), n_slow / len(units)]
    )


def _loss(parameters: Floats, units: Floats) -> tuple[float, Floats]:
    """Return minus the mean log-likelihood of logarithms, and its gradient.

    The parameters are: the fast mean, log sigma, how much larger the slow mean is, the logarithm of the
    ratio of the sigmas, slow over fast, and the share of the slow.
    """
    mean, log_sigma, gap, log_ratio, share = parameters
    z_fast = (units - mean) * math.exp(-log_sigma)
    z_slow = (units - mean - gap) * math.exp(-log_sigma - log_ratio)
    log_fast = math.log(1 - share) - z_fast**2 / 2 - log_sigma
    log_slow = math.log(share) - z_slow**2 / 2 - log_sigma - log_ratio
    log_both = np.logaddexp(log_fast, log_slow)
    of_slow = np.exp(log_slow - log_both)  # the probability that a delay is a slow one
    of_fast = 1 - of_slow
    to_fast = of_fast * z_fast * math.exp(-log_sigma)
    to_slow = of_slow * z_slow * math.exp(-log_sigma - log_ratio)
    by_slow = of_slow * (z_slow**2 - 1)
    by_fast = of_fast * (z_fast**2 - 1)
    slopes = [
        to_fast + to_slow,
        by_fast + by_slow,
        to_slow,
        by_slow,
        of_slow / share - of_fast / (1 - share),
    ]
    return LOG_2_PI / 2 - float(log_both.mean()), -np.array([float(slope.mean()) for slope in slopes])
