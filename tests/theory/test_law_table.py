"""The document shows what is measured."""

from __future__ import annotations

from law_table import DOCUMENT, TABLE, table

from fedsim_analysis.documents import parts


def test_the_table_of_laws_in_the_document_is_what_is_measured():
    _, shown, _ = parts(DOCUMENT.read_text(encoding="utf-8"), TABLE)
    assert shown == table(), "write it anew: python tests/theory/law_table.py"
