"""Files of labelled texts: JSON objects, one per line (`.jsonl`), or a table (`.csv`), with the same columns.

A row has ``id`` (unique), ``split`` ("train" or "test"), ``text_a``, ``label`` (0, 1, ...), and where the
task needs them ``text_b`` and ``context``; null or an empty cell is none. No message repeats a text: it may
be private.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedsim.errors import InputError, nearest
from fedsim.icl.tasks.base import Longs, Text
from fedsim.plain_text import decoded, read_bytes, with_line_feeds

NEEDED = ("id", "split", "text_a", "label")
COLUMNS = (*NEEDED, "text_b", "context")
SPLITS = ("train", "test")

LONGEST_SHOWN = 12
"""Characters of a wrong value that a message repeats at most: longer ones may be somebody's text."""


class Corpus(NamedTuple):
    """All rows of a data set, in the order of its file."""

    texts: tuple[Text, ...]
    labels: Longs
    """Classes, (n,)."""
    is_test: NDArray[np.bool_]
    """Whether a row is for testing rather than training, (n,)."""

    def numbers(self, label: int, test: bool) -> Longs:
        """Return the numbers of the rows of a class and split, in order."""
        return np.flatnonzero((self.labels == label) & (self.is_test == test))


class Row(NamedTuple):
    """One row, checked."""

    id: str
    test: bool
    text: Text
    label: int


def digest(place: Path) -> str:
    """Return the SHA-256 of a file's bytes, or of the names and bytes of all files in a folder.

    Raises:
        InputError: it cannot be read.
    """
    if not place.is_dir():
        return hashlib.sha256(read_bytes(place)).hexdigest()
    files = sorted((file.relative_to(place).as_posix(), file) for file in place.rglob("*") if file.is_file())
    lines = "".join(f"{digest(file)}  {name}\n" for name, file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def check_unchanged(place: Path, found: str, expected: object) -> None:
    """Raise an InputError if data are not those that a scenario was resolved with.

    What is no text can be no hash, which the type of the setting says.
    """
    if isinstance(expected, str) and found != expected:
        raise InputError(
            f"{place} has changed since: its sha256 begins with {found[:12]}, expected {expected[:12]}; "
            "restore it, or leave sha256 out to use what is there now"
        )


@lru_cache(maxsize=8)
def read_corpus(file: Path, sha256: str, n_classes: int) -> Corpus:
    """Return the rows of a file.

    Args:
        file: a `.jsonl` or `.csv` file in UTF-8.
        sha256: of its bytes.
        n_classes: labels are 0 to ``n_classes - 1``.

    Raises:
        InputError: the file cannot be read, has another content, or a row of it is wrong.
    """
    content = read_bytes(file)
    check_unchanged(file, hashlib.sha256(content).hexdigest(), sha256)
    records = {".jsonl": _json_records, ".csv": _csv_records}.get(file.suffix.lower())
    if records is None:
        raise InputError(f"{file}: expected a file whose name ends in .jsonl or .csv")
    rows: list[Row] = []
    lines: dict[str, int] = {}
    for line, record in records(file, content):
        row = _row(record, n_classes, f"{file}, line {line}")
        if row.id in lines:
            raise InputError(f"{file}, line {line}: the id of line {lines[row.id]} again, expected another")
        lines[row.id] = line
        rows.append(row)
    if not rows:
        raise InputError(f"{file}: found no rows, expected labelled texts")
    return Corpus(
        texts=tuple(row.text for row in rows),
        labels=np.array([row.label for row in rows]),
        is_test=np.array([row.test for row in rows]),
    )


def _json_records(file: Path, content: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    # Not splitlines(): a JSON string may hold a bare line separator of Unicode.
    for number, line in enumerate(with_line_feeds(decoded(content, str(file))).split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            # Here and below without the cause: it carries the content, which may be private.
            raise InputError(f"{file}, line {number}: not JSON: {error.msg}") from None
        if not isinstance(record, dict):
            raise InputError(f"{file}, line {number}: found {_kind(record)}, expected a JSON object")
        yield number, record


def _csv_records(file: Path, content: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    table = csv.DictReader(io.StringIO(decoded(content, str(file)), newline=""), strict=True)
    try:
        for cells in table:
            # Too many cells stand under None, missing ones are None.
            if None in cells or None in cells.values():
                expected = f"{len(table.fieldnames or ())}, as in the first line"
                raise InputError(f"{file}, line {table.line_num}: wrong number of cells, expected {expected}")
            record: dict[str, Any] = {name: cell or None for name, cell in cells.items()}
            label = record.get("label")
            if label is not None and label.strip().isdecimal():
                record["label"] = int(label)
            yield table.line_num, record
    except csv.Error as error:
        # The reader's own number: the table's is still that of the row before.
        raise InputError(f"{file}, line {table.reader.line_num}: not CSV: {error}") from None


def _row(record: dict[str, Any], n_classes: int, place: str) -> Row:
    _check_columns(record, place)
    label, split = record["label"], record["split"]
    if type(label) is not int or not 0 <= label < n_classes:
        raise InputError(
            f"{place}: label: found {_shown(label)}, expected a whole number from 0 to {n_classes - 1}"
        )
    if split not in SPLITS:
        raise InputError(f'{place}: split: found {_shown(split)}, expected "train" or "test"')
    texts = [record.get(column) for column in ("text_a", "text_b", "context")]
    for column, text in zip(("text_a", "text_b", "context"), texts, strict=True):
        if text is not None and not isinstance(text, str):
            raise InputError(f"{place}: {column}: found {_kind(text)}, expected a text")
        if any("\ud800" <= character <= "\udfff" for character in text or ""):
            raise InputError(f"{place}: {column}: holds half a character (a lone surrogate of UTF-16)")
    a, b, context = ((text or "").strip() for text in texts)
    if not a:
        raise InputError(f"{place}: text_a: found nothing, expected a text")
    identity = record["id"]
    if identity is None or isinstance(identity, dict | list):
        raise InputError(f"{place}: id: found {_kind(identity)}, expected a name or number")
    return Row(str(identity), split == "test", Text(a, b, context), label)


def _check_columns(record: dict[str, Any], place: str) -> None:
    known = ", ".join(COLUMNS)
    for column in record:
        if column not in COLUMNS:
            hint = nearest(column, COLUMNS)
            raise InputError(f"{place}: unknown column {_shown(column)}{hint} (known: {known})")
    for column in NEEDED:
        if column not in record:
            raise InputError(f"{place}: no column {column!r} (columns: {', '.join(record) or 'none'})")


def _shown(value: Any) -> str:
    """Return a wrong value as a message may repeat it."""
    shown = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= LONGEST_SHOWN + 2 else f"{_kind(value)} of {len(shown)} characters"


def _kind(value: Any) -> str:
    """Return what sort of JSON value this is."""
    names = {bool: "true or false", str: "a text", dict: "an object", list: "a list", type(None): "nothing"}
    return names.get(type(value), "a number")
