"""The committed LLM latency profile is the fit that the committed script computes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from fedsim.timing.delays.lognormal import Lognormal
from fedsim_analysis import fit_latency_profile
from fedsim_analysis.fit_latency_profile import PROBABILITIES, PROFILE, STEADY, fit_lognormal, latency_profile

Z_90, Z_99 = 1.2815515655446004, 2.3263478740408408  # from a table of the normal distribution


def test_exact_quantiles_are_recovered() -> None:
    """Median 2 s and sigma 0.5."""
    quantiles_s = [2.0, 2.0 * math.exp(0.5 * Z_90), 2.0 * math.exp(0.5 * Z_99)]
    fit = fit_lognormal(quantiles_s, (0.5, 0.9, 0.99))
    assert fit.median_s == pytest.approx(2.0, rel=1e-9)
    assert fit.sigma == pytest.approx(0.5, rel=1e-9)
    assert fit.rms_log_residual == pytest.approx(0.0, abs=1e-9)
    assert fit.quantile_s(0.99) == pytest.approx(quantiles_s[2], rel=1e-9)


def test_a_fit_by_hand() -> None:
    """Logarithms 0, 1, 0 at z = -Z, 0, Z: a flat line at 1/3 that misses by -1/3, 2/3, -1/3."""
    fit = fit_lognormal([1.0, math.e, 1.0], (0.1, 0.5, 0.9))
    assert fit.median_s == pytest.approx(math.exp(1 / 3))
    assert fit.sigma == pytest.approx(0.0, abs=1e-12)
    assert fit.rms_log_residual == pytest.approx(math.sqrt(6 / 9 / 3))


def test_the_fit_is_the_least_squares_optimum() -> None:
    """A general optimiser, all nine steady points at once, finds the pooled fit."""
    points = [(z, math.log(q)) for row in STEADY.values() for z, q in zip((0, Z_90, Z_99), row, strict=True)]

    def squares(line: np.ndarray) -> float:
        return sum((log_q - line[0] - line[1] * z) ** 2 for z, log_q in points)

    best = minimize(squares, x0=[0.0, 1.0], method="BFGS").x
    pooled = latency_profile().set_index("endpoint").loc["steady_pooled"]
    assert pooled["median_s"] == pytest.approx(math.exp(best[0]), rel=1e-4)
    assert pooled["sigma"] == pytest.approx(best[1], rel=1e-4)


def test_the_committed_profile_is_up_to_date() -> None:
    committed = pd.read_csv(PROFILE)
    pd.testing.assert_frame_equal(committed, latency_profile(), rtol=0, atol=5.1e-5)
    assert committed["endpoint"].tolist()[0] == "steady_pooled"
    assert (committed["sigma"] > 0).all()


def test_the_profile_makes_delays_with_the_fitted_quantiles() -> None:
    """The 90 % quantile of 20,000 draws, to 4 standard errors sqrt(p (1 - p) / n) / density, in log units."""
    size = 20_000
    for row in pd.read_csv(PROFILE).itertuples():
        drawn = Lognormal(median_s=row.median_s, sigma=row.sigma).sample(np.random.default_rng(5), size)
        density = math.exp(-(Z_90**2) / 2) / math.sqrt(2 * math.pi) / row.sigma
        standard_error = math.sqrt(0.9 * 0.1 / size) / density
        found = math.log(float(np.quantile(drawn, 0.9)) / row.p90_fitted_s)
        assert abs(found) < 4 * standard_error + 1e-3  # the file has four decimals


def test_the_script_writes_the_committed_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "profiles" / "llm_latency.csv"
    monkeypatch.setattr(fit_latency_profile, "PROFILE", written)
    fit_latency_profile.main()
    assert written.read_bytes() == PROFILE.read_bytes()
    assert "replicate_70b" in capsys.readouterr().out


def test_the_measured_quantiles_are_in_order() -> None:
    profile = latency_profile()
    names = [f"p{100 * probability:.0f}_measured_s" for probability in PROBABILITIES]
    assert (profile[names].diff(axis=1).iloc[:, 1:] > 0).all(axis=None)
