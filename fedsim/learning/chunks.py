"""Batches cut into pieces that stay in a core's cache."""

from __future__ import annotations

CHUNK_ELEMENTS = 65_536
"""Numbers in one piece: half a mebibyte of float64. Larger temporaries go to the operating system and back
on every use, and their page faults cost more than the arithmetic."""


def chunks(total: int, elements_each: int) -> list[slice]:
    """Cut `total` jobs of `elements_each` numbers into slices of at most `CHUNK_ELEMENTS` numbers."""
    size = max(1, CHUNK_ELEMENTS // max(1, elements_each))
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]
