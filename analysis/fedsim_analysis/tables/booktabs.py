"""Tables for LaTeX, in the style of the package booktabs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from fedsim_analysis.words import are_numbers

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
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    # After the end of a row, or a rule, these would begin an option of it.
    "[": "{[}",
    "]": "{]}",
}
FIRST = {"*": "{*}"}
"""What would be read as a part of the end of the row before, where a row begins with it."""


def tabular(
    header: Sequence[str],
    body: Sequence[Sequence[str]],
    left: int | Sequence[bool],
    notes: Sequence[str] = (),
) -> str:
    """Return a `tabular` environment that needs nothing but booktabs.

    Args:
        header: the titles of the columns, as plain text.
        body: the cells, row by row, as plain text.
        left: how many columns stand to the left, or of each one whether it does; the others are numbers and
            stand to the right.
        notes: sentences below the last rule.
    """
    to_the_left = [place < left for place in range(len(header))] if isinstance(left, int) else left
    columns = "".join("l" if one else "r" for one in to_the_left)
    below = [rf"\multicolumn{{{len(header)}}}{{l}}{{\footnotesize {escaped(note)}}} \\" for note in notes]
    lines = [
        *_engine(header, body, notes),
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
    """Return any table of numbers as it is: each column as a column, numbers with four digits."""
    body = [[_plain(cell) for cell in row] for row in rows.to_numpy(object)]
    texts = [
        not pd.api.types.is_numeric_dtype(kind) and not are_numbers([row[place] for row in body])
        for place, kind in enumerate(rows.dtypes)
    ]
    return tabular(list(map(str, rows)), body, texts)


def escaped(text: str) -> str:
    """Return a text with everything that LaTeX would read as a command made harmless.

    What cannot be seen, such as a line feed, is shown by its code.

    >>> escaped("50 % of a_b")
    '50 \\\\% of a\\\\_b'
    """
    seen = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return "".join(SPECIAL.get(letter, letter) for letter in seen).replace("--", "-{}-").replace("--", "-{}-")


def _row(cells: Sequence[str]) -> str:
    text = " & ".join(map(escaped, cells))
    return FIRST.get(text[:1], text[:1]) + text[1:] + r" \\"


def _engine(header: Sequence[str], body: Sequence[Sequence[str]], notes: Sequence[str]) -> list[str]:
    """Return a line for whoever compiles the table, where not every LaTeX can."""
    letters = {letter for row in (header, *body, notes) for cell in row for letter in cell}
    # Those of the western languages, and signs that have a command here, are known to all.
    strange = [letter for letter in letters if ord(letter) > 0x17F and letter not in SPECIAL]
    return ["% needs lualatex or xelatex, and a font with all its letters"] if strange else []


def _plain(cell: Any) -> str:
    if cell is None or cell is pd.NA:
        return "-"
    if isinstance(cell, float):
        return "-" if pd.isna(cell) else f"{cell:.4g}"
    return str(cell)
