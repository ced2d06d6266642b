"""Delay distributions: a contract over the whole catalog, means by hand, laws, and wrong settings."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from scipy import stats

from fedsim.answering import AnswerError
from fedsim.streams import Stream, Streams
from fedsim.timing.delays import DELAYS, AnyDelay, Delay
from fedsim.timing.delays.empirical import Empirical
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.delays.lognormal import Lognormal
from fedsim.timing.delays.mixture import Mixture
from fedsim.timing.laws import DelayLaw, DiscreteLaw


class Holder(BaseModel):
    """Stands for a scenario that has a delay in it."""

    model_config = ConfigDict(frozen=True)

    delay: AnyDelay


def delay_of(settings: dict[str, Any]) -> Delay:
    return Holder.model_validate({"delay": settings}).delay


def generator(job: int = 0) -> np.random.Generator:
    return Streams(20).generator(Stream.COMPUTE, worker=1, job=job)


def two(first: dict[str, Any], second: dict[str, Any], weights: tuple[float, float]) -> dict[str, Any]:
    components = [
        {"weight": weight, "delay": delay} for weight, delay in zip(weights, (first, second), strict=True)
    ]
    return {"kind": "mixture", "components": components}


FAST = {"kind": "constant", "value_s": 1.0}
SLOW = {"kind": "constant", "value_s": 5.0}
RISKY = {"kind": "pareto", "minimum_s": 1.0, "tail_index": 1.0}

# settings, mean and variance worked out by hand
BY_HAND: list[tuple[dict[str, Any], float, float]] = [
    ({"kind": "constant", "value_s": 2.5}, 2.5, 0.0),
    ({"kind": "uniform", "low_s": 1.0, "high_s": 4.0}, 2.5, 9 / 12),
    ({"kind": "uniform", "low_s": 2.0, "high_s": 2.0}, 2.0, 0.0),
    ({"kind": "exponential", "mean_s": 0.5}, 0.5, 0.25),
    ({"kind": "shifted_exponential", "shift_s": 1.0, "mean_excess_s": 2.0}, 3.0, 4.0),
    # e^(sigma^2 / 2) = 2 and variance (4 - 1) 4 times the median squared
    ({"kind": "lognormal", "median_s": 3.0, "sigma": math.sqrt(2 * math.log(2))}, 6.0, 108.0),
    ({"kind": "lognormal", "median_s": 3.0, "sigma": 0.0}, 3.0, 0.0),
    ({"kind": "gamma", "shape": 4.0, "mean_s": 2.0}, 2.0, 1.0),
    # shape 1/2: Gamma(3) = 2, Gamma(5) = 24, so scale 1 s, variance 24 - 4
    ({"kind": "weibull", "shape": 0.5, "mean_s": 2.0}, 2.0, 20.0),
    # minimum^2 a / ((a - 1)^2 (a - 2)) = 4 * 5 / (16 * 3)
    ({"kind": "pareto", "minimum_s": 2.0, "tail_index": 5.0}, 2.5, 5 / 12),
    (RISKY, math.inf, math.inf),
    ({"kind": "pareto", "minimum_s": 1.0, "tail_index": 1.5}, 3.0, math.inf),
    (two(FAST, SLOW, (3.0, 1.0)), 2.0, 3.0),
    # half of 4 s on average (variance 3 about mean 2, see above), half of 0: 0.5 (3 + 4) - 1
    (two(two(FAST, SLOW, (0.75, 0.25)), {"kind": "constant", "value_s": 0.0}, (1.0, 1.0)), 1.0, 2.5),
    (two(FAST, RISKY, (1.0, 1.0)), math.inf, math.inf),
    ({"kind": "empirical", "samples_s": [1.0, 1.0, 4.0]}, 2.0, 2.0),
    ({"kind": "empirical", "samples_s": [0.0]}, 0.0, 0.0),
    ({"kind": "empirical", "samples_s": [1.0, 1.0, 4.0], "block": 2}, 2.0, 2.0),
]
SETTINGS = [settings for settings, _, _ in BY_HAND]


def test_the_table_covers_the_catalog() -> None:
    assert {settings["kind"] for settings in SETTINGS} == {kind for kind, _ in DELAYS}
    assert all(part.source() and part.summary() for _, part in DELAYS)


def test_a_kind_is_added_once() -> None:
    with pytest.raises(ValueError, match="two parts of the family 'delays' have the kind 'exponential'"):
        DELAYS.add(Exponential)


@pytest.mark.parametrize(("settings", "mean_s", "variance"), BY_HAND)
def test_mean_by_hand_and_sample_mean(settings: dict[str, Any], mean_s: float, variance: float) -> None:
    delay = delay_of(settings)
    assert delay.mean_value_s == pytest.approx(mean_s, rel=1e-12)
    if math.isfinite(variance):
        size = 40_000
        standard_error = math.sqrt(variance / size)
        drawn = delay.sample(generator(), size)
        assert abs(drawn.mean() - mean_s) <= 4 * standard_error + 1e-12
        if variance == 0:
            assert np.allclose(drawn, mean_s, rtol=1e-15)


@pytest.mark.parametrize("settings", SETTINGS)
def test_contract(settings: dict[str, Any]) -> None:
    delay = delay_of(settings)
    for size in (0, 1, 7, 1000):
        drawn = delay.sample(generator(), size)
        assert drawn.shape == (size,)
        assert drawn.dtype == np.float64
        assert np.isfinite(drawn).all()
        assert (drawn >= 0).all()
        assert (drawn == delay.sample(generator(), size)).all()
    if len(set(delay.sample(generator(), 1000))) > 1:
        assert (delay.sample(generator(job=0), 1000) != delay.sample(generator(job=1), 1000)).any()


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_dump_validates_to_the_same_delay(settings: dict[str, Any]) -> None:
    holder = Holder.model_validate({"delay": settings})
    assert Holder.model_validate(holder.model_dump(mode="json")) == holder
    assert Holder.model_validate(holder.model_dump()) == holder
    assert hash(holder) == hash(Holder.model_validate(holder.model_dump()))


TWO_HUMPS = two({"kind": "exponential", "mean_s": 1.0}, {"kind": "uniform", "low_s": 5, "high_s": 6}, (3, 1))
LAWS: list[tuple[dict[str, Any], Any]] = [
    ({"kind": "uniform", "low_s": 1.0, "high_s": 4.0}, stats.uniform(loc=1, scale=3)),
    ({"kind": "exponential", "mean_s": 0.5}, stats.expon(scale=0.5)),
    (
        {"kind": "shifted_exponential", "shift_s": 1.0, "mean_excess_s": 2.0},
        stats.expon(loc=1, scale=2),
    ),
    ({"kind": "lognormal", "median_s": 0.03, "sigma": 1.0}, stats.lognorm(1.0, scale=0.03)),
    ({"kind": "gamma", "shape": 0.5, "mean_s": 2.0}, stats.gamma(0.5, scale=4)),
    ({"kind": "gamma", "shape": 9.0, "mean_s": 3.0}, stats.gamma(9, scale=1 / 3)),
    ({"kind": "weibull", "shape": 2.0, "mean_s": 3.0}, stats.weibull_min(2, scale=6 / math.sqrt(math.pi))),
    ({"kind": "pareto", "minimum_s": 2.0, "tail_index": 1.5}, stats.pareto(1.5, scale=2)),
]


@pytest.mark.parametrize(("settings", "law"), LAWS)
def test_follows_its_law(settings: dict[str, Any], law: Any) -> None:
    delay = delay_of(settings)
    assert delay.mean_value_s == pytest.approx(law.mean(), rel=1e-12)
    assert stats.kstest(delay.sample(generator(), 10_000), law.cdf).pvalue > 1e-3
    times_s, probabilities = np.array([0.01, 0.5, 1.5, 2.0, 3.0, 20.0]), np.array([0.0, 0.1, 0.5, 0.99])
    told = delay.law()
    assert told.logpdf(times_s) == pytest.approx(law.logpdf(times_s), rel=1e-12)
    assert told.pdf(times_s) == pytest.approx(law.pdf(times_s), rel=1e-12)
    assert told.cdf(times_s) == pytest.approx(law.cdf(times_s), rel=1e-12)
    assert told.sf(times_s) == pytest.approx(law.sf(times_s), rel=1e-12)
    assert told.ppf(probabilities) == pytest.approx(law.ppf(probabilities), rel=1e-12)
    assert told.std() == pytest.approx(law.std(), rel=1e-12)
    assert told.support() == pytest.approx(law.support())


@pytest.mark.parametrize(
    ("settings", "mean_s", "variance"), [*BY_HAND, (TWO_HUMPS, 2.125, 1.5 + 91 / 12 - 2.125**2)]
)
def test_a_law_has_the_mean_and_spread_worked_out_by_hand(
    settings: dict[str, Any], mean_s: float, variance: float
) -> None:
    """Two humps: E[t^2] = 0.75 * 2 + 0.25 * (6^3 - 5^3) / 3 = 9.083..., less 2.125^2."""
    law = delay_of(settings).law()
    assert law.mean() == pytest.approx(mean_s, rel=1e-12)
    assert law.std() == pytest.approx(math.sqrt(variance), rel=1e-12)


@pytest.mark.parametrize("settings", [*SETTINGS, TWO_HUMPS])
def test_a_law_s_functions_agree_with_each_other_and_with_the_draws(settings: dict[str, Any]) -> None:
    delay = delay_of(settings)
    law, draws_s = delay.law(), np.sort(delay.sample(generator(), 2000))
    least_s, most_s = law.support()
    assert least_s <= draws_s[0]
    assert draws_s[-1] <= most_s * (1 + 1e-15)  # to rounding, where all delays are alike
    probabilities = np.array([0.0, 1e-6, 0.2, 0.25, 0.5, 0.75, 0.999, 1.0])
    times_s = law.ppf(probabilities)
    assert (times_s[0], times_s[-1]) == (pytest.approx(least_s), pytest.approx(most_s))
    assert (np.diff(times_s) >= 0).all()
    assert (law.cdf(times_s) >= probabilities - 1e-12).all()
    assert (law.cdf(times_s * (1 - 1e-9) - 1e-9)[1:] <= probabilities[1:] + 1e-6).all()  # the least such time
    assert law.cdf(draws_s) + law.sf(draws_s) == pytest.approx(1, abs=1e-12)
    assert float(law.ppf(0.5)) == law.ppf(np.array([[0.5]]))[0, 0]
    # Dvoretzky, Kiefer and Wolfowitz, 1956: by chance in one of 3,000 cases, whatever the law
    bound = math.sqrt(math.log(2 / 3e-4) / 2 / 2000)
    below = np.searchsorted(draws_s, draws_s, side="right") / 2000
    assert np.abs(law.cdf(draws_s) - below).max() < bound


def test_a_law_of_single_values_by_hand() -> None:
    law = DiscreteLaw([4.0, 1.0, 1.0, 2.0])
    assert law.cdf([0.9, 1.0, 1.9, 2.0, 4.0]).tolist() == [0.0, 0.5, 0.5, 0.75, 1.0]
    assert law.ppf([0.0, 0.5, 0.51, 0.75, 0.8, 1.0]).tolist() == [1, 1, 2, 2, 4, 4]
    assert np.isnan(law.ppf([-0.1, 1.1, math.nan])).all()
    hundredths = DiscreteLaw(np.arange(1, 101))  # 0.07 * 100 is 7.000000000000001
    assert [float(hundredths.ppf(count / 100)) for count in range(1, 101)] == list(range(1, 101))
    with pytest.raises(ValueError, match="a law of single values has no density"):
        law.logpdf(1.0)


def test_a_mixture_s_law_by_hand() -> None:
    """A point at 1 s with probability 1/4, else uniform from 0 to 4 s: F jumps from 3/16 to 7/16 at 1 s."""
    spread = {"kind": "uniform", "low_s": 0.0, "high_s": 4.0}
    law = delay_of(two(FAST, spread, (1.0, 3.0))).law()
    assert law.cdf([0.5, 1.0, 2.0]) == pytest.approx([0.09375, 0.4375, 0.625])
    assert law.ppf([0.09375, 0.1875, 0.3, 0.4375, 0.625]) == pytest.approx([0.5, 1.0, 1.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="no density"):
        law.pdf(1.0)


def test_a_stranger_s_delay_that_tells_no_law_is_known_by_its_draws() -> None:
    class Dice(Delay):
        kind: Literal["dice"] = "dice"

        @property
        def mean_value_s(self) -> float:
            return 3.5

        def sample(self, generator: np.random.Generator, size: int) -> NDArray[np.float64]:
            return generator.integers(1, 7, size).astype(np.float64)

    law = Dice().law()
    assert law.mean() == pytest.approx(3.5, abs=4 * math.sqrt(35 / 12 / 10_000))
    assert law.ppf([0.1, 0.45, 1.0]).tolist() == [1, 3, 6]
    assert law.mean() == Dice().law().mean()


def test_a_stranger_s_law_is_checked() -> None:
    class Lawless(Exponential):
        def law(self) -> DelayLaw:
            return 3.0  # type: ignore[return-value]

    with pytest.raises(AnswerError, match=r"returned 3\.0 from law, expected a frozen distribution of scipy"):
        Lawless(mean_s=1.0).law()


def test_the_smallest_and_largest_shapes_still_draw_numbers() -> None:
    extremes = [
        {"kind": "lognormal", "median_s": 1.0, "sigma": 10.0},
        {"kind": "gamma", "shape": 0.01, "mean_s": 1.0},
        {"kind": "gamma", "shape": 1e9, "mean_s": 1.0},
        {"kind": "weibull", "shape": 0.05, "mean_s": 1.0},
        {"kind": "weibull", "shape": 1e9, "mean_s": 1.0},
        {"kind": "pareto", "minimum_s": 1.0, "tail_index": 0.1},
    ]
    for settings in extremes:
        drawn = delay_of(settings).sample(generator(), 10_000)
        assert np.isfinite(drawn).all(), settings
        assert (drawn >= 0).all(), settings


def test_the_released_adbo_delay() -> None:
    """Median 30 ms and sigma 1: mean 49.5 ms (30 e^0.5), 95th percentile 155 ms (30 e^1.645)."""
    drawn = Lognormal(median_s=0.03, sigma=1.0).sample(generator(), 40_000)
    assert Lognormal(median_s=0.03, sigma=1.0).mean_value_s == pytest.approx(0.0495, abs=5e-5)
    assert np.quantile(drawn, 0.95) == pytest.approx(0.155, rel=0.04)


def test_a_mixture_follows_the_weighted_law() -> None:
    delay, times_s = delay_of(TWO_HUMPS), np.array([0.5, 4.0, 5.5, 7.0])
    warm, cold = stats.expon(), stats.uniform(5, 1)
    weighted = 0.75 * warm.cdf(times_s) + 0.25 * cold.cdf(times_s)
    assert delay.law().cdf(times_s) == pytest.approx(weighted, rel=1e-12)
    assert delay.law().logpdf(times_s) == pytest.approx(
        np.log(0.75 * warm.pdf(times_s) + 0.25 * cold.pdf(times_s)), rel=1e-12
    )
    assert stats.kstest(delay.sample(generator(), 10_000), delay.law().cdf).pvalue > 1e-3


def test_only_the_proportions_of_weights_count() -> None:
    small, large = delay_of(two(FAST, SLOW, (0.75, 0.25))), delay_of(two(FAST, SLOW, (3.0, 1.0)))
    assert small.mean_value_s == large.mean_value_s
    assert (small.sample(generator(), 100) == large.sample(generator(), 100)).all()


def test_a_mixture_draws_neighbours_independently() -> None:
    """The lag-1 correlation is 0 to 4 standard errors: draws are not sorted by component."""
    drawn = delay_of(two(FAST, SLOW, (1.0, 1.0))).sample(generator(), 10_000)
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 4 / math.sqrt(10_000)


def test_resampling_is_even() -> None:
    """Chi-square over the four samples, one of them there twice."""
    drawn = Empirical(samples_s=(1.0, 2.0, 2.0, 3.0)).sample(generator(), 8000)
    counts = [int((drawn == value).sum()) for value in (1.0, 2.0, 3.0)]
    assert sum(counts) == 8000
    assert stats.chisquare(counts, [2000, 4000, 2000]).pvalue > 1e-3


TRACE = (1.0, 1.0, 1.0, 5.0, 5.0, 5.0)


def variance_of_sum(samples_s: tuple[float, ...], size: int) -> float:
    """Return the variance of the sum of `size` consecutive samples, by going through every beginning."""
    twice = samples_s * (1 + size // len(samples_s))
    sums = [math.fsum((twice + samples_s)[begin : begin + size]) for begin in range(len(samples_s))]
    return float(np.var(sums))


def test_blocks_are_runs_of_the_trace_that_begin_anywhere() -> None:
    """Every place begins a run equally often, and after the last sample comes the first."""
    samples_s = tuple(float(number) for number in range(7))
    drawn = Empirical(samples_s=samples_s, block=3).sample(generator(), 30_000).reshape(-1, 3)
    assert (np.diff(drawn, axis=1) % 7 == 1).all()
    assert stats.chisquare(np.bincount(drawn[:, 0].astype(int))).pvalue > 1e-3
    neighbours = np.corrcoef(drawn[:-1, 2], drawn[1:, 0])[0, 1]
    assert abs(neighbours) < 4 / math.sqrt(10_000)  # one run knows nothing of the one before


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 7, 8])
def test_draws_together_are_cut_from_whole_blocks(size: int) -> None:
    """The beginnings of all runs are drawn first; fewer draws than a block are its first ones."""
    delay = Empirical(samples_s=tuple(range(100)), block=4)
    drawn = delay.sample(generator(), size)
    assert drawn.shape == (size,)
    begins = generator().integers(100, size=math.ceil(size / 4))
    by_hand = [(begin + step) % 100 for begin in begins for step in range(4)][:size]
    assert drawn.tolist() == by_hand


def test_blocks_of_one_are_what_they_were_before_there_were_blocks() -> None:
    places = generator().integers(6, size=50)
    for delay in (Empirical(samples_s=TRACE, block=1), Empirical(samples_s=TRACE)):
        assert (delay.sample(generator(), 50) == np.array(TRACE)[places]).all()


@pytest.mark.parametrize(("block", "variance"), [(1, 12.0), (2, 32 / 3 + 4), (3, 44 / 3)])
def test_the_variance_of_the_sum_of_three_draws_by_hand(block: int, variance: float) -> None:
    """Sums of runs of 3: 3, 7, 11, 15, 11, 7, variance 88 / 6; of 2: 2, 2, 6, 10, 10, 6, 64 / 6; of 1: 4."""
    parts = [block] * (3 // block) + ([3 % block] if 3 % block else [])
    assert sum(variance_of_sum(TRACE, part) for part in parts) == pytest.approx(variance)
    size = 40_000
    delay = Empirical(samples_s=TRACE, block=block)
    sums = np.array([delay.sample(generator(job), 3).sum() for job in range(size // 4)])
    fourth = np.mean((sums - 9) ** 4)
    standard_error = math.sqrt((fourth - variance**2) / len(sums))
    assert abs(np.mean((sums - 9) ** 2) - variance) < 4 * standard_error


def test_failed_requests_of_a_trace_are_left_out_whatever_their_times(tmp_path: Path) -> None:
    file = write(tmp_path, "t_s,error_code\n1,\n2,429\n3,200\n4, \n5,timeout\n,500\n")
    assert Empirical(file=file, column="t_s").samples_s == (1.0, 3.0, 4.0)


def test_a_parquet_file_is_read_like_a_csv_file(tmp_path: Path) -> None:
    table = pd.DataFrame({"t_s": [1.0, math.nan, 3.0, -1.0], "error_code": [None, 429, 200, None]})
    file = tmp_path / "trace.parquet"
    table.iloc[:3].to_parquet(file)
    assert Empirical(file=str(file), column="t_s").samples_s == (1.0, 3.0)
    assert "no column 'x' (columns: 't_s', 'error_code')" in sentence(
        {"kind": "empirical", "file": str(file), "column": "x"}
    )
    table.to_parquet(file)
    told = sentence({"kind": "empirical", "file": str(file), "column": "t_s"})
    assert "trace.parquet, row 4, column 't_s': expected seconds, 0 or more" in told


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "trace.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_trace_is_read_once_and_forgotten(tmp_path: Path) -> None:
    file = write(tmp_path, "ttft_s,code\n0.5,\n,429\n 1.5 ,\n\n2,\n")
    holder = Holder.model_validate({"delay": {"kind": "empirical", "file": file, "column": "ttft_s"}})
    Path(file).unlink()
    assert holder.model_dump() == {
        "delay": {"kind": "empirical", "samples_s": (0.5, 1.5, 2.0), "block": None}
    }
    assert holder.delay == Empirical(samples_s=(0.5, 1.5, 2.0))
    assert holder.delay.mean_value_s == pytest.approx(4 / 3)


def test_a_trace_may_start_with_a_byte_order_mark(tmp_path: Path) -> None:
    assert Empirical(file=write(tmp_path, "\ufefft_s\n1\n"), column="t_s").samples_s == (1.0,)


BAD_TRACES = [
    ("", "trace.csv: no column 't_s' (columns: none)"),
    ("time,code\n1,2\n", "trace.csv: no column 't_s' (columns: 'time', 'code')"),
    ("t_s,t_s\n1,2\n", "trace.csv: more than one column 't_s' (columns: 't_s', 't_s')"),
    ("t_s\n", "trace.csv: column 't_s' holds no delay at all"),
    ("t_s,code\n,429\n,500\n", "trace.csv: column 't_s' holds no delay at all"),
    (
        "t_s\n1\nfast\n",
        "line 3, column 't_s': expected seconds, 0 or more (or nothing, for a failed request)",
    ),
    ("t_s\n{1}\n", "failed request), got '{1}'"),
    ("t_s\n-1\n", "got '-1'"),
    ("t_s\nnan\n", "got 'nan'"),
    ("t_s\ninf\n", "got 'inf'"),
    (
        "t_s\n1\n1700158546.7\n",
        "expected how long it took (s), got 1700158546.7, as if it were a time counted",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD_TRACES)
def test_bad_traces(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path, text)
    assert message in sentence({"kind": "empirical", "file": file, "column": "t_s"})


def test_unreadable_traces(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.csv")
    assert sentence({"kind": "empirical", "file": missing, "column": "t_s"}) == (
        f"delay: cannot read {missing}: No such file or directory"
    )
    latin = tmp_path / "latin.csv"
    latin.write_bytes(b"t_s\n\xe9\n")
    settings = {"kind": "empirical", "file": str(latin), "column": "t_s"}
    assert f"{latin}, line 2: not a text in UTF-8" in sentence(settings)
    endless = write(tmp_path, "t_s\n" + "1" * 200_000)
    settings = {"kind": "empirical", "file": endless, "column": "t_s"}
    assert f"{endless} is not a CSV file: field larger than" in sentence(settings)


def sentence(settings: dict[str, Any]) -> str:
    """Return the one complaint about these settings, after its dotted place."""
    with pytest.raises(ValidationError) as caught:
        delay_of(settings)
    (error,) = caught.value.errors()
    return f"{'.'.join(map(str, error['loc']))}: {error['msg']}"


POSITIVE = "Input should be greater than 0"
NOT_NEGATIVE = "Input should be greater than or equal to 0"
FINITE = "Input should be a finite number"
EITHER = "delay: an empirical delay takes either samples_s or a file and its column"
BAD: list[tuple[dict[str, Any], str]] = [
    ({"kind": "constant", "value_s": -1.0}, f"delay.value_s: {NOT_NEGATIVE}"),
    ({"kind": "constant", "value_s": math.inf}, f"delay.value_s: {FINITE}"),
    ({"kind": "uniform", "low_s": -1.0, "high_s": 1.0}, f"delay.low_s: {NOT_NEGATIVE}"),
    ({"kind": "uniform", "low_s": 2.0, "high_s": 1.0}, "delay: low_s = 2.0 is greater than high_s = 1.0"),
    ({"kind": "exponential", "mean_s": 0.0}, f"delay.mean_s: {POSITIVE}"),
    ({"kind": "exponential", "mean_s": math.nan}, f"delay.mean_s: {FINITE}"),
    ({"kind": "exponential"}, "delay.mean_s: Field required"),
    ({"kind": "exponential", "mean_s": 1.0, "rate": 1.0}, "delay.rate: Extra inputs are not permitted"),
    ({"kind": "shifted_exponential", "shift_s": -1, "mean_excess_s": 1}, f"delay.shift_s: {NOT_NEGATIVE}"),
    ({"kind": "shifted_exponential", "shift_s": 1, "mean_excess_s": 0}, f"delay.mean_excess_s: {POSITIVE}"),
    ({"kind": "lognormal", "median_s": 0.0, "sigma": 1.0}, f"delay.median_s: {POSITIVE}"),
    ({"kind": "lognormal", "median_s": 1.0, "sigma": -1.0}, f"delay.sigma: {NOT_NEGATIVE}"),
    (
        {"kind": "lognormal", "median_s": 1, "sigma": 30},
        "delay.sigma: Input should be less than or equal to 10",
    ),
    (
        {"kind": "gamma", "shape": 0, "mean_s": 1},
        "delay.shape: Input should be greater than or equal to 0.01",
    ),
    ({"kind": "gamma", "shape": 1.0, "mean_s": 0.0}, f"delay.mean_s: {POSITIVE}"),
    (
        {"kind": "weibull", "shape": 0, "mean_s": 1},
        "delay.shape: Input should be greater than or equal to 0.05",
    ),
    ({"kind": "weibull", "shape": 1.0, "mean_s": 0.0}, f"delay.mean_s: {POSITIVE}"),
    ({"kind": "pareto", "minimum_s": 0.0, "tail_index": 2.0}, f"delay.minimum_s: {POSITIVE}"),
    (
        {"kind": "pareto", "minimum_s": 1.0, "tail_index": 0.0},
        "delay.tail_index: Input should be greater than or equal to 0.1",
    ),
    ({"kind": "mixture", "components": []}, "delay.components: a mixture needs at least one component"),
    (two(FAST, SLOW, (1.0, 0.0)), f"delay.components.1.weight: {POSITIVE}"),
    (two(FAST, SLOW, (-1.0, 1.0)), f"delay.components.0.weight: {POSITIVE}"),
    (two(FAST, SLOW, (math.nan, 1.0)), f"delay.components.0.weight: {FINITE}"),
    (
        two(FAST, {"kind": "constant", "value_s": -1}, (1, 1)),
        f"delay.components.1.delay.value_s: {NOT_NEGATIVE}",
    ),
    (two(FAST, {"kind": "weibul"}, (1, 1)), "delay.components.1.delay: unknown kind 'weibul'; did you mean"),
    ({"kind": "empirical"}, EITHER),
    ({"kind": "empirical", "samples_s": [1.0], "file": "a.csv", "column": "t_s"}, EITHER),
    ({"kind": "empirical", "samples_s": [1.0], "column": "t_s"}, EITHER),
    ({"kind": "empirical", "samples_s": []}, "delay.samples_s: an empirical delay needs at least one sample"),
    (
        {"kind": "empirical", "samples_s": [1.0], "block": 0},
        "delay.block: Input should be greater than or equal to 1",
    ),
    (
        {"kind": "empirical", "samples_s": [1.0, 2.0], "block": 3},
        "delay: block = 3 is more than the 2 samples that",
    ),
    ({"kind": "empirical", "samples_s": [1.0, -1.0]}, f"delay.samples_s.1: {NOT_NEGATIVE}"),
    ({"kind": "empirical", "samples_s": [math.nan]}, f"delay.samples_s.0: {FINITE}"),
    (
        {"kind": "empirical", "file": "a.csv"},
        "delay: file and column must both be given, as text; got file =",
    ),
    ({"kind": "empirical", "file": 3, "column": "t_s"}, "delay: file and column must both be given, as text"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    assert sentence(settings).startswith(message)


def test_cached_values_are_not_part_of_a_delay() -> None:
    """Drawing from a delay must not change what it equals or what is written of it."""
    fresh, used = delay_of(two(FAST, SLOW, (1.0, 1.0))), delay_of(two(FAST, SLOW, (1.0, 1.0)))
    used.sample(generator(), 1)
    assert fresh == used
    assert fresh.model_dump() == used.model_dump()
    assert isinstance(used, Mixture)
