"""Tables in documents that a program writes anew."""

from __future__ import annotations


def parts(text: str, name: str) -> tuple[str, str, str]:
    """Return a document before a table, the table, and what follows.

    Args:
        text: the document.
        name: the table stands between the lines ``<!-- name -->`` and ``<!-- end of name -->``, which belong
            to what is before and after it.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, _, rest = text.partition(begin)
    found, _, after = rest.partition(end)
    return before + begin, found, end + after
