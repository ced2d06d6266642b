"""How long a job takes and what it costs: straggling, speeds, bandwidths, calls, bytes and tokens."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timing_cases import FREE, chain, interlude, seconds, simulate, stretches, workers

from fedsim.messages import JobCost
from fedsim.streams import Stream, Streams
from fedsim.timing.delays.constant import Constant
from fedsim.timing.delays.exponential import Exponential
from fedsim.timing.delays.lognormal import Lognormal
from fedsim.timing.lanes import makespan_s
from fedsim.timing.llm_service.independent import Independent
from fedsim.timing.worker import DRAWS_A_BLOCK, Transient

# one job: download 1 s, arithmetic 2 s, four calls of 3 s on two lanes = 6 s, upload 0.5 s
RICH: dict[str, Any] = {"download": Constant(value_s=1.0), "upload": Constant(value_s=0.5), "lanes": 2}
FOUR_CALLS = JobCost(calls=4, tokens_in=40, tokens_out=8, bytes_up=0, bytes_down=0)
THREE_S = Constant(value_s=3.0)


def rich(**settings: Any) -> list[tuple[str, float, float]]:
    """Return the spans of one worker's first two jobs."""
    group = workers(2.0, **(RICH | settings))
    ending, _ = simulate([group], wait_for=1, cost=FOUR_CALLS, latency=THREE_S, max_steps=2, keep_spans=True)
    return stretches(ending, 0)


def test_the_legs_of_a_job_and_a_first_job_without_download() -> None:
    assert rich() == chain(
        *(("computing", 2), ("calling", 8), ("uploading", 8.5)),
        *(("downloading", 9.5), ("computing", 11.5), ("calling", 17.5), ("uploading", 18)),
    )


def test_slow_down_multiplies_every_duration() -> None:
    assert rich(slow_down=4.0) == chain(
        *(("computing", 8), ("calling", 32), ("uploading", 34)),
        *(("downloading", 38), ("computing", 46), ("calling", 70), ("uploading", 72)),
    )


def test_compute_speed_touches_arithmetic_only() -> None:
    assert rich(compute_speed=4.0) == chain(
        *(("computing", 0.5), ("calling", 6.5), ("uploading", 7)),
        *(("downloading", 8), ("computing", 8.5), ("calling", 14.5), ("uploading", 15)),
    )


def test_a_job_that_straggles_is_slower_in_every_leg() -> None:
    # probability 1: always; with a permanent slow-down of 2 the factors multiply
    group = {"transient": Transient(probability=1.0, factor=2.0), "slow_down": 2.0}
    assert rich(**group) == rich(slow_down=4.0)
    assert rich(transient=Transient(probability=0.0, factor=2.0)) == rich()


def test_the_share_of_straggling_jobs_is_binomial() -> None:
    n_jobs, probability = 4000, 0.3
    group = workers(1.0, transient=Transient(probability=probability, factor=3.0))
    ending, _ = simulate([group], wait_for=1, max_steps=n_jobs, keep_spans=True)
    lengths = [end - start for _, start, end in stretches(ending, 0)]
    assert {round(length, 6) for length in lengths} == {1.0, 3.0}
    slow = sum(length > 2 for length in lengths)
    standard_error = math.sqrt(n_jobs * probability * (1 - probability))
    assert abs(slow - n_jobs * probability) < 4 * standard_error


def test_a_bandwidth_adds_the_size_over_it() -> None:
    # 30,000 bytes are 240,000 bits: 0.24 s at 1 Mbit/s, 0.03 s at 8 Mbit/s; the first job has no download
    cost = JobCost(calls=0, tokens_in=0, tokens_out=0, bytes_up=30_000, bytes_down=60_000)
    group = workers(0.0, upload_mbps=1.0, download_mbps=8.0, upload=Constant(value_s=0.01))
    ending, books = simulate([group], wait_for=1, cost=cost, max_steps=3)
    assert books.times_s == pytest.approx([0.25, 0.56, 0.87])
    assert seconds(ending, 0) == pytest.approx({"uploading": 0.75, "downloading": 0.12})
    assert [report.bytes_up for report in books.reports] == [30_000, 60_000, 90_000]
    assert [report.bytes_down for report in books.reports] == [0, 60_000, 120_000]


def test_what_an_interlude_leaves_is_downloaded_after_it() -> None:
    # 125,000 bytes are 1 s at 1 Mbit/s. Step 1 at 1 s; the round: download 1 s and 1 s of work, until 3 s;
    # then the snapshot's 125,000 bytes and 250,000 that it leaves, 3 s; 1 s of work; step 2 at 7 s; 1 + 1 s:
    # 9 s.
    cost = JobCost(calls=0, tokens_in=0, tokens_out=0, bytes_up=0, bytes_down=125_000)
    ending, books = simulate(
        [workers(1.0, download_mbps=1.0)],
        wait_for=1,
        cost=cost,
        interlude=interlude(every=100, rounds=1),
        leaves_bytes=250_000,
        max_steps=3,
        keep_spans=True,
    )
    assert books.times_s == [1, 7, 9]
    assert [report.bytes_down for report in books.reports] == [0, 500_000, 625_000]
    assert stretches(ending, 0) == chain(
        *(("computing", 1), ("interlude", 3), ("downloading", 6), ("computing", 7)),
        *(("downloading", 8), ("computing", 9)),
    )


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 9),
)
def test_calls_follow_the_formula(
    n_workers: int, wait_for: int, tau: int, every: int, rounds: int, seed: int
) -> None:
    """I_s b (sum of |Q_t| + drained + R K interludes), and bytes and tokens with them."""
    cost = JobCost(calls=12, tokens_in=700, tokens_out=30, bytes_up=5, bytes_down=2)
    _, books = simulate(
        [workers(Exponential(mean_s=1.0), count=n_workers)],
        wait_for=min(wait_for, n_workers),
        tau=tau,
        seed=seed,
        interlude=interlude(every=every, rounds=rounds),
        cost=cost,
        leaves_bytes=4,
        max_steps=9,
    )
    used = bytes_down = 0
    for step, report in enumerate(books.reports):
        used += report.active
        updates = -(-step // every)  # after steps 0, every, ... before this one
        assert report.interludes == updates
        assert report.worker_updates == used + report.drained
        jobs = used + report.drained + n_workers * rounds * updates
        assert (report.llm_calls, report.tokens_in, report.tokens_out) == (12 * jobs, 700 * jobs, 30 * jobs)
        assert report.bytes_up == 5 * jobs
        assert report.bytes_down == bytes_down
        due = step % every == 0
        # 2 bytes per job, 4 more after an interlude; in each of its rounds and at its end all workers get one
        bytes_down += n_workers * (2 * rounds + 2 + 4) if due else 2 * report.active


def test_how_long_the_calls_of_a_job_take() -> None:
    streams = Streams(3)
    service = Independent(latency=THREE_S, per_input_token_s=0.01, per_output_token_s=0.1)
    # 10 tokens in and 2 out a call: 3 + 0.1 + 0.2 s; four of them on two lanes take twice that
    assert service.job_s(streams, 0, 0, FOUR_CALLS, lanes=2) == pytest.approx(6.6)
    assert service.job_s(streams, 0, 0, FOUR_CALLS, lanes=1) == pytest.approx(13.2)
    assert service.job_s(streams, 0, 0, FOUR_CALLS, lanes=99) == pytest.approx(3.3)
    assert service.job_s(streams, 0, 0, FREE, lanes=2) == 0


@pytest.mark.parametrize(
    ("latency_tokens", "per_call_s"),
    [
        (4, 3 + 6 * 0.5 + 2 * 0.1),  # measured with 4 tokens; a call has 10
        (10, 3 + 2 * 0.1),
        (12, 3 - 2 * 0.5 + 2 * 0.1),
        (30, 2 * 0.1),  # 20 tokens fewer would save 10 s of 3: nothing is left but the answer
    ],
)
def test_a_latency_was_measured_with_some_tokens(latency_tokens: int, per_call_s: float) -> None:
    service = Independent(
        latency=THREE_S, per_input_token_s=0.5, per_output_token_s=0.1, latency_tokens=latency_tokens
    )
    assert service.job_s(Streams(3), 0, 0, FOUR_CALLS, lanes=1) == pytest.approx(4 * per_call_s)
    assert Independent(latency=THREE_S, latency_tokens=4).idle() == {
        "latency_tokens": "tokens of a prompt take no time (per_input_token_s = 0)"
    }


def test_every_call_of_a_job_is_drawn_at_the_jobs_address() -> None:
    streams, latency = Streams(3), Lognormal(median_s=0.5, sigma=1.0)
    service = Independent(latency=latency)
    drawn = latency.sample(streams.generator(Stream.LLM, worker=5, job=7), 4)
    assert service.job_s(streams, 5, 7, FOUR_CALLS, lanes=3) == makespan_s(drawn, 3)
    assert service.job_s(streams, 5, 8, FOUR_CALLS, lanes=3) != makespan_s(drawn, 3)


def test_what_tokens_cost() -> None:
    service = Independent(latency=THREE_S, price_per_million_tokens_in=0.6, price_per_million_tokens_out=2.0)
    # half a million at 0.60 and a quarter of a million at 2.00
    assert service.price(500_000, 250_000) == pytest.approx(0.8)


def test_delays_are_drawn_block_by_block_at_their_address() -> None:
    n_jobs, delay = 2 * DRAWS_A_BLOCK + 3, Exponential(mean_s=1.0)
    ending, _ = simulate([workers(delay, count=2)], wait_for=2, max_steps=n_jobs, keep_spans=True)
    expected: list[float] = []
    for block in range(3):
        expected += delay.sample(Streams(0).generator(Stream.COMPUTE, 1, block), DRAWS_A_BLOCK).tolist()
    computed = [end - start for label, start, end in stretches(ending, 1) if label == "computing"]
    assert computed == pytest.approx(expected[:n_jobs])
