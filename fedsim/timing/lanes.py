"""How long a job's LLM calls take when a few of them run at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from heapq import heapify, heapreplace

import numpy as np
from numpy.typing import NDArray


def makespan_s(latencies_s: Sequence[float] | NDArray[np.float64], lanes: int) -> float:
    """Return the time (s) until every call is answered, `lanes` of them running at once.

    Calls start in the order given, the next one as soon as a lane is free: what ``asyncio`` does with a
    semaphore of `lanes` places. With no calls the answer is 0.

    Args:
        latencies_s: the duration of each call (s), non-negative, one-dimensional.
        lanes: how many calls may run at once, at least 1.

    Raises:
        ValueError: `lanes` is less than 1.

    Source: list scheduling; Graham, "Bounds on multiprocessing timing anomalies", SIAM Journal on Applied
    Mathematics, 1969.

    >>> makespan_s([3.0, 1.0, 2.0, 2.0], lanes=2)
    5.0
    """
    if lanes < 1:
        raise ValueError(f"lanes must be at least 1, got {lanes}")
    # Python floats: a heap of them is several times faster than one of numpy scalars
    calls: list[float] = latencies_s.tolist() if isinstance(latencies_s, np.ndarray) else list(latencies_s)
    if lanes == 1:
        return math.fsum(calls)
    if len(calls) <= lanes:
        return max(calls, default=0.0)
    free_s = calls[:lanes]  # when each lane is free; the earliest is first
    heapify(free_s)
    for call in calls[lanes:]:
        heapreplace(free_s, free_s[0] + call)
    return max(free_s)
