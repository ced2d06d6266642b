"""From pydantic's errors to sentences: the place, what was found, what was expected, the nearest name."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from fedsim.errors import InputError, close, nearest
from fedsim.scenario.model import Scenario
from fedsim.scenario.overrides import UNSET, Gone, place_in
from fedsim.scenario.spots import Spot
from fedsim.secrets import names_secret

Location = tuple[int | str, ...]

MOVED = {"learning": "algorithm", "cuts": "algorithm.cuts"}
"""Tables of earlier scenario files, and where their settings live now."""

WORD = re.compile(r"literal\[.*\]")
"""Pydantic's name of a type that is one of some words."""

NONES = {"", "none", "null", "nil", "unset", "no", "off", "false"}
"""What people write for none, in small letters."""

LIMITS = {"greater_than_equal": "at least", "greater_than": "more than", "less_than_equal": "at most"}
LIMITS |= {"less_than": "less than", "too_short": "at least"}
"""Bounds in words, by pydantic's name of the error."""

EXPECTED = {
    "tuple_type": "a list",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text in quotes",
    "finite_number": "a finite number",
}
"""What a setting takes, by pydantic's name of the error."""


def explain(
    error: ValidationError, source: str, table: dict[str, Any], model: type[BaseModel] = Scenario
) -> str:
    """Return one line for each thing that is wrong in a scenario table.

    Args:
        error: pydantic's report.
        source: the file.
        table: what was read from it.
        model: what the table should have been.
    """
    lines = _without_tags(error.errors(), table)
    unknown = {line["loc"]: known_keys(line["loc"][:-1], table, model) for line in lines if _is_unknown(line)}
    # A misspelt key is one mistake: that the key it was meant to be is missing need not be said as well.
    meant = {(*location[:-1], *close(str(location[-1]), known)) for location, known in unknown.items()}
    sentences = []
    for line in lines:
        if not (line["type"] == "missing" and line["loc"] in meant):
            said = _sentence(line, unknown, lambda location: _reason(location, table, model))
            sentences += (said + _hint_of_none(line, table, model)).splitlines()
    return "\n".join(f"{source}: {sentence}" for sentence in sentences)


def _hint_of_none(line: ErrorDetails, table: dict[str, Any], root: type[BaseModel]) -> str:
    """Say how a setting is written to be none, to whoever tried a word for it."""
    location, found = line["loc"], line["input"]
    tried = found is False or (isinstance(found, str) and found.strip().lower() in NONES)
    if not tried or line["type"] == "missing" or not _spot(location, table, root).may_be_none:
        return ""
    return f"; for none write {location[-1]} = {{ unset = true }}"


def _reason(location: Location, table: dict[str, Any], root: type[BaseModel]) -> str:
    """Say where a key that is unknown at its place would be known; the empty string: nowhere."""
    key = str(location[-1])
    if root is Scenario and location[0] in MOVED:
        value = _inside(table, key)
        keys = ", ".join(f"{MOVED[key]}.{name}" for name in value) if isinstance(value, dict) else ""
        keys = keys or MOVED[key]
        return f"unknown key: an algorithm's settings are its own now; write {keys}"
    known = known_keys(location[:-1], table, root)
    if root is Scenario and len(location) == 1 and not close(key, known):
        for name in known:
            if key in known_keys((name,), table):
                return f"unknown key; did you mean '{name}.{key}'?"
    family = _spot(location[:-1], table, root).family
    owners = [kind for kind, part in family or () if key in part.model_fields]
    if not owners:
        return ""
    return f"{_kind(location[:-1], table)} has no {key}; it is a setting of {', '.join(owners)}"


def _kind(location: Location, table: dict[str, Any]) -> str:
    """Return the kind that a table at some place names."""
    return str(_inside(_at(location, table), "kind"))


def _without_tags(lines: list[ErrorDetails], table: dict[str, Any]) -> list[ErrorDetails]:
    """Return errors as if no setting took either a table or a word.

    Of such a setting pydantic reports what is wrong with it as the one and as the other, each under a step of
    its own in the place: ``algorithm.cuts.Cuts.every``, ``algorithm.cuts.literal[False]``.
    """
    found: dict[Location, ErrorDetails] = {}
    for line in lines:
        place = line["loc"]
        tag = next((n for n in range(len(place)) if _is_tag(place[n], _at(place[:n], table))), None)
        if tag is None:
            found[place] = line
            continue
        untagged = (*place[:tag], *place[tag + 1 :])
        if not isinstance(_at(place[:tag], table), dict):
            either = " or ".join(filter(None, (_either(found.get(untagged)), _either(line))))
            found[untagged] = line | {"loc": untagged, "type": "either", "msg": f"Input should be {either}"}
        elif not WORD.fullmatch(str(place[tag])):
            found[untagged] = line | {"loc": untagged}
    return list(found.values())


def _is_tag(step: int | str, value: Any) -> bool:
    """Whether a step of a place is none in the file: the name of a type."""
    is_type = isinstance(step, str) and (WORD.fullmatch(step) or step[:1].isupper())
    return bool(is_type) and not (isinstance(value, dict) and step in value)


def _either(line: ErrorDetails | None) -> str:
    """Return one of several things that a setting takes."""
    if line is None:
        return ""
    message = line["msg"].removeprefix("Input should be ")
    return "false" if message == "False" else EXPECTED.get(line["type"], message)


def _at(location: Location, table: dict[str, Any]) -> Any:
    """Return what stands at some place of a table; none: nothing."""
    value: Any = table
    for step in location:
        value = _inside(value, step)
    return value


def _is_unknown(line: ErrorDetails) -> bool:
    return line["type"] == "extra_forbidden"


def _sentence(
    line: ErrorDetails, unknown: dict[Location, list[str]], reason: Callable[[Location], str]
) -> str:
    location, kind, found = line["loc"], line["type"], line["input"]
    place = "".join(f"{step}." for step in location)[:-1]
    if kind == "extra_forbidden" and (elsewhere := reason(location)):
        return f"{place}: {elsewhere}"
    if kind == "extra_forbidden":
        known = unknown[location]
        hint = nearest(str(location[-1]), known)
        return f"{place}: unknown key{hint}" + ("" if hint else f" (known: {', '.join(known)})")
    if kind == "missing":
        return f"{place}: missing; this key is required"
    message = line["msg"].removeprefix("Value error, ")
    if kind in LIMITS:
        limit = next(
            value for key, value in line["ctx"].items() if key in ("ge", "gt", "le", "lt", "min_length")
        )
        expected = f"{LIMITS[kind]} {limit:g}" + (" of them" if kind == "too_short" else "")
    elif kind in EXPECTED or message.startswith("Input should be "):
        expected = EXPECTED.get(kind, message.removeprefix("Input should be "))
    else:
        return f"{place}: {message}" if place else message
    # Somebody may have put the key itself where the name of its variable is expected.
    hidden = names_secret(place.removesuffix("_env"))
    return f"{place}: found {'something else (not shown)' if hidden else shown(found)}, expected {expected}"


def shown(value: Any) -> str:
    """Return a value as it stands in the file, cut short."""
    if isinstance(value, Gone) or value == {UNSET: True}:
        return "none"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def known_keys(location: Location, table: dict[str, Any], root: type[BaseModel] = Scenario) -> list[str]:
    """Return the keys that a place of a scenario, or of another table, may have."""
    model = _spot(location, table, root).model(_at(location, table))
    return list(model.model_fields) if model else []


def is_known(key: str, table: dict[str, Any]) -> bool:
    """Whether a scenario of this table has a setting at a dotted key."""
    spot = Spot(root=Scenario)
    value: Any = table
    for step in key.split("."):
        if isinstance(value, list):
            try:
                number = place_in(value, step, key)
            except InputError:
                return False
            spot, value = spot.inside(number, value), value[number]
        else:
            spot, value = spot.inside(step, value), _inside(value, step)
    return spot.known


def _spot(location: Location, table: dict[str, Any], root: type[BaseModel]) -> Spot:
    """Return what may stand at some place of a table."""
    spot = Spot(root=root)
    value: Any = table
    for step in location:
        spot, value = spot.inside(step, value), _inside(value, step)
    return spot


def _inside(value: Any, step: int | str) -> Any:
    try:
        return value[step]
    except (KeyError, IndexError, TypeError):
        return None
