"""What one job asks of a service: how long it would take alone, and how much of each limit it uses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fedsim.streams import Stream, Streams
from fedsim.timing.lanes import makespan_s
from fedsim.timing.llm_service.draws import CallDraws
from fedsim.timing.traces.requests import TOO_MANY_REQUESTS

if TYPE_CHECKING:
    from fedsim.timing.llm_service.base import Calls
    from fedsim.timing.llm_service.shared import Backoff


class Demand(NamedTuple):
    """What one job asks of a service, before anybody else disturbs it."""

    alone_s: float
    """How long the job takes if only its lanes and its own failures slow it down."""
    place_s: float
    """How long its requests are answered, summed over them."""
    answered_share: float
    """The part of its open calls' seconds in which they are answered; in the rest they back off."""
    spread_s: float
    """The standard deviation of the time for which a call is answered."""
    age_s: float
    """How long ago, on average, the service began with a request that it is answering."""
    waves: float
    """Requests one after the other in a lane: the job waits so many times what each request waits."""
    lanes: int
    """Calls that are open at a time."""
    calls: int
    requests: int
    """The calls, and the requests that fail and are sent again."""
    tokens: float
    """The tokens of all requests, prompt and answer together."""
    too_many: int = 0
    """Requests answered 429 because the row of a trace of measured requests is."""


def demand_of(draws: CallDraws, backoff: Backoff, streams: Streams, calls: Calls) -> Demand:
    """Draw everything that a job needs and sum it up.

    Answers and failures are drawn as `CallDraws` says, pauses at (BACKOFF, worker, job) in order of call and
    try.
    """
    n, scale = calls.cost.calls, calls.scale
    lanes = min(calls.lanes, n)
    tokens = float(calls.cost.tokens_in + calls.cost.tokens_out)
    answers_s = draws.answers_s(streams, calls)
    place_s = scale * float(answers_s.sum())
    square = scale * scale * float(answers_s @ answers_s)
    age_s = square / (2 * place_s) if place_s else 0.0
    spread_s = math.sqrt(max(square / n - (place_s / n) ** 2, 0.0))
    waves = -(-n // lanes)
    failures = draws.failures(streams, calls)
    failed = len(failures.call)
    if not failed:
        alone_s = scale * makespan_s(answers_s, lanes)
        return Demand(alone_s, place_s, 1.0, spread_s, age_s, waves, lanes, n, n, tokens)
    # failures come in order of call and try: the first of each call has number 1
    tries = np.arange(failed) - np.searchsorted(failures.call, failures.call) + 1
    uniforms = streams.seat(Stream.BACKOFF, calls.worker, calls.job).random(failed)
    longest_s = np.array([backoff.longest_pause_s(number) for number in range(1, tries.max() + 1)])
    pauses_s = longest_s[tries - 1] * (1 - backoff.jitter * uniforms)
    before_s = np.bincount(failures.call, scale * failures.seconds + pauses_s, minlength=n)
    place_s += scale * float(failures.seconds.sum())
    again = (n + failed) / n
    return Demand(
        alone_s=makespan_s(scale * answers_s + before_s, lanes),
        place_s=place_s,
        answered_share=place_s / (place_s + float(pauses_s.sum())),
        spread_s=spread_s,
        age_s=age_s,
        waves=waves * again,
        lanes=lanes,
        calls=n,
        requests=n + failed,
        tokens=tokens * again,
        too_many=int((failures.code == TOO_MANY_REQUESTS).sum()),
    )
