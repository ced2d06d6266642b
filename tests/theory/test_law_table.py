"""The document shows as many laws as there are: that each of them is shown as measured, `check` sees."""

from __future__ import annotations

from law_table import laws
from laws import shown


def test_the_document_shows_each_law_once():
    lines = shown()
    assert len(lines) == len(set(lines)) == len(laws()), "write it anew: python tests/theory/law_table.py"
