"""The commands that read measured traces: what they print, draw and refuse."""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from conftest import SMALL

import fedsim
from fedsim.errors import InputError
from fedsim.scenario import load_scenario
from fedsim_analysis import latency_fit

HEADER = "ttft_s,end_to_end_s,tokens_in,tokens_out,error_code\n"
LAWS = {"lognormal", "gamma", "shifted exponential", "weibull", "pareto", "two lognormals"}


@pytest.fixture
def trace(tmp_path) -> Path:
    """A hundred requests, at equal steps of a lognormal law; six failures: three 429, two 5xx, one 404."""
    times_s = [4 * math.exp(0.5 * NormalDist().inv_cdf((place + 0.5) / 100)) for place in range(100)]
    rows = [f"{time / 4:.5f},{time:.5f},550,150,\n" for time in times_s]
    file = tmp_path / "requests.csv"
    file.write_text(
        HEADER + "".join(rows) + "".join(f",,,,{code}\n" for code in (429, 500, 429, 404, 429, 503))
    )
    return file


def pasted(answer_out: str) -> dict:
    """Return the line to paste, read as TOML."""
    return tomllib.loads(answer_out.splitlines()[-1])["latency"]


def test_fit_latency_prints_counts_a_table_and_a_line_to_paste(command, trace):
    answer = command("fit-latency", "requests.csv")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[0] == "requests.csv: 106 requests, 6 failed (5.7%): 3 with 429, 2 with 5xx, 1 others"
    assert lines[1].split() == ["law", "AIC", "mean", "s", "p50", "s", "p90", "s", "p99", "s", "most", "off"]
    rows = [re.split("  +", line.strip()) for line in lines[2:8]]
    assert {row[0] for row in rows} == LAWS
    assert rows[0][0] == "lognormal"
    assert lines[8].startswith("measured")
    assert lines[9] == "looked for and not found: a ceiling, several humps, stalls, a fast minority"
    assert lines[10].startswith("neighbouring calls depend on each other: lag-1 correlation of ranks 1.00")
    assert lines[11].startswith("100 calls tell of p99 only that it is above ")
    assert lines[12] == (
        "lognormal fits best and is within 10% of the measured mean, p50, p90 and p99; in the scenario:"
    )
    assert len(lines) == 14
    assert max(map(len, lines[1:9])) <= 80


def test_the_table_s_numbers_by_hand(command, trace):
    """The maximum of a lognormal likelihood: -sum log t - n (log(sigma sqrt(2 pi)) + 1 / 2)."""
    lines = command("fit-latency", "requests.csv").out.splitlines()
    logs = np.log([float(row.split(",")[1]) for row in trace.read_text().splitlines()[1:101]])
    log_likelihood = -logs.sum() - 100 * (math.log(logs.std() * math.sqrt(2 * math.pi)) + 0.5)
    mean_s = math.exp(logs.mean() + logs.var() / 2)
    found = [float(number) for number in lines[2].split()[1:6]]
    p90_s, p99_s = (math.exp(logs.mean() + logs.std() * NormalDist().inv_cdf(p)) for p in (0.9, 0.99))
    assert found[0] == pytest.approx(4 - 2 * log_likelihood, abs=0.051)
    assert found[1:] == pytest.approx([mean_s, math.exp(logs.mean()), p90_s, p99_s], rel=2e-3)
    measured = np.quantile(np.exp(logs), 0.99)
    assert lines[2].split()[6:] == ["p99", f"{p99_s / measured - 1:+.0%}"]


def test_a_table_of_laws_that_are_far_off_still_has_80_columns(command, tmp_path):
    """A Pareto law through one fast call has an infinite mean and a p99 of hours."""
    times_s = [1e-2, *np.linspace(3, 9, 60)]
    rows = "".join(f"{time},{time},1,1,\n" for time in times_s)
    (tmp_path / "t.csv").write_text(HEADER + rows)
    lines = command("fit-latency", "t.csv").out.splitlines()
    assert any("inf" in line for line in lines[2:8])
    assert max(map(len, lines[1:9])) <= 80


def test_the_line_is_a_scenario_s_latency_with_the_fitted_mean(command, trace, small):
    said = command("fit-latency", "requests.csv").out
    line = said.splitlines()[-1]
    text = small.read_text().replace('latency = { kind = "constant", value_s = 0.5 }', line)
    assert line in text
    assert all(
        number == float(f"{number:.6g}") for number in (pasted(said)["median_s"], pasted(said)["sigma"])
    )
    small.write_text(text)
    latency = load_scenario(small).llm.latency
    logs = np.log([float(row.split(",")[1]) for row in trace.read_text().splitlines()[1:101]])
    assert latency.kind == "lognormal"
    assert latency.mean_value_s == pytest.approx(math.exp(logs.mean() + logs.var() / 2), rel=5e-5)


@pytest.mark.parametrize(
    ("kind", "file"), [("mixture", "scenarios/profiles/requests.csv"), ("empirical", "")]
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_any_law_and_the_trace_itself_can_be_pasted(command, root, small, tmp_path, kind, file, suffix):
    """A trace cut off at a time-out has no law; failed requests with a time are left out there as here."""
    trace = pd.read_csv(root / file) if file else cut_off()
    written = tmp_path / f"calls{suffix}"
    trace.to_csv(written, index=False) if suffix == ".csv" else trace.to_parquet(written, index=False)
    said = command("fit-latency", written.name).out
    assert pasted(said)["kind"] == kind
    (tmp_path / "elsewhere").mkdir()
    scenario = tmp_path / "elsewhere" / "small.toml"
    line = said.splitlines()[-1]
    scenario.write_text(small.read_text().replace('latency = { kind = "constant", value_s = 0.5 }', line))
    latency = load_scenario(scenario).llm.latency
    assert latency.kind == kind
    if kind == "empirical":
        assert latency.samples_s == tuple(trace.end_to_end_s[trace.error_code.isna()])


def cut_off() -> pd.DataFrame:
    """Return requests of which every eighth took the longest time, 10 s, and some failed after a while."""
    times_s = np.minimum(np.random.default_rng(1).lognormal(1, 1.1, 200), 10.0).round(4)
    codes = np.where(np.arange(200) % 50 == 7, 503, np.nan)
    columns = {"ttft_s": times_s / 2, "end_to_end_s": times_s, "tokens_in": 5, "tokens_out": 1}
    return pd.DataFrame(columns | {"error_code": pd.array(codes, dtype="Int64")})


def test_another_column(command, trace):
    whole, first = (pasted(command("fit-latency", "requests.csv", *words).out) for words in ((), COLUMN))
    assert whole["median_s"] == pytest.approx(4 * first["median_s"], rel=1e-4)
    assert whole["sigma"] == pytest.approx(first["sigma"], rel=1e-3)
    wrong = command("fit-latency", "requests.csv", "--column", "ttft")
    assert wrong == (
        2,
        "",
        "fedsim: requests.csv: no column 'ttft'; did you mean 'ttft_s'?\n",
    )


COLUMN = ("--column", "ttft_s")


def test_the_plot_is_written_whole_and_the_same_each_time(command, trace, tmp_path):
    for name in ("qq.pdf", "qq.png", "new/qq.svg"):
        answer = command("fit-latency", "requests.csv", "-o", name)
        assert (answer.code, answer.err) == (0, "")
        assert name in answer.out.splitlines()
    once = (tmp_path / "qq.pdf").read_bytes()
    assert once.startswith(b"%PDF")
    assert b"CreationDate" not in once
    assert (tmp_path / "qq.png").read_bytes().startswith(b"\x89PNG")
    command("fit-latency", "requests.csv", "-o", "qq.pdf")
    assert (tmp_path / "qq.pdf").read_bytes() == once
    assert list(tmp_path.rglob("*.partial")) == []


def test_a_plot_that_cannot_be_written(command, trace):
    wrong = command("fit-latency", "requests.csv", "-o", "qq.bmp")
    assert wrong.code == 2
    assert wrong.err == (
        "fedsim: cannot write qq.bmp: expected a name that ends in one of .pdf, .png, .svg\n"
    )
    wrong = command("fit-latency", "requests.csv", "-o", "requests.csv/qq.pdf")
    assert wrong.code == 2
    assert wrong.err.startswith("fedsim: cannot write requests.csv/qq.pdf: ")


def test_the_points_of_the_plot_by_hand():
    """Four delays stand at 1/8, 3/8, 5/8, 7/8."""
    delays_s = np.array([4.0, 1.0, 3.0, 2.0])
    points = latency_fit.table(delays_s, {"line": lambda probabilities: 10 * probabilities})
    assert points["probability"].tolist() == [0.125, 0.375, 0.625, 0.875]
    assert points["measured"].tolist() == [1, 2, 3, 4]
    assert points["line"].tolist() == [1.25, 3.75, 6.25, 8.75]
    picture = latency_fit.figure(delays_s, {"line": lambda probabilities: 10 * probabilities})
    (axes,) = picture.axes
    assert (axes.get_title(), axes.get_xscale()) == ("line", "linear")
    assert axes.lines[1].get_xydata().tolist() == [[1.25, 1], [3.75, 2], [6.25, 3], [8.75, 4]]
    far = latency_fit.figure(delays_s**2, {"line": lambda probabilities: 10 * probabilities})
    assert (far.axes[0].get_xscale(), far.axes[0].get_yscale()) == ("log", "log")


def test_saving_refuses_before_it_writes(tmp_path):
    with pytest.raises(InputError, match="expected a name that ends in one of"):
        latency_fit.save(None, tmp_path / "qq")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            ",,,,429\n" * 12,
            "fedsim: t.csv, column 'end_to_end_s': expected at least 10 delays to fit a law to, got 0\n",
        ),
        (
            "2,1,1,1,\n",
            "fedsim: t.csv, line 2, column 'end_to_end_s': expected at least ttft_s = 2, got 1\n",
        ),
    ],
)
def test_a_trace_that_cannot_be_fitted(command, tmp_path, rows, sentence):
    (tmp_path / "t.csv").write_text(HEADER + rows)
    answer = command("fit-latency", "t.csv")
    assert (answer.code, answer.err) == (2, sentence)


def test_which_of_several_columns_has_to_be_said(command, tmp_path):
    (tmp_path / "t.csv").write_text("time_s,tokens_in,tokens_out\n1,2,3\n")
    answer = command("fit-latency", "t.csv")
    assert answer == (2, "", "fedsim: t.csv: expected --column, one of time_s, tokens_in, tokens_out\n")


def test_one_column_of_any_unit_will_do_and_time_outs_are_told_apart(command, tmp_path):
    times_ms = [100 + 7 * number for number in range(40)]
    rows = "".join(f"{time},200\n" for time in times_ms) + "99999,504\n,timeout\n,500\n,429\n,who knows\n"
    (tmp_path / "t.csv").write_text(f"latency_ms,status\n{rows}")
    answer = command("fit-latency", "t.csv")
    assert answer.code == 0
    assert answer.out.splitlines()[0] == (
        "t.csv: 45 requests, 5 failed (11.1%): 2 timed out, 1 with 429, 1 with 5xx, 1 others, "
        "times of 'latency_ms' in ms"
    )
    measured = next(line for line in answer.out.splitlines() if line.startswith("measured"))
    assert float(measured.split()[1]) == pytest.approx(sum(times_ms) / 40 / 1000, rel=1e-3)
    (tmp_path / "small.toml").write_text(SMALL)
    latency = {"unset": True, "kind": "empirical", "file": "t.csv", "column": "latency_ms", "unit": "ms"}
    found = fedsim.load_scenario({"extends": "small.toml", "llm": {"latency": latency}}, folder=tmp_path)
    assert found.llm.latency.samples_s == pytest.approx([time / 1000 for time in times_ms])
    assert "milliseconds (--unit ms)?" not in answer.err
    (tmp_path / "one.csv").write_text("t\n" + "".join(f"{400 + number}\n" for number in range(20)))
    assert "are they milliseconds (--unit ms)?" in command("fit-latency", "one.csv").err
    wrong = command("fit-latency", "one.csv", "--unit", "msec")
    assert wrong == (2, "", "fedsim: --unit: found 'msec'; did you mean 'ms'? (units: s, ms, us)\n")


def test_check_trace(command, trace, tmp_path):
    (tmp_path / "arrivals.csv").write_text("time_s,tokens_in,tokens_out\n1,2,3\n2.5,2,3\n")
    answer = command("check-trace", "arrivals.csv", "requests.csv")
    assert (answer.code, answer.err) == (0, "")
    first, second = answer.out.splitlines()
    assert first == "arrivals.csv: a trace of arrivals, 2 rows, 1 s to 2.5 s: fine"
    assert second.startswith(
        "requests.csv: a trace of requests, 106 rows, 6 of 106 requests failed, end_to_end_s "
    )
    wrong = command("check-trace", "--as", "requests", "arrivals.csv")
    assert wrong.code == 2
    assert wrong.err.startswith("fedsim: arrivals.csv: ")
    wrong = command("check-trace", "none.csv")
    assert wrong == (2, "", "fedsim: cannot read none.csv: No such file or directory\n")


def test_all_requests_may_have_succeeded(command, trace):
    trace.write_text("".join(trace.read_text().splitlines(keepends=True)[:101]))
    assert command("fit-latency", "requests.csv").out.startswith("requests.csv: 100 requests, none failed\n")
