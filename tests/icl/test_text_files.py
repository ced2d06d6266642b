"""Rows of text files: what is read, and what is said of a wrong one."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import pytest
from text_cases import rows, write_jsonl

from fedsim.errors import InputError
from fedsim.icl.tasks.base import Text
from fedsim.icl.tasks.text_files import Corpus, digest, label_names, read_corpus

PRIVATE = "the patient in room nine has recovered"
ROW = {"id": "a", "split": "train", "text_a": PRIVATE, "text_b": None, "label": 1}


def read(file: Path, n_classes: int = 2) -> Corpus:
    return read_corpus(file, digest(file), n_classes)


def bad(file: Path, content: str | bytes) -> str:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        read(file)
    said = str(caught.value)
    assert str(file) in said
    said = said.removeprefix(str(file))
    assert "patient" not in said
    # No trace that a debugger prints may lead to the content.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return said


def test_a_file_worked_out_by_hand(tmp_path: Path) -> None:
    table = [
        {"id": 7, "split": "test", "text_a": " Cell ", "text_b": "Sector", "label": 1, "context": "5G."},
        {"id": "8", "split": "train", "text_a": "Zelle\u2028neu", "text_b": None, "label": 0},
        {"id": "9", "split": "train", "text_a": "beam", "text_b": "", "label": 1},
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in table), encoding="utf-8")
    corpus = read(file)
    assert corpus.texts == (Text("Cell", "Sector", "5G."), Text("Zelle\u2028neu"), Text("beam"))
    assert corpus.labels.tolist() == [1, 0, 1]
    assert corpus.is_test.tolist() == [True, False, False]
    assert corpus.numbers(1, test=False).tolist() == [2]
    assert corpus.numbers(1, test=True).tolist() == [0]
    assert corpus.numbers(0, test=True).tolist() == []


def test_csv_says_the_same_as_jsonl(tmp_path: Path) -> None:
    table = rows()
    table[3]["text_a"] = 'said "no",\nand left'
    table[4] |= {"text_b": "another", "context": "ctx"}
    file = tmp_path / "reviews.csv"
    with file.open("w", newline="", encoding="utf-8-sig") as out:
        writer = csv.DictWriter(out, ["label", "context", "text_b", "text_a", "split", "id"])
        writer.writeheader()
        writer.writerows(table)
    one, other = read(file), read(write_jsonl(tmp_path, table))
    assert one.texts == other.texts
    assert one.texts[4] == Text(table[4]["text_a"], "another", "ctx")
    assert (one.labels == other.labels).all()
    assert (one.is_test == other.is_test).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": 2}, "line 2: label: found 2, expected a whole number from 0 to 1"),
        ({"label": -1}, "line 2: label: found -1, expected"),
        ({"label": "1"}, 'line 2: label: found "1", expected'),
        ({"label": True}, "line 2: label: found true, expected"),
        ({"label": 1.0}, "line 2: label: found 1.0, expected"),
        ({"label": PRIVATE}, "line 2: label: found a text of 40 characters, expected"),
        ({"split": "dev"}, 'line 2: split: found "dev", expected "train" or "test"'),
        ({"split": ["train"]}, 'line 2: split: found ["train"], expected'),
        ({"text_a": " "}, "line 2: text_a: found nothing, expected a text"),
        ({"text_a": None}, "line 2: text_a: found nothing, expected a text"),
        ({"text_a": 3}, "line 2: text_a: found a number, expected a text"),
        ({"text_b": [PRIVATE]}, "line 2: text_b: found a list, expected a text"),
        ({"text_a": "half \ud800"}, "line 2: text_a: holds half a character"),
        ({"text": "x"}, "line 2: found the columns 'text' and 'text_a', expected one of them"),
        ({"category": 1}, 'unknown column "category" (known: text, label, text_b, context, id, split)'),
        ({"hypothesis": "x"}, 'unknown column "hypothesis" (known'),
        ({"id": None}, "line 2: id: found nothing, expected a name or number"),
        ({"id": "first"}, "line 2: the id of line 1 again, expected another"),
        ({"sentence": "x"}, 'line 2: unknown column "sentence" (known: text, label, text_b'),
        ({"contxt": "x"}, "unknown column \"contxt\"; did you mean 'context'?"),
    ],
)
def test_bad_rows(tmp_path: Path, change: dict, said: str) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in (ROW | {"id": "first"}, ROW | change))
    assert said in bad(tmp_path / "a.jsonl", lines)


@pytest.mark.parametrize(("column", "called"), [("text_a", "text"), ("label", "label")])
def test_a_missing_column(tmp_path: Path, column: str, called: str) -> None:
    row = {name: value for name, value in ROW.items() if name != column}
    assert f"line 1: no column '{called}' (columns: " in bad(tmp_path / "a.jsonl", json.dumps(row))
    row["sentence" if column == "text_a" else "class"] = "x"
    assert f"; call it '{called}' (known" in bad(tmp_path / "a.jsonl", json.dumps(row))


@pytest.mark.parametrize("names", [("no", "yes"), ()])
def test_texts_and_labels_suffice(tmp_path: Path, names: tuple[str, ...]) -> None:
    file = tmp_path / "a.csv"
    labels = names or ("0", "1")
    file.write_text(f"text,label\none,{labels[1]}\ntwo,{labels[0]}\n")
    found = read_corpus(file, digest(file), 2, names)
    assert [text.a for text in found.texts] == ["one", "two"]
    assert found.labels.tolist() == [1, 0]
    assert not found.says_split
    assert label_names(file, digest(file)) == names
    wrong = f"text,label\none,{names[0][0] if names else 'no'}\n"
    file.write_text(wrong)
    said = ": found \"n\"; did you mean 'no'?, expected a whole number from 0 to 1, or one of no, yes"
    with pytest.raises(InputError) as caught:
        read_corpus(file, digest(file), 2, names)
    assert (said if names else ': found "no", expected a whole number from 0 to 1') in str(caught.value)


def test_a_split_stands_in_all_rows_or_in_none(tmp_path: Path) -> None:
    lines = [json.dumps({"text": "x", "label": 0} | more) for more in ({"split": "test"}, {})]
    assert ", line 2: split: expected in all rows, or in none" in bad(tmp_path / "a.jsonl", "\n".join(lines))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f'\n{{"id": {PRIVATE}', ", line 2: not JSON: Expecting value"),
        (f'["{PRIVATE}"]', ", line 1: found a list, expected a JSON object"),
        (f'"{PRIVATE}"', ", line 1: found a text, expected a JSON object"),
        (b'{}\n{"text_a": "caf\xe9"}', ", line 2: not a text in UTF-8, because of the byte 0xe9; expected"),
        ("", ": found no rows, expected labelled texts"),
        ("\n \n", ": found no rows"),
    ],
)
def test_bad_jsonl(tmp_path: Path, content: str | bytes, said: str) -> None:
    assert said in bad(tmp_path / "a.jsonl", content)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", ": found no rows"),
        ("id,split,text_a,label\n", ": found no rows"),
        ("id,split,label\n1,train,1\n", ", line 2: no column 'text' (columns: id, split, label)"),
        (f"{PRIVATE},split\nx,train\n", ", line 2: unknown column a text of 40 characters"),
        (f"id,split,text_a,label\n1,train,{PRIVATE}\n", ", line 2: wrong number of cells, expected 4"),
        (f"id,split,text_a,label\n1,train,{PRIVATE}, 0,1\n", ", line 2: wrong number of cells, expected 4"),
        (f'id,split,text_a,label\n1,train,"{PRIVATE}"x,1\n', ", line 2: not CSV: "),
        (f"id,split,text_a,label\n1,train,{PRIVATE},-1\n", ', line 2: label: found "-1", expected'),
        (f"id,split,text_a,label\n1,train,{PRIVATE},\n", ", line 2: label: found nothing, expected"),
        ("id,split,text_a,label\n1,train,,1\n", ", line 2: text_a: found nothing, expected a text"),
    ],
)
def test_bad_csv(tmp_path: Path, content: str, said: str) -> None:
    assert said in bad(tmp_path / "a.csv", content)


def test_another_kind_of_file(tmp_path: Path) -> None:
    assert ": expected a file whose name ends in .jsonl or .csv" in bad(tmp_path / "a.tsv", "id\tsplit\n")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*nowhere.jsonl: No such file"):
        digest(tmp_path / "nowhere.jsonl")


def test_a_file_that_changes_is_read_anew_or_refused(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path, rows())
    before = digest(file)
    assert before == hashlib.sha256(file.read_bytes()).hexdigest()
    assert len(read(file).texts) == 52
    write_jsonl(tmp_path, rows()[:50])
    assert len(read(file).texts) == 50
    read_corpus.cache_clear()
    with pytest.raises(InputError, match="has changed since: its sha256 begins with"):
        read_corpus(file, before, 2)


def test_a_folder_is_known_by_the_names_and_contents_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    (tmp_path / "y").write_text("2")
    hashes = [hashlib.sha256(content).hexdigest() for content in (b"1", b"2")]
    lines = f"{hashes[0]}  a/x\n{hashes[1]}  y\n"
    assert digest(tmp_path) == hashlib.sha256(lines.encode()).hexdigest()
