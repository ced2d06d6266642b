"""The table of all laws in docs/timing-model.md; `python tests/theory/law_table.py` writes it anew."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from laws import DOCUMENT, TABLE, Law

from fedsim_analysis.documents import parts

HERE = Path(__file__).parent


def laws() -> list[Callable[[], Law]]:
    """Return every law of the files `test_*_laws.py`, not yet measured."""
    modules = [importlib.import_module(file.stem) for file in sorted(HERE.glob("test_*_laws.py"))]
    return [law for module in modules for law in module.LAWS]


def table() -> str:
    """Return the table, every law measured anew."""
    lines = ["| law | with | exact | measured | source |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(law().line for law in laws())]) + "\n"


if __name__ == "__main__":
    before, _, after = parts(DOCUMENT.read_text(encoding="utf-8"), TABLE)
    DOCUMENT.write_text(before + table() + after, encoding="utf-8")
