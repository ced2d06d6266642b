"""TOML as people write it, or as somebody writes it who wants to do harm: a table, or one sentence."""

from __future__ import annotations

import tomllib
from typing import Any

from fedsim.errors import InputError

DEEPEST = 64
"""Tables and lists within each other, and names in a dotted key. A scenario needs a dozen."""

MOST_BITS = 4096
"""Of an integer. TOML wants 64; seeds may have more; Python writes no number of more than 4,300 digits."""
TOO_LONG = "found an integer of too many digits"


def read_toml(text: str, place: str, what: str = "not valid TOML") -> dict[str, Any]:
    """Return what a text of TOML says.

    Args:
        text: the text.
        place: how an error begins.
        what: what it is called if it cannot be read.

    Raises:
        InputError: it is no TOML, or nested too deeply.
    """
    try:
        table = tomllib.loads(text)
    except RecursionError:
        raise InputError(f"{place}: {_too_deep()}") from None
    except ValueError as error:  # also an integer of thousands of digits, which Python refuses to read
        is_long = "integer string conversion" in str(error)
        raise InputError(f"{place}: {TOO_LONG if is_long else f'{what}: {error}'}") from error
    _check(table, place)
    return table


def _check(table: Any, place: str) -> None:
    """Refuse what could be read and neither walked through nor written again."""
    level = [table]
    for _ in range(DEEPEST):
        values = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
        if any(isinstance(value, int) and value.bit_length() > MOST_BITS for value in values):
            raise InputError(f"{place}: {TOO_LONG}")
        level = [value for value in values if isinstance(value, dict | list)]
        if not level:
            return
    raise InputError(f"{place}: {_too_deep()}")


def _too_deep() -> str:
    return f"tables and lists are nested too deeply, expected at most {DEEPEST} of them within each other"
