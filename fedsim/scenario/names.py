"""Names of scenarios and variants: they become names of folders, on any system."""

from __future__ import annotations

import re

TIMING_ONLY = "timing-only"
"""The folder, among results, of runs of the clock alone: no scenario may be called so."""

LONGEST = 128
"""Letters. File systems take 255 bytes, and what is being written needs some of them."""

_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
"""Names that Windows keeps to itself, whatever stands behind their first dot."""
_ENDS = (".partial", ".failed.json", ".sources")
"""How names end that mean something among results: what is being written, notes of failed runs, and
the files of a sweep."""


def wrong_with_name(name: str) -> str:
    """Return what a name should have been, in half a sentence; nothing if it can be one."""
    if not _PATTERN.fullmatch(name):
        return "letters, digits, '.', '_' and '-', the first a letter or digit"
    if len(name) > LONGEST:
        return f"at most {LONGEST} letters"
    if name.lower() == TIMING_ONLY or _DEVICES.fullmatch(name):
        return "another name: this one has a meaning of its own among files"
    if name.lower().endswith((*_ENDS, ".")):
        return f"a name that does not end in {', '.join(_ENDS)} or a dot"
    return ""


def possible_name(text: str) -> str:
    """Return a name like a text that cannot be one; nothing where nothing is left of it."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("._-")[:LONGEST]
    return "" if wrong_with_name(name) else name
