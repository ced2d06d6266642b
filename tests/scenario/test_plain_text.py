"""Every kind of text that a person hands in: marks, line ends and other encodings, treated alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fedsim.errors import InputError
from fedsim.icl.answers import recording
from fedsim.icl.models.fitted import parameters
from fedsim.icl.tasks.text_files import digest, read_corpus
from fedsim.scenario.files import load_scenario, read_file
from fedsim.timing.delays.empirical import Empirical
from fedsim.timing.network.graph_text import parse_graph, read_text
from fedsim.timing.traces import FORMATS, read_trace

MARK = b"\xef\xbb\xbf"
PROFILES = Path(__file__).parents[2] / "scenarios" / "profiles"


class Kind(NamedTuple):
    """A kind of file: its name, a good one, and what reading it gives, for comparison."""

    name: str
    text: str
    read: Callable[[Path], Any]


def _edges(file: Path) -> list[Any]:
    form, text = read_text(file)
    return list(parse_graph(text, form).edges(data=True))


def _columns(file: Path) -> list[list[Any]]:
    trace = read_trace(file)
    return [
        getattr(trace, column.name).astype(str).tolist() for column in trace.columns if not column.optional
    ]


def _corpus(file: Path) -> Any:
    corpus = read_corpus(file, digest(file), 2)
    return corpus.texts, corpus.labels.tolist(), corpus.is_test.tolist()


def _parameters() -> str:
    table = {"labels": ["no", "yes"], "centre": [0.0], "projection": [[1.0]], "base": [[0, 1.0], [1.0, 0]]}
    table |= {"step": 1.0, "queries": {}, "demonstrations": {}, "fragment": {}, "words": {}, "gains": {}}
    return json.dumps(table, indent=1) + "\n"


def _recording() -> str:
    header = {"recording": "fedsim answers", "format": recording.FORMAT, "identity": {"name": "é"}}
    answer = {"text": "yes", "tokens_in": 3, "tokens_out": 1, "ttft_s": 0.1, "end_to_end_s": 0.2}
    return (
        json.dumps(header | {"correction": "none"}) + "\n" + json.dumps({"address": "0" * 64} | answer) + "\n"
    )


SCENARIO = """name = "s"
[algorithm]
kind = "sdbt"
[problem]
kind = "quadratic"
[[workers]]
count = 3
[llm]
kind = "independent"
latency = { kind = "constant", value_s = 1.0 }
[budget]
server_steps = 2
"""
SWEEP = SCENARIO + "[sweep.grid]\nseed = [1, 2]\n"
ROWS = [
    {"id": "a", "split": "train", "text_a": "née", "label": 1},
    {"id": "b", "split": "test", "text_a": "born", "label": 0},
]
JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
CSV = "id,split,text_a,label\na,train,née,1\nb,test,born,0\n"
GRAPHML = """<?xml version="1.0" encoding="utf-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns"><graph edgedefault="undirected">
<node id="s"/><node id="é"/>
<edge source="s" target="é"/>
</graph></graphml>
"""
NODE_LINK = '{"nodes": [{"id": "s"}, {"id": "é"}],\n"edges": [{"source": "s", "target": "é"}]}\n'
KINDS = {
    "scenario": Kind("s.toml", SCENARIO, load_scenario),
    "sweep": Kind("s.toml", SWEEP, lambda file: read_file(file).sweep),
    "edge list": Kind("g.edges", "s é\né b {'mbps': 3}\n", _edges),
    "GraphML": Kind("g.graphml", GRAPHML, _edges),
    "node-link": Kind("g.json", NODE_LINK, _edges),
    **{kind: Kind("t.csv", (PROFILES / f"{kind}.csv").read_text(), _columns) for kind in FORMATS},
    "delays": Kind("d.csv", "t_s,u\n0.5,1\n0.25,2\n", lambda file: Empirical(file=str(file), column="t_s")),
    "texts in JSONL": Kind("t.jsonl", JSONL, _corpus),
    "texts in CSV": Kind("t.csv", CSV, _corpus),
    "fitted parameters": Kind("f.json", _parameters(), parameters.read),
    "recording": Kind("a.jsonl", _recording(), recording.load),
}
SAME = {
    "a byte-order mark": lambda content: MARK + content,
    "line ends of Windows": lambda content: content.replace(b"\n", b"\r\n"),
    "line ends of the first Macs": lambda content: content.replace(b"\n", b"\r"),
    "no last line end": lambda content: content.rstrip(b"\n"),
    "all at once": lambda content: MARK + content.replace(b"\n", b"\r\n").rstrip(),
}
OTHER = {
    "UTF-16, as Windows writes it": (
        lambda text: text.encode("utf-16"),
        ": a text in UTF-16, expected UTF-8",
    ),
    "UTF-16 without a mark": (
        lambda text: text.encode("utf-16-le"),
        ", line 1: a byte of value 0, as in UTF-16",
    ),
    "UTF-32": (lambda text: text.encode("utf-32"), ": a text in UTF-32, expected UTF-8"),
    "Latin-1": (
        lambda text: text.encode() + b"caf\xe9\n",
        ": not a text in UTF-8, because of the byte 0xe9;",
    ),
    "a zero byte": (lambda text: text.encode() + b"\0", ": a byte of value 0, "),
}


@pytest.mark.parametrize("change", SAME)
@pytest.mark.parametrize("kind", KINDS)
def test_marks_and_line_ends_mean_nothing(tmp_path: Path, kind: str, change: str) -> None:
    name, text, read = KINDS[kind]
    file = tmp_path / name
    file.write_bytes(text.encode())
    plain = read(file)
    file.write_bytes(SAME[change](text.encode()))
    assert read(file) == plain


@pytest.mark.parametrize("encoding", OTHER)
@pytest.mark.parametrize("kind", KINDS)
def test_other_encodings_are_named(tmp_path: Path, kind: str, encoding: str) -> None:
    name, text, read = KINDS[kind]
    file = tmp_path / name
    encode, sentence = OTHER[encoding]
    file.write_bytes(encode(text))
    with pytest.raises((InputError, ValueError)) as caught:
        read(file)
    (said,) = [line for line in str(caught.value).splitlines() if str(file) in line]
    assert sentence in said.partition(str(file))[2]
    assert isinstance(caught.value, InputError) or kind == "delays"


def test_the_line_is_counted_whatever_ends_it(tmp_path: Path) -> None:
    file = tmp_path / "g.edges"
    for end in (b"\n", b"\r", b"\r\n"):
        file.write_bytes(MARK + end.join([b"s a", b"s b", b"s \xff"]))
        with pytest.raises(InputError, match="line 3: not a text in UTF-8, because of the byte 0xff"):
            read_text(file)


def test_a_mark_makes_no_other_run(command, small, tmp_path: Path) -> None:
    edges = b"s a\ns b\na b\nb c\n"
    network = (
        "network={kind='graph_file', file='g.edges', server='s', workers=['a', 'b', 'c'], link={mbps=0.01}}"
    )
    said = []
    for mark in (b"", MARK):
        (tmp_path / "g.edges").write_bytes(mark + edges)
        said.append(command("check", small, "--set", network))
    assert said[0].code == 0
    assert said[0] == said[1]
