"""How far long work has come between two steps of a run: told to whoever shows it, if anybody does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Show = Callable[[str, int, int], None]
"""Takes what is counted, how many of them are done, and how many there are."""

_show: ContextVar[Show | None] = ContextVar("show", default=None)


def tell(what: str, done: int, total: int) -> None:
    """Say how far work has come."""
    show = _show.get()
    if show is not None:
        show(what, done, total)


@contextmanager
def shown_by(show: Show) -> Iterator[None]:
    """Let what is told here be shown."""
    token = _show.set(show)
    try:
        yield
    finally:
        _show.reset(token)
