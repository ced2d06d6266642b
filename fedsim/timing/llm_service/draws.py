"""Random numbers for calls at a shared LLM service: how long answers take, and which requests fail first."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedsim.streams import Stream, Streams

if TYPE_CHECKING:
    from fedsim.messages import JobCost
    from fedsim.timing.llm_service.base import Calls
    from fedsim.timing.llm_service.shared import Shared
    from fedsim.timing.traces import Requests

Array = NDArray[np.float64]

INTERNAL_SERVER_ERROR = 500


class FailedRequests(NamedTuple):
    """Requests of a job that fail before its calls are answered, one per row, in order of call and try."""

    call: NDArray[np.intp]
    """The number of the call, from 0, that each of them belongs to."""
    seconds: Array
    """How long the service is busy with each of them, without the job's slow-down."""
    code: NDArray[np.intp]
    """The HTTP status of its answer."""


NO_FAILURES = FailedRequests(np.zeros(0, dtype=np.intp), np.zeros(0), np.zeros(0, dtype=np.intp))


class CallDraws:
    """Everything random about the calls of a job but its back-off, whatever the order they are served in.

    Answers are drawn at (LLM, worker, job), in order of call: n times to the first token, then n times per
    token, or n rows of the trace that did not fail. Failures are drawn at (CALL_FAILURE, worker, job): first
    how often each call fails before it is answered (geometric), then all that these failures need. This is
    the law of requests that each fail by a draw of their own.

    Args:
        settings: of the service.
    """

    def __init__(self, settings: Shared) -> None:
        self._settings = settings
        self._measured = _Measured(settings) if settings.requests is not None else None
        self.failure_probability = settings.server_error_probability
        """That a request that is let in fails: by an error of the service, or as a row of the trace did."""
        if self._measured is not None:
            self.failure_probability = self._measured.failure_probability

    def take_time(self, cost: JobCost) -> bool:
        """Return whether the calls of such a job may take any time, those that fail included."""
        if self.failure_probability:
            return True
        if self._measured is not None:
            return self._measured.take_time(cost.tokens_out)
        settings = self._settings
        return (
            settings.ttft.mean_value_s > 0
            or (settings.prefill_tokens_per_s is not None and cost.tokens_in > 0)
            or (settings.per_output_token.mean_value_s > 0 and cost.tokens_out > 0)
        )

    def answers_s(self, streams: Streams, calls: Calls) -> Array:
        """Return how long the service is busy with each call of a job (s), slow-down apart: ``(n,)``."""
        n, tokens_in, tokens_out = calls.cost[:3]
        prompt = np.full(n, tokens_in / n)
        if self._settings.prefix_cache is not None:
            prompt[1:] *= 1 - self._settings.prefix_cache.share
        generator = streams.seat(Stream.LLM, calls.worker, calls.job)
        return self.seconds(generator, prompt, np.full(n, tokens_out / n))

    def seconds(self, generator: np.random.Generator, prompt_tokens: Array, answer_tokens: Array) -> Array:
        """Draw how long the service is busy with requests that do not fail (s), one of each size: ``(n,)``.

        Args:
            generator: where to draw.
            prompt_tokens: those that are not in the cache.
            answer_tokens: of the same shape ``(n,)``.
        """
        n = len(answer_tokens)
        if self._measured is not None:
            first_s, each_s = self._measured.answers(generator, n)
            return first_s + each_s * answer_tokens
        first_s = self._settings.ttft.sample(generator, n)
        if self._settings.prefill_tokens_per_s is not None:
            first_s = first_s + prompt_tokens / self._settings.prefill_tokens_per_s
        return first_s + self._settings.per_output_token.sample(generator, n) * answer_tokens

    def failures(self, streams: Streams, calls: Calls) -> FailedRequests:
        """Return the requests of a job that fail; each has a time to the first token of its own."""
        if not self.failure_probability:
            return NO_FAILURES
        generator = streams.seat(Stream.CALL_FAILURE, calls.worker, calls.job)
        counts = generator.geometric(1 - self.failure_probability, calls.cost.calls) - 1
        failed = int(counts.sum())
        if not failed:
            return NO_FAILURES
        if self._measured is not None:
            seconds, codes = self._measured.failures(generator, failed)
        else:
            seconds = self._settings.ttft.sample(generator, failed)
            codes = np.full(failed, INTERNAL_SERVER_ERROR)
        return FailedRequests(np.repeat(np.arange(calls.cost.calls), counts), seconds, codes)


class _Measured:
    """Whole rows of a trace, drawn again."""

    def __init__(self, settings: Shared) -> None:
        assert settings.requests is not None
        trace: Requests = settings.requests.rows
        answered = trace.succeeded()
        self._first_s = answered.ttft_s
        tokens = answered.tokens_out
        rest_s = answered.end_to_end_s - answered.ttft_s
        # a row without a token says nothing of how long one takes
        self._each_s = np.divide(rest_s, tokens, out=np.zeros(len(tokens)), where=tokens > 0)
        # what a failure can be: a row that failed, or one that did not and an error of the service
        weights = np.where(trace.failed, 1.0, settings.server_error_probability)
        self.failure_probability = float(weights.mean())
        self._weights = weights / (weights.sum() or 1.0)
        self._failure_s = np.nan_to_num(trace.ttft_s)  # a failure without times: at once
        codes = np.where(trace.failed, trace.error_code, INTERNAL_SERVER_ERROR)
        self._code = codes.astype(np.intp)

    def take_time(self, tokens_out: int) -> bool:
        """Return whether any answer takes time, of so many tokens."""
        return bool(self._first_s.any() or (tokens_out and self._each_s.any()))

    def answers(self, generator: np.random.Generator, size: int) -> tuple[Array, Array]:
        """Draw times to the first token and times per token (s), each ``(size,)``."""
        rows = generator.integers(len(self._first_s), size=size)
        return self._first_s[rows], self._each_s[rows]

    def failures(self, generator: np.random.Generator, size: int) -> tuple[Array, NDArray[np.intp]]:
        """Draw how long failing requests take (s) and their codes, each ``(size,)``."""
        rows = generator.choice(len(self._weights), size=size, p=self._weights)
        return self._failure_s[rows], self._code[rows]
