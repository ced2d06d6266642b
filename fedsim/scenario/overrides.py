"""Settings laid over a scenario table, one dotted key at a time."""

from __future__ import annotations

import tomllib
from typing import Any

from fedsim.errors import InputError

Table = dict[str, Any]


def merged(base: Table, over: Table) -> Table:
    """Lay one table over another.

    Tables are merged key by key; anything else is replaced, and so is a part whose kind changes: the settings
    of another kind mean nothing to it.
    """
    result = dict(base)
    for key, value in over.items():
        old = base.get(key)
        result[key] = value
        if isinstance(old, dict) and isinstance(value, dict):
            same_kind = value.get("kind", old.get("kind")) == old.get("kind")
            result[key] = merged(old, value) if same_kind else value
    return result


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


def _with(old: Any, steps: list[str], value: Any, place: str) -> Any:
    if not steps:
        return merged({"": old}, {"": value})[""]
    step, rest = steps[0], steps[1:]
    if isinstance(old, list):
        if not step.isdigit() or int(step) >= len(old):
            raise InputError(f"{place}: expected a place from 0 to {len(old) - 1} in the list, got {step!r}")
        return [
            _with(part, rest, value, place) if number == int(step) else part
            for number, part in enumerate(old)
        ]
    table = old if isinstance(old, dict) else {}
    return (
        merged(table, {step: _with(table.get(step), rest, value, place)})
        if rest
        else merged(table if step != "kind" or table.get("kind") == value else {}, {step: value})
    )
