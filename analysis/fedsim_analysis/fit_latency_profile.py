"""Fit lognormal latencies to the measured quantiles of hosted LLM endpoints, and write the profile.

Run ``python -m fedsim_analysis.fit_latency_profile``; it writes ``scenarios/profiles/llm_latency.csv``, from
which a scenario copies ``{kind = "lognormal", median_s = ..., sigma = ...}``.

If delays are lognormal, ``ln q_p = ln(median_s) + sigma * z_p`` for every probability p, with z_p the
standard normal quantile: the fit is the least-squares line through the points (z_p, ln q_p).

Source: the probability-plot estimator; Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions,
vol. 1, 1994, chapter 14.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from fedsim.terminal import say

PROFILE = Path(__file__).parents[2] / "scenarios" / "profiles" / "llm_latency.csv"
PROBABILITIES = (0.5, 0.9, 0.99)

# Time to first token (s) at PROBABILITIES, hosted Llama-2 70B chat, 550 tokens in, 5 requests at once, about
# 150 requests per endpoint; between two samples, the larger one. Source: ray-project/llmperf-leaderboard
# (Apache-2.0), raw data of December 2023.
STEADY = {
    "anyscale_70b": (0.21, 0.32, 0.49),
    "fireworks_70b": (0.52, 0.65, 0.96),
    "perplexity_70b": (0.37, 0.62, 0.66),
}
COLD_STARTS = {"replicate_70b": (1.19, 12.3, 66.3)}


@dataclass(frozen=True)
class LognormalFit:
    """A fitted lognormal, and how far its quantiles are from the measured ones."""

    median_s: float
    sigma: float
    """Standard deviation of the natural logarithm of the delay."""
    rms_log_residual: float
    """Root mean square of ln(measured / fitted) over the quantiles: 0.1 is about 10 %."""

    def quantile_s(self, probability: float) -> float:
        """Return the delay (s) that a fraction `probability` of the calls stays below."""
        return self.median_s * math.exp(self.sigma * float(norm.ppf(probability)))


def fit_lognormal(quantiles_s: Sequence[float], probabilities: Sequence[float]) -> LognormalFit:
    """Fit a lognormal to at least two quantiles (s) by least squares on their logarithms."""
    z, log_quantiles = np.asarray(norm.ppf(probabilities)), np.log(quantiles_s)
    sigma, log_median = np.polyfit(z, log_quantiles, deg=1)
    residuals = log_quantiles - (log_median + sigma * z)
    return LognormalFit(
        median_s=math.exp(log_median),
        sigma=float(sigma),
        rms_log_residual=math.sqrt(float(np.mean(residuals**2))),
    )


def latency_profile() -> pd.DataFrame:
    """Return one row per endpoint, and a first row for the three steady ones pooled.

    The pooled quantiles are geometric means over the steady endpoints: the fit to them is the fit to all nine
    points at once, and no endpoint counts more because it is slow. The residual in that row is about the
    pooled quantiles, so it does not show how much the endpoints differ.
    """
    pooled = tuple(np.exp(np.log(list(STEADY.values())).mean(axis=0)).tolist())
    rows = []
    for endpoint, quantiles_s in {"steady_pooled": pooled, **STEADY, **COLD_STARTS}.items():
        fit = fit_lognormal(quantiles_s, PROBABILITIES)
        names = [f"p{100 * probability:.0f}" for probability in PROBABILITIES]
        measured = dict(zip((f"{name}_measured_s" for name in names), quantiles_s, strict=True))
        fitted = {f"{name}_fitted_s": fit.quantile_s(p) for name, p in zip(names, PROBABILITIES, strict=True)}
        rows.append({"endpoint": endpoint} | measured | fitted | vars(fit))
    return pd.DataFrame(rows)


def main() -> None:
    """Write the profile and show it."""
    profile = latency_profile()
    PROFILE.parent.mkdir(parents=True, exist_ok=True)
    profile.to_csv(PROFILE, index=False, float_format="%.4f")
    say(profile.round(4).to_string(index=False))


if __name__ == "__main__":
    main()
