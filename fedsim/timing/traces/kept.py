"""Traces in scenarios: named by a file, kept by their text."""

from __future__ import annotations

from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar, Generic

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from fedsim.catalog import StatedPath, Strict
from fedsim.errors import InputError
from fedsim.timing.traces.formats import AnyTrace, parse_as, read_as


class KeptTrace(Strict, Generic[AnyTrace]):
    """A trace that is part of a scenario: the path of a CSV or Parquet `file`, or its text, `csv`.

    A file is read once, when the scenario is loaded; its text is then kept in `csv`, so that a resolved
    scenario needs no other file and a changed file makes another run.
    """

    format: ClassVar[type[Any]]
    """The format of the trace, which each subclass names."""

    file: StatedPath | None = Field(None, exclude=True)
    csv: str = ""

    @model_validator(mode="before")
    @classmethod
    def _read_file(cls, table: Any) -> Any:
        if not isinstance(table, dict):
            return table
        given = {key: value for key, value in table.items() if value is not None}
        if ("file" in given) == ("csv" in given):
            raise _bad("expected either file, the path of a trace, or csv, its text")
        try:
            if isinstance(given.get("file"), str):
                file = Path(given.pop("file"))
                return {**given, "csv": _text(read_as(file, cls.format))}
            if isinstance(given.get("csv"), str):
                parse_as(given["csv"], cls.format)
        except InputError as error:
            raise _bad(str(error)) from error
        return given

    @cached_property
    def rows(self) -> AnyTrace:
        """The trace."""
        trace: AnyTrace = parse_as(self.csv, self.format)
        return trace


def _text(trace: Any) -> str:
    """Return a trace as the text of a CSV file; reading it gives the same numbers."""
    import pandas as pd

    columns = [column for column in trace.columns if getattr(trace, column.name) is not None]
    table = pd.DataFrame({column.name: getattr(trace, column.name) for column in columns})
    for column in columns:
        if column.holds == "whole":
            table[column.name] = table[column.name].astype("Int64")
    out = StringIO()
    table.to_csv(out, index=False, lineterminator="\n")
    return out.getvalue()


def _bad(sentence: str) -> PydanticCustomError:
    # As an argument, not as the template: a path may hold braces.
    return PydanticCustomError("bad_trace", "{sentence}", {"sentence": sentence})
