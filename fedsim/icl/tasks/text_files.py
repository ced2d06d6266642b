"""Files of labelled texts: JSON objects, one per line (`.jsonl`), or a table (`.csv`), with the same columns.

A row has ``text`` (or ``text_a``: the same) and ``label``: a whole number (0, 1, ...) or a name; where the
task needs them ``text_b`` and ``context``; and, if somebody wants to say them, ``id`` (unique) and ``split``
("train" or "test"), which then stands in every row. Null or an empty cell is none. No message repeats a text:
it may be private.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedsim.errors import InputError, nearest
from fedsim.icl.tasks.base import Longs, Text
from fedsim.plain_text import decoded, read_bytes, with_line_feeds

COLUMNS = ("text", "label", "text_b", "context", "id", "split")
"""All that a file may have; ``text_a`` is another name of ``text``."""
MEANT = {
    **dict.fromkeys(("sentence", "review", "content", "body", "message", "question", "texts"), "text"),
    **dict.fromkeys(("class", "category", "target", "sentiment", "topic", "labels", "y"), "label"),
    **dict.fromkeys(("sentence2", "text2", "question2", "hypothesis"), "text_b"),
    **dict.fromkeys(("fold", "set", "part", "subset"), "split"),
    **dict.fromkeys(("idx", "index", "number", "key"), "id"),
}
"""What columns of data sets are often called, and what they are called here."""
SPLITS = ("train", "test")

MOST_NAMES = 200
"""Classes by name: more of them are no classes."""

LONGEST_SHOWN = 12
"""Characters of a wrong value that a message repeats at most: longer ones may be somebody's text."""


class Corpus(NamedTuple):
    """All rows of a data set, in the order of its file."""

    texts: tuple[Text, ...]
    labels: Longs
    """Classes, (n,)."""
    is_test: NDArray[np.bool_]
    """Whether a row is for testing rather than training, (n,); where the file does not say: never."""
    says_split: bool = True
    """Whether the file says it."""

    def numbers(self, label: int, test: bool) -> Longs:
        """Return the numbers of the rows of a class and split, in order."""
        return np.flatnonzero((self.labels == label) & (self.is_test == test))


class Row(NamedTuple):
    """One row, checked."""

    id: str | None
    test: bool | None
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
def read_corpus(file: Path, sha256: str, n_classes: int, names: tuple[str, ...] = ()) -> Corpus:
    """Return the rows of a file.

    Args:
        file: a `.jsonl` or `.csv` file in UTF-8.
        sha256: of its bytes.
        n_classes: labels are 0 to ``n_classes - 1``.
        names: of the classes, by which a file may call them too.

    Raises:
        InputError: the file cannot be read, has another content, or a row of it is wrong.
    """
    rows: list[Row] = []
    lines: dict[str, int] = {}
    for line, record in _records(file, sha256):
        row = _row(record, n_classes, names, f"{file}, line {line}")
        if row.id in lines:
            raise InputError(f"{file}, line {line}: the id of line {lines[row.id]} again, expected another")
        if rows and (row.test is None) != (rows[0].test is None):
            raise InputError(f"{file}, line {line}: split: expected in all rows, or in none")
        if row.id is not None:
            lines[row.id] = line
        rows.append(row)
    if not rows:
        raise InputError(f"{file}: found no rows, expected labelled texts")
    return Corpus(
        texts=tuple(row.text for row in rows),
        labels=np.array([row.label for row in rows]),
        is_test=np.array([bool(row.test) for row in rows]),
        says_split=rows[0].test is not None,
    )


@lru_cache(maxsize=8)
def label_names(file: Path, sha256: str) -> tuple[str, ...]:
    """Return the names that a file has for its classes, in the order of the alphabet; none if it has numbers.

    Arguments are those of `read_corpus`.

    Raises:
        InputError: the file cannot be read, or a row of it has no label.
    """
    found: set[str] = set()
    for line, record in _records(file, sha256):
        label = record.get("label")
        if isinstance(label, str) and (name := label.strip()):
            found.add(name)
        elif label is None:
            _check_columns(record, f"{file}, line {line}")
        if len(found) > MOST_NAMES:
            raise InputError(
                f"{file}, line {line}: label: found more than {MOST_NAMES} different ones, expected classes"
            )
    return tuple(sorted(found))


def read_texts(file: Path) -> list[tuple[Text, str]]:
    """Return the texts of a file that somebody asks about, each with its label as it stands there, if any.

    Raises:
        InputError: the file cannot be read, or a row of it is wrong.
    """
    found = []
    for line, record in _records(file, digest(file)):
        place = f"{file}, line {line}"
        _check_columns(record, place, needed=("text",))
        label = record.get("label")
        found.append((_text(record, place), "" if label is None else str(label).strip()))
    if not found:
        raise InputError(f"{file}: found no rows, expected texts")
    return found


def _records(file: Path, sha256: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a file as they are, each with its line."""
    content = read_bytes(file)
    check_unchanged(file, hashlib.sha256(content).hexdigest(), sha256)
    records = {".jsonl": _json_records, ".csv": _csv_records}.get(file.suffix.lower())
    if records is None:
        raise InputError(f"{file}: expected a file whose name ends in .jsonl or .csv")
    yield from records(file, content)


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


def _row(record: dict[str, Any], n_classes: int, names: tuple[str, ...], place: str) -> Row:
    _check_columns(record, place)
    split = record.get("split")
    label = _class_of(record["label"], n_classes, names, place)
    if split not in SPLITS and "split" in record:
        raise InputError(f'{place}: split: found {_shown(split)}, expected "train" or "test"')
    text = _text(record, place)
    identity = record.get("id")
    if isinstance(identity, dict | list) or (identity is None and "id" in record):
        raise InputError(f"{place}: id: found {_kind(identity)}, expected a name or number")
    return Row(
        None if identity is None else str(identity),
        split == "test" if "split" in record else None,
        text,
        label,
    )


def _text(record: dict[str, Any], place: str) -> Text:
    """Return the text of a row."""
    first = "text_a" if "text_a" in record else "text"
    columns = first, "text_b", "context"
    texts = [record.get(column) for column in columns]
    for column, text in zip(columns, texts, strict=True):
        if text is not None and not isinstance(text, str):
            raise InputError(f"{place}: {column}: found {_kind(text)}, expected a text")
        if any("\ud800" <= character <= "\udfff" for character in text or ""):
            raise InputError(f"{place}: {column}: holds half a character (a lone surrogate of UTF-16)")
    a, b, context = ((text or "").strip() for text in texts)
    if not a:
        raise InputError(f"{place}: {first}: found nothing, expected a text")
    return Text(a, b, context)


def _class_of(label: Any, n_classes: int, names: tuple[str, ...], place: str) -> int:
    """Return the number of a class, which a file calls by it or by its name."""
    if isinstance(label, str) and label.strip() in names:
        return names.index(label.strip())
    if type(label) is int and 0 <= label < n_classes:
        return label
    hint = nearest(label, names) if isinstance(label, str) and len(label) <= LONGEST_SHOWN else ""
    words = f", or one of {', '.join(names)}" if names else ""
    expected = f"a whole number from 0 to {n_classes - 1}{words}"
    raise InputError(f"{place}: label: found {_shown(label)}{hint}, expected {expected}")


def _check_columns(record: dict[str, Any], place: str, needed: Sequence[str] = ("text", "label")) -> None:
    known = ", ".join(COLUMNS)
    for column in record:
        if column not in (*COLUMNS, "text_a"):
            meant = MEANT.get(column.lower()) if isinstance(column, str) else None
            there = {"text" if name == "text_a" else name for name in record}
            hint = f"; call it {meant!r}" if meant and meant not in there else nearest(column, COLUMNS)
            raise InputError(f"{place}: unknown column {_shown(column)}{hint} (known: {known})")
    if "text" in record and "text_a" in record:
        raise InputError(f"{place}: found the columns 'text' and 'text_a', expected one of them")
    named = {"text" if column == "text_a" else column for column in record}
    for column in needed:
        if column not in named:
            raise InputError(f"{place}: no column {column!r} (columns: {', '.join(record) or 'none'})")


def _shown(value: Any) -> str:
    """Return a wrong value as a message may repeat it."""
    shown = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= LONGEST_SHOWN + 2 else f"{_kind(value)} of {len(shown)} characters"


def _kind(value: Any) -> str:
    """Return what sort of JSON value this is."""
    names = {bool: "true or false", str: "a text", dict: "an object", list: "a list", type(None): "nothing"}
    return names.get(type(value), "a number")
