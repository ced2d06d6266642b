"""How many places of a service the requests of others take on average."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedsim.timing.llm_service.background import period_s

if TYPE_CHECKING:
    from fedsim.timing.llm_service.shared import Shared

AnyNumber = TypeVar("AnyNumber", float, NDArray[np.float64])

WINDOW_S = 10.0
"""Over so long (about) a trace of arrivals is averaged."""


class BackgroundLoad:
    """The mean number of places that the background takes, as a function of time.

    A Poisson stream takes its rate times the mean time of an answer; a trace's requests are averaged over
    windows of about 10 s. Nothing is drawn.
    """

    def __init__(self, settings: Shared) -> None:
        background = settings.background
        self._window_s = math.inf
        if background is None:
            self._places = np.zeros(1)
        elif background.arrivals is None:
            answer_s = mean_answer_s(settings, background.tokens_in, background.tokens_out)
            self._places = np.array([(background.requests_per_minute or 0.0) / 60 * answer_s])
        else:
            rows = background.arrivals.rows
            lasts_s = period_s(background)
            windows = math.ceil(lasts_s / WINDOW_S)
            if windows > 1:
                self._window_s = lasts_s / windows
            answers_s = mean_answer_s(settings, rows.tokens_in, rows.tokens_out)
            window = np.minimum((rows.time_s / self._window_s).astype(np.intp), windows - 1)
            self._places = np.bincount(window, answers_s, minlength=windows) / (lasts_s / windows)

    def places(self, now_s: float) -> float:
        """Return how many places are taken at this instant."""
        return float(self._places[self._window(now_s) % len(self._places)])

    def changes_s(self, now_s: float) -> float:
        """Return when that changes next (s); `math.inf` never."""
        return (self._window(now_s) + 1) * self._window_s

    def _window(self, now_s: float) -> int:
        window = int(now_s / self._window_s)
        # the end of a window belongs to the next one, whatever rounding makes of the division
        return window + ((window + 1) * self._window_s <= now_s)


def mean_answer_s(settings: Shared, tokens_in: AnyNumber, tokens_out: AnyNumber) -> AnyNumber:
    """Return how long a request with so many tokens is answered on average (s)."""
    if settings.requests is None:
        first_s, token_s = settings.ttft.mean_value_s, settings.per_output_token.mean_value_s
    else:
        rows = settings.requests.rows.succeeded()
        long = rows.rows(np.flatnonzero(rows.tokens_out > 0))
        first_s = float(rows.ttft_s.mean())
        a_token_s = (long.end_to_end_s - long.ttft_s) / long.tokens_out
        token_s = float(a_token_s.sum()) / len(rows)
    prefill_s = tokens_in / settings.prefill_tokens_per_s if settings.prefill_tokens_per_s else 0.0
    return first_s + prefill_s + token_s * tokens_out
