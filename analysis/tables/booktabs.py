"""Tables for LaTeX, in the style of the package booktabs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
}


def tabular(
    header: Sequence[str], body: Sequence[Sequence[str]], n_left: int, notes: Sequence[str] = ()
) -> str:
    """Return a `tabular` environment that needs nothing but booktabs.

    Args:
        header: the titles of the columns, as plain text.
        body: the cells, row by row, as plain text.
        n_left: how many columns stand to the left; the others are numbers and stand to the right.
        notes: sentences below the last rule.
    """
    columns = "l" * n_left + "r" * (len(header) - n_left)
    below = [rf"\multicolumn{{{len(header)}}}{{l}}{{\footnotesize {escaped(note)}}} \\" for note in notes]
    lines = [
        "% needs \\usepackage{booktabs}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _row(header),
        r"\midrule",
        *map(_row, body),
        r"\bottomrule",
        *below,
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def of_frame(rows: pd.DataFrame) -> str:
    """Return any table of numbers as it is: its columns unchanged, numbers with four digits."""
    n_left = sum(not pd.api.types.is_numeric_dtype(kind) for kind in rows.dtypes)
    return tabular(
        list(map(str, rows)), [[_plain(cell) for cell in row] for row in rows.to_numpy(object)], n_left
    )


def escaped(text: str) -> str:
    """Return a text with everything that LaTeX would read as a command made harmless.

    >>> escaped("50 % of a_b")
    '50 \\\\% of a\\\\_b'
    """
    return "".join(SPECIAL.get(letter, letter) for letter in text)


def _row(cells: Sequence[str]) -> str:
    return " & ".join(map(escaped, cells)) + r" \\"


def _plain(cell: Any) -> str:
    if isinstance(cell, float):
        return "-" if pd.isna(cell) else f"{cell:.4g}"
    return str(cell)
