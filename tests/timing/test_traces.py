"""Traces: the formats, what is refused and how, and drawing whole rows again."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fedsim.errors import InputError
from fedsim.streams import Stream, Streams
from fedsim.timing.traces import (
    FORMATS,
    Arrivals,
    Devices,
    FailureCounts,
    ObservedAvailability,
    Requests,
    read_as,
    read_trace,
)

PROFILES = Path(__file__).parents[2] / "scenarios" / "profiles"
SHARED = Path(__file__).parents[3] / "shared" / "traces"

AVAILABILITY = "device_id,t_on_s,t_off_s\na,0,10\nb,5,7.5\na,10,12\n"
DEVICES = "device_id,compute_scale,mbps_down,mbps_up\n7,1,20,5\n8,2.5,10,1\n"
REQUESTS = (
    "ttft_s,end_to_end_s,tokens_in,tokens_out,error_code\n"
    "0.5,2,550,150,\n,,,,429\n0.25,1,500,100,200\n,,,,503\n0.1,0.2,5,,404\n,,,,429\n,,,,599\n"
)
ARRIVALS = "time_s,tokens_in,tokens_out\n0,100,10\n1.5,50,0\n1.5,70,30\n"
TEXTS = {"availability": AVAILABILITY, "devices": DEVICES, "requests": REQUESTS, "arrivals": ARRIVALS}


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Write a text to t.csv in the folder where the test works."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> Path:
        file = Path("t.csv")
        file.write_text(text, encoding="utf-8")
        return file

    return write


def test_availability_by_hand(written):
    trace = read_trace(written(AVAILABILITY))
    assert isinstance(trace, ObservedAvailability)
    assert trace.devices == ("a", "b")
    assert trace.intervals_s("a").tolist() == [[0, 10], [10, 12]]
    assert trace.intervals_s("b").tolist() == [[5, 7.5]]
    assert (len(trace), trace.span()) == (3, "2 devices, 0 s to 12 s")


def test_devices_by_hand(written):
    trace = read_trace(written(DEVICES))
    assert isinstance(trace, Devices)
    assert trace.device_id.tolist() == ["7", "8"]
    assert trace.compute_scale.tolist() == [1, 2.5]
    assert (trace.mbps_down.tolist(), trace.mbps_up.tolist()) == ([20, 10], [5, 1])
    assert trace.span() == "2 devices, compute_scale 1 to 2.5"


def test_requests_by_hand(written):
    trace = read_trace(written(REQUESTS))
    assert isinstance(trace, Requests)
    assert trace.failed.tolist() == [False, True, False, True, True, True, True]
    assert trace.failures() == FailureCounts(too_many_requests=2, server_errors=2, other=1)
    assert trace.failures().total == 5
    done = trace.succeeded()
    assert done.ttft_s.tolist() == [0.5, 0.25]
    assert done.end_to_end_s.tolist() == [2, 1]
    assert (done.tokens_in.tolist(), done.tokens_out.tolist()) == ([550, 500], [150, 100])
    assert trace.span() == "5 of 7 requests failed, end_to_end_s 1 to 2"
    assert trace.rows(np.array([1, 3])).span() == "2 of 2 requests failed"


def test_arrivals_by_hand(written):
    trace = read_trace(written(ARRIVALS))
    assert isinstance(trace, Arrivals)
    assert trace.time_s.tolist() == [0, 1.5, 1.5]
    assert trace.tokens_out.tolist() == [10, 0, 30]
    assert trace.span() == "0 s to 1.5 s"


@pytest.mark.parametrize("kind", FORMATS)
def test_parquet_says_the_same(written, kind):
    file = written(TEXTS[kind])
    pd.read_csv(file).to_parquet("t.parquet")
    one, other = read_trace(file), read_trace(Path("t.parquet"))
    assert type(one) is type(other)
    for column in one.columns:
        left, right = getattr(one, column.name), getattr(other, column.name)
        if column.optional:
            assert left is right is None
        elif column.holds == "text":
            assert left.tolist() == right.tolist()
        else:
            np.testing.assert_array_equal(left, right)
            assert left.dtype == right.dtype == np.float64


def test_order_of_columns_blanks_and_a_byte_order_mark_do_not_matter(written):
    trace = read_trace(written("\ufefftokens_out, tokens_in ,time_s\n1,2,3\n\n,,\n 4 ,5,6\n"))
    assert isinstance(trace, Arrivals)
    assert trace.time_s.tolist() == [3, 6]
    assert trace.tokens_out.tolist() == [1, 4]


def test_a_column_that_may_be_left_out(written):
    trace = read_trace(written(f"{DEVICES.splitlines()[0]},own_token_s\na,1,2,3,0.5\nb,1,2,3,0.25\n"))
    assert isinstance(trace, Devices)
    assert trace.own_token_s is not None
    assert trace.rows(np.array([1, 1, 0])).own_token_s.tolist() == [0.25, 0.25, 0.5]
    without = read_as(written(DEVICES), Devices)
    assert without.rows(np.array([0])).own_token_s is None


def test_arrays_cannot_be_changed(written):
    trace = read_as(written(DEVICES), Devices)
    with pytest.raises(ValueError, match="read-only"):
        trace.mbps_up[0] = 3


HEAD = {kind: text.splitlines()[0] + "\n" for kind, text in TEXTS.items()}
OF_DEVICES = (
    "(a trace of devices has the columns device_id, compute_scale, mbps_down, mbps_up, "
    "own_token_s (optional))"
)
OF_AVAILABILITY = "(a trace of availability has the columns device_id, t_on_s, t_off_s)"
FORMATS_TOLD = (
    "(availability: device_id, t_on_s, t_off_s; devices: device_id, compute_scale, mbps_down, mbps_up, "
    "own_token_s (optional); requests: ttft_s, end_to_end_s, tokens_in, tokens_out, error_code; "
    "arrivals: time_s, tokens_in, tokens_out)"
)
NEEDED = "expected a number, because error_code tells of no failure; got nothing"
OF_REQUESTS = "(a trace of requests has the columns ttft_s, end_to_end_s, tokens_in, tokens_out, error_code)"
NEITHER = "ttft_s, end_to_end_s, tokens_in, tokens_out, time_s"
LATE = "t.csv, line 5, column 't_on_s'"
APART = "expected them apart and in order of time"
STATUS = "expected an HTTP status from 100 to 599, or nothing"

TOOK, A_TIME = "expected how many seconds it took", "as if it were a time counted from 1970"
UP_TO = "0 or more and at most 1,000,000,000,000"
SINCE_BEGAN = "expected seconds since the trace began"
SINCE_1970 = "as if counted from 1970; take the time at which the trace began from all times"
BAD = [
    ("", "t.csv is empty; expected a header and rows"),
    (HEAD["devices"], "t.csv: expected a header and at least one row, got no row"),
    (HEAD["devices"] + "\n,,,\n", "t.csv: expected a header and at least one row, got no row"),
    ("a,b\n1,2\n", f"t.csv: the columns a, b fit no format of a trace {FORMATS_TOLD}"),
    ("device_id,x\n1,2\n", f"t.csv: the columns device_id, x fit no format of a trace {FORMATS_TOLD}"),
    (
        f"{NEITHER.replace(', ', ',')}\n1,2,3,4,5\n",  # as near to requests as to arrivals
        f"t.csv: the columns {NEITHER} fit no format of a trace {FORMATS_TOLD}",
    ),
    (
        "ttft_s,end_to_end_s,tokens_in,tokens_out,time_s,error_code\n1,2,3,4,5,\n",
        f"t.csv: unknown column 'time_s' {OF_REQUESTS}",
    ),
    (
        "device_id,compute_scale,mbps_down,mbps_up,own_tokens_s\na,1,2,3,4\n",
        f"t.csv: unknown column 'own_tokens_s'; did you mean 'own_token_s'? {OF_DEVICES}",
    ),
    (
        "device_id,compute_scale,mbps_down,mbps_up,own_token_s\na,1,2,3,0\n",
        "t.csv, line 2, column 'own_token_s': expected a number above 0, got '0'",
    ),
    (
        "device_id,mbps_up\na,1\n",  # half of what a trace of devices must have
        f"t.csv: no column 'compute_scale' {OF_DEVICES}",
    ),
    (
        "device_id,compute_scale,mbps_down,own_token_s\na,1,2,3\n",
        f"t.csv: no column 'mbps_up' {OF_DEVICES}",
    ),
    (
        "device_id,t_on_s,t_of_s\na,1,2\n",
        f"t.csv: unknown column 't_of_s'; did you mean 't_off_s'? {OF_AVAILABILITY}",
    ),
    ("device_id,t_on_s\na,1\n", f"t.csv: no column 't_off_s' {OF_AVAILABILITY}"),
    ("device_id,t_on_s,t_off_s,extra\na,1,2,3\n", f"t.csv: unknown column 'extra' {OF_AVAILABILITY}"),
    ("time_s,tokens_in,time_s\n1,2,3\n", "t.csv: more than one column 'time_s'"),
    (ARRIVALS + "9,1,2,3\n", "t.csv is not a CSV file: Expected 3 fields in line 5, saw 4"),
    (ARRIVALS + "soon,1,2\n", "t.csv, line 5, column 'time_s': expected a number, 0 or more, got 'soon'"),
    (ARRIVALS + "\nsoon,1,2\n", "t.csv, line 6, column 'time_s': expected a number, 0 or more, got 'soon'"),
    (ARRIVALS + "-1,1,2\n", "t.csv, line 5, column 'time_s': expected a number, 0 or more, got '-1'"),
    (ARRIVALS + "nan,1,2\n", "t.csv, line 5, column 'time_s': expected a number, 0 or more, got 'nan'"),
    (ARRIVALS + "inf,1,2\n", "t.csv, line 5, column 'time_s': expected a number, 0 or more, got 'inf'"),
    (
        ARRIVALS + "9,,2\n",
        "t.csv, line 5, column 'tokens_in': expected a whole number, 0 or more, got nothing",
    ),
    (
        ARRIVALS + "9,1\n",
        "t.csv, line 5, column 'tokens_out': expected a whole number, 0 or more, got nothing",
    ),
    (
        ARRIVALS + "9,1.5,2\n",
        "t.csv, line 5, column 'tokens_in': expected a whole number, 0 or more, got '1.5'",
    ),
    (
        ARRIVALS + "9,1e30,2\n",
        f"t.csv, line 5, column 'tokens_in': expected a whole number, {UP_TO}, got '1e30'",
    ),
    (
        ARRIVALS + "1.25,1,2\n",
        "t.csv, line 5, column 'time_s': expected 1.5 or later, the time of the row before it; got 1.25",
    ),
    (
        ARRIVALS.splitlines()[0] + "\n1700158546.68,1,2\n1700158547.1,1,2\n",
        f"t.csv, line 2, column 'time_s': {SINCE_BEGAN}, got 1700158546.68, {SINCE_1970}",
    ),
    (
        ARRIVALS + "1700158546680,1,2\n",  # in milliseconds
        f"t.csv, line 5, column 'time_s': {SINCE_BEGAN}, got 1700158546680, {SINCE_1970}",
    ),
    (
        ARRIVALS.splitlines()[0] + "\n5,1,2\n5,1,2\n",
        "t.csv, line 3, column 'time_s': found 5 in all 2 rows, expected times that go on",
    ),
    (
        AVAILABILITY + "c,1700158546,1700158600\n",
        f"t.csv, line 5, column 't_on_s': {SINCE_BEGAN}, got 1700158546, {SINCE_1970}",
    ),
    (
        AVAILABILITY + "c,20,1700158600\n",
        f"t.csv, line 5, column 't_off_s': {SINCE_BEGAN}, got 1700158600, {SINCE_1970}",
    ),
    (
        REQUESTS + "0.5,1700158600.5,1,2,\n",
        f"t.csv, line 9, column 'end_to_end_s': {TOOK}, got 1700158600.5, {A_TIME}",
    ),
    (
        REQUESTS + "1700158600,1700158600.5,1,2,\n",
        f"t.csv, line 9, column 'ttft_s': {TOOK}, got 1700158600, {A_TIME}",
    ),
    (AVAILABILITY + ",20,21\n", "t.csv, line 5, column 'device_id': expected a name, got nothing"),
    (
        AVAILABILITY + "b,9,9\n",
        "t.csv, line 5, column 't_off_s': expected a time after t_on_s = 9, got 9",
    ),
    (
        AVAILABILITY + "b,7,9\n",
        f"{LATE}: 7 to 9 overlaps the one before it of device 'b', 5 to 7.5; {APART}",
    ),
    (
        AVAILABILITY + "a,1,2\n",
        f"{LATE}: 1 to 2 begins before the one before it of device 'a', 10 to 12; {APART}",
    ),
    (
        DEVICES + "7,1,1,1\n",
        "t.csv, line 4, column 'device_id': expected one row per device, got '7' again",
    ),
    (
        DEVICES + "9,1,0,1\n",
        "t.csv, line 4, column 'mbps_down': expected a number above 0, got '0'",
    ),
    (REQUESTS + ",1,2,3,\n", f"t.csv, line 9, column 'ttft_s': {NEEDED}"),
    (REQUESTS + "1,2,,3,\n", f"t.csv, line 9, column 'tokens_in': {NEEDED}"),
    (REQUESTS + "1,,2,3,299\n", f"t.csv, line 9, column 'end_to_end_s': {NEEDED}"),
    (
        REQUESTS + "2,1,2,3,\n",
        "t.csv, line 9, column 'end_to_end_s': expected at least ttft_s = 2, got 1",
    ),
    *(
        (
            REQUESTS + f",,,,{code}\n",
            f"t.csv, line 9, column 'error_code': {STATUS}, got {code}",
        )
        for code in (99, 600)
    ),
]


@pytest.mark.parametrize(("text", "sentence"), BAD)
def test_bad_traces(written, text, sentence):
    with pytest.raises(InputError) as caught:
        read_trace(written(text))
    assert str(caught.value) == sentence


def test_a_row_of_parquet_is_named_by_its_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = pd.DataFrame({"time_s": [1.0, 2.0, None], "tokens_in": [1, 2, 3], "tokens_out": ["1", "2", "x"]})
    table.to_parquet("t.parquet")
    with pytest.raises(InputError, match=r"^t.parquet, row 3, column 'time_s': .* got nothing$"):
        read_trace(Path("t.parquet"))
    table.assign(time_s=4.0).to_parquet("t.parquet")
    with pytest.raises(InputError, match=r"^t.parquet, row 3, column 'tokens_out': .* got 'x'$"):
        read_trace(Path("t.parquet"))


def test_milliseconds_taken_for_seconds_are_seen(written):
    days = read_trace(written(ARRIVALS + "59000000,1,2\n")).span()
    assert days == "0 s to 5.9e+07 s (683 days)"
    slow = read_trace(written(f"{REQUESTS.splitlines()[0]}\n500,2000,550,150,\n300,900,1,1,\n")).span()
    assert slow == "0 of 2 requests failed, end_to_end_s 900 to 2000 (half of them over 300 s: milliseconds?)"


def test_unreadable_files(tmp_path):
    with pytest.raises(InputError, match=r"^cannot read .*none.csv: No such file or directory$"):
        read_trace(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes(b"time_s,tokens_in,tokens_out\n\xe9,1,2\n")
    with pytest.raises(InputError, match=r"latin.csv, line 2: not a text in UTF-8"):
        read_trace(tmp_path / "latin.csv")
    (tmp_path / "text.parquet").write_text("time_s\n1\n")
    with pytest.raises(InputError, match=r"text.parquet is not a Parquet file: "):
        read_trace(tmp_path / "text.parquet")


def test_an_expected_format(written):
    file = written(DEVICES)
    assert read_trace(file, "devices").kind == "devices"
    with pytest.raises(InputError, match=r"unknown column 'compute_scale' \(a trace of availability"):
        read_trace(file, "availability")
    with pytest.raises(
        InputError, match=r"no trace format 'device'; did you mean 'devices'\? \(known: avail"
    ):
        read_trace(file, "device")


def test_whole_rows_are_drawn(written):
    """Twin: the same row numbers, taken one by one; tokens stay with their times."""
    trace = read_as(written(ARRIVALS), Arrivals)
    drawn = trace.resampled(Streams(1).generator(Stream.LLM, 2, 3), 50)
    numbers = Streams(1).generator(Stream.LLM, 2, 3).integers(3, size=50).tolist()
    assert [*zip(drawn.time_s, drawn.tokens_in, drawn.tokens_out, strict=True)] == [
        (trace.time_s[number], trace.tokens_in[number], trace.tokens_out[number]) for number in numbers
    ]
    assert set(drawn.tokens_in) == {100, 50, 70}


def test_correlations_survive():
    """The correlation of the drawn rows, to 4 standard errors (1 - r^2) / sqrt(n), as if normal."""
    trace = read_as(PROFILES / "devices.csv", Devices)
    size = 4000
    drawn = trace.resampled(np.random.default_rng(3), size)

    def correlation(rows: Devices) -> float:
        return float(np.corrcoef(np.log(rows.compute_scale), np.log(rows.mbps_up))[0, 1])

    measured, found = correlation(trace), correlation(drawn)
    assert measured < -0.8
    told = f"measured {measured:.4f}, drawn {found:.4f}"
    assert abs(found - measured) < 4 * (1 - measured**2) / size**0.5, told


def test_a_worker_keeps_its_device_whoever_else_takes_part():
    trace = read_as(PROFILES / "devices.csv", Devices)
    all_of_them = trace.assigned(Streams(4), Stream.DATA, range(200))
    some = trace.assigned(Streams(4), Stream.DATA, [7, 150, 3])
    assert some.device_id.tolist() == all_of_them.device_id[[7, 150, 3]].tolist()
    assert some.mbps_up.tolist() == all_of_them.mbps_up[[7, 150, 3]].tolist()
    assert len(set(all_of_them.device_id)) == len(trace)
    assert len(trace.assigned(Streams(4), Stream.DATA, [])) == 0


@pytest.mark.parametrize("kind", FORMATS)
def test_the_committed_traces_are_what_their_script_writes(kind):
    script = runpy.run_path(str(PROFILES / "make_traces.py"))
    file = PROFILES / f"{kind}.csv"
    assert file.read_text() == "\n".join(script[kind]()) + "\n"
    assert read_trace(file).kind == kind


@pytest.mark.shared_data
@pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real traces is not there")
def test_real_traces():
    arrivals = read_trace(SHARED / "arrivals_azure_code_2023.csv")
    assert isinstance(arrivals, Arrivals)
    assert len(arrivals) == 8819
    assert arrivals.time_s[-1] == pytest.approx(3435.948)
    files = sorted(SHARED.glob("llm_latency_*.csv"))
    assert len(files) == 10
    for file in files:
        requests = read_as(file, Requests)
        too_many = 130 if "lepton" in file.name else 2 if "perplexity" in file.name else 0
        assert requests.failures() == FailureCounts(too_many, 0, 0)
        assert len(requests) == 150
    with pytest.raises(InputError, match="fit no format of a trace"):
        read_trace(SHARED / "wifi_rates.csv")
