"""Some of the runs of results: those for which an expression holds."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fedsim.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd

_APART = re.compile(r"`[^`]*`|'[^']*'|\"[^\"]*\"")
"""Texts of an expression, and names that stand in backticks."""


def select(rows: pd.DataFrame, expression: str, place: str = "--where") -> pd.DataFrame:
    """Return the rows for which an expression holds, as pandas' `query` writes it.

    Args:
        rows: any table.
        expression: such as "workers.1.slow_down > 2 and seed == 0". Names with dots may stand in backticks,
            and must where they are no column's.
        place: where it was stated, for error messages.

    Raises:
        InputError: it names no column, cannot be worked out, or says nothing of each row.
    """
    import pandas as pd

    try:
        holds = rows.eval(_in_backticks(expression, rows), engine="python")
    except pd.errors.UndefinedVariableError as error:
        named = re.findall(r"name '(.*)' is not defined", str(error))
        name = named[0].removeprefix("BACKTICK_QUOTED_STRING_").replace("_DOT_", ".") if named else expression
        hint = nearest(name, rows.columns) or f" (columns: {', '.join(rows.columns)})"
        raise InputError(f"{place} {expression!r}: no column {name!r}{hint}{_dotted(expression)}") from error
    except Exception as error:  # Python's own errors of many kinds, for it is an expression
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{place} {expression!r}: {why}{_dotted(expression)}") from error
    if not isinstance(holds, pd.Series) or holds.dtype != bool:
        sign = "; equal is ==" if re.search(r"(?<![=!<>])=(?!=)", expression) else ""
        raise InputError(
            f"{place} {expression!r}: expected something that is true or false of each row{sign}"
        )
    return rows[holds]


def _in_backticks(expression: str, rows: pd.DataFrame) -> str:
    """Put names of columns with dots into backticks where a person has left them out."""
    dotted = sorted((str(name) for name in rows if "." in str(name)), key=len, reverse=True)
    if not dotted:
        return expression
    names = "|".join(map(re.escape, dotted))
    return re.sub(
        rf"(?P<apart>{_APART.pattern})|(?<![\w.])(?P<name>{names})(?![\w.])",
        lambda found: found["apart"] or f"`{found['name']}`",
        expression,
    )


def _dotted(expression: str) -> str:
    """Return a hint where a dotted name stands without backticks."""
    bare = _APART.sub("", expression)
    return (
        "; names with dots stand in backticks: `workers.0.count`"
        if re.search(r"\w\.[A-Za-z\d]\w*\.?[A-Za-z]", bare)
        else ""
    )
