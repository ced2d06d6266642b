"""The header of a GGUF file: what a model is like, and where its tensors lie in the file.

The package gguf reads headers too; it takes seconds for the list of a vocabulary's words, which are of no use
here and are passed over.

Source: the format's description, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, version 3.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fedsim.errors import InputError

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""The letter by which `struct` knows each of the format's types of numbers."""
STRING, ARRAY = 8, 9
F32 = 0
DEFAULT_ALIGNMENT = 32


class TensorPlace(NamedTuple):
    """Where a tensor lies in a file."""

    shape: tuple[int, ...]
    """The last dimension is the one whose numbers lie side by side, as in torch: GGUF has it first."""
    number_format: int
    """The number of its format in ggml: 0 is float32."""
    offset: int
    """Bytes from the start of the file."""


class Header(NamedTuple):
    """What a file says before its numbers."""

    fields: Mapping[str, Any]
    """Single values, and arrays of numbers as tuples; arrays of words are left out."""
    tensors: Mapping[str, TensorPlace]


def read_header(file: Path) -> Header:
    """Return the header of a GGUF file.

    Raises:
        InputError: it cannot be read, or is none.
    """
    try:
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _Reader(content).header()
    except OSError as error:
        raise InputError(f"cannot read the weights {file}: {error.strerror}") from error
    # A damaged file may hold any number for a length or a type.
    except (struct.error, KeyError, UnicodeDecodeError, ValueError, OverflowError) as error:
        raise InputError(f"the weights {file} are damaged, or no GGUF file of version 2 or 3") from error


class _Reader:
    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self._at = 0

    def header(self) -> Header:
        magic, version = self._content[:4], struct.unpack_from("<I", self._content, 4)[0]
        if magic != b"GGUF" or version not in (2, 3):
            raise ValueError(magic)
        self._at = 8
        n_tensors, n_fields = self._number("Q"), self._number("Q")
        fields = {}
        for _ in range(n_fields):
            name = self._text()
            value = self._value(self._number("I"))
            if value is not None:
                fields[name] = value
        places = {}
        for _ in range(n_tensors):
            name = self._text()
            dimensions = [self._number("Q") for _ in range(self._number("I"))]
            places[name] = TensorPlace(tuple(reversed(dimensions)), self._number("I"), self._number("Q"))
        alignment = fields.get("general.alignment", DEFAULT_ALIGNMENT)
        start = -(-self._at // alignment) * alignment
        return Header(
            fields, {name: place._replace(offset=start + place.offset) for name, place in places.items()}
        )

    def _number(self, letter: str) -> Any:
        found = struct.unpack_from(f"<{letter}", self._content, self._at)[0]
        self._at += struct.calcsize(f"<{letter}")
        return found

    def _text(self) -> str:
        n_bytes = self._number("Q")
        found = self._content[self._at : self._at + n_bytes]
        if len(found) < n_bytes:
            raise ValueError("cut")
        self._at += n_bytes
        return found.decode()

    def _value(self, kind: int) -> Any:
        if kind == STRING:
            return self._text()
        if kind != ARRAY:
            return self._number(SCALARS[kind])
        kind, n_values = self._number("I"), self._number("Q")
        if kind == STRING:
            self._pass_over(n_values)
            return None
        letters = f"<{n_values}{SCALARS[kind]}"
        found = struct.unpack_from(letters, self._content, self._at)
        self._at += struct.calcsize(letters)
        return found

    def _pass_over(self, n_texts: int) -> None:
        length = struct.Struct("<Q").unpack_from
        at, content = self._at, self._content
        for _ in range(n_texts):
            at += 8 + length(content, at)[0]
        self._at = at
