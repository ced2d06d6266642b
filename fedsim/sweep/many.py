"""Parallel runs: a few are started at a time, results come as they end, lost runs are started again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait

from fedsim.errors import STRAY
from fedsim.sweep.engines import KILLED, Engine, FutureRun, is_lost
from fedsim.sweep.outcome import Outcome, RunTask
from fedsim.sweep.work import Broken, Done, WorkOrder, broken_by

WINDOW = 3
"""Runs handed out for each worker: enough that none waits for the next one, few enough for any memory."""

MOST_BREAKS = 3
"""A run that was under way each time that so many pools broke is the one that breaks them."""


class Crew:
    """Hands tasks to an engine.

    Args:
        engine: who computes.
        tasks: asked for one by one, as there is room; outcomes among them are passed on.
        order: what the engine is told of a task.
        finish: turns what a run said into an outcome.
    """

    def __init__(
        self,
        engine: Engine,
        tasks: Iterator[RunTask | Outcome],
        order: Callable[[RunTask], WorkOrder],
        finish: Callable[[RunTask, Done | Broken], Outcome],
    ) -> None:
        self._engine = engine
        self._tasks = tasks
        self._order = order
        self._finish = finish
        self._pending: dict[FutureRun, RunTask] = {}
        self._again: deque[RunTask] = deque()

    def outcomes(self) -> Generator[Outcome, None, None]:
        """Yield what became of each run, in the order in which they end."""
        yield from self._fill()
        while self._pending:
            finished, _ = wait(self._pending, return_when=FIRST_COMPLETED)
            if any(is_lost(future) for future in finished):
                yield from self._mended()
            else:
                for future in finished:
                    yield self._finish(self._pending.pop(future), _result(future))
            yield from self._fill()

    def cancel(self) -> None:
        """Take back what nobody has begun."""
        for future in self._pending:
            future.cancel()

    def _fill(self) -> Iterator[Outcome]:
        """Hand out tasks as long as there is room, and yield what need not be run."""
        while self._has_room() and (task := self._next()) is not None:
            if isinstance(task, Outcome):
                yield task
                continue
            try:
                self._pending[self._submit(task)] = task
            except BrokenExecutor:
                self._again.appendleft(task)
                if self._pending:
                    break  # those under way will tell
                self._engine.mend()

    def _submit(self, task: RunTask) -> FutureRun:
        try:
            order = self._order(task)
        except STRAY as error:  # a stranger's part that cannot travel
            failed: FutureRun = Future()
            failed.set_exception(error)
            return failed
        return self._engine.submit(order)

    def _has_room(self) -> bool:
        """Whether one more may be handed out; a suspect goes alone, lest others be blamed for it."""
        alone = any(task.breaks > 1 for task in (*self._pending.values(), *self._again))
        return len(self._pending) < (1 if alone else WINDOW * self._engine.workers)

    def _next(self) -> RunTask | Outcome | None:
        return self._again.popleft() if self._again else next(self._tasks, None)

    def _mended(self) -> Iterator[Outcome]:
        """Start afresh after a broken pool; yield what was done by then, and the runs that are given up."""
        pending, self._pending = self._pending, {}
        self._engine.mend()
        for future, task in pending.items():
            if not is_lost(future):
                yield self._finish(task, _result(future))
                continue
            task.breaks += 1
            if task.breaks < MOST_BREAKS:
                self._again.append(task)
            else:
                yield self._finish(task, Broken(KILLED))


def _result(future: FutureRun) -> Done | Broken:
    """Return what a run said, or what happened to it on the way."""
    error = future.exception()
    if error is None:
        return future.result()
    if not isinstance(error, Exception):
        raise error
    return broken_by(error)
