"""The few kinds of error a person can meet. Each carries one finished sentence and an exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FedsimError(Exception):
    """An error whose text is meant for the person at the keyboard."""

    exit_code = 1


class InputError(FedsimError):
    """A wrong scenario, option or file: nothing has run, nothing has been written."""

    exit_code = 2


class LeftOutWarning(UserWarning):
    """Settings of a scenario do not come along, which may be meant: their part has become another kind."""


class ResultsError(InputError):
    """A results folder that is missing, damaged, or of another format."""


class ResultsWarning(UserWarning):
    """Something about results that a reader should know: a copy that counts once, a link to nothing."""


class OutputError(FedsimError):
    """Standard output can take no more."""

    closed = False
    """Whether nobody reads it any longer, which is nothing to complain about: ``fedsim list | head``."""


class RunError(FedsimError):
    """A run that could not go on: it diverged or stalled. What it had is kept."""


class PartError(RunError):
    """A part of the scenario raised what it did not mean to; that exception is the cause."""


class DivergedError(RunError):
    """The numbers left every sensible bound."""


class StalledError(RunError):
    """The server waits for workers that will never answer."""


class ModelError(RunError):
    """A language model gave no usable answer, or its budget is used up. Answers already had are kept."""


def first_line(error: BaseException) -> str:
    """Return what an error says, on one line."""
    return (str(error) or type(error).__name__).splitlines()[0]


STRAY = (Exception, SystemExit, GeneratorExit)
"""What somebody else's code may raise: all but Ctrl-C. More than `Exception`, or it could end the command."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known name, or the empty string.

    >>> nearest("lognormall", ["lognormal", "gamma"])
    "; did you mean 'lognormal'?"
    >>> nearest("zebra", ["lognormal", "gamma"])
    ''
    >>> nearest("slow_down", ["seconds_down", "workers.1.slow_down"])
    "; did you mean 'workers.1.slow_down'?"
    """
    return "".join(f"; did you mean {name!r}?" for name in close(word, known))


def close(word: str, known: Iterable[str]) -> list[str]:
    """Return the closest known name, or nothing when none is close; the only dotted one that ends so is."""
    names = list(known)
    dotted = [name for name in names if name.endswith(f".{word}")]
    return dotted if len(dotted) == 1 else difflib.get_close_matches(word, names, n=1, cutoff=0.6)
