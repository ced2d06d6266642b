"""A lognormal body and rare stalls: the maximum-likelihood fit of a mixture of two lognormals."""

from __future__ import annotations

import math

import numpy as np

from fedsim.timing.delays.lognormal import Lognormal
from fedsim.timing.delays.mixture import Mixture, Weighted
from fedsim_analysis.fitting.latency.single import Floats

LEAST_RATIO, LARGEST_RATIO = 1.0, 30.0
"""Bounds of the ratio of the stalls' sigma to the body's."""
FIRST_GUESSES = (0.3, 0.1, 0.03)
"""Shares of the delays, the longest ones, that may be the stalls."""
LOG_2_PI = math.log(2 * math.pi)


def fit_body_and_stalls(delays_s: Floats) -> Mixture:
    """Fit a lognormal body and rarer, slower stalls, lognormal too: in this order in the mixture.

    The stalls are at most half of the delays and at least one of them, and their median is not below the
    body's. Without a bound on the ratio of the two sigmas the likelihood has no maximum: a component that
    shrinks onto one delay makes it infinite. scipy's L-BFGS-B climbs from several first guesses and the best
    end is taken.

    Source: McLachlan and Peel, Finite Mixture Models, 2000, chapter 3; Hathaway, "A constrained formulation
    of maximum-likelihood estimation for normal mixture distributions", The Annals of Statistics, 1985 (the
    bounded ratio).
    """
    from scipy.optimize import minimize

    logs = np.sort(np.log(delays_s))
    centre, scale = float(np.median(logs)), float(logs.std())
    units = (logs - centre) / scale
    rarest = 1 / len(logs)
    bounds = [
        (float(units[0]), float(units[-1])),
        (math.log(1e-3), math.log(10)),
        (0.0, float(units[-1] - units[0])),
        (math.log(LEAST_RATIO), math.log(LARGEST_RATIO)),
        (rarest, 0.5),
    ]
    low, high = np.array(bounds).T
    # the longest delays as stalls; then stalls that are spread more than the body and not longer on average
    guesses = [_guess(units, share) for share in FIRST_GUESSES]
    guesses.append(np.array([0.0, math.log(0.5), 0.0, math.log(4), 0.2]))
    ends = [
        minimize(_loss, np.clip(guess, low, high), (units,), "L-BFGS-B", jac=True, bounds=bounds)
        for guess in guesses
    ]
    middle, log_sigma, gap, log_ratio, share = map(float, min(ends, key=lambda end: float(end.fun)).x)
    sigma = scale * math.exp(log_sigma)
    body = Lognormal(median_s=math.exp(centre + scale * middle), sigma=sigma)
    stalls = Lognormal(median_s=math.exp(centre + scale * (middle + gap)), sigma=sigma * math.exp(log_ratio))
    return Mixture(components=(Weighted(weight=1 - share, delay=body), Weighted(weight=share, delay=stalls)))


def _guess(units: Floats, share: float) -> Floats:
    """Return the parameters that fit if the longest delays, this share of them, are the stalls."""
    n_stalls = min(max(1, round(share * len(units))), len(units) - 2)
    body, stalls = units[:-n_stalls], units[-n_stalls:]
    sigma = max(float(body.std()), 1e-3)
    ratio = max(float(stalls.std()) / sigma, 0.5)
    return np.array(
        [body.mean(), math.log(sigma), stalls.mean() - body.mean(), math.log(ratio), n_stalls / len(units)]
    )


def _loss(parameters: Floats, units: Floats) -> tuple[float, Floats]:
    """Return minus the mean log-likelihood of logarithms, and its gradient.

    The parameters are: the body's mean, log sigma, how much larger the stalls' mean is, the logarithm of the
    ratio of the sigmas, the stalls' share.
    """
    mean, log_sigma, gap, log_ratio, share = parameters
    z_body = (units - mean) * math.exp(-log_sigma)
    z_stall = (units - mean - gap) * math.exp(-log_sigma - log_ratio)
    log_body = math.log(1 - share) - z_body**2 / 2 - log_sigma
    log_stall = math.log(share) - z_stall**2 / 2 - log_sigma - log_ratio
    log_both = np.logaddexp(log_body, log_stall)
    of_stall = np.exp(log_stall - log_both)  # the probability that a delay is a stall
    of_body = 1 - of_stall
    to_body = of_body * z_body * math.exp(-log_sigma)
    to_stall = of_stall * z_stall * math.exp(-log_sigma - log_ratio)
    by_stall = of_stall * (z_stall**2 - 1)
    by_body = of_body * (z_body**2 - 1)
    slopes = [
        to_body + to_stall,
        by_body + by_stall,
        to_stall,
        by_stall,
        of_stall / share - of_body / (1 - share),
    ]
    return LOG_2_PI / 2 - float(log_both.mean()), -np.array([float(slope.mean()) for slope in slopes])
