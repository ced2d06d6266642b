"""An event loop in its own thread, so that code in any thread or event loop can wait for answers.

A notebook has a loop running in its main thread, where a second one cannot be run.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

Result = TypeVar("Result")

THREAD = "fedsim endpoint"
"""The name of the thread."""


class BackgroundLoop:
    """Runs coroutines; holds a resource open for them, and closes it in their loop."""

    def __init__(self, resource: AbstractAsyncContextManager[Any]) -> None:
        ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        thread = threading.Thread(target=_run, args=(resource, ready), name=THREAD, daemon=True)
        thread.start()
        self._loop, stop = ready.result()
        # Closes at the end of the program at the latest, also where nobody calls `close`.
        self._finalizer = weakref.finalize(self, _stop, self._loop, stop, thread)

    def start(self, coroutine: Coroutine[Any, Any, Result]) -> Future[Result]:
        """Start a coroutine; cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def close(self) -> None:
        """Cancel what still runs and close the resource."""
        self._finalizer()


def _run(
    resource: AbstractAsyncContextManager[Any],
    ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]],
) -> None:
    async def until_stopped() -> None:
        stop = asyncio.Event()
        async with resource:
            ready.set_result((asyncio.get_running_loop(), stop))
            await stop.wait()

    asyncio.run(until_stopped())


def _stop(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(stop.set)
    thread.join()
