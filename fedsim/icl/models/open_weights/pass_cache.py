"""What texts are to a model, on disk: so that no text runs through it twice.

Keys and values of a text's tokens, what modules gave at its last one, how many tokens it has, and how label
words are cut. The folder holds hashes and numbers, and is shared by all runs and any number of processes at
once. It grows to `MOST_BYTES`; then what has been there longest makes room. Whatever is damaged or gone is
computed again, with the same numbers.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import diskcache  # type: ignore[import-untyped]  # ships no type information
import numpy as np
import torch
from torch import Tensor

from fedsim.icl.answers.cache import LOCK_TIMEOUT_S, PlainDisk, explained
from fedsim.icl.answers.kept import Question, addresses

MOST_BYTES = 8 << 30
"""How large the folder grows: about 7,000 prompts of 24 tokens with the default model."""

END = struct.Struct("<II")
"""How many whole numbers there are, and a checksum of everything before it."""


class KeptPass(NamedTuple):
    """What is kept of one text."""

    numbers: Tensor
    """In float32, as many as there are, in one row."""
    counts: tuple[int, ...]
    """Whole numbers beside them."""


class PassCache:
    """Numbers by text and by what they are, in a folder.

    Args:
        identity: what they depend on besides the text.
        folder: where they are kept.

    Raises:
        ModelError: the folder cannot be used: a full disk, no permission, a damaged database, a lock that
            does not go away.
    """

    def __init__(self, identity: dict[str, Any], folder: Path) -> None:
        self._identity = identity
        self._folder = folder
        self._store: Any = None
        with self._explained():
            self._store = diskcache.Cache(
                folder, timeout=LOCK_TIMEOUT_S, disk=PlainDisk, size_limit=MOST_BYTES
            )

    def get(self, what: Question, text: str) -> KeptPass | None:
        """Return what is kept of a text; None if there is nothing that can be read.

        Long rows of numbers stay in their file until they are used: processes share the memory.
        """
        [address] = addresses(self._identity, what, [text])
        with self._explained():
            value = self._store.get(address, read=True)
            if value is None:
                return None
            try:
                return _decoded(memoryview(value) if isinstance(value, bytes) else _mapped(value))
            except (ValueError, struct.error):
                self._store.delete(address)
                return None

    def add(
        self, what: Question, text: str, numbers: Tensor | None = None, counts: Sequence[int] = ()
    ) -> None:
        """Keep something of a text."""
        [address] = addresses(self._identity, what, [text])
        with self._explained():
            self._store.add(address, _encoded(numbers, counts))

    def close(self) -> None:
        """Close the files; they are opened again when needed."""
        if self._store is not None:
            self._store.close()

    def _explained(self) -> Any:
        return explained("the cache of passes through models", self._folder, self.close)


def _mapped(stream: Any) -> memoryview:
    with stream:
        n_bytes = os.fstat(stream.fileno()).st_size
        with suppress(RuntimeError):  # gone since: another process has made room
            # Unlike numpy's, this keeps no file open: there may be thousands.
            return torch.from_file(stream.name, shared=False, size=n_bytes, dtype=torch.uint8).numpy().data
    raise ValueError("gone")


def _encoded(numbers: Tensor | None, counts: Sequence[int]) -> bytes:
    content = b"" if numbers is None else numbers.contiguous().numpy().astype("<f4", copy=False).tobytes()
    content += struct.pack(f"<{len(counts)}q", *counts)
    return content + END.pack(len(counts), zlib.crc32(content))


def _decoded(value: memoryview) -> KeptPass:
    """Return what `_encoded` wrote.

    Raises:
        ValueError: it is damaged.
    """
    n_content = len(value) - END.size
    n_counts, checksum = END.unpack_from(value, n_content)
    n_numbers = n_content - 8 * n_counts
    if n_numbers < 0 or n_numbers % 4 or zlib.crc32(value[:n_content]) != checksum:
        raise ValueError("the checksum is wrong")
    numbers = np.frombuffer(value[:n_numbers], "<f4")
    return KeptPass(
        torch.from_numpy(numbers.copy() if value.readonly else numbers),
        struct.unpack_from(f"<{n_counts}q", value, n_numbers),
    )
