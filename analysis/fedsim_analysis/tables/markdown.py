"""Tables for Markdown, as GitHub and pandoc read them."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pandas as pd

_SPECIAL = re.compile(r"([\\|`*_<>\[\]])")


def of_frame(rows: pd.DataFrame) -> str:
    """Return a table of texts; what Markdown would read as a sign of its own is taken as it is.

    >>> print(of_frame(pd.DataFrame({"a_b": ["1 | 2"]})), end="")
    | a\\_b |
    | --- |
    | 1 \\| 2 |
    """
    lines = [_row(map(str, rows)), _row("---" for _ in rows.columns)]
    return "".join(f"{line}\n" for line in [*lines, *(_row(map(str, row)) for row in rows.to_numpy(object))])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(cell: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(cell.split()))
