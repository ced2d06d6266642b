"""Other processes in tests: what they do is waited for, however slow the machine; they end with the test."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LIMIT_S = 600
"""Which only what hangs reaches."""


def until(happened: Callable[[], object], process: subprocess.Popen | None = None) -> None:
    """Wait for something, as long as the process that is to do it lives."""
    deadline = time.monotonic() + LIMIT_S
    while not happened():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it hangs"
        time.sleep(0.01)


def ended(process: subprocess.Popen) -> None:
    """End a process and close its files, however it is."""
    process.kill()
    with process:
        pass


@contextmanager
def started(words: Iterable[object], folder: Path, **options: object) -> Iterator[subprocess.Popen]:
    """Start a process in a session of its own, where a signal to the group is a terminal's Ctrl-C.

    However a test goes, the process and those that it has started are ended, and its files are closed.
    """
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    process = subprocess.Popen([str(word) for word in words], cwd=folder, start_new_session=True, **pipes)
    with process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """Open a pseudo-terminal: the end that a person would look at, and the end that a program writes to."""
    import pty  # Unix alone has it

    ends = pty.openpty()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)
