"""From pydantic's errors to sentences: the place, what was found, what was expected, the nearest name."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from fedsim.catalog import Family
from fedsim.errors import nearest
from fedsim.scenario.model import Scenario

Location = tuple[int | str, ...]


def explain(error: ValidationError, source: str, table: dict[str, Any]) -> str:
    """Return one line for each thing that is wrong in a scenario table.

    Args:
        error: pydantic's report.
        source: the file.
        table: what was read from it.
    """
    return "\n".join(_sentence(line, source, table) for line in error.errors())


def _sentence(line: ErrorDetails, source: str, table: dict[str, Any]) -> str:
    location, kind, found = line["loc"], line["type"], line["input"]
    place = ".".join(map(str, location)) or "scenario"
    if kind == "extra_forbidden":
        known = known_keys(location[:-1], table)
        hint = nearest(str(location[-1]), known)
        return f"{source}: {place}: unknown key{hint}" + ("" if hint else f" (known: {', '.join(known)})")
    if kind == "missing":
        return f"{source}: {place}: missing; this key is required"
    message = line["msg"].removeprefix("Value error, ")
    if kind in ("value_error", "unknown_kind", "kind_missing", "bad_delays") or isinstance(found, dict):
        return f"{source}: {place}: {message}"
    expected = message.removeprefix("Input should be ").replace("a valid integer", "an integer")
    return f"{source}: {place}: found {found!r}, expected {expected}"


def known_keys(location: Location, table: dict[str, Any]) -> list[str]:
    """Return the keys that a place of a scenario may have."""
    model: type[BaseModel] | None = Scenario
    value: Any = table
    for step in location:
        value = _inside(value, step)
        if isinstance(step, str) and model is not None:
            model = _model_of(model.model_fields.get(step), value)
        elif isinstance(value, dict) and model is None:
            return []
    return list(model.model_fields) if model else []


def _inside(value: Any, step: int | str) -> Any:
    try:
        return value[step]
    except (KeyError, IndexError, TypeError):
        return None


def _model_of(field: FieldInfo | None, value: Any) -> type[BaseModel] | None:
    """Return the model behind a field, whichever part of its family the value names."""
    if field is None:
        return None
    for family in (mark for mark in field.metadata if isinstance(mark, Family)):
        try:
            return family.resolve(value["kind"])
        except (KeyError, TypeError, PydanticCustomError):
            return None
    candidates = [field.annotation, *get_args(field.annotation)]
    return next((one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel)), None)
