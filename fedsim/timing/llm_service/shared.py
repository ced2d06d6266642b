"""One LLM service for many workers: a queue, rate limits, refusals and failures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from fedsim.catalog import Strict
from fedsim.messages import JobCost
from fedsim.streams import Streams
from fedsim.timing.delays import AnyDelay
from fedsim.timing.delays.constant import Constant
from fedsim.timing.llm_service.background import Background
from fedsim.timing.llm_service.base import LlmProvider, LlmService
from fedsim.timing.llm_service.draws import CallDraws
from fedsim.timing.outages import Outages
from fedsim.timing.traces import Requests
from fedsim.timing.traces.kept import KeptTrace

if TYPE_CHECKING:
    import simpy

    from fedsim.timing.activities import ActivityClock

NOTHING = Constant(value_s=0.0)

MOST_REFUSALS = 1_000_000
"""Of one call in a row: a run with more of them would not end."""


class RequestTrace(KeptTrace[Requests]):
    """Measured requests, of which whole rows are drawn again."""

    format = Requests

    @model_validator(mode="after")
    def _some_succeeded(self) -> RequestTrace:
        if self.rows.failed.all():
            raise ValueError("all requests of the trace failed, expected at least one that did not")
        return self


class Backoff(Strict):
    """How long a client waits before it sends a refused or failed request again.

    After the n-th refusal of a call (from 1) it is ``min(first_s * factor**(n - 1), longest_s)`` times a
    factor drawn uniformly from (1 - jitter, 1]. A client never gives up, and the service does not tell it how
    long to wait.

    Source: exponential back-off with jitter; Brooker, "Exponential backoff and jitter", AWS Architecture
    Blog, 2015 (`jitter` 1 is its full jitter); the defaults are those of the openai Python client.
    """

    first_s: float = Field(0.5, ge=0.001)
    factor: float = Field(2.0, ge=1)
    longest_s: float = Field(8.0, ge=0.001)
    jitter: float = Field(0.25, ge=0, le=1)

    def longest_pause_s(self, refusals: int) -> float:
        """Return the pause (s) after so many refusals in a row, at least 1, if jitter takes nothing off."""
        # compared as logarithms: the power may be more than a float holds
        if (refusals - 1) * math.log(self.factor) >= math.log(self.longest_s / self.first_s):
            return self.longest_s
        return self.first_s * self.factor ** (refusals - 1)


class PrefixCache(Strict):
    """The service keeps the part of the prompt that all calls of a job share.

    The first call of a job fills the cache; in every later one the share needs no prefill and has a price of
    its own, also where it is sent before the first is answered. It counts against the limits like any token.
    """

    share: float = Field(ge=0, le=1)
    """The part of each prompt that the calls of a job have in common: instruction and demonstrations."""
    price_per_million_tokens: float = Field(0.0, ge=0)
    """In place of `price_per_million_tokens_in`, for tokens in the cache."""


class Shared(LlmProvider):
    """Calls that share a service with limits: they queue, are refused and sent again, and fail.

    An answered call takes its time to the first token, plus its prompt tokens outside the cache over
    `prefill_tokens_per_s`, plus `per_output_token` times its answer's tokens; all times the job's slow-down.
    With `requests`, whole rows of a trace are drawn instead: `ttft_s` and, for each token of the answer, the
    row's ``(end_to_end_s - ttft_s) / tokens_out``; a row that failed fails the request with its code, after
    its `ttft_s` or, without one, at once. All calls of a job have the same tokens.

    Source: queueing: M/G/c in order of arrival, Kleinrock, Queueing Systems, vol. 1, 1975; token buckets:
    Turner, "New directions in communications", IEEE Communications Magazine, 1986; what is limited (requests
    and tokens per minute, refilled all the time; answers 429): the rate limit pages of the OpenAI and
    Anthropic API documentation.
    """

    kind: Literal["shared"] = "shared"
    shared_by: Literal["all", "group"] = "all"
    """One service for all workers, or one per group, all with these settings."""
    concurrency: int | None = Field(None, ge=1)
    """Requests that are answered at a time; others queue in order of arrival. None: no limit."""
    queue_limit: int | None = Field(None, ge=0)
    """A request that would have to wait and finds so many waiting is answered 429; none: of any length."""
    requests_per_minute: float | None = Field(None, gt=0)
    tokens_per_minute: float | None = Field(None, gt=0)
    """Of prompt and answer together, cached or not, taken from the bucket when a request is let in."""
    burst_s: float = Field(60.0, gt=0)
    """A bucket, full at the start, holds what comes in in this time (but at least one request)."""
    over_limit: Literal["reject", "queue"] = "reject"
    """What becomes of a request for which a bucket has too little: answered 429, or held in the queue."""
    backoff: Backoff = Backoff()
    ttft: AnyDelay = NOTHING
    """From the arrival of a request that need not wait to its first token, prefill apart."""
    per_output_token: AnyDelay = NOTHING
    """Drawn once per call."""
    prefill_tokens_per_s: float | None = Field(None, gt=0)
    """None: reading the prompt is part of `ttft`."""
    requests: RequestTrace | None = None
    server_error_probability: float = Field(0.0, ge=0, lt=1)
    """Of each request that is let in: it is answered 500 after a time to the first token, and sent again."""
    outages: Outages = ()
    """In which it answers nothing but 503; as one begins, all that is being answered or waits is cut off with
    a 503 as well."""
    prefix_cache: PrefixCache | None = None
    background: Background | None = None

    @model_validator(mode="after")
    def _one_source_of_times(self) -> Shared:
        times = {name: getattr(self, name) for name in ("ttft", "per_output_token", "prefill_tokens_per_s")}
        for name, value in times.items():
            if self.requests is not None and value not in (None, NOTHING):
                raise ValueError(f"{name}: found beside requests, expected none: times come from the trace")
        return self

    def idle(self) -> Mapping[str, str]:
        has_buckets = self.requests_per_minute is not None or self.tokens_per_minute is not None
        waits = self.concurrency is not None or (has_buckets and self.over_limit == "queue")
        turned_away = has_buckets and self.over_limit == "reject"
        limits_queue = waits and self.queue_limit is not None
        fails = self.server_error_probability > 0 or self.requests is not None
        found: dict[str, str] = {}
        if not has_buckets:
            off = "there is no limit (requests_per_minute, tokens_per_minute)"
            found |= dict.fromkeys(("burst_s", "over_limit"), off)
        if not waits:
            found["queue_limit"] = "no request ever waits (no concurrency, and nothing is held)"
        if self.concurrency is None and not limits_queue:
            found["background"] = "there are no places that others could take (no concurrency)"
        if not (turned_away or limits_queue or fails or self.outages):
            found["backoff"] = "no request is refused, and none fails"
        if self.background is not None and self.prefill_tokens_per_s is None:
            found["background.tokens_in"] = "reading a prompt takes no time of its own (prefill_tokens_per_s)"
        return found

    def instant(self, cost: JobCost) -> bool:
        # Whoever is refused comes back later. Places that are free again at once refuse nobody.
        refuses = any(
            limit is not None
            for limit in (self.requests_per_minute, self.tokens_per_minute, self.queue_limit)
        )
        down = any(outage.start_s == 0 for outage in self.outages)
        return not (refuses or down or CallDraws(self).take_time(cost))

    def check(self, lasts_s: float, call_tokens: float, patient: bool = True) -> None:
        timed = {"ttft", "per_output_token", "prefill_tokens_per_s"} & self.model_fields_set
        if self.requests is None and not timed:
            raise ValueError(
                "ttft: missing: nothing says how long an answer takes; expected ttft, per_output_token, "
                "prefill_tokens_per_s or requests (for none, ttft = { kind = 'constant', value_s = 0.0 })"
            )
        waits = [
            (f"outages.{number}", min(outage.stop_s, lasts_s) - outage.start_s)
            for number, outage in enumerate(self.outages)
        ]
        if self.over_limit == "reject":
            needs = {"requests_per_minute": 1.0, "tokens_per_minute": call_tokens}
            rates = {name: getattr(self, name) for name in needs if getattr(self, name) is not None}
            waits += [(name, min(60.0 * needs[name] / rate, lasts_s)) for name, rate in rates.items()]
        if self.background is not None:
            self.background.check(lasts_s)
        for place, seconds in waits if patient else ():
            if seconds / self.backoff.longest_s > MOST_REFUSALS:
                raise ValueError(
                    f"{place}: found a wait of {seconds:g} s, in which each call would be sent again "
                    f"{seconds / self.backoff.longest_s:,.0f} times, expected at most {MOST_REFUSALS:,}: a "
                    "shorter budget.horizon_s, a server.evict_after_s, or a longer backoff.longest_s"
                )

    @property
    def has_limits(self) -> bool:
        """Whether calls may have to wait, or be refused or cut off."""
        limits = (self.concurrency, self.requests_per_minute, self.tokens_per_minute, self.background)
        return bool(self.outages) or any(limit is not None for limit in limits)

    def open(
        self,
        env: simpy.Environment,
        streams: Streams,
        clock: ActivityClock,
        groups: Sequence[int],
        keep_levels: bool,
    ) -> LlmService:
        from fedsim.timing.llm_service.desks import Desks

        return Desks(self, env, streams, clock, groups, keep_levels)

    def cached_tokens(self, cost: JobCost) -> int:
        if self.prefix_cache is None or cost.calls == 0:
            return 0
        return int(self.prefix_cache.share * cost.tokens_in * (cost.calls - 1) / cost.calls)

    def price(self, tokens_in: int, tokens_out: int, tokens_cached: int = 0) -> float:
        cached = (
            self.prefix_cache.price_per_million_tokens * tokens_cached / 1e6 if self.prefix_cache else 0.0
        )
        return super().price(tokens_in - tokens_cached, tokens_out) + cached
