"""Token buckets: by hand, against one that keeps its level, and what they let through at most."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st

from fedsim.timing.llm_service.buckets import ROUNDING_S, Buckets, TokenBucket


def in_turn(bucket: TokenBucket, needs: list[float], at_s: float = 0.0) -> list[float]:
    """Return when each request gets what it needs, one after the other, none before `at_s`."""
    times_s = []
    for need in needs:
        at_s = max(at_s, bucket.enough_s(need))
        bucket.take(need, at_s)
        times_s.append(at_s)
    return times_s


def test_it_is_full_at_first_and_then_gets_so_many_a_minute() -> None:
    bucket = TokenBucket(per_minute=30, burst_s=6)  # it holds 3
    assert in_turn(bucket, [1] * 6) == [0, 0, 0, 2, 4, 6]


def test_it_never_holds_more_than_its_burst() -> None:
    bucket = TokenBucket(per_minute=60, burst_s=2)
    assert in_turn(bucket, [1] * 3) == [0, 0, 1]
    assert in_turn(bucket, [1] * 4, at_s=100) == [100, 100, 101, 102]


def test_what_is_left_is_kept() -> None:
    """It holds 10; 4 are taken at 0 s, and 1 comes in every second: 9 at 3 s, and 12 not before 9 s."""
    bucket = TokenBucket(per_minute=60, burst_s=10)
    bucket.take(4, 0.0)
    assert bucket.enough_s(9) == 3
    assert bucket.enough_s(12) == 6


def test_a_request_that_needs_more_than_the_bucket_holds_is_let_in_all_the_same() -> None:
    """It holds 2 and gets 1 per second: the first 5 are there at once, the next 5 after 5 s."""
    bucket = TokenBucket(per_minute=60, burst_s=2)
    assert in_turn(bucket, [5, 5]) == [0, 5]
    assert in_turn(bucket, [5], at_s=100) == [100]
    assert in_turn(bucket, [1, 1], at_s=100) == [101, 102]


@pytest.mark.parametrize("per_minute", [7, 11, 13, 600, 0.3])
def test_a_full_bucket_lets_exactly_a_minutes_worth_through(per_minute: float) -> None:
    """Whatever rounding makes of 60 / 7: seven requests at once and not an eighth."""
    bucket = TokenBucket(per_minute, burst_s=60)
    let_in = 0
    while bucket.enough_s(1) <= ROUNDING_S:
        bucket.take(1, 0.0)
        let_in += 1
    assert let_in == max(int(per_minute), 1)


def test_long_use_does_not_add_up_rounding() -> None:
    bucket = TokenBucket(per_minute=7, burst_s=60)
    last_s = in_turn(bucket, [1] * 70_007)[-1]
    assert last_s == pytest.approx(70_000 / 7 * 60, rel=1e-12)


def test_a_request_passes_both_buckets() -> None:
    """One request and 100 tokens per second: the second lacks tokens, the fourth a request."""
    buckets = Buckets(requests_per_minute=60, tokens_per_minute=6000, burst_s=3)
    times_s, now_s = [], 0.0
    for tokens in (300, 100, 0, 0, 0):
        now_s = max(now_s, buckets.enough_s(tokens))
        buckets.take(tokens, now_s)
        times_s.append(now_s)
    # requests: 3 at 0 s, 2 left, 3 at 1 s, 2 and 1 left, and none after the fourth
    assert times_s == [0, 1, 1, 1, 2]


def test_no_limit_is_no_limit() -> None:
    assert not Buckets(None, None, 60)
    assert Buckets(None, None, 60).enough_s(10**9) == -math.inf
    assert Buckets(60, None, 60)
    assert Buckets(None, 60, 60)


class Plain:
    """A bucket as one thinks of it: a level that grows."""

    def __init__(self, per_minute: float, burst_s: float) -> None:
        self.rate, self.brim = per_minute / 60, per_minute / 60 * burst_s
        self.level, self.since_s = self.brim, 0.0

    def take(self, need: float, now_s: float) -> bool:
        self.level = min(self.brim, self.level + self.rate * (now_s - self.since_s))
        self.since_s = now_s
        enough = self.level >= need
        self.level -= need if enough else 0
        return enough


@given(
    per_minute=st.sampled_from([6.0, 60.0, 900.0]),
    burst_s=st.sampled_from([1.0, 10.0, 60.0]),
    seed=st.integers(0, 10**6),
)
@tried(max_examples=60, deadline=None, derandomize=True)
def test_it_decides_as_a_bucket_that_keeps_its_level(per_minute: float, burst_s: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    bucket, plain = TokenBucket(per_minute, burst_s), Plain(per_minute, burst_s)
    needs = random.random(200) * plain.brim
    for now_s, need in zip(np.cumsum(random.exponential(0.4 * burst_s, 200)), needs, strict=True):
        enough = bucket.enough_s(need) <= now_s
        if enough:
            bucket.take(need, now_s)
        assert enough == plain.take(need, now_s)


@given(seed=st.integers(0, 10**6))
@tried(max_examples=40, deadline=None, derandomize=True)
def test_no_stretch_of_time_gets_more_than_its_burst_and_what_comes_in(seed: int) -> None:
    random = np.random.default_rng(seed)
    bucket = TokenBucket(per_minute=60, burst_s=5)
    now_s, taken = 0.0, []
    for need in random.random(60) * 5:
        now_s = max(now_s + random.exponential(1.0), bucket.enough_s(need))
        bucket.take(need, now_s)
        taken.append((now_s, need))
    for first in range(60):
        total = 0.0
        for last_s, need in taken[first:]:
            total += need
            assert total <= 5 + (last_s - taken[first][0]) + 1e-9
