"""All laws fitted to the same delays, the best one first."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fedsim.errors import InputError
from fedsim.timing.delays import Delay
from fedsim_analysis.fitting.latency.single import Floats, fit_gamma, fit_lognormal, fit_shifted_exponential
from fedsim_analysis.fitting.latency.stalls import fit_body_and_stalls

LEAST_DELAYS = 10
"""Twice as many as the richest law has parameters."""
LEAST_SPREAD = 1e-4
"""How much larger than the least delay the largest one must be, as a share of it."""


class Law(NamedTuple):
    """A kind of law: what it is called, how many numbers it is free to choose, how it is fitted."""

    name: str
    n_parameters: int
    fit: Callable[[Floats], Delay]


LAWS = (
    Law("lognormal", 2, fit_lognormal),
    Law("gamma", 2, fit_gamma),
    Law("shifted exponential", 2, fit_shifted_exponential),
    Law("body and stalls", 5, fit_body_and_stalls),
)


class LawFit(NamedTuple):
    """A fitted law and how well it fits."""

    name: str
    delay: Delay
    log_likelihood: float
    """Of all delays, natural logarithm, densities in 1/s."""
    n_parameters: int

    @property
    def aic(self) -> float:
        """Akaike's information criterion: twice the parameters minus twice the log-likelihood.

        Source: Akaike, "A new look at the statistical model identification", IEEE Transactions on Automatic
        Control, 1974.
        """
        return 2 * self.n_parameters - 2 * self.log_likelihood


def fit_all(delays_s: Floats) -> list[LawFit]:
    """Fit every law of `LAWS` by maximum likelihood and return the fits, the least AIC first.

    Raises:
        InputError: there are too few delays, one is not above 0, or they hardly differ.
    """
    if len(delays_s) < LEAST_DELAYS:
        raise InputError(f"expected at least {LEAST_DELAYS} delays to fit a law to, got {len(delays_s)}")
    least_s, most_s = float(delays_s.min()), float(delays_s.max())
    if not least_s > 0:
        raise InputError(f"expected delays above 0 s to fit a law to, got {least_s:g}")
    if most_s < least_s * (1 + LEAST_SPREAD):
        raise InputError(
            f"the delays hardly differ ({least_s:g} to {most_s:g} s): no law can be fitted; "
            f'use {{ kind = "constant", value_s = {least_s:g} }}'
        )
    fits = [
        LawFit(name, delay := fit(delays_s), log_likelihood(delay, delays_s), n_parameters)
        for name, n_parameters, fit in LAWS
    ]
    return sorted(fits, key=lambda found: found.aic)


def log_likelihood(delay: Delay, delays_s: Floats) -> float:
    """Return the log-likelihood of delays under a law."""
    return float(np.sum(delay.law().logpdf(delays_s)))
