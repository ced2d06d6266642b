"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path


def write_whole(file: Path, text: str) -> None:
    """Write a text in UTF-8 under its name only when all of it is on the disk; its folder must exist.

    Raises:
        OSError: it cannot be written; a file that was there before stays as it was.
    """
    partial = file.with_name(file.name + ".partial")
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
