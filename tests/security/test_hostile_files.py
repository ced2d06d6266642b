"""Files of strangers, and the page that says what they can do."""

from __future__ import annotations

import re

import pytest

from fedsim.errors import InputError
from fedsim.timing.network.graph_text import parse_graph

GRAPH = '<!DOCTYPE g [{}]><graphml><graph><node id="&b;"/></graph></graphml>'
LAUGHS = GRAPH.format('<!ENTITY a "ha"><!ENTITY b "&a;&a;">')
OUTSIDE = GRAPH.format('<!ENTITY b SYSTEM "file:///etc/passwd">')


@pytest.mark.parametrize("text", [LAUGHS, OUTSIDE, f"<?xml version='1.0'?>\n<!-- a -->\n{OUTSIDE}"])
def test_a_graph_declares_nothing(text):
    with pytest.raises(InputError, match="declares a document type, which GraphML has none of"):
        parse_graph(text, "graphml")


def test_each_test_that_the_page_names_is_there(root):
    named = re.findall(r"`((?:\.\./\w+/)?test_\w+\.py)::(\w+)`", (root / "SECURITY.md").read_text())
    assert len(named) > 25
    folder = root / "tests" / "security"
    for file, test in named:
        assert f"def {test}(" in (folder / file).read_text(), (file, test)


def test_each_statement_of_the_page_names_a_test_or_says_what_is_open(root):
    text = (root / "SECURITY.md").read_text()
    items = re.findall(r"^- (.*?)(?=^- |^$)", text, re.M | re.S)
    assert [
        item for item in items if "::" not in item and not item.startswith(("Results and answers", "A Dask"))
    ] == []
