"""Digests of what a run folder holds: a changed file is told from the one that was written."""

from __future__ import annotations

import hashlib
import re
from typing import Any

_SEAL = re.compile(rb',\n  "sha256": "([0-9a-f]{64})"\n}\n\Z')


def digest(content: bytes) -> str:
    """Return the SHA-256 of a content, as text."""
    return hashlib.sha256(content).hexdigest()


def sealed(text: str) -> bytes:
    """Return a JSON object of several lines, with the digest of all before it as its last entry."""
    head = text.encode().removesuffix(b"\n}")
    return head + f',\n  "sha256": "{digest(head)}"\n}}\n'.encode()


def is_whole(content: bytes, found: dict[str, Any]) -> bool:
    """Whether a sealed JSON object is as it was written; older ones state no digests, and may be anything.

    Args:
        content: the file.
        found: what was read from it.
    """
    seal = _SEAL.search(content)
    if seal is None:
        return "sha256" not in found and "digests" not in found
    return seal[1].decode() == digest(content[: seal.start()])
