"""What fit-latency advises: a law near the data or the data themselves, and what it says of their shape."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from fedsim.timing.delays import DELAYS, Delay
from fedsim.timing.delays.empirical import Empirical
from fedsim_analysis.fitting.latency import fit_all, remarks, verdict
from fedsim_analysis.fitting.latency.dependence import block_length, dependence
from fedsim_analysis.fitting.latency.held import MOST_OFF, misses
from fedsim_analysis.fitting.latency.shapes import ceiling, fast_minority, humps, stalls
from fedsim_analysis.fitting.latency.single import Floats


def known_cases() -> dict[str, tuple[Floats, str | None]]:
    """Return delays that a law with one hump misleads about, and what should be said of each."""
    generator = np.random.default_rng(17)

    def around(median_s: float, sigma: float, size: int) -> Floats:
        return generator.lognormal(math.log(median_s), sigma, size)

    cases: dict[str, tuple[Floats, str | None]] = {
        "two of 149 took 100 s": (
            np.append(around(0.55, 0.3, 147), [100.0, 100.0]),
            "stalls: 2 of 149 calls",
        ),
        "30 % at 0.2 s": (np.append(around(0.2, 0.1, 90), around(2, 0.2, 210)), "2 humps: 30.0%"),
        "cut off at 10 s": (np.minimum(around(3, 1, 300), 10.0), "a ceiling: 23 of 300 calls"),
        "three modes": (
            np.concatenate([around(0.2, 0.1, 120), around(1, 0.1, 100), around(6, 0.1, 80)]),
            "3 humps: 40.0% of the calls around 0.202 s, 33.3%",
        ),
        "fast minority": (np.append(around(0.05, 0.2, 25), around(2, 0.3, 225)), "a fast minority, as hits"),
        "35 % cache hits": (np.append(around(0.1, 0.3, 105), around(1, 0.5, 195)), "2 humps: 35.0%"),
        "Pareto 1.5": (1 + generator.pareto(1.5, 300), None),
        "Weibull 0.6": (2 * generator.weibull(0.6, 300), None),
        "two stalls in 300": (np.append(around(1, 0.3, 298), [30.0, 45.0]), "stalls: 2 of 300 calls"),
        "lognormal": (around(2, 0.5, 300), "not found: a ceiling, several humps, stalls, a fast minority"),
        "gamma": (
            generator.gamma(3, 0.5, 300),
            "not found: a ceiling, several humps, stalls, a fast minority",
        ),
    }
    for delays_s, _ in cases.values():
        generator.shuffle(delays_s)
    return cases


CASES = known_cases()


# Of two stalls in 149 calls p99 lies between the two kinds; a pile and three humps are none of the laws; p99
# of these 300 draws of a Pareto law is far from the law's.
WITHOUT_A_LAW = {"two of 149 took 100 s", "cut off at 10 s", "three modes", "Pareto 1.5"}


def trace(folder: Path, delays_s: Floats) -> Path:
    file = folder / "calls.csv"
    file.write_text("ttft_s\n" + "".join(f"{delay!r}\n" for delay in delays_s.tolist()))
    return file


def pasted(line: str) -> Delay:
    found = DELAYS.validate(tomllib.loads(line)["latency"])
    assert isinstance(found, Delay)
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_known_case_gets_a_law_near_the_data_or_the_data(case: str, tmp_path: Path) -> None:
    delays_s, expected = CASES[case]
    file = trace(tmp_path, delays_s)
    found = verdict(fit_all(delays_s), delays_s, file, "ttft_s")
    law = pasted(found.line)
    assert (found.fit is None) == isinstance(law, Empirical) == (case in WITHOUT_A_LAW)
    if isinstance(law, Empirical):
        assert law.samples_s == tuple(delays_s.tolist())
    else:
        assert all(abs(miss.share) <= MOST_OFF for miss in misses(law, delays_s)), found
    if expected:
        assert expected in "; ".join(remarks(delays_s, dependence(delays_s)))


def test_the_reason_names_what_is_off_and_by_how_much() -> None:
    """A law that is not the best by AIC is taken where the best is off; where all are, the data."""
    delays_s, _ = CASES["gamma"]
    fits = fit_all(delays_s)
    by_name = {fit.name: fit for fit in fits}
    told = verdict([by_name["pareto"], by_name["weibull"]], delays_s, Path("t.csv"), "ttft_s")
    assert told.fit is by_name["weibull"]
    first = misses(by_name["pareto"].delay, delays_s)[1]
    assert (
        f"its p50 is {-first.share:.0%} too low ({first.law_s:.3g} s for {first.measured_s:.3g} s)"
        in told.reason
    )
    assert told.reason.endswith("; weibull is within 10% of the measured mean, p50, p90 and p99")
    none = verdict([by_name["pareto"]], delays_s, Path("t.csv"), "ttft_s")
    assert none.fit is None
    assert none.reason.startswith(
        "no law is within 10% of the measured mean, p50, p90 and p99: pareto fits best, but"
    )
    assert (
        none.line
        == f'latency = {{ kind = "empirical", file = "{Path("t.csv").resolve()}", column = "ttft_s" }}'
    )


def test_an_infinite_mean_is_told_as_such() -> None:
    delays_s = stats.pareto(0.5).ppf((np.arange(200) + 0.5) / 200)
    fits = fit_all(delays_s)
    pareto = [fit for fit in fits if fit.name == "pareto"]
    told = verdict(pareto, delays_s, Path("t.csv"), "ttft_s")
    assert f"pareto fits best, but its mean is infinite ({delays_s.mean():.3g} s measured)" in told.reason


def test_few_calls_are_said_to_tell_little_of_p99() -> None:
    """Of n calls the largest is above p99 with probability 1 - 0.99^n: below 97.5 % for n = 300."""
    generator = np.random.default_rng(2)
    few, many = generator.lognormal(0, 0.1, 300), generator.lognormal(0, 0.1, 4000)
    least_s = np.sort(few)[int(stats.binom.ppf(0.025, 300, 0.99)) - 1]
    assert (
        f"300 calls tell of p99 only that it is above {least_s:.3g} s (95%)"
        in remarks(few, dependence(few))[-1]
    )
    assert not any("tell of p99" in remark for remark in remarks(many, dependence(many)))


def test_a_ceiling_by_hand() -> None:
    """Of 100 delays 5 are at the largest and none within 5 % below: by chance 1/5^4. 2 are no pile."""
    body = np.linspace(1, 9, 95)
    assert ceiling(np.append(body, np.full(5, 10.0))) == (5, 10.0)
    assert ceiling(np.append(body, [10.0, 10.0])) is None
    assert ceiling(np.append(np.linspace(1, 10, 1000), 10.0)) is None  # evenly spread to the end
    assert ceiling(np.append(np.linspace(9.5, 9.8, 50), np.full(50, 10.0))) is None  # all alike


def test_stalls_and_a_fast_minority_by_hand() -> None:
    """Quartiles of the logs 0.25 and 0.75: fences at -1.25 and 2.25, e^2.25 = 9.49; the median is e^0.5."""
    logs = np.linspace(0, 1, 97)
    slow = stalls(np.exp(np.append(logs, [0.5, 2.2, 2.3])))
    assert slow is not None
    assert (slow.n_calls, slow.edge_s) == (1, pytest.approx(math.exp(2.3)))
    assert slow.median_s == pytest.approx(math.exp(0.5), rel=0.02)
    assert slow.mean_without_s == pytest.approx(float(np.exp(np.append(logs, [0.5, 2.2])).mean()))
    fast = fast_minority(np.exp(np.append(logs, [-1.5, -1.6, -1.7])))
    assert fast is not None
    assert (fast.n_calls, fast.edge_s) == (3, pytest.approx(math.exp(-1.5)))
    assert fast_minority(np.exp(np.append(np.linspace(0, 1, 199), [-1.5]))) is None  # half a percent
    assert stalls(np.exp(np.append(logs, np.full(8, 3.0)))) is None  # 8 %: not a few


@pytest.mark.parametrize("name", ["lognormal", "gamma", "exponential", "weibull"])
def test_a_law_with_one_hump_is_hardly_ever_said_to_have_more(name: str) -> None:
    """Level 5 %: of 20 samples 5 or more would be by chance in one of 400 cases."""
    draws = {
        "lognormal": lambda generator: generator.lognormal(0, 0.5, 150),
        "gamma": lambda generator: generator.gamma(3, 1, 150),
        "exponential": lambda generator: generator.exponential(1, 150),
        "weibull": lambda generator: generator.weibull(0.6, 150),
    }[name]
    more = sum(len(humps(draws(np.random.default_rng(seed)))) > 1 for seed in range(20))
    assert more < 5


def test_neighbours_that_depend_on_each_other_are_found_and_blocks_are_as_long_as_theory_says() -> None:
    """Of correlation a the best length is (6 a^2 / (1 - a^2)^2 n)^(1/3): 13.8 for 0.6 and n = 500."""
    best = (1.5 * (2 * 0.6 / (1 - 0.6**2)) ** 2 * 500) ** (1 / 3)
    assert best == pytest.approx(13.8, abs=0.05)
    lengths = []
    for seed in range(20):
        generator = np.random.default_rng(seed)
        noise, series = generator.standard_normal(500), np.zeros(500)
        for place in range(1, 500):
            series[place] = 0.6 * series[place - 1] + noise[place]
        lengths.append(block_length(series))
        found = dependence(np.exp(series))
        assert found.low < 0.6 < found.high + 0.05
        assert found.block > 1
    assert np.mean(lengths) == pytest.approx(best, rel=0.2)


def test_the_length_of_blocks_by_hand() -> None:
    """Where only neighbours are alike (r) two lags count, the second with weight 0."""
    noise = np.random.default_rng(5).standard_normal(901)
    series = noise[1:] + 0.5 * noise[:-1]
    centred = series - series.mean()
    r = float(centred[1:] @ centred[:-1] / (centred @ centred))
    assert block_length(series) == pytest.approx((6 * r**2 / (1 + 2 * r) ** 2 * 900) ** (1 / 3))


def test_the_correlation_of_neighbours_by_hand() -> None:
    """Ranks 1 2 3 4 and the next 2 3 4 5: 1. Up and down: -1. Independent ones: inside its interval."""
    assert dependence(np.array([1.0, 2.0, 4.0, 8.0, 16.0] * 1 + [32.0])).lag_1 == pytest.approx(1)
    assert dependence(np.array([1.0, 9.0] * 10)).lag_1 == pytest.approx(-1)
    alone = dependence(np.random.default_rng(1).exponential(size=400))
    half = 1.959964 * math.sqrt(1.06 / 396)
    assert math.atanh(alone.high) - math.atanh(alone.low) == pytest.approx(2 * half, rel=1e-6)
    assert alone.block == 1


def test_blocks_are_advised_where_neighbours_are_alike() -> None:
    """With a law, as another line; with the data, in the line itself."""
    generator = np.random.default_rng(3)
    noise, series = generator.standard_normal(500), np.zeros(500)
    for place in range(1, 500):
        series[place] = 0.6 * series[place - 1] + noise[place]
    delays_s = np.exp(0.3 * series)
    found = verdict(fit_all(delays_s), delays_s, Path("t.csv"), "ttft_s")
    block = dependence(delays_s).block
    assert block > 3
    assert found.fit is not None
    assert found.blocks.endswith(f', column = "ttft_s", block = {block} }}')
    assert found.blocks in "; ".join(remarks(delays_s, found.neighbours, found.blocks))
    sorted_s = np.sort(CASES["three modes"][0])
    told = verdict(fit_all(sorted_s), sorted_s, Path("t.csv"), "ttft_s")
    assert told.fit is None
    assert f"block = {dependence(sorted_s).block} }}" in told.line
    assert told.blocks == ""
