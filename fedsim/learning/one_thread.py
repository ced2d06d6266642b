"""Computing with one thread: the one place where the number of torch's threads is set."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_inside = 0
_before = 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread, and give back the number that was set before.

    These tensors are small, runs side by side use the cores better, and the order of a sum, and so its last
    digit, does not depend on the machine. torch keeps the number for each thread, and for threads to come: of
    several who are inside at a time, only the first one sees what was set before.
    """
    global _inside, _before
    # Asked first in any case: a thread that was never asked takes over the process's number later.
    found = torch.get_num_threads()
    with _lock:
        if not _inside:
            _before = found
        _inside += 1
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(_before)
        with _lock:
            _inside -= 1
