"""How a command is stopped: by Ctrl-C, by a system that ends its jobs, by a terminal that is closed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPED = 128 + signal.SIGINT
"""The exit code after Ctrl-C; after another signal it is 128 and the number of that one."""

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def first_signal_only() -> Iterator[list[int]]:
    """Stop at the first signal, and clear up in peace when others follow: until this process has ended.

    Yields a list that holds the number of the signal once it has come. What somebody else listens to, or has
    told this process to ignore, as `nohup` does, is left as it is.
    """
    heard: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        for each in before:
            signal.signal(each, _nothing)
        raise KeyboardInterrupt

    before = {each: signal.getsignal(each) for each in SIGNALS if _in_main_thread()}
    usual = (signal.SIG_DFL, signal.default_int_handler)
    before = {each: handler for each, handler in before.items() if handler in usual}
    try:
        for each in before:
            signal.signal(each, stop)
        yield heard
    finally:
        if not heard:
            for each, handler in before.items():
                signal.signal(each, handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Clear up without being stopped by another Ctrl-C: what is within takes a moment only."""
    if not _in_main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, _nothing)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def signals_later() -> Iterator[None]:
    """Hear of signals when what is within is done: processes that start there are not reached by any.

    Those have to call `let_signals_through` when they know what to do about them.
    """
    if not hasattr(signal, "pthread_sigmask") or not _in_main_thread():
        yield
        return
    from multiprocessing import resource_tracker

    heard: list[int] = []
    # Other threads get what this one does not, and it is this one that has to act on it.
    before = {each: handler for each in SIGNALS if callable(handler := signal.getsignal(each))}
    for each in before:
        signal.signal(each, lambda number, frame: heard.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        # Python has this process beside those of ours. It is to outlive them all, and when it has started, it
        # lets some signals through here.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for each, handler in before.items():
            signal.signal(each, handler)
        if heard:
            signal.raise_signal(heard[0])


def let_signals_through() -> None:
    """Undo what a process has from a parent that started it with `signals_later`."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _nothing(number: int, frame: FrameType | None) -> None:
    """Do nothing. With `SIG_IGN` in its place, Python complains of signals that come in the same moment."""


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
