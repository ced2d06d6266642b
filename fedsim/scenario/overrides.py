"""Settings laid over a scenario table, one dotted key at a time."""

from __future__ import annotations

import tomllib
from typing import Any

from pydantic_core import PydanticCustomError

from fedsim.errors import InputError, nearest

Table = dict[str, Any]
UNSET = "unset"
"""The key of a table, in a file or an override, that takes keys of the table below it away."""


def merged(base: Table, over: Table, place: str = "") -> Table:
    """Lay one table over another.

    Tables are merged key by key; anything else is replaced. A part whose kind changes keeps the settings that
    both kinds have from a common base, and loses the others: they mean nothing to the new kind. Settings
    without a kind are for whichever kind is chosen. ``unset = ["key", ...]`` takes keys of the base away.

    Args:
        base: stays as it is, and so does `over`.
        over: what goes over it.
        place: how an error begins, for example ``scenario.toml: algorithm.``.

    Raises:
        InputError: a key that is to be unset is not there.
    """
    result = _kept(_without(base, over.get(UNSET, []), place), over.get("kind"))
    for key, value in over.items():
        if key != UNSET:
            result[key] = _laid_over(result.get(key), value, f"{place}{key}.")
    return result


def _laid_over(old: Any, value: Any, place: str) -> Any:
    """Return a value that goes over another one, or over none; a list replaces what was there."""
    if isinstance(value, dict):
        return merged(old if isinstance(old, dict) else {}, value, place)
    if isinstance(value, list):
        return [_laid_over(None, part, f"{place}{number}.") for number, part in enumerate(value)]
    return value


def _without(table: Table, names: Any, place: str) -> Table:
    """Return a table without the settings of these names."""
    if not isinstance(names, list):
        raise InputError(f"{place}{UNSET}: found {names!r}, expected a list of names")
    for name in names:
        if name not in table:
            raise InputError(
                f"{place}{UNSET}: found {name!r}, expected a key that is set{nearest(str(name), table)}"
            )
    return {key: value for key, value in table.items() if key not in names}


def _kept(old: Table, kind: Any) -> Table:
    """Return what is left of a table when its part becomes one of this kind; none: the kind stays."""
    former = old.get("kind")
    if kind is None or former is None or kind == former:
        return old
    common = _common(str(former), str(kind))
    return {key: value for key, value in old.items() if key in common}


def _common(former: str, kind: str) -> frozenset[str]:
    """Return the settings that two kinds of a family have from one and the same base class."""
    from fedsim.scenario.schema import FAMILIES

    for family in FAMILIES.values():
        try:
            one, other = family.resolve(former), family.resolve(kind)
        except PydanticCustomError:  # none of this family
            continue
        fields = one.model_fields.keys() & other.model_fields.keys()
        return frozenset(name for name in fields if _home(one, name) is _home(other, name))
    return frozenset()


def _home(part: type, name: str) -> type:
    """Return the class that declares a setting."""
    return next(one for one in part.__mro__ if name in vars(one).get("__annotations__", {}))


def with_setting(table: Table, key: str, value: Any, place: str) -> Table:
    """Return a table with one dotted key set; numbers in the key are places in a list.

    Args:
        table: stays as it is.
        key: as in ``workers.1.slow_down``.
        value: of any type that a scenario file can hold.
        place: what to name in an error, for example ``--set 'workers.1.slow_down=2'``.

    Raises:
        InputError: a step of the key is no place in the list that it leads into.
    """
    steps = key.split(".")
    if not all(steps):
        raise InputError(f"{place}: found the key {key!r}, expected names with dots between them")
    result: Table = _with(table, steps, value, place)
    return result


def read_override(override: str) -> tuple[str, Any]:
    """Read ``dotted.key=value``.

    Raises:
        InputError: it is something else.
    """
    key, equals, text = override.partition("=")
    if not equals or not all(key.strip().split(".")):
        raise InputError(f"--set {override!r}: expected dotted.key=value")
    return key.strip(), _value(text.strip(), override)


def overridden(table: Table, override: str) -> Table:
    """Lay one ``dotted.key=value`` over a table."""
    key, value = read_override(override)
    return with_setting(table, key, value, f"--set {override!r}")


def _value(text: str, override: str) -> Any:
    """Read a value as TOML; a bare word, as in ``algorithm.kind=sdbt``, is a text."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError as error:
        if text.startswith(("{", "[", '"', "'")):
            raise InputError(f"--set {override!r}: not a value of TOML") from error
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _with(old: Any, steps: list[str], value: Any, place: str, inside: str = "") -> Any:
    """Return what `old`, the value at the dotted place `inside`, is with one setting in it."""
    if not steps:
        return _laid_over(old, value, f"{place}: {inside}")
    step, rest = steps[0], steps[1:]
    within = f"{inside}{step}."
    if isinstance(old, list):
        if not step.isdigit() or int(step) >= len(old):
            raise InputError(f"{place}: expected a place from 0 to {len(old) - 1} in the list, got {step!r}")
        return [
            _with(part, rest, value, place, within) if number == int(step) else part
            for number, part in enumerate(old)
        ]
    table = old if isinstance(old, dict) else {}
    if not rest:
        return merged(table, {step: value}, f"{place}: {inside}")
    return table | {step: _with(table.get(step), rest, value, place, within)}
