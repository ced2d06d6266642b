"""Laws fitted to delays: likelihoods, recovered parameters, the choice by AIC, and what is written."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import check_grad, minimize
from scipy.special import polygamma

from fedsim.errors import InputError
from fedsim.timing.delays import DELAYS
from fedsim.timing.delays.gamma import Gamma
from fedsim.timing.delays.lognormal import Lognormal
from fedsim.timing.delays.mixture import Mixture, Weighted
from fedsim.timing.delays.pareto import Pareto
from fedsim.timing.delays.shifted_exponential import ShiftedExponential
from fedsim.timing.delays.weibull import Weibull
from fedsim.timing.traces import Requests, read_as
from fedsim_analysis.fitting.latency import fit_all, rounded, toml_value
from fedsim_analysis.fitting.latency.compare import log_likelihood
from fedsim_analysis.fitting.latency.pairs import _loss, fit_two_lognormals
from fedsim_analysis.fitting.latency.single import (
    fit_gamma,
    fit_lognormal,
    fit_pareto,
    fit_shifted_exponential,
    fit_weibull,
)

SHARED = Path(__file__).parents[3] / "shared" / "traces"

LOGNORMAL = Lognormal(median_s=2.0, sigma=0.5)
GAMMA = Gamma(shape=3.0, mean_s=1.5)
SHIFTED = ShiftedExponential(shift_s=1.0, mean_excess_s=0.5)
WEIBULL = Weibull(shape=0.6, mean_s=3.0)
PARETO = Pareto(minimum_s=1.0, tail_index=1.5)
STALLING = Mixture(
    components=(
        Weighted(weight=0.95, delay=Lognormal(median_s=3.0, sigma=0.2)),
        Weighted(weight=0.05, delay=Lognormal(median_s=40.0, sigma=0.4)),
    )
)
LAWS = {
    "lognormal": LOGNORMAL,
    "gamma": GAMMA,
    "shifted exponential": SHIFTED,
    "weibull": WEIBULL,
    "pareto": PARETO,
    "two lognormals": STALLING,
}


def drawn(name: str, size: int, seed: int = 11) -> np.ndarray:
    return LAWS[name].sample(np.random.default_rng(seed), size)


def test_densities_by_hand():
    """At the median 2 s of a lognormal it is 1 / (t sigma sqrt(2 pi)), at 2 e s less by e^(-1) and e^(-2)."""
    height = 1 / (2 * 0.5 * math.sqrt(2 * math.pi))
    times_s = np.array([2.0, 2 * math.e])
    expected = [math.log(height), math.log(height / math.e) - 2]
    assert LOGNORMAL.law().logpdf(times_s) == pytest.approx(expected)
    # shape 3, scale 0.5: t^2 exp(-2 t) 8 / 2
    assert GAMMA.law().logpdf(np.array([1.0])) == pytest.approx([math.log(4) - 2])
    # from 1 s on, 2 exp(-2 (t - 1))
    assert SHIFTED.law().logpdf(np.array([0.9, 1.0, 2.0])) == pytest.approx(
        [-math.inf, math.log(2), math.log(2) - 2]
    )


def test_log_likelihood_is_scipy_s_own():
    delays_s = np.array([1.25, 1.5, 2.0, 7.0])
    assert log_likelihood(LOGNORMAL, delays_s) == pytest.approx(
        sum(stats.norm.logpdf(math.log(t), math.log(2), 0.5) - math.log(t) for t in delays_s)
    )
    assert log_likelihood(GAMMA, delays_s) == pytest.approx(stats.gamma.logpdf(delays_s, 3, 0, 0.5).sum())
    assert log_likelihood(SHIFTED, delays_s) == pytest.approx(stats.expon.logpdf(delays_s, 1, 0.5).sum())
    both = [
        0.95 * stats.lognorm.pdf(t, 0.2, 0, 3) + 0.05 * stats.lognorm.pdf(t, 0.4, 0, 40) for t in delays_s
    ]
    assert log_likelihood(STALLING, delays_s) == pytest.approx(math.fsum(map(math.log, both)))


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_quantiles_undo_probabilities(law):
    probabilities = np.array([0.001, 0.3, 0.5, 0.94, 0.96, 0.999])
    told = law.law()
    found_s = told.ppf(probabilities)
    assert told.cdf(found_s) == pytest.approx(probabilities, abs=1e-10)
    draws_s = np.sort(law.sample(np.random.default_rng(1), 20_000))
    below = np.searchsorted(draws_s, found_s) / len(draws_s)
    assert (abs(below - probabilities) < 4 * np.sqrt(probabilities * (1 - probabilities) / 20_000)).all()


def test_a_mixture_s_weights_are_relative_and_its_parts_may_be_equal():
    same = Mixture(components=(Weighted(weight=9, delay=LOGNORMAL), Weighted(weight=1, delay=LOGNORMAL)))
    times_s, probabilities = np.array([1.0, 3.0]), np.array([0.2, 0.9])
    assert same.law().logpdf(times_s) == pytest.approx(LOGNORMAL.law().logpdf(times_s))
    assert same.law().ppf(probabilities) == pytest.approx(LOGNORMAL.law().ppf(probabilities))


def test_fits_by_hand():
    """Logarithms -1, 0, 1, 2: mean 0.5, variance 1.25. Delays 1, 2, 6: least 1, mean 3."""
    found = fit_lognormal(np.exp([-1.0, 0.0, 1.0, 2.0]))
    assert found.median_s == pytest.approx(math.exp(0.5))
    assert found.sigma == pytest.approx(math.sqrt(1.25))
    assert fit_shifted_exponential(np.array([2.0, 1.0, 6.0])) == ShiftedExponential(
        shift_s=1.0, mean_excess_s=2.0
    )


def test_the_gamma_fit_is_right_for_nearly_constant_delays_too():
    """Its mean and variance are those of the delays, whose law is nearly normal."""
    delays_s = 1 + 1e-4 * drawn("gamma", 300)
    found = fit_gamma(delays_s)
    assert found.mean_s**2 / found.shape == pytest.approx(float(delays_s.var()), rel=1e-2)


def test_pareto_and_weibull_fits_by_hand():
    """Logs over the least 0, 1, 2: tail index 1. Weibull: scipy's own to its five digits, then the equations.

    The derivatives of the log-likelihood by scale and shape are zero.
    """
    found = fit_pareto(2 * np.exp([0.0, 1.0, 2.0]))
    assert (found.minimum_s, found.tail_index) == (pytest.approx(2), pytest.approx(1))
    delays_s = drawn("weibull", 400)
    law = fit_weibull(delays_s)
    shape, _, scale_s = stats.weibull_min.fit(delays_s, floc=0)
    assert law.shape == pytest.approx(shape, rel=1e-3)
    assert law.mean_s == pytest.approx(scale_s * math.gamma(1 + 1 / shape), rel=1e-3)
    scale_s = law.mean_s / math.gamma(1 + 1 / law.shape)
    units = delays_s / scale_s
    assert np.mean(units**law.shape) == pytest.approx(1, rel=1e-10)
    slope = 1 / law.shape + np.log(units).mean() - np.mean(units**law.shape * np.log(units))
    assert slope == pytest.approx(0, abs=1e-9)
    nearly_constant = fit_weibull(1 + 1e-4 * delays_s)
    assert nearly_constant.mean_s == pytest.approx(float((1 + 1e-4 * delays_s).mean()), rel=1e-3)


def test_the_gradient_of_the_mixture_s_likelihood():
    units = np.random.default_rng(0).normal(size=50)
    point = np.array([-0.1, 0.2, 1.5, 0.3, 0.2])
    difference = check_grad(lambda x: _loss(x, units)[0], lambda x: _loss(x, units)[1], point)
    assert difference < 1e-6


def test_the_mixture_s_loss_is_its_likelihood():
    """Of logarithms: the density of t is that of log t divided by t."""
    delays_s = np.array([2.5, 3.0, 30.0])
    parameters = np.array([math.log(3), math.log(0.2), math.log(40 / 3), math.log(2), 0.05])
    loss, _ = _loss(parameters, np.log(delays_s))
    expected = log_likelihood(STALLING, delays_s) + float(np.log(delays_s).sum())
    assert -3 * loss == pytest.approx(expected)


SIZE = 4000


def within(found: float, true: float, standard_error: float) -> None:
    told = f"found {found:.5g}, true {true:.5g}, standard error {standard_error:.2g}"
    assert abs(found - true) < 4 * standard_error, told


def test_a_lognormal_is_recovered():
    found = fit_lognormal(drawn("lognormal", SIZE))
    within(math.log(found.median_s), math.log(2), 0.5 / math.sqrt(SIZE))
    within(found.sigma, 0.5, 0.5 / math.sqrt(2 * SIZE))


def test_a_gamma_is_recovered():
    found = fit_gamma(drawn("gamma", SIZE))
    within(found.mean_s, 1.5, 1.5 / math.sqrt(3 * SIZE))
    within(found.shape, 3, math.sqrt(3 / (SIZE * (3 * float(polygamma(1, 3)) - 1))))


def test_a_shifted_exponential_is_recovered():
    found = fit_shifted_exponential(drawn("shifted exponential", SIZE))
    assert 0 < found.shift_s - 1 < 10 * 0.5 / SIZE  # the least of n excesses is exponential of mean 0.5 / n
    within(found.mean_excess_s, 0.5, 0.5 / math.sqrt(SIZE))


def test_body_and_stalls_are_recovered():
    """The two overlap so little that each has the standard errors of a lognormal of its own."""
    body, stalls = fit_two_lognormals(drawn("two lognormals", SIZE)).components
    assert isinstance(body.delay, Lognormal)
    assert isinstance(stalls.delay, Lognormal)
    assert body.weight + stalls.weight == pytest.approx(1)
    within(stalls.weight, 0.05, math.sqrt(0.05 * 0.95 / SIZE))
    within(math.log(body.delay.median_s), math.log(3), 0.2 / math.sqrt(0.95 * SIZE))
    within(body.delay.sigma, 0.2, 0.2 / math.sqrt(2 * 0.95 * SIZE))
    within(math.log(stalls.delay.median_s), math.log(40), 0.4 / math.sqrt(0.05 * SIZE))
    within(stalls.delay.sigma, 0.4, 0.4 / math.sqrt(2 * 0.05 * SIZE))


def test_heavy_tails_on_both_sides_are_found():
    """Half of a tenth of the delays is shorter than the body: no sorting by length finds these."""
    generator = np.random.default_rng(5)
    narrow, wide = Lognormal(median_s=5.0, sigma=0.05), Lognormal(median_s=5.0, sigma=0.5)
    delays_s = np.concatenate([narrow.sample(generator, 3600), wide.sample(generator, 400)])
    body, stalls = fit_two_lognormals(delays_s).components
    assert isinstance(body.delay, Lognormal)
    assert isinstance(stalls.delay, Lognormal)
    assert body.delay.sigma == pytest.approx(0.05, rel=0.1)
    assert stalls.delay.sigma == pytest.approx(0.5, rel=0.2)
    assert stalls.weight == pytest.approx(0.1, rel=0.25)


def test_a_tail_of_short_delays_does_not_hide_the_narrow_body():
    """Taking the longest delays for the slow kind leads nowhere here: the climb ends at one lognormal."""
    generator = np.random.default_rng(6)
    short_s = 5 * np.exp(-np.abs(generator.normal(0, 0.7, 15)))
    delays_s = np.concatenate([5 * np.exp(generator.normal(0, 0.06, 135)), short_s])
    fitted = fit_two_lognormals(delays_s)
    body = fitted.components[1].delay
    assert isinstance(body, Lognormal)
    assert body.sigma == pytest.approx(0.06, rel=0.2)
    plain = log_likelihood(fit_lognormal(delays_s), delays_s)
    assert log_likelihood(fitted, delays_s) > plain + 50


def test_the_slow_kind_may_be_the_more_common_one():
    """35 % cache hits: each component has the standard errors of a lognormal of its own."""
    generator = np.random.default_rng(8)
    hits, others = Lognormal(median_s=0.1, sigma=0.3), Lognormal(median_s=1.0, sigma=0.2)
    n_hits, n_others = 1400, 2600
    delays_s = np.concatenate([hits.sample(generator, n_hits), others.sample(generator, n_others)])
    fast, slow = fit_two_lognormals(delays_s).components
    assert isinstance(fast.delay, Lognormal)
    assert isinstance(slow.delay, Lognormal)
    assert fast.weight == pytest.approx(0.35, abs=1e-3)  # as many as were put in
    within(math.log(fast.delay.median_s), math.log(0.1), 0.3 / math.sqrt(n_hits))
    within(fast.delay.sigma, 0.3, 0.3 / math.sqrt(2 * n_hits))
    within(slow.delay.sigma, 0.2, 0.2 / math.sqrt(2 * n_others))


def test_equal_delays_are_a_component_of_bounded_narrowness():
    """Without the bound its density, and with it the likelihood, would be infinite."""
    delays_s = np.concatenate([drawn("lognormal", 95), np.full(5, 60.0)])
    body, stalls = fit_two_lognormals(delays_s).components
    assert isinstance(body.delay, Lognormal)
    assert isinstance(stalls.delay, Lognormal)
    assert stalls.delay.sigma == pytest.approx(body.delay.sigma / 30)
    assert stalls.weight == pytest.approx(0.05, rel=0.1)


@pytest.mark.parametrize("seed", range(3))
def test_no_other_mixture_within_the_bounds_is_better(seed):
    """Twin: a search without gradient from the truth, in plain terms."""
    delays_s = drawn("two lognormals", 150, seed)

    def loss(parameters) -> float:
        middle, sigma, far, wide, share = parameters
        if not (0 < sigma / 30 <= wide <= 30 * sigma and middle <= far and 1 / 150 <= share <= 149 / 150):
            return math.inf
        body, stalls = stats.norm(middle, sigma), stats.norm(far, wide)
        logs = np.log(delays_s)
        return -float(np.log((1 - share) * body.pdf(logs) + share * stalls.pdf(logs)).sum())

    truth = [math.log(3), 0.2, math.log(40), 0.4, 0.05]
    best = minimize(loss, truth, method="Nelder-Mead", options={"maxiter": 2000})
    found = log_likelihood(fit_two_lognormals(delays_s), delays_s) + float(np.log(delays_s).sum())
    assert found > -best.fun - 1e-3


@pytest.mark.parametrize("name", LAWS)
def test_aic_picks_the_law_that_was_drawn(name):
    fits = fit_all(drawn(name, 1000))
    assert fits[0].name == name
    assert sorted(fit.name for fit in fits) == sorted(LAWS)
    assert [fit.aic for fit in fits[1:]] == sorted(fit.aic for fit in fits[1:])
    assert fits[0].aic <= min(fit.aic for fit in fits) + 10


def test_two_lognormals_come_first_only_where_one_is_ruled_out():
    """By chance two fit draws of one better: by more than 2 in AIC in every fifth sample."""
    first, second, *_ = fit_all(drawn("lognormal", 1000))
    assert (first.name, second.name) == ("lognormal", "two lognormals")
    assert first.aic - 10 < second.aic < first.aic - 2


def test_a_law_whose_parameters_no_delay_takes_is_left_out():
    """Delays over hundreds of powers of ten: a Weibull shape below 0.05."""
    fits = fit_all(np.geomspace(1e-150, 1e100, 50))
    assert {fit.name for fit in fits}.isdisjoint({"lognormal", "weibull", "gamma"})


def test_aic_by_hand():
    delays_s = drawn("lognormal", 100)
    for fit in fit_all(delays_s):
        n_parameters = {"two lognormals": 5}.get(fit.name, 2)
        assert fit.aic == pytest.approx(2 * n_parameters - 2 * log_likelihood(fit.delay, delays_s))


def test_seconds_or_minutes_make_no_difference():
    delays_s = drawn("two lognormals", 200)
    one, other = fit_two_lognormals(delays_s), fit_two_lognormals(delays_s * 60)
    assert other.mean_value_s == pytest.approx(60 * one.mean_value_s, rel=1e-6)


CONSTANT = '{ kind = "constant", value_s = 2 }'


@pytest.mark.parametrize(
    ("delays_s", "sentence"),
    [
        ([1.0] * 9, "expected at least 10 delays to fit a law to, got 9"),
        ([0.0] + [1.0] * 10, "expected delays above 0 s to fit a law to, got 0"),
        (
            [2.0] * 11,
            f"the delays hardly differ (2 to 2 s): no law can be fitted; use {CONSTANT}",
        ),
    ],
)
def test_delays_that_cannot_be_fitted(delays_s, sentence):
    with pytest.raises(InputError) as caught:
        fit_all(np.array(delays_s))
    assert str(caught.value) == sentence


def test_ties_and_one_far_delay_do_not_break_a_fit():
    for delays_s in ([1.0] * 30 + [2.0], [1.0] * 15 + [2.0] * 15, [*np.linspace(1, 1.2, 30), 5000.0]):
        for fit in fit_all(np.array(delays_s)):
            assert math.isfinite(fit.aic)
            assert fit.delay.mean_value_s > 0


def test_rounding_by_hand():
    """Six digits; a shift goes down, whatever comes after them."""
    assert rounded(Lognormal(median_s=1.23456789, sigma=0.000123456789)) == Lognormal(
        median_s=1.23457, sigma=0.000123457
    )
    assert rounded(ShiftedExponential(shift_s=0.99999999, mean_excess_s=99.99996)) == ShiftedExponential(
        shift_s=0.999999, mean_excess_s=100.0
    )
    assert rounded(ShiftedExponential(shift_s=0.0, mean_excess_s=1.0)).mean_value_s == 1.0


@pytest.mark.parametrize("name", LAWS)
def test_what_is_written_is_the_same_law_to_four_digits(name):
    delays_s = drawn(name, 500) * math.pi
    fitted = next(fit.delay for fit in fit_all(delays_s) if fit.name == name)
    text = f"latency = {toml_value(rounded(fitted))}"
    assert "\n" not in text
    read = DELAYS.validate(tomllib.loads(text)["latency"])
    assert read == rounded(fitted)
    assert read.mean_value_s == pytest.approx(fitted.mean_value_s, rel=5e-5)
    probabilities = np.array([0.01, 0.1, 0.5, 0.9, 0.99, 0.999])
    assert read.law().ppf(probabilities) == pytest.approx(fitted.law().ppf(probabilities), rel=5e-5)
    assert log_likelihood(read, delays_s) == pytest.approx(log_likelihood(fitted, delays_s), abs=1e-2)


@pytest.mark.shared_data
@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real traces is not there")
def test_every_real_latency_has_a_best_law():
    files = sorted(SHARED.glob("llm_latency_*.csv"))
    assert len(files) == 10
    for file in files:
        delays_s = read_as(file, Requests).succeeded().end_to_end_s
        best, *others = fit_all(delays_s)
        assert best.delay.mean_value_s == pytest.approx(delays_s.mean(), rel=0.1), file.name
        assert {fit.name for fit in (best, *others)} == set(LAWS)
