"""The requests of others: their settings, and an endless stream of them in order of time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, model_validator

from fedsim.catalog import Strict
from fedsim.streams import Stream, Streams
from fedsim.timing.pace import RESOLUTION_S
from fedsim.timing.traces import Arrivals
from fedsim.timing.traces.kept import KeptTrace

if TYPE_CHECKING:
    from fedsim.timing.llm_service.draws import CallDraws

DRAWN_AT_ONCE = 256


class ArrivalTrace(KeptTrace[Arrivals]):
    """The requests of others as they arrive at the service."""

    format = Arrivals

    @model_validator(mode="after")
    def _lasts(self) -> ArrivalTrace:
        if (last_s := self.rows.time_s[-1]) < RESOLUTION_S:
            raise ValueError(
                f"the trace ends at {last_s:g} s, expected its last request after {RESOLUTION_S:g} s at "
                "least: it is repeated"
            )
        return self


class Background(Strict):
    """Requests of others: they wait and take places like ours, but count against nobody's rate limits.

    Either a trace of `arrivals`, again from its beginning when it is over (its last time plus the mean gap),
    or a Poisson stream of `requests_per_minute`, all with the same tokens. What is refused or cut off is not
    sent again.
    """

    arrivals: ArrivalTrace | None = None
    requests_per_minute: float | None = Field(None, gt=0, le=60 / RESOLUTION_S)
    tokens_in: int = Field(500, ge=0)
    tokens_out: int = Field(100, ge=0)

    @model_validator(mode="after")
    def _one_source(self) -> Background:
        if (self.arrivals is None) == (self.requests_per_minute is None):
            raise ValueError("expected either arrivals, a trace, or requests_per_minute")
        return self

    def check(self, lasts_s: float) -> None:
        """Check that the requests begin before a run that lasts so long (s) ends.

        Raises:
            ValueError: one sentence with the place, what was found and what was expected.
        """
        if self.arrivals is not None and (first_s := self.arrivals.rows.time_s[0]) >= lasts_s:
            raise ValueError(
                f"background.arrivals: the first request of others comes at {first_s:g} s, expected one "
                f"before the run ends, at {lasts_s:g} s (budget.horizon_s)"
            )

    def idle(self) -> Mapping[str, str]:
        told = "arrivals tell it, request by request"
        return {} if self.arrivals is None else {"tokens_in": told, "tokens_out": told}


def requests_of_others(
    background: Background, draws: CallDraws, streams: Streams, service: int
) -> Iterator[tuple[float, float]]:
    """Yield when each request arrives and how long the service is busy with it (both s).

    Block b of `DRAWN_AT_ONCE` requests, or round b of the trace, is drawn at (BACKGROUND, service, b).

    Args:
        background: the settings.
        draws: how long answers take.
        streams: the randomness of the run.
        service: the number of the service.
    """
    end_s = 0.0
    for block in count():
        generator = streams.seat(Stream.BACKGROUND, service, block)
        if background.arrivals is None:
            assert background.requests_per_minute is not None
            gaps_s = generator.exponential(60.0 / background.requests_per_minute, DRAWN_AT_ONCE)
            times_s = end_s + np.cumsum(gaps_s)
            end_s = float(times_s[-1])
            tokens_in = np.full(DRAWN_AT_ONCE, float(background.tokens_in))
            tokens_out = np.full(DRAWN_AT_ONCE, float(background.tokens_out))
        else:
            rows = background.arrivals.rows
            times_s = block * _period_s(background) + rows.time_s
            tokens_in, tokens_out = rows.tokens_in, rows.tokens_out
        busy_s = draws.seconds(generator, tokens_in, tokens_out)
        yield from zip(times_s.tolist(), busy_s.tolist(), strict=True)


def _period_s(background: Background) -> float:
    """Return after how long a trace of arrivals begins again (s): its last time plus the mean gap."""
    assert background.arrivals is not None
    times_s = background.arrivals.rows.time_s
    return float(times_s[-1] + (times_s[-1] - times_s[0]) / max(len(times_s) - 1, 1))
