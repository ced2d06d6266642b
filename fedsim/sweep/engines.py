"""Where runs are computed: processes on this machine, any other executor."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path

from fedsim.errors import RunError
from fedsim.importing import search, searched
from fedsim.stopping import let_signals_through, signals_later
from fedsim.sweep.work import Broken, Done, WorkOrder, work

FutureRun = Future[Done | Broken]

UNSTARTED = (
    "no process could be started, for want of memory (try fewer --jobs), or because of the script that asks "
    "for it: it must be a file, and its work must stand below `if __name__ == '__main__':`"
)
MOST_DEAD_POOLS = 2
"""One may have been killed by chance before it came to work."""

KILLED = "a process was killed, perhaps for want of memory; try fewer --jobs"


class Engine:
    """An executor, and how many runs it works on at a time."""

    def __init__(self, executor: Executor, workers: int) -> None:
        self.executor = executor
        self.workers = workers

    def submit(self, order: WorkOrder) -> FutureRun:
        """Hand a run over.

        Raises:
            BrokenExecutor: the executor has lost its workers.
        """
        return self.executor.submit(work, order)

    def mend(self) -> None:
        """Get ready again after the executor has broken.

        Raises:
            RunError: that is the affair of whoever made it.
        """
        who = "the executor has lost its workers"
        if getattr(self.executor, "_client", None) is not None:
            who = "the connection to the Dask scheduler is lost"
        raise RunError(f"{who}; finished runs are kept, and the next start goes on from there")

    def stop(self) -> None:
        """End what is running."""


class LocalPool(Engine):
    """Processes on this machine, started afresh when one of them has been killed."""

    def __init__(self, jobs: int) -> None:
        self._others = set(active_children())
        self._sign: Future[int] | None = None
        """Whether a process of the pool has ever come to work: the first thing that it is asked for."""
        self._dead_pools = 0
        super().__init__(self._pool(jobs), jobs)

    def submit(self, order: WorkOrder) -> FutureRun:
        with _nothing_from_here(), signals_later():  # it may start a process
            if self._sign is None:
                self._sign = self.executor.submit(int)
            return super().submit(order)

    def warm_up(self, module: str) -> None:
        """Let the processes import a module now, before there is work for them."""
        with _nothing_from_here(), signals_later():
            for _ in range(self.workers):
                self.executor.submit(import_module, module)

    def mend(self) -> None:
        self.stop()
        alive = self._sign is None or (not self._sign.cancelled() and self._sign.exception() is None)
        self._dead_pools = 0 if alive else self._dead_pools + 1
        if self._dead_pools == MOST_DEAD_POOLS:
            raise RunError(UNSTARTED)
        self.executor, self._sign = self._pool(self.workers), None

    def stop(self) -> None:
        # A run may take long: its process is not asked.
        for process in self._processes():
            process.kill()
        self.executor.shutdown(wait=True, cancel_futures=True)

    def _processes(self) -> set[BaseProcess]:
        return set(active_children()) - self._others

    @staticmethod
    def _pool(jobs: int) -> ProcessPoolExecutor:
        with _nothing_from_here(), signals_later():  # its locks have a process of their own
            return ProcessPoolExecutor(
                jobs,
                get_context("spawn"),
                initializer=_start_worker,
                initargs=(searched(), sys.flags.safe_path),
            )


SAFE_PATH = "PYTHONSAFEPATH"
"""Where it is set, Python does not search the folder that a process starts in."""


@contextmanager
def _nothing_from_here() -> Iterator[None]:
    """Keep processes that start from importing files of the folder where one works in Python's place."""
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before


def _start_worker(own_folder: Path | None, stays_safe: bool) -> None:
    """Make a process a good member of a pool.

    Args:
        own_folder: where the parent looks for classes that a scenario names.
        stays_safe: whether processes that this one starts are to be kept from the folder as well.
    """
    search(own_folder)
    if not stays_safe:
        os.environ.pop(SAFE_PATH, None)
    # A terminal sends Ctrl-C to every process; the parent alone knows what to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    let_signals_through()
    # Runs side by side use the cores better than threads within one.
    os.environ["OMP_NUM_THREADS"] = "1"
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    """Wait until the parent is gone, however it went, and go too."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def workers_of(executor: Executor) -> int:
    """Return how many runs an executor works on at a time, as far as it tells."""
    client = getattr(executor, "_client", None)
    if client is not None:  # Dask's; workers may come and go
        return max(1, sum(client.nthreads().values()))
    return getattr(executor, "_max_workers", None) or os.cpu_count() or 1


def is_lost(future: FutureRun) -> bool:
    """Whether a run has no result because its executor has lost its workers; it must have ended."""
    return future.cancelled() or isinstance(future.exception(), BrokenExecutor)
