"""The committed latency profile is consistent, and is what is fitted to the raw traces, if they are there."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fedsim.timing.delays import DELAYS, Delay
from fedsim_analysis import fit_latency_profile
from fedsim_analysis.fit_latency_profile import ENDPOINTS, POOLED, PROFILE, latency_profile, main
from fedsim_analysis.fitting.latency.held import MOST_OFF, PROBABILITIES, Landmarks, measured, misses, worst

SHARED = Path(__file__).parents[3] / "shared" / "traces"
COMMITTED = pd.read_csv(PROFILE)
NAMES = [f"{name}_measured_s" for name in Landmarks._fields]


def law(text: str) -> Delay:
    found = DELAYS.validate(tomllib.loads(f"latency = {text}")["latency"])
    assert isinstance(found, Delay)
    return found


def test_landmarks_and_misses_by_hand() -> None:
    """Of 1, 2, ..., 11: mean and median 6, p90 10, p99 10.9; a constant 6 misses the last by 4.9 / 10.9."""
    delays_s = np.arange(1.0, 12.0)
    assert measured(delays_s) == pytest.approx((6, 6, 10, 10.9))
    always = law('{ kind = "constant", value_s = 6.0 }')
    assert [miss.share for miss in misses(always, delays_s)] == pytest.approx([0, 0, -0.4, -4.9 / 10.9])
    assert worst(always, delays_s) == ("p99", 6.0, pytest.approx(10.9))


@pytest.mark.parametrize("row", list(COMMITTED.itertuples()), ids=lambda row: f"{row.endpoint} {row.law}")
def test_each_line_is_the_law_beside_it(row) -> None:
    told = law(row.latency)
    quantiles_s = told.law().ppf(np.array(PROBABILITIES))
    expected = [told.mean_value_s, *quantiles_s]
    assert [row.mean_law_s, row.p50_law_s, row.p90_law_s, row.p99_law_s] == pytest.approx(
        expected, abs=5.1e-5
    )
    pairs = [
        (getattr(row, f"{name}_law_s"), getattr(row, f"{name}_measured_s")) for name in Landmarks._fields
    ]
    assert max((one / other - 1 for one, other in pairs), key=abs) == pytest.approx(row.most_off, abs=1e-3)


def test_the_first_law_is_the_nearest_of_those_with_two_parameters() -> None:
    pooled = COMMITTED[COMMITTED.endpoint == POOLED]
    simple = pooled[pooled.n_parameters == 2]
    first = pooled.iloc[0]
    assert COMMITTED.iloc[0].equals(first)
    assert abs(first.most_off) == simple.most_off.abs().min() < MOST_OFF
    assert first.most_off == pytest.approx(0.3739 / 0.3594 - 1, abs=1e-3)


def test_figure_1_takes_the_first_law() -> None:
    scenario = tomllib.loads((PROFILE.parents[1] / "common" / "paper.toml").read_text())
    assert DELAYS.validate(scenario["llm"]["latency"]) == law(COMMITTED.latency.iloc[0])


def test_the_pooled_calls_are_those_of_the_endpoints() -> None:
    """The mean of all is the mean of the means, each as often as it has calls."""
    rows = COMMITTED.drop_duplicates("endpoint").set_index("endpoint")
    endpoints = rows.loc[list(ENDPOINTS)]
    assert rows.index.tolist() == [POOLED, *ENDPOINTS]
    assert rows.n_calls[POOLED] == endpoints.n_calls.sum() == 448
    mean_s = float((endpoints.mean_measured_s * endpoints.n_calls).sum() / 448)
    assert rows.mean_measured_s[POOLED] == pytest.approx(mean_s, abs=1e-4)
    assert (rows[NAMES[1:]].diff(axis=1).iloc[:, 1:] > 0).all(axis=None)


def test_laws_with_two_parameters_come_first_and_the_nearest_of_them_before_the_others() -> None:
    generator = np.random.default_rng(3)
    endpoints = {name: generator.lognormal(0, 0.4, 200) for name in ENDPOINTS}
    profile = latency_profile(endpoints)
    for endpoint, times_s in {POOLED: np.concatenate(list(endpoints.values())), **endpoints}.items():
        rows = profile[profile.endpoint == endpoint]
        assert rows.n_parameters.tolist() == [2, 2, 2, 2, 2, 5]
        assert rows.most_off.iloc[:5].abs().is_monotonic_increasing
        assert rows.mean_measured_s.iloc[0] == pytest.approx(times_s.mean())


def test_without_the_raw_traces_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fit_latency_profile, "PROFILE", tmp_path / "profile.csv")
    assert main([str(tmp_path)]) == 2
    said = capsys.readouterr().err.replace("\n", " ")
    assert f"no trace {tmp_path}/llm_latency_anyscale_70b.csv: the raw data are not part" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.shared_data
@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real traces is not there")
def test_the_script_writes_the_committed_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_latency_profile, "PROFILE", tmp_path / "profile.csv")
    assert main([str(SHARED)]) == 0
    written = pd.read_csv(tmp_path / "profile.csv")
    pd.testing.assert_frame_equal(written, COMMITTED, rtol=1e-3, atol=1e-4)
