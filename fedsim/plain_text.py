"""Text files as people hand them in: UTF-8, with or without a byte-order mark, with any system's line ends.

What a person hands in as a text is read here, so that all kinds of files take and refuse the same texts. No
message repeats a text, nor does an error carry one along: it may be private.
"""

from __future__ import annotations

import codecs
from pathlib import Path

from fedsim.errors import InputError

# The longer marks first: that of UTF-32 begins with that of UTF-16.
OTHER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
REMEDY = "expected UTF-8 (most editors can save a text in it)"


def read_bytes(file: Path) -> bytes:
    """Return the content of a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from error


def read_text(file: Path) -> str:
    """Return the text of a file, every line ended by a line feed.

    Raises:
        InputError: it cannot be read, or is no text in UTF-8; the sentence names file, line and cause.
    """
    return with_line_feeds(decoded(read_bytes(file), str(file)))


def decoded(content: bytes, place: str) -> str:
    """Return the text that bytes mean, without a byte-order mark and with the line ends that it has.

    Args:
        content: the content of a file.
        place: what an error calls the file.

    Raises:
        InputError: it is no text in UTF-8; the sentence names the line and the cause.
    """
    for mark, encoding in OTHER_MARKS.items():
        if content.startswith(mark):
            raise InputError(f"{place}: a text in {encoding}, {REMEDY}")
    content = content.removeprefix(codecs.BOM_UTF8)
    if (zero := content.find(0)) >= 0:
        why = "a byte of value 0, as in UTF-16 without its mark, or in a file that is no text"
        raise InputError(f"{place}, line {_line(content, zero)}: {why}; {REMEDY}")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        place, byte = f"{place}, line {_line(content, error.start)}", content[error.start]
    # Not where it was caught: that error carries the content.
    raise InputError(f"{place}: not a text in UTF-8, because of the byte {byte:#04x}; {REMEDY}")


def with_line_feeds(text: str) -> str:
    """Return a text whose lines end as on Unix, whatever system wrote it."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _line(content: bytes, place: int) -> int:
    """Return the number of the line, from 1, in which a byte stands."""
    before = content[:place].replace(b"\r\n", b"\n")
    return before.count(b"\n") + before.count(b"\r") + 1
