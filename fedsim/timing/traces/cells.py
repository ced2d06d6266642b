"""A file of a trace as a table of cells, and one column of it as numbers or text."""

from __future__ import annotations

from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedsim.errors import InputError
from fedsim.plain_text import read_text
from fedsim.timing.traces.base import Array, Column

if TYPE_CHECKING:
    import pandas as pd

PARQUET = ".parquet"
MOST_WHOLE = 10**12
"""Tokens or a code in one row: sums of more of them would fit no table."""


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of a file under their header; a row of nothing but empty cells is left out."""

    file: Path
    header: list[str]
    table: pd.DataFrame
    """The index numbers rows from 0, those left out as well."""

    def place(self, row: int, column: str) -> str:
        """Return where a cell stands; `row` counts from 0 and leaves out what is left out."""
        number = int(self.table.index[row])
        # a CSV file has its header in line 1; Parquet has no lines
        where = f"row {number + 1}" if self.file.suffix == PARQUET else f"line {number + 2}"
        return f"{self.file}, {where}, column {column!r}"


def read_cells(file: Path) -> Cells:
    """Read a Parquet file (by its name) or a CSV file in UTF-8 with a header.

    Raises:
        InputError: it cannot be read, is of neither format, or has no rows.
    """
    try:
        cells = _parquet(file) if file.suffix == PARQUET else _csv(file)
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from error
    except ValueError as error:  # among them the parser errors of pandas and pyarrow
        why = str(error).splitlines()[0].removeprefix("Error tokenizing data. C error: ")
        what = "Parquet" if file.suffix == PARQUET else "CSV"
        raise InputError(f"{file} is not a {what} file: {why}") from error
    if cells.table.empty:
        raise InputError(f"{file}: expected a header and at least one row, got no row")
    return cells


def cells_of(csv: str) -> Cells:
    """Read the text of a CSV file.

    Raises:
        InputError: it is of another format, or has no rows.
    """
    try:
        return _csv(Path("csv"), csv)
    except ValueError as error:
        raise InputError(f"not the text of a CSV file: {str(error).splitlines()[0]}") from error


def values(cells: Cells, column: Column) -> Array:
    """Return a column as a read-only ``(n,)`` array: text as it is, numbers as float64, empty as NaN.

    Raises:
        InputError: a cell does not hold what the column should; the sentence names the first one.
    """
    raw = cells.table[column.name]
    empty = _empty(raw)
    found = _text(raw) if column.holds == "text" else _numbers(raw)
    wrong = empty & (not column.may_be_empty)
    if column.holds != "text":
        sign = found <= 0 if column.above_zero else found < 0
        part = found != np.floor(found) if column.holds == "whole" else np.zeros(len(found), dtype=bool)
        if column.holds == "whole":
            part |= found > MOST_WHOLE
        wrong = wrong | (~empty & (~np.isfinite(found) | sign | part))
    for row in np.flatnonzero(wrong)[:1]:
        got = "nothing" if empty[row] else repr(_plain(raw.iloc[row]))
        many = not empty[row] and column.holds != "text" and bool(found[row] > MOST_WHOLE)
        raise InputError(f"{cells.place(row, column.name)}: expected {_expected(column, many)}, got {got}")
    found.flags.writeable = False
    return found


def _expected(column: Column, too_many: bool) -> str:
    if column.holds == "text":
        return "a name"
    number = "a whole number" if column.holds == "whole" else "a number"
    most = f" and at most {MOST_WHOLE:,}" if column.holds == "whole" and too_many else ""
    return f"{number} above 0{most}" if column.above_zero else f"{number}, 0 or more{most}"


def _csv(file: Path, text: str | None = None) -> Cells:
    import pandas as pd

    try:
        # all as text and the header as a row: then each row is its line, and one with more cells is refused
        source = StringIO(read_text(file) if text is None else text)
        table = pd.read_csv(source, header=None, dtype=str, na_filter=False, skip_blank_lines=False)
    except pd.errors.EmptyDataError as error:
        raise InputError(f"{file} is empty; expected a header and rows") from error
    header = [name.strip() for name in table.iloc[0]]
    return _cells(file, header, table.iloc[1:].reset_index(drop=True))


def _parquet(file: Path) -> Cells:
    import pandas as pd

    table = pd.read_parquet(file).reset_index(drop=True)
    return _cells(file, [str(name) for name in table.columns], table)


def _cells(file: Path, header: list[str], table: pd.DataFrame) -> Cells:
    twice = next((name for name in header if header.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{file}: more than one column {twice!r}")
    table.columns = header
    blank = np.all([_empty(table[name]) for name in header], axis=0)
    return Cells(file, header, table[~blank])


def _empty(raw: pd.Series[Any]) -> Array:
    missing = raw.isna().to_numpy(dtype=bool)
    return missing if _is_number(raw) else missing | (_text(raw) == "")


def _text(raw: pd.Series[Any]) -> Array:
    return np.array([str(cell).strip() for cell in raw], dtype=object)


def _numbers(raw: pd.Series[Any]) -> Array:
    """Return cells as float64, NaN where there is no number."""
    import pandas as pd

    if _is_number(raw):
        return raw.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    parsed = pd.to_numeric(pd.Series(_text(raw), dtype=object), errors="coerce")
    return parsed.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)


def _is_number(raw: pd.Series[Any]) -> bool:
    return raw.dtype.kind in "iuf"


def _plain(cell: Any) -> Any:
    """Return a cell as Python writes it, not as numpy does."""
    return cell.item() if isinstance(cell, np.generic) else cell
