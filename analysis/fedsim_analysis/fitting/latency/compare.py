"""All laws fitted to the same delays, the best one first."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from pydantic import ValidationError

from fedsim.errors import InputError
from fedsim.timing.delays import Delay
from fedsim_analysis.fitting.latency.pairs import fit_two_lognormals
from fedsim_analysis.fitting.latency.single import (
    Floats,
    fit_gamma,
    fit_lognormal,
    fit_pareto,
    fit_shifted_exponential,
    fit_weibull,
)

LEAST_DELAYS = 10
"""Twice as many as the richest law has parameters."""
LEAST_SPREAD = 1e-4
"""How much larger than the least delay the largest one must be, as a share of it."""
RULED_OUT = 10.0
"""A law whose AIC is larger than the least by more has no support: Burnham and Anderson, Model Selection and
Multimodel Inference, 2002, section 2.6. Less does not rule a simple law out: of samples of one lognormal,
every fifth prefers two by 2 or more, because a component may shrink onto delays that are close by chance."""


class Law(NamedTuple):
    """A kind of law: what it is called, how many numbers it is free to choose, how it is fitted."""

    name: str
    n_parameters: int
    fit: Callable[[Floats], Delay]


LAWS = (
    Law("lognormal", 2, fit_lognormal),
    Law("gamma", 2, fit_gamma),
    Law("shifted exponential", 2, fit_shifted_exponential),
    Law("weibull", 2, fit_weibull),
    Law("pareto", 2, fit_pareto),
    Law("two lognormals", 5, fit_two_lognormals),
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

    Of those that are not `RULED_OUT`, the one with the fewest parameters comes before all others.
    A law is left out where its fit has parameters that no delay takes, such as a sigma above 10.

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
    fits = []
    for name, n_parameters, fit in LAWS:
        with suppress(ValidationError):
            delay = fit(delays_s)
            fits.append(LawFit(name, delay, log_likelihood(delay, delays_s), n_parameters))
    fits.sort(key=lambda found: found.aic)
    possible = [found for found in fits if found.aic <= fits[0].aic + RULED_OUT]
    first = min(possible, key=lambda found: found.n_parameters)  # of several, the one with the least AIC
    fits.remove(first)
    return [first, *fits]


def log_likelihood(delay: Delay, delays_s: Floats) -> float:
    """Return the log-likelihood of delays under a law."""
    return float(np.sum(delay.law().logpdf(delays_s)))
