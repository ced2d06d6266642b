"""TOML as people write it, or as somebody writes it who wants to do harm: a table, or one sentence."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from fedsim.errors import InputError

DEEPEST = 64
"""Tables and lists within each other, and names in a dotted key. A scenario needs a dozen."""

LONG = 100_000
"""Letters of a text on one line that is put aside while the rest is read."""
MOST_LETTERS = 32_000_000
"""Of the rest."""
LETTERS = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}
_TEXT = re.compile(r'^([ \t]*[\w.-]+[ \t]*=[ \t]*)"((?:[^"\\\n]++|\\[^\n])*+)"(?=[ \t]*$)', re.MULTILINE)
_ESCAPE = re.compile(r'\\[btnfr"\\]')
_NOT_PLAIN = re.compile(r'[\x00-\x08\x0a-\x1f\x7f]|\\(?![btnfr"\\])')
"""What Python's reader should see itself: letters that TOML forbids, and rarer escapes."""

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
        table = _loads(text, place)
    except RecursionError:
        raise InputError(f"{place}: {_too_deep()}") from None
    except ValueError as error:  # also an integer of thousands of digits, which Python refuses to read
        is_long = "integer string conversion" in str(error)
        raise InputError(f"{place}: {TOO_LONG if is_long else f'{what}: {error}'}") from error
    _check(table, place)
    return table


def inline(value: Any) -> str:
    """Return a value as it stands behind ``=`` on one line of TOML.

    >>> inline({"kind": "gamma", "shape": 2.0, "on": [True, 1]}), inline({})
    ('{ kind = "gamma", shape = 2.0, on = [true, 1] }', '{}')
    """
    if isinstance(value, Mapping):
        settings = ", ".join(f"{key} = {inline(part)}" for key, part in value.items())
        return f"{{ {settings} }}" if settings else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(inline, value))}]"
    # JSON writes text and numbers as TOML does
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _loads(text: str, place: str) -> Any:
    """Read TOML; long texts on one line, such as a trace that a scenario holds, in no time.

    Python's reader takes a second for a megabyte of them, letter by letter.
    """
    held: dict[str, str] = {}
    mark = uuid4().hex

    def hold(found: re.Match[str]) -> str:
        if len(found[2]) < LONG or _NOT_PLAIN.search(found[2]):
            return found[0]
        held[name := f"{mark}{len(held)}"] = found[2]
        return f'{found[1]}"{name}"'

    rest = _TEXT.sub(hold, text) if len(text) > LONG else text
    if len(rest) > MOST_LETTERS:
        raise InputError(
            f"{place}: {len(text) / 1e6:,.0f} million letters, expected at most {MOST_LETTERS / 1e6:,.0f}: "
            "data belong into files of their own"
        )
    table = tomllib.loads(rest)
    if held and _restored(table, mark, held) < len(held):  # what looked like a text was within a longer one
        return tomllib.loads(text)
    return table


def _restored(value: Any, mark: str, held: dict[str, str]) -> int:
    """Put the texts back that were held; return how many."""
    count = 0
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        if isinstance(inner, dict | list):
            count += _restored(inner, mark, held)
        elif isinstance(inner, str) and inner in held:
            value[key] = _ESCAPE.sub(_letter, held[inner])
            count += 1
    return count


def _letter(escape: re.Match[str]) -> str:
    """Return the letter that an escape sequence stands for."""
    return LETTERS[escape[0][1]]


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
