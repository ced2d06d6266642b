"""Tables that are wider than the terminal."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from fedsim import terminal

if TYPE_CHECKING:
    import pandas as pd

_SHORTEST = 6
"""Lines of a heading are not made shorter than that: they would be letters in a column."""


def show_frame(rows: pd.DataFrame, n_first: int = 1, cell: Callable[[object], str] = str) -> None:
    """Print a table of a data frame, so that it fits the terminal.

    A table of one row is turned where it is too wide. Otherwise the headings are broken, between words alone,
    and if that is not enough the columns come in parts, each of which begins with the first columns.

    Args:
        rows: its columns are printed in their order; those whose cells all look like numbers to the right.
        n_first: how many columns tell the rows apart.
        cell: writes a value.
    """
    from fedsim_analysis.words import are_numbers

    texts = {str(name): [cell(value) for value in rows[name]] for name in rows}
    width = terminal.width()
    longest = {name: max(map(len, column), default=0) for name, column in texts.items()}
    fits = sum(max(len(name), longest[name]) + terminal.GAP for name in texts) <= width
    if len(rows) == 1 and not fits:
        turned = terminal.plain_table()
        for name, (text,) in texts.items():
            turned.add_row(name, text)
        turned.show_header = False
        terminal.show(turned)
        return
    headings = {name: [name] if fits else _broken(name, longest[name]) for name in texts}
    wide = {name: max(longest[name], *map(len, headings[name])) + terminal.GAP for name in texts}
    for number, part in enumerate(_parts(wide, n_first, width)):
        if number:
            terminal.say("")
        table = terminal.plain_table()
        for name in part:
            right = are_numbers(texts[name])
            table.add_column(
                "\n".join(headings[name]),
                justify="right" if right else "left",
                vertical="bottom",
                overflow="fold",
                min_width=max(map(len, headings[name])),
            )
        for cells in zip(*(texts[name] for name in part), strict=True):
            table.add_row(*cells)
        terminal.show(table)


def _broken(heading: str, longest: int) -> list[str]:
    """Return a heading in lines no longer than the cells below it, as far as its words let it.

    >>> _broken("time_to_target_s", 8)
    ['time_to_', 'target_s']
    >>> _broken("workers.1.slow_down", 3)
    ['workers.', '1.', 'slow_', 'down']
    """
    lines = [""]
    # The letter of a unit stays with its word.
    for word in re.findall(r"[^_. ]*[_. ]+(?:[a-z]$)?|[^_. ]+", heading):
        if lines[-1] and len(lines[-1] + word) > max(longest, _SHORTEST):
            lines.append("")
        lines[-1] += word
    return lines


def _parts(wide: dict[str, int], n_first: int, width: int) -> Iterator[list[str]]:
    """Yield the columns in parts that fit, each with the first columns; a column alone may be too wide."""
    names = list(wide)
    first, rest = names[:n_first], names[n_first:]
    room = width - sum(wide[name] for name in first)
    part: list[str] = []
    for name in rest:
        if part and sum(wide[other] for other in part) + wide[name] > room:
            yield [*first, *part]
            part = []
        part.append(name)
    yield [*first, *part]
