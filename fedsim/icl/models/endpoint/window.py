"""Many prompts, of which only a few are asked at a time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, as_completed, wait
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeVar

from fedsim.icl.models.endpoint.background import BackgroundLoop
from fedsim.icl.models.endpoint.budget import UsageBudget, Use
from fedsim.icl.models.endpoint.errors import CallError

Result = TypeVar("Result")

Ask = Callable[[str], Coroutine[Any, Any, tuple[Result, Use]]]
"""Asks one prompt: what was answered, and what it used."""


class PendingPrompt(NamedTuple):
    """A prompt to be asked."""

    place: int
    prompt: str
    most: Use
    """The most that it can use."""


class Window(Generic[Result]):
    """Asks prompts in another thread and hands each answer over in this one, as it arrives."""

    def __init__(
        self, background: BackgroundLoop, budget: UsageBudget, size: int, done: Callable[[int, Result], None]
    ) -> None:
        self._background = background
        self._budget = budget
        self._size = size
        self._done = done
        self._open: dict[Future[tuple[Result, Use]], PendingPrompt] = {}
        self.handed_over = 0

    def run(self, jobs: Iterable[PendingPrompt], ask: Ask[Result]) -> None:
        """Ask all prompts, in order, at most `size` at a time.

        Raises:
            CallError: a prompt could not be answered, or the budget has no room for it. Others may be on
                their way: `collect` them.
        """
        for job in jobs:
            # What is on its way may turn out to need less than it could have: wait for it, then look again.
            while len(self._open) == self._size or (self._open and self._budget.lacking(job.most)):
                self._hand_over_some()
            if lacking := self._budget.lacking(job.most):
                raise CallError(lacking)
            self._budget.reserve(job.most)
            self._open[self._background.start(ask(job.prompt))] = job
        while self._open:
            self._hand_over_some()

    def collect(self, patience_s: float) -> None:
        """Hand over what is on its way and arrives in time; let failures pass."""
        with suppress(TimeoutError):
            for future in as_completed(list(self._open), timeout=patience_s):
                if future.exception() is None:
                    self._hand_over(future)

    def cancel(self) -> None:
        """Give up what is still on its way; the budget goes on counting the most that it can have used."""
        for future in self._open:
            future.cancel()
        self._open.clear()

    def _hand_over_some(self) -> None:
        for future in wait(self._open, return_when=FIRST_COMPLETED).done:
            self._hand_over(future)

    def _hand_over(self, future: Future[tuple[Result, Use]]) -> None:
        job = self._open[future]
        result, used = future.result()
        self._done(job.place, result)
        # Last: an answer whose handing over was interrupted is handed over again, not lost.
        del self._open[future]
        self._budget.settle(job.most, used)
        self.handed_over += 1
