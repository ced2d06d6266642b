"""Measured delays, drawn again at random."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from fedsim.catalog import StatedPath
from fedsim.errors import InputError
from fedsim.plain_text import read_text
from fedsim.timing.delays.base import Delay
from fedsim.timing.laws import DelayLaw, DiscreteLaw
from fedsim.timing.traces.base import NEVER_S
from fedsim.timing.traces.cells import PARQUET, read_cells
from fedsim.timing.traces.latencies import OUTCOMES, SECONDS, TimeUnit, said_of, went_well


class Empirical(Delay):
    """Measured delays drawn again at random, with replacement: `samples_s`, or a `column` of a CSV `file`.

    All in seconds, but for a file that has another `unit` (ms, us). Empty cells are skipped: they are
    requests that failed and have no delay; so are rows whose `error_code` or `status`, if the file has such
    a column, tells of a failure. A file (CSV or Parquet) is read once, when the scenario is loaded; the part
    then holds the numbers in `samples_s` and no longer knows where they came from, so a resolved scenario
    needs no other file. Mean: the mean of the samples.

    With a `block`, runs of that many consecutive samples are drawn, so that calls one after the other are as
    alike as they were: each run begins anywhere, and after the last sample comes the first. What is drawn
    together, as the calls of a job, is made of such runs, the last of them cut off; a job with fewer calls
    than a block is a part of one run. The law of each delay stays; 1, or none, draws each by itself.

    Source: the empirical distribution; Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    chapter 4; blocks: Politis and Romano, "A circular block-resampling procedure for stationary data", 1992.
    """

    kind: Literal["empirical"] = "empirical"
    samples_s: tuple[Annotated[float, Field(ge=0)], ...] = ()
    file: StatedPath | None = Field(default=None, exclude=True)
    column: str | None = Field(default=None, exclude=True)
    unit: TimeUnit | None = Field(default=None, exclude=True)
    block: int | None = Field(default=None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _read_file(cls, settings: Any) -> Any:
        if not isinstance(settings, dict):
            return settings
        given = {key: value for key, value in settings.items() if value is not None}
        file, column = given.pop("file", None), given.pop("column", None)
        unit = given.pop("unit", "s")
        from_file = file is not None or column is not None
        if unit not in SECONDS:
            raise _bad(f"unit: found {unit!r}, expected one of {', '.join(SECONDS)}")
        if unit != "s" and not from_file:
            raise _bad("unit is for the column of a file; samples_s are in seconds")
        if from_file == ("samples_s" in given):
            raise _bad("an empirical delay takes either samples_s or a file and its column")
        if not from_file:
            return given
        if not isinstance(file, str | Path) or not isinstance(column, str):
            raise _bad(
                f"file and column must both be given, as text; got file = {file!r}, column = {column!r}"
            )
        return given | {"samples_s": tuple(SECONDS[unit] * time for time in read_column(Path(file), column))}

    @field_validator("samples_s")
    @classmethod
    def _not_empty(cls, samples_s: tuple[float, ...]) -> tuple[float, ...]:
        if not samples_s:
            raise _bad("an empirical delay needs at least one sample")
        return samples_s

    @model_validator(mode="after")
    def _block_within_the_trace(self) -> Self:
        if self.block is not None and self.block > len(self.samples_s):
            raise _bad(f"block = {self.block} is more than the {len(self.samples_s)} samples that there are")
        return self

    @property
    def mean_value_s(self) -> float:
        return math.fsum(self.samples_s) / len(self.samples_s)

    def law(self) -> DelayLaw:
        return DiscreteLaw(self._samples)

    def sample(self, generator: np.random.Generator, size: int) -> NDArray[np.float64]:
        block = self.block or 1
        begins = generator.integers(len(self._samples), size=math.ceil(size / block))
        places = (begins[:, None] + np.arange(block)).ravel()[:size]
        return self._samples[places % len(self._samples)]

    @cached_property
    def _samples(self) -> NDArray[np.float64]:
        return np.array(self.samples_s)


def read_column(file: Path, column: str) -> tuple[float, ...]:
    """Return the delays (s) in a column of a CSV file with a header line, or of a Parquet file.

    Empty cells are skipped, and rows whose `error_code` or `status` tells of a failure.

    Raises:
        PydanticCustomError: the file cannot be read, the column is missing, twice there or without a number,
            or a cell holds anything but a finite number of seconds from 0 up.
    """
    try:
        header, rows = _parquet_rows(file) if file.suffix == PARQUET else _csv_rows(file)
        if header.count(column) != 1:
            known = ", ".join(map(repr, header)) or "none"
            count = "no column" if column not in header else "more than one column"
            raise _bad(f"{file}: {count} {column!r} (columns: {known})")
        outcome = next((name for name in OUTCOMES if name in header and name != column), None)
        delays = tuple(
            _delay(cell, f"{file}, {place}, column {column!r}")
            for place, row in rows
            if (cell := _text(row.get(column))) and went_well(said_of(row.get(outcome)))
        )
    except InputError as error:
        raise _bad(str(error)) from error
    except csv.Error as error:
        raise _bad(f"{file} is not a CSV file: {error}") from error
    if not delays:
        raise _bad(f"{file}: column {column!r} holds no delay at all")
    return delays


Rows = Iterator[tuple[str, Mapping[Any, Any]]]
"""Where each row stands, and its cells by column."""


def _csv_rows(file: Path) -> tuple[list[str], Rows]:
    rows = csv.DictReader(StringIO(read_text(file)))
    return list(rows.fieldnames or ()), ((f"line {rows.line_num}", row) for row in rows)


def _parquet_rows(file: Path) -> tuple[list[str], Rows]:
    cells = read_cells(file)
    records = cells.table.to_dict("records")
    return cells.header, (
        (f"row {int(number) + 1}", row) for number, row in zip(cells.table.index, records, strict=True)
    )


def _text(cell: Any) -> str:
    """Return a cell as text, nothing where it is empty: None, NaN or blank."""
    return "" if cell is None or cell != cell else str(cell).strip()


def _delay(cell: str, place: str) -> float:
    try:
        delay_s = float(cell)
    except ValueError:
        delay_s = math.nan
    if not (math.isfinite(delay_s) and delay_s >= 0):
        raise _bad(f"{place}: expected seconds, 0 or more (or nothing, for a failed request), got {cell!r}")
    if delay_s >= NEVER_S:
        raise _bad(
            f"{place}: expected how long it took (s), got {cell}, as if it were a time counted from 1970"
        )
    return delay_s


def _bad(sentence: str) -> PydanticCustomError:
    # as an argument, not as the template: a file name may hold braces
    return PydanticCustomError("bad_delays", "{sentence}", {"sentence": sentence})
