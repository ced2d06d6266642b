"""Calls on a few lanes: values by hand, a slow twin, Graham's bounds."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedsim.timing.lanes import makespan_s

LATENCIES = st.lists(st.floats(0.001, 1e3), min_size=1, max_size=40)
LANES = st.integers(1, 12)


def makespan_reference(latencies_s: list[float], lanes: int) -> float:
    """Scan all lanes for the one that is free first, call after call."""
    free_s = [0.0] * lanes
    for latency_s in latencies_s:
        first = min(range(lanes), key=lambda lane: free_s[lane])
        free_s[first] += latency_s
    return max(free_s)


@pytest.mark.parametrize(
    ("latencies_s", "lanes", "expected_s"),
    [
        ([], 3, 0.0),
        ([2.0], 1, 2.0),
        ([1.0, 2.0, 4.0], 1, 7.0),
        ([1.0, 2.0, 4.0], 3, 4.0),
        ([1.0, 2.0, 4.0], 2, 5.0),  # lanes: 1 then 4; 2
        ([4.0, 2.0, 1.0], 2, 4.0),  # the order matters: 4; 2 then 1
        ([3.0, 1.0, 2.0, 2.0], 2, 5.0),  # 3 then 2; 1 then 2
        ([1.0, 1.0, 1.0, 1.0, 1.0], 2, 3.0),
        ([5.0, 1.0, 1.0, 1.0, 1.0, 1.0], 3, 5.0),  # the long call hides the others
        ([2.0, 2.0, 2.0, 3.0], 3, 5.0),  # a tie: whichever lane takes the last call, it ends at 5
    ],
)
def test_by_hand(latencies_s: list[float], lanes: int, expected_s: float) -> None:
    assert makespan_s(latencies_s, lanes) == expected_s
    assert makespan_s(np.array(latencies_s), lanes) == expected_s


@given(LATENCIES, LANES)
def test_equals_the_slow_twin(latencies_s: list[float], lanes: int) -> None:
    assert makespan_s(latencies_s, lanes) == pytest.approx(makespan_reference(latencies_s, lanes), rel=1e-12)


@given(LATENCIES, LANES)
def test_stays_within_grahams_bounds(latencies_s: list[float], lanes: int) -> None:
    share_s, longest_s = math.fsum(latencies_s) / lanes, max(latencies_s)
    slack = 1e-12 * math.fsum(latencies_s)
    found_s = makespan_s(latencies_s, lanes)
    assert found_s >= max(share_s, longest_s) - slack
    assert found_s <= share_s + (1 - 1 / lanes) * longest_s + slack


@given(LATENCIES)
def test_extremes_are_sum_and_maximum(latencies_s: list[float]) -> None:
    assert makespan_s(latencies_s, 1) == math.fsum(latencies_s)
    assert makespan_s(latencies_s, len(latencies_s)) == max(latencies_s)
    assert makespan_s(latencies_s, len(latencies_s) + 5) == max(latencies_s)


def test_agrees_with_asyncio_and_a_semaphore() -> None:
    """The claim of the docstring, on asyncio's own scheduler with a clock that jumps instead of waiting."""
    latencies_s = [3.0, 1.0, 2.0, 2.0, 5.0, 1.0, 1.0, 4.0, 0.5]

    async def all_calls(lanes: int) -> float:
        places = asyncio.Semaphore(lanes)
        loop = asyncio.get_running_loop()
        start_s = loop.time()

        async def call(latency_s: float) -> None:
            async with places:
                await asyncio.sleep(latency_s)

        await asyncio.gather(*(call(latency_s) for latency_s in latencies_s))
        return loop.time() - start_s

    for lanes in (1, 2, 3, 4):
        with asyncio.Runner(loop_factory=JumpingLoop) as runner:
            assert runner.run(all_calls(lanes)) == pytest.approx(makespan_s(latencies_s, lanes), rel=1e-9)


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        wait = self._selector.select

        def select(timeout: float | None = None) -> list[object]:
            self.now_s += timeout or 0.0
            return wait(0)

        self._selector.select = select

    def time(self) -> float:
        return self.now_s


@pytest.mark.parametrize("lanes", [0, -1])
def test_bad_lanes(lanes: int) -> None:
    with pytest.raises(ValueError, match=f"lanes must be at least 1, got {lanes}"):
        makespan_s([1.0], lanes)
