"""Buffers between an asynchronous server and its workers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fedsim.learning.filters.base import Arrival, Filter

if TYPE_CHECKING:
    from torch import Tensor


class Basgd(Filter):
    """Collects updates in buffers, and passes on the means of all buffers once none is empty.

    Worker v fills buffer v mod B. Until every buffer holds something the consensus stays where it is; then
    there are B rows, whoever was fast, and all buffers are emptied. A fast malicious worker spoils its own
    buffer and no more: with an aggregator that withstands f Byzantine rows, f malicious workers do no harm
    however often they report. All messages of one server step go into the buffers before these are looked at.

    Source: Yang and Li, "BASGD: buffered asynchronous SGD for Byzantine learning", ICML 2021, Algorithm 1.
    That workers may be assigned anew is the paper's idea; when and how is ours.
    """

    kind: Literal["basgd"] = "basgd"
    buffers: int = Field(ge=1)
    """B, the rows that the aggregator gets."""
    reassign_after_steps: int | None = Field(default=None, ge=1)
    """After so many server steps without rows, workers heard of since the last ones are dealt out evenly, in
    the order of their numbers: for buffers whose workers are all gone. None: never."""

    def check(self, n_workers: int) -> None:
        if self.buffers > n_workers:
            raise ValueError(
                f"buffers: found {self.buffers}, expected at most {n_workers}, the number of workers"
            )

    def rows_made(self, m: int) -> int | None:
        return self.buffers

    def open(
        self,
        n_workers: int,
        trusted: Callable[[Tensor, int], Tensor] | None = None,
        calls_each: int = 0,
    ) -> Buffering:
        self.check(n_workers)
        return Buffering(self, n_workers)


class Buffering:
    """The buffers of one run. Nothing is ever refused."""

    def __init__(self, settings: Basgd, n_workers: int) -> None:
        self.refused = 0
        self.calls = 0
        self.expelled: Collection[int] = ()
        self._settings = settings
        self._buffer_of = [worker % settings.buffers for worker in range(n_workers)]
        self._waited = 0
        self._heard: set[int] = set()
        self._empty()

    def passed(self, arrivals: list[Arrival], previous: Tensor) -> Tensor:
        import torch

        for arrival in arrivals:
            self._put(self._buffer_of[arrival.worker], arrival.update)
            self._heard.add(arrival.worker)
        if len(self._means) < self._settings.buffers:
            self._wait()
            return previous.new_empty(0, len(previous))
        rows = previous + torch.stack([self._means[buffer] for buffer in sorted(self._means)])
        self._empty()
        self._waited = 0
        self._heard.clear()
        return rows

    def _put(self, buffer: int, update: Tensor) -> None:
        count = self._counts[buffer] = self._counts.get(buffer, 0) + 1
        mean = self._means.get(buffer)
        self._means[buffer] = update if mean is None else mean + (update - mean) / count

    def _empty(self) -> None:
        self._means: dict[int, Tensor] = {}
        self._counts: dict[int, int] = {}

    def _wait(self) -> None:
        self._waited += 1
        if self._waited == self._settings.reassign_after_steps:
            for place, worker in enumerate(sorted(self._heard)):
                self._buffer_of[worker] = place % self._settings.buffers
            self._waited = 0
            self._heard.clear()
