"""Loggers: other homes for what runs measure, one per file."""

from __future__ import annotations

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from fedsim.catalog import Family
from fedsim.errors import InputError, nearest
from fedsim.loggers.base import Logged, Logger
from fedsim.loggers.mlflow import Mlflow
from fedsim.loggers.tensorboard import Tensorboard

LOGGERS = Family("loggers", Logger, Tensorboard, Mlflow)

__all__ = ["LOGGERS", "Logged", "Logger", "read_logger"]


def read_logger(text: str) -> Logger:
    """Read ``KIND:PLACE``, as in ``tensorboard:runs`` or ``mlflow:http://host:5000``.

    A stranger's logger is named as ``MODULE:CLASS:PLACE``. A place may hold colons.

    Raises:
        InputError: it is something else.
    """
    first, _, rest = text.partition(":")
    known = [name for name, _ in LOGGERS]
    kind, place = first, rest
    if first not in known and ":" in rest:
        name, _, place = rest.partition(":")
        kind = f"{first}:{name}"
    if not place.strip():
        raise InputError(
            f"--log {text!r}: expected KIND:PLACE, as in {known[0]}:FOLDER, or MODULE:CLASS:PLACE"
        )
    if ":" not in kind and kind not in known:
        listed = f"known: {', '.join(known)}, or MODULE:CLASS:PLACE"
        raise InputError(f"--log {text!r}: no logger {kind!r}{nearest(kind, known)} ({listed})")
    try:
        found = LOGGERS.validate({"kind": kind, "place": place})
    except PydanticCustomError as error:
        raise InputError(f"--log {text!r}: {error}{nearest(first, known)}") from error
    except ValidationError as error:
        raise InputError(f"--log {text!r}: {error.errors()[0]['msg']}") from error
    assert isinstance(found, Logger)
    return found
