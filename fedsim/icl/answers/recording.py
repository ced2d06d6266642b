"""Recordings: all answers that a run used, in one file, without its prompts.

The file is JSONL. Its first line names the format, the model's identity and the correction of its scores;
every other line is one answer: the address of its question, the log-probabilities of the label words (null:
probability zero), tokens, measured seconds and the rule, in order of address. A written answer has a
``text`` instead of log-probabilities: a replay needs it, so a recording of such answers is as private as they
are.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from fedsim.errors import InputError
from fedsim.icl.answers.answer import Correction
from fedsim.icl.answers.kept import FORMAT, Kept, from_table, to_table
from fedsim.plain_text import decoded, with_line_feeds
from fedsim.whole_files import write_whole

if TYPE_CHECKING:
    from fedsim.icl.answers.asking import Asking

NAME = "fedsim answers"
FILE = "answers.jsonl"
"""In a run folder."""
HEADER = {"recording", "format", "identity", "correction"}
LATENCY_COLUMNS = ("ttft_s", "end_to_end_s", "tokens_in", "tokens_out", "error_code")


class Recording(NamedTuple):
    """The answers of one model."""

    identity: dict[str, Any]
    """The model's; see `LanguageModel.identity`."""
    correction: Correction
    """How the run corrected the scores; the answers are those before it."""
    answers: dict[str, Kept]
    """By address."""


def text_of(recording: Recording) -> str:
    """Return the text of a recording's file."""
    header = {"recording": NAME, "format": FORMAT, **recording._asdict()}
    del header["answers"]
    answers = ({"address": address} | to_table(kept) for address, kept in sorted(recording.answers.items()))
    return "".join(json.dumps(line, allow_nan=False) + "\n" for line in (header, *answers))


def save(path: Path, asking: Asking) -> None:
    """Write the answers that were used to a file, whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    write_whole(path, asking.recording())


def load(path: Path) -> Recording:
    """Read a recording.

    Raises:
        InputError: the file cannot be read or is none; the sentence names the file and the line.
    """
    try:
        return parse(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"cannot read the recording {path}: {error.strerror}") from error


def parse(content: bytes, place: str) -> Recording:
    """Read the content of a recording's file; `place` is what errors call it.

    Raises:
        InputError: it is not a recording.
    """
    tables = _tables(content, place)
    header = next(tables, {})
    if header.get("recording") != NAME or header.get("format") != FORMAT or set(header) != HEADER:
        raise InputError(f"{place}, line 1: expected the first line of a recording of format {FORMAT}")
    if not isinstance(header["identity"], dict) or header["correction"] not in get_args(Correction):
        raise InputError(f"{place}, line 1: the identity or the correction is not one of a model")
    answers: dict[str, Kept] = {}
    for number, table in enumerate(tables, start=2):
        address = table.pop("address", None)
        if not isinstance(address, str) or not re.fullmatch("[0-9a-f]{64}", address):
            raise InputError(f"{place}, line {number}: expected the address of an answer, 64 digits")
        if address in answers:
            raise InputError(f"{place}, line {number}: a second answer to one question")
        try:
            answers[address] = from_table(table)
        except ValueError as error:
            raise InputError(f"{place}, line {number}: {error}") from error
    return Recording(header["identity"], header["correction"], answers)


def latencies(path: Path) -> list[dict[str, Any]]:
    """Return the measured latency of each answer in a recording, in the order of its lines.

    Columns: ``ttft_s`` (time to first token), ``end_to_end_s``, ``tokens_in``, ``tokens_out``, and
    ``error_code``, which is empty: only answers are recorded.

    Raises:
        InputError: the file cannot be read or is no recording.
    """
    return [
        {column: getattr(kept, column, "") for column in LATENCY_COLUMNS}
        for kept in load(path).answers.values()
    ]


def recordings(place: Path) -> list[Path]:
    """Return a recording, or all in the run folders at or below a folder.

    Raises:
        InputError: there is none.
    """
    if not place.is_dir():
        return [place]
    found = sorted(place.rglob(FILE))
    if not found:
        raise InputError(f"{place}: no recorded answers; run the scenario with --set record.answers=true")
    return found


def save_latencies(paths: Sequence[Path], csv_path: Path) -> int:
    """Write the latencies of recordings to a CSV file that a delay of kind "empirical" reads.

    Returns how many there are.

    Raises:
        InputError: a recording cannot be read, or the CSV file not written.
    """
    rows = [row for path in paths for row in latencies(path)]
    text = io.StringIO()
    table = csv.DictWriter(text, LATENCY_COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_whole(csv_path, text.getvalue())
    return len(rows)


def _tables(content: bytes, place: str) -> Iterator[dict[str, Any]]:
    lines = with_line_feeds(decoded(content, place)).split("\n")
    if not lines[-1]:  # after the last line's end
        del lines[-1]
    for number, line in enumerate(lines, start=1):
        try:
            table = json.loads(line)
        except ValueError as error:
            raise InputError(f"{place}, line {number}: not valid JSON") from error
        if not isinstance(table, dict):
            raise InputError(f"{place}, line {number}: expected a JSON object")
        yield table
