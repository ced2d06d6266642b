"""Waiting for what another process does: for the event itself, however slow the machine is."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

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
