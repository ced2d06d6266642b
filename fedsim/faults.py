"""Whose fault it is when a part of a scenario raises what it did not mean to.

A part may be a stranger's and fail in any way. The stack tells which part it was: the innermost call of a
method of a part, or of something else in a stranger's package. An error that is meant for the person at the
keyboard (`FedsimError`) is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from traceback import walk_tb
from types import FrameType
from typing import Any, NamedTuple, TypeVar, cast

from pydantic import BaseModel

from fedsim.catalog import Part, what_raised
from fedsim.errors import STRAY, FedsimError, PartError

F = TypeVar("F", bound=Callable[..., Any])


def names_parts(function: F) -> F:
    """Let what a part raises in this function of a scenario become a `PartError` that names the part."""

    @wraps(function)
    def named(scenario: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return function(scenario, *arguments, **options)
        except STRAY as error:
            if not (sentence := blame(error, scenario)):
                raise
            raise PartError(f"{scenario.label}: {sentence}") from error

    return cast(F, named)


def blame(error: BaseException, scenario: BaseModel | Mapping[str, Any]) -> str:
    """Return which part raised this and why, in one line; nothing where it was none, or was on purpose.

    Args:
        error: what has come out of it.
        scenario: where the part is; the table that was read, where it has not become a scenario.
    """
    if isinstance(error, FedsimError):
        return ""
    seats = list(_seats(scenario))
    for raised in _chain(error):
        if who := _culprit([frame for frame, _ in walk_tb(raised.__traceback__)], seats):
            return f"{who} {what_raised(raised)}"
    return ""


class _Seat(NamedTuple):
    """A place of a scenario where a part is."""

    place: str
    kind: str
    value: Any
    """The part, or its table."""

    @property
    def package(self) -> str:
        """Whose code it is, as far as the scenario tells."""
        named = type(self.value).__module__ if isinstance(self.value, Part) else self.kind.rpartition(":")[0]
        return named.partition(".")[0]


def _seats(value: Any, place: str = "") -> Iterator[_Seat]:
    """Yield where parts are, those within parts as well."""
    inner: Mapping[Any, Any] = {}
    if isinstance(value, BaseModel):
        inner = {name: getattr(value, name) for name in type(value).model_fields}
    elif isinstance(value, Mapping):
        inner = value
    elif isinstance(value, tuple | list):
        inner = dict(enumerate(value))
    if isinstance(value, Part) or (isinstance(value, Mapping) and isinstance(value.get("kind"), str)):
        yield _Seat(place, inner["kind"], value)
    for step, thing in inner.items():
        yield from _seats(thing, f"{place}.{step}" if place else str(step))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and what it came of, the first one last."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        yield error
        seen.append(error)
        error = error.__cause__ or error.__context__ or _failed_event(error)


def _failed_event(error: BaseException) -> BaseException | None:
    """Return the exception that SimPy could not make a copy of: that of the event that has failed."""
    for frame, _ in walk_tb(error.__traceback__):
        failed = getattr(frame.f_locals.get("event"), "_value", None)
        if frame.f_globals.get("__name__") == "simpy.core" and isinstance(failed, BaseException):
            return failed
    return None


def _culprit(frames: list[FrameType], seats: list[_Seat]) -> str:
    """Return the place and the kind of the part that is innermost in a stack; nothing where there is none."""
    others: set[str] = set()
    for frame in reversed(frames):
        part = _part_of(frame)
        if part is not None and (not others or part.__module__.partition(".")[0] in others):
            return _named(part, seats)
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        # What a part has made may fail far from it. Which part of the package made it, a call may yet tell.
        if package != "fedsim" and any(seat.package == package for seat in seats):
            others.add(package)
    return _told([seat for seat in seats if seat.package in others]) if others else ""


def _part_of(frame: FrameType) -> Part | type[Part] | None:
    """Return the part that a method is called of, or its class."""
    first = frame.f_locals.get(frame.f_code.co_varnames[0]) if frame.f_code.co_argcount else None
    is_part = isinstance(first, Part) or (isinstance(first, type) and issubclass(first, Part))
    return first if is_part else None


def _named(part: Part | type[Part], seats: list[_Seat]) -> str:
    own = part if isinstance(part, type) else type(part)
    kinds = {f"{own.__module__}:{own.__name__}", own.model_fields["kind"].default}
    if isinstance(part, Part):
        kinds.add(part.kind)
    if found := [seat for seat in seats if seat.value is part] or [
        seat for seat in seats if seat.kind in kinds
    ]:
        return _told(found)
    return repr(next((kind for kind in kinds if isinstance(kind, str)), own.__name__))


def _told(seats: list[_Seat]) -> str:
    """Return places and kinds as they begin a sentence."""
    places, kinds = dict.fromkeys(seat.place for seat in seats), dict.fromkeys(seat.kind for seat in seats)
    return f"{' or '.join(places)}: {' or '.join(map(repr, kinds))}"
