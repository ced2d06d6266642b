"""Loggers: other homes for what runs measure, one a file."""

from __future__ import annotations

from pydantic import ValidationError

from fedsim.catalog import Family
from fedsim.errors import InputError, nearest
from fedsim.loggers.base import Logged, Logger
from fedsim.loggers.mlflow import Mlflow
from fedsim.loggers.tensorboard import Tensorboard

LOGGERS = Family("loggers", Logger, Tensorboard, Mlflow)

__all__ = ["LOGGERS", "Logged", "Logger", "read_logger"]


def read_logger(text: str) -> Logger:
    """Read ``KIND:PLACE``, as in ``tensorboard:runs`` or ``mlflow:http://host:5000``.

    Raises:
        InputError: it is something else.
    """
    kind, colon, place = text.partition(":")
    known = [name for name, _ in LOGGERS]
    if not colon or not place:
        raise InputError(f"--log {text!r}: expected KIND:PLACE, as in {known[0]}:FOLDER")
    if kind not in known:
        raise InputError(
            f"--log {text!r}: no logger {kind!r}{nearest(kind, known)} (known: {', '.join(known)})"
        )
    try:
        found = LOGGERS.resolve(kind).model_validate({"kind": kind, "place": place})
    except ValidationError as error:
        raise InputError(f"--log {text!r}: {error.errors()[0]['msg']}") from error
    assert isinstance(found, Logger)
    return found
