"""Text tasks: who holds which rows, the words that all agree on, and how a scenario names the data."""

from __future__ import annotations

import sys
import tomllib
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
from pydantic import ValidationError
from text_cases import REVIEWS, SINGLE_WORDS, rows, tiny_text_task, write_jsonl

from fedsim.errors import InputError
from fedsim.icl.prompts import TEMPLATES
from fedsim.icl.tasks import TASKS
from fedsim.icl.tasks import text as text_module
from fedsim.icl.tasks.base import TaskData, Text, Texts
from fedsim.icl.tasks.glue import read_glue
from fedsim.icl.tasks.split import _within as within
from fedsim.icl.tasks.text import TextTask
from fedsim.icl.tasks.text_files import digest, read_corpus
from fedsim.icl.tasks.text_sizes import fitted_sizes
from fedsim.scenario import dump, load_scenario
from fedsim.scenario.schema import json_schema
from fedsim.streams import Stream, Streams


def held(data: TaskData[Texts]) -> list[list[int]]:
    """Return the rows that each worker holds."""
    parts = (data.train.x, data.validation.x, data.demonstrations.x)
    n = len(data.train.x)
    return np.concatenate([part.reshape(n, -1) for part in parts], axis=1).tolist()


def test_the_rows_of_a_worker_worked_out_by_hand(tmp_path: Path) -> None:
    data = tiny_text_task(tmp_path).draw(Streams(3), 3)
    # Rows of the classes take turns in the file: class 0 are the even numbers below 40. A worker takes 6.
    blame, praise = (
        Streams(3).generator(Stream.DATA, label, 3).permutation(np.arange(label, 40, 2)) for label in (0, 1)
    )
    assert data.train.x[1].tolist() == [*blame[6:8], *praise[6:8]]
    assert data.validation.x[1].tolist() == [blame[8], praise[8]]
    assert data.demonstrations.x[1].tolist() == [blame[9:12].tolist(), praise[9:12].tolist()]
    assert data.train.y.tolist() == [[0, 0, 1, 1]] * 3
    assert data.validation.y.tolist() == [[0, 1]] * 3
    assert data.demonstrations.y.tolist() == [[[0] * 3, [1] * 3]] * 3
    assert data.demonstrations.bias is None
    # Tests: rows 40 to 51; 4 of class 0, 3 of class 1, whatever the seed of the run.
    assert data.test.y.tolist() == [[0, 0, 0, 0, 1, 1, 1]]
    assert data.test.x[0].tolist() == [
        *Streams(0).generator(Stream.DATA, 0, 4).permutation(np.arange(40, 52, 2))[:4],
        *Streams(0).generator(Stream.DATA, 1, 4).permutation(np.arange(41, 52, 2))[:3],
    ]
    assert data.source.template == TEMPLATES["sst2"]
    assert data.source.rows[0] == Text(f"{REVIEWS[0][0]} , seen twice")


def test_reused_rows_worked_out_by_hand(tmp_path: Path) -> None:
    data = tiny_text_task(tmp_path, reuse=True).draw(Streams(3), 2)
    for client in (0, 1):
        generator = Streams(3).generator(Stream.DATA, client, 5)
        blame, praise = (generator.permutation(np.arange(label, 40, 2)) for label in (0, 1))
        assert data.train.x[client].tolist() == [*blame[:2], *praise[:2]]
        assert data.validation.x[client].tolist() == [blame[2], praise[2]]
        assert data.demonstrations.x[client].tolist() == [blame[3:6].tolist(), praise[3:6].tolist()]


@pytest.mark.parametrize("alpha", [None, 0.5])
@pytest.mark.parametrize(("reuse", "n_classes"), [(False, 2), (True, 2), (False, 4), (True, 4)])
def test_labels_are_those_of_the_file_and_no_row_is_used_twice(
    tmp_path: Path, alpha: float | None, reuse: bool, n_classes: int
) -> None:
    table = rows(n_classes)
    data = tiny_text_task(tmp_path, n_classes=n_classes, reuse=reuse).draw(Streams(9), 3, 1, alpha)
    for part in (data.train, data.validation, data.test, data.demonstrations):
        pairs = list(zip(part.x.ravel(), part.y.ravel(), strict=True))
        assert pairs
        assert all(table[x]["label"] == y for x, y in pairs)
        assert {table[x]["split"] for x, _ in pairs} == {"test" if part is data.test else "train"}
    clients = held(data)
    assert all(len(set(mine)) == len(mine) == 6 * n_classes for mine in clients)
    together = set().union(*clients)
    assert len(together) < 18 * n_classes if reuse else len(together) == 18 * n_classes
    assert len(set(data.test.x[0])) == sum((4, 3, 2, 5)[:n_classes])
    assert {*data.test.y[0]} == {*range(n_classes)}


@pytest.mark.parametrize("alpha", [None, 0.5])
@pytest.mark.parametrize("reuse", [False, True])
def test_another_worker_changes_nobody_s_rows(tmp_path: Path, alpha: float | None, reuse: bool) -> None:
    task = tiny_text_task(tmp_path, reuse=reuse)
    few, many = (task.draw(Streams(9), n, dirichlet_alpha=alpha) for n in (2, 3))
    for part in ("train", "validation", "demonstrations"):
        np.testing.assert_array_equal(getattr(few, part).x, getattr(many, part).x[:2])
        np.testing.assert_array_equal(getattr(few, part).y, getattr(many, part).y[:2])
    np.testing.assert_array_equal(few.test.x, many.test.x)
    other = task.draw(Streams(8), 2, dirichlet_alpha=alpha)
    assert held(other) != held(few)
    assert other.test.x.tolist() == few.test.x.tolist()


@pytest.mark.parametrize(("alpha", "n_classes"), [(None, 2), (0.5, 2), (0.5, 4)])
def test_pooled_queries_are_the_union_and_pools_take_turns(
    tmp_path: Path, alpha: float | None, n_classes: int
) -> None:
    task = tiny_text_task(tmp_path, n_classes=n_classes, reuse=True, n_demonstrations=5)
    apart = task.draw(Streams(4), 6, dirichlet_alpha=alpha)
    together = task.draw(Streams(4), 2, pooled=3, dirichlet_alpha=alpha)
    for split in ("train", "validation"):
        for pooled, single in zip(getattr(together, split), getattr(apart, split), strict=True):
            np.testing.assert_array_equal(pooled[0], np.concatenate(list(single[:3])))
            np.testing.assert_array_equal(pooled[1], np.concatenate(list(single[3:])))
    assert together.demonstrations.x.shape == together.demonstrations.y.shape == (2, n_classes, 5)
    for k in range(5):
        np.testing.assert_array_equal(
            together.demonstrations.x[1, :, k], apart.demonstrations.x[3 + k % 3, :, k]
        )
    np.testing.assert_array_equal(together.test.x, apart.test.x)
    assert together.source == apart.source


def test_words_worked_out_by_hand(tmp_path: Path) -> None:
    table = rows()
    data = tiny_text_task(tmp_path, n_candidates=9).draw(Streams(0), 2)
    mine = [*data.train.x.ravel(), *data.demonstrations.x.ravel()]
    counts = Counter(word for row in mine for word in table[row]["text_a"].split() if word != ",")
    expected = sorted(counts, key=lambda word: (-counts[word], word))[:9]
    assert data.source.words == tuple(expected)
    assert data.source.words[:2] == ("a", "seen")


@pytest.mark.parametrize("pooled", [1, 3])
def test_an_offer_is_made_of_a_worker_s_own_training_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pooled: int
) -> None:
    seen: list[list[str]] = []
    offer = text_module.offer
    monkeypatch.setattr(
        text_module, "offer", lambda texts, how: seen.append(list(texts)) or offer(texts, how)
    )
    table = rows()
    for row in table:
        row |= {"text_b": f"again {row['id']}", "context": f"context {row['id']}"}
    task = tiny_text_task(tmp_path, table)
    apart = task.draw(Streams(0), 3)
    seen.clear()
    task.draw(Streams(0), 3 // pooled, pooled)
    assert len(seen) == 3
    for client, texts in enumerate(seen):
        mine = [*apart.train.x[client], *apart.demonstrations.x[client].ravel()]
        columns = ("text_a", "text_b", "context")
        assert Counter(texts) == Counter(table[row][column] for row in mine for column in columns)


def test_words_of_one_s_own(tmp_path: Path) -> None:
    task = tiny_text_task(tmp_path, words=["very", "not"], n_candidates=2, vocabulary=None)
    assert task.draw(Streams(0), 1).source.words == ("very", "not")


def test_just_enough_rows(tmp_path: Path) -> None:
    # 2 workers take 2 + 1 + 7 of the 20 training rows of each class; the tests take all 6.
    data = tiny_text_task(tmp_path, n_demonstrations=7, test_counts=(6, 6)).draw(Streams(0), 2)
    assert {*np.ravel(held(data))} == {*range(40)}
    assert {*data.test.x[0]} == {*range(40, 52)}


def test_too_few_rows(tmp_path: Path) -> None:
    task = tiny_text_task(tmp_path)
    assert held(task.draw(Streams(0), 3))
    with pytest.raises(
        InputError, match=r"4 workers need 24 training rows of class 0 \(Terrible\), found 20 i"
    ):
        task.draw(Streams(0), 4)
    with pytest.raises(InputError, match=r"6 workers need 36 training rows .* or reuse = true"):
        task.draw(Streams(0), 2, pooled=3)
    assert len(held(tiny_text_task(tmp_path, reuse=True).draw(Streams(0), 40))) == 40
    greedy = tiny_text_task(tmp_path, reuse=True, n_demonstrations=18)
    with pytest.raises(
        InputError, match=r"one worker needs 21 training rows of class 0 \(Terrible\), found 20"
    ):
        greedy.draw(Streams(0), 1)
    table = [row for row in rows() if row["label"] == 0 or row["split"] == "test"]
    with pytest.raises(
        InputError, match=r"one worker needs 6 training rows of class 1 \(Great\), found 0 in .*js"
    ):
        tiny_text_task(tmp_path, table).draw(Streams(0), 1)


def scarce(n_left: int) -> list[dict[str, Any]]:
    """Return rows of four classes, so many of the last for training."""
    of_last = [row for row in rows(4) if row["label"] == 3 and row["split"] == "train"]
    return [row for row in rows(4) if row not in of_last[n_left:]]


def test_what_a_rare_class_cannot_give_is_drawn_from_the_others(tmp_path: Path) -> None:
    """Of its five rows three are demonstrations of every worker, and so two are left for its queries."""
    sizes = {"n_classes": 4, "reuse": True, "test_counts": (1, 1, 1, 1)}
    task = tiny_text_task(tmp_path, scarce(5), **sizes)
    (tmp_path / "plenty").mkdir()
    plenty = tiny_text_task(tmp_path / "plenty", **sizes)
    found, asked = (one.draw(Streams(1), 40, dirichlet_alpha=0.5) for one in (task, plenty))
    untouched = 0
    for worker in range(40):
        counts, wanted = (
            [np.bincount(getattr(data, split).y[worker], minlength=4) for split in ("train", "validation")]
            for data in (found, asked)
        )
        assert [count.sum() for count in counts] == [8, 4]
        assert sum(counts)[3] <= 2
        assert len({*held(found)[worker]}) == 8 + 4 + 12
        if sum(wanted)[3] <= 2:  # proportions that the rows can meet stay as they are
            assert np.array_equal(counts, wanted)
            untouched += 1
        # A class of which the worker had none gets none as long as another one is left.
        assert all(wanted[0][counts[0] > wanted[0]] >= 0)
    assert 10 < untouched < 35
    few = task.draw(Streams(1), 3, dirichlet_alpha=0.5)
    np.testing.assert_array_equal(few.train.x, found.train.x[:3])
    with pytest.raises(InputError, match=r"one worker needs 6 training rows of class 3 \(Unknown\), found 5"):
        task.draw(Streams(1), 3)


def test_the_rest_of_a_rare_class_by_hand() -> None:
    class Told:
        """Deals out in order, first come first served."""

        def multinomial(self, n: int, p: Any) -> Any:
            self.asked = n, np.round(p, 9).tolist()
            return np.eye(len(p), dtype=int)[np.flatnonzero(p)[0]] * n

    def dealt(counts: list[int], most: list[int], proportions: list[float]) -> tuple[list[int], Any]:
        told = Told()
        found = within(np.array(counts), np.array(most), np.array(proportions), told)  # type: ignore[arg-type]
        return found.tolist(), getattr(told, "asked", None)

    # 3 of class 1 are too many: they are dealt out in the proportions 0.2 to 0.3.
    assert dealt([1, 5, 2], [9, 2, 9], [0.2, 0.5, 0.3]) == ([4, 2, 2], (3, [0.4, 0.0, 0.6]))
    # Where the first that gets them has too few as well, the next one does.
    assert dealt([1, 5, 2], [2, 2, 9], [0.2, 0.5, 0.3]) == ([2, 2, 4], (2, [0.0, 0.0, 1.0]))
    # Of the classes that are left the client had none: they are as likely.
    assert dealt([0, 5, 0], [3, 2, 9], [0.0, 1.0, 0.0]) == ([3, 2, 0], (3, [0.5, 0.0, 0.5]))
    # What suffices, or cannot suffice, stays.
    assert dealt([1, 2, 2], [9, 2, 9], [0.2, 0.5, 0.3]) == ([1, 2, 2], None)
    assert dealt([1, 5, 2], [2, 2, 2], [0.2, 0.5, 0.3]) == ([1, 5, 2], None)


OWN = {"question": "{{ text_a }}?", "labels": ["bad", "good"]}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"test_counts": (4, 7)}, r"test_counts asks for 7 test rows of class 1 \(Great\), found 6 in /"),
        ({"test_counts": (4, 3, 1)}, "labels for 2 classes, test_counts has 3 numbers"),
        ({"prompt": "ssd2"}, "no template 'ssd2'; did you mean 'sst2'"),
        ({"prompt": OWN | {"labels": ["bad", "so so", "good"]}}, "labels for 3 classes, test_counts has 2"),
        (
            {"prompt": None},
            r"prompt.labels: missing; the labels in .*reviews.jsonl are numbers: expected the",
        ),
        ({"file": None}, "expected either a file or the name of a task of glue"),
        ({"glue": "sst2"}, "expected either a file or the name of a task of glue"),
        ({"folder": "somewhere"}, "a folder is for a local copy of a glue task"),
        ({"glue": "sst2", "file": None, "sha256": "0" * 64}, "sha256 is for a file or a folder"),
        ({"glue": "sst2", "file": None, "folder": "/nowhere/x"}, "cannot read /nowhere/x: No such file"),
        ({"file": "/nowhere/x.jsonl"}, "cannot read /nowhere/x.jsonl: No such file"),
        ({"sha256": "0" * 64}, r"reviews.jsonl has changed since: .*, expected 000000000000; restore it"),
        ({"sha256": 7}, "valid string"),
        ({"glue": ["sst2"], "file": None}, "glue\n  Input should be 'sst2', 'cola'"),
        ({"words": ["a", "b"]}, "either words or settings of the vocabulary"),
        ({"words": ["a", "b"], "vocabulary": None}, "found 2, 2 of them distinct .* n_candidates = 5"),
        ({"words": ["a", "a"], "vocabulary": None, "n_candidates": 2}, "found 2, 1 of them distinct"),
        ({"words": ["a", " "], "vocabulary": None, "n_candidates": 2}, "found 2, 1 of them distinct"),
    ],
)
def test_bad_settings(tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        tiny_text_task(tmp_path, **settings)


def test_a_wrong_row_is_found_when_the_scenario_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"reviews.jsonl, line 53: label: found 2, expected"):
        tiny_text_task(tmp_path, [*rows(), rows()[0] | {"id": "x", "label": 2}])


def test_an_own_template(tmp_path: Path) -> None:
    task = tiny_text_task(tmp_path, prompt=OWN)
    assert task.prompt.labels == ("bad", "good")
    assert task.draw(Streams(0), 1).source.template.tail(Text("so"), "") == "Question: so? Answer:"


SCENARIO = """
[problem]
kind = "icl"
model = { kind = "fake_model:FakeModel" }
batch = 2
[problem.task]
kind = "text"
file = "../data/reviews.jsonl"
prompt = "sst2"
test_counts = [4, 3]
"""


@pytest.fixture
def scenario(tmp_path: Path, small: Path) -> Path:
    """A scenario file whose data are in another folder."""
    (tmp_path / "data").mkdir()
    (tmp_path / "scenarios").mkdir()
    write_jsonl(tmp_path / "data", rows())
    file = tmp_path / "scenarios" / "reviews.toml"
    old = '[problem]\nkind = "quadratic"\ndimension = 3\n'
    assert old in small.read_text()
    file.write_text(small.read_text().replace(old, SCENARIO))
    return file


def test_a_resolved_scenario_is_the_same_from_anywhere(
    tmp_path: Path, scenario: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_scenario(scenario)
    assert loaded == load_scenario(scenario)
    data = tmp_path / "data" / "reviews.jsonl"
    assert loaded.problem.task.file == str(data)
    assert loaded.problem.task.sha256 == digest(data)
    assert loaded.problem.task.prompt == TEMPLATES["sst2"]
    monkeypatch.chdir(tmp_path)
    assert load_scenario(Path("scenarios/reviews.toml")) == loaded
    elsewhere = tmp_path / "results" / "deep"
    elsewhere.mkdir(parents=True)
    (elsewhere / "scenario.toml").write_text(dump(loaded))
    again = load_scenario(elsewhere / "scenario.toml")
    assert again == loaded
    assert dump(again) == dump(loaded)
    assert not any(review in dump(loaded) for side in REVIEWS for review in side)


def test_data_that_have_changed_are_refused(tmp_path: Path, scenario: Path) -> None:
    loaded = load_scenario(scenario)
    resolved = tmp_path / "scenario.toml"
    resolved.write_text(dump(loaded))
    moved = write_jsonl(tmp_path, rows(), "moved.jsonl")
    write_jsonl(tmp_path / "data", rows()[:51])
    assert load_scenario(resolved, overrides=[f"problem.task.file={moved}"]).problem.task.file == str(moved)
    with pytest.raises(
        InputError, match=r"problem.task: .*reviews.jsonl has changed since: its sha256 begins"
    ):
        load_scenario(resolved)
    read_corpus.cache_clear()
    with pytest.raises(InputError, match=r"reviews.jsonl has changed since"):
        loaded.problem.task.draw(Streams(0), 1)
    assert load_scenario(scenario).problem.task.sha256 != loaded.problem.task.sha256


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("problem.task.words={unset=true}", "candidate words, expected n_candidates = 2"),
        ("workers.0.count=40", "40 workers need"),
    ],
)
def test_check_knows_what_a_run_would_find_missing(
    command: Any, scenario: Path, setting: str, sentence: str
) -> None:
    fits = {"train_per_class": 2, "validation_per_class": 1, "n_demonstrations": 2, "n_candidates": 2}
    words = [f"problem.task.{key}={value}" for key, value in fits.items()]
    words = [word for each in (*words, "problem.task.words=['very', 'not']") for word in ("--set", each)]
    assert command("check", scenario, *words).code == 0
    answer = command("check", scenario, *words, "--set", setting)
    assert (answer.code, answer.out) == (2, "")
    assert sentence in answer.err
    found = answer.err.removeprefix("fedsim: small: ")
    assert command("run", scenario, *words, "--set", setting).err.endswith(found)


def test_editors_accept_the_name_of_a_template_or_a_table(scenario: Path) -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    validator.validate(tomllib.loads(dump(load_scenario(scenario))))
    table = tomllib.loads(scenario.read_text())
    validator.validate(table)
    table["problem"]["task"]["prompt"] = {"questoin": "x"}
    assert list(validator.iter_errors(table))


class FakeDatasets:
    """Stands in for the package `datasets`: GLUE's own columns and labels, two rows per part."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.fails: Exception | None = None
        self.columns: tuple[str, ...] = ()
        self.labels = [1, 0]
        self.text = "{split} {name} {n} "

    def load_dataset(self, *words: str, **named: str) -> dict[str, dict[str, list[Any]]]:
        self.asked.append((*words, *named.values()))
        if self.fails:
            raise self.fails
        return {
            split: {
                name: [self.text.format(split=split, name=name, n=n) for n in (0, 1)] for name in self.columns
            }
            | {"label": self.labels, "idx": [0, 1]}
            for split in ("train", "validation")
        }

    def load_from_disk(self, folder: str) -> dict[str, dict[str, list[Any]]]:
        return self.load_dataset("disk", folder)


def own(folder: Path, n_each: int = 20) -> Path:
    """Write texts and labels by name alone, so many of each of three classes, which take turns."""
    file = folder / "own.csv"
    said = [
        f"text {number} tells of {word} again" for number in range(n_each) for word in ("one", "two", "six")
    ]
    names = ["zest", "apple", "mango"] * n_each
    file.write_text(
        "text,label\n" + "".join(f"{text},{name}\n" for text, name in zip(said, names, strict=True))
    )
    return file


@pytest.mark.parametrize(("test_set", "drawn_by"), [("fixed", 0), ("redrawn", 7)])
def test_texts_and_labels_alone_worked_out_by_hand(tmp_path: Path, test_set: str, drawn_by: int) -> None:
    sizes = {"n_demonstrations": 2, "train_per_class": 1, "validation_per_class": 1, "n_candidates": 2}
    settings = {
        "file": str(own(tmp_path)),
        "test_set": test_set,
        "test_share": 0.33,
        "vocabulary": SINGLE_WORDS,
    }
    task = TextTask.model_validate(settings | sizes)
    assert task.prompt.labels == ("apple", "mango", "zest")
    assert task.prompt.prompt([(Text("a"), 2)], Text("b"), "w") == (
        "Text: a Note: w.\nLabel: zest\n\nText: b Note: w.\nLabel:"
    )
    # 0.33 x 20 = 6.6, so 7 of each class are for testing; apple stands in rows 1, 4, ...
    assert task.test_counts == (7, 7, 7)
    data = task.draw(Streams(7), 2)
    tests = Streams(drawn_by).generator(Stream.DATA, 0, 6).permutation(np.arange(1, 60, 3))[:7]
    assert {*data.test.x[0][:7]} == {*tests}
    assert not {*np.ravel(held(data))} & {*data.test.x[0]}


def test_sizes_that_are_not_stated_follow_from_the_rows(tmp_path: Path) -> None:
    file = str(own(tmp_path, 80))
    stated = {"kind": "text", "file": file, "test_counts": [20, 20, 20], "vocabulary": SINGLE_WORDS}
    # 60 rows of a class are for training: 30 for each of two workers, that is 30/70 of 10, 10 and 50.
    sizes = fitted_sizes(stated, 2, with_words=False)
    assert sizes == {"train_per_class": 4, "validation_per_class": 4, "n_demonstrations": 21}
    # With 10 queries stated 20 are left, of which 10/60 are for validation.
    sizes = fitted_sizes(stated | {"train_per_class": 10}, 2, with_words=False)
    assert sizes == {"validation_per_class": 3, "n_demonstrations": 16}
    # Three rows for each of 20 workers: one for each use, though a seventh of them is less.
    sizes = fitted_sizes(stated, 20, with_words=False)
    assert sizes == {"train_per_class": 1, "validation_per_class": 1, "n_demonstrations": 1}
    assert fitted_sizes(stated | {"reuse": True, "n_demonstrations": 40}, 2, with_words=False) == {}
    few = stated | {"train_per_class": 3, "n_demonstrations": 3, "validation_per_class": 1}
    # Three quarters of the words that one worker's own texts have, in the poorest of four draws.
    counts = []
    for draw in range(4):
        data = TextTask.model_validate(few | {"n_candidates": 2}).draw(Streams(draw), 1)
        mine = [*data.train.x.ravel(), *data.demonstrations.x.ravel()]
        counts.append(len({word for row in mine for word in data.source.rows[row].a.split()}))
    assert fitted_sizes(few, 1, with_words=True) == {"n_candidates": int(0.75 * min(counts))}
    assert fitted_sizes(stated | {"label": 3}, 2, with_words=False) == {}


@pytest.fixture
def datasets(monkeypatch: pytest.MonkeyPatch) -> FakeDatasets:
    """A stand-in for the package `datasets`."""
    read_glue.cache_clear()
    fake = FakeDatasets()
    module = SimpleNamespace(load_dataset=fake.load_dataset, load_from_disk=fake.load_from_disk)
    monkeypatch.setitem(sys.modules, "datasets", module)
    return fake


@pytest.mark.parametrize(
    ("name", "columns", "labels"),
    [
        ("sst2", ("sentence",), [1, 0, 1, 0]),
        ("cola", ("sentence",), [1, 0, 1, 0]),
        ("mrpc", ("sentence1", "sentence2"), [1, 0, 1, 0]),
        ("qqp", ("question1", "question2"), [1, 0, 1, 0]),
        ("qnli", ("question", "sentence"), [0, 1, 0, 1]),
    ],
)
def test_glue(datasets: FakeDatasets, name: Any, columns: tuple[str, ...], labels: list[int]) -> None:
    datasets.columns = columns
    corpus = read_glue(name)
    assert corpus.texts[1] == Text(*(f"train {column} 1" for column in columns))
    assert corpus.texts[2] == Text(*(f"validation {column} 0" for column in columns))
    assert corpus.labels.tolist() == labels
    assert corpus.is_test.tolist() == [False, False, True, True]
    assert datasets.asked == [("nyu-mll/glue", name, "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c")]


def test_glue_s_rows_without_a_text_are_left_out(datasets: FakeDatasets) -> None:
    datasets.columns, datasets.text = ("sentence",), " "
    assert read_glue("sst2").texts == ()


def test_labels_that_are_not_glue_s_are_refused(datasets: FakeDatasets, tmp_path: Path) -> None:
    datasets.columns, datasets.labels = ("sentence",), [1, -1]
    with pytest.raises(InputError, match=r"found labels other than 0 and 1; is the folder GLUE's sst2\?"):
        read_glue("sst2", tmp_path)


def test_a_task_of_glue(datasets: FakeDatasets, tmp_path: Path) -> None:
    datasets.columns = ("sentence",)
    settings = {
        "n_candidates": 2,
        "words": ["a", "b"],
        "test_counts": [1, 1],
        "train_per_class": 1,
        "validation_per_class": 1,
        "n_demonstrations": 1,
    }
    task = TextTask.model_validate({"glue": "sst2", **settings})
    assert (task.prompt, task.sha256) == (TEMPLATES["sst2"], None)
    assert datasets.asked == []
    with pytest.raises(InputError, match=r"one worker needs 3 training rows of class 0 .*, found 1 in sst2"):
        task.draw(Streams(0), 1)
    (tmp_path / "train.csv").write_text("x")
    local = TextTask.model_validate({"glue": "sst2", "folder": str(tmp_path), **settings})
    assert local.sha256 == digest(tmp_path)
    with pytest.raises(InputError, match="found 1 in sst2"):
        local.draw(Streams(0), 1)
    assert datasets.asked[-1] == (str(tmp_path),)
    (tmp_path / "dataset_dict.json").write_text("{}")
    with pytest.raises(InputError, match="has changed since"):
        local.draw(Streams(0), 1)
    read_glue.cache_clear()
    read_glue("sst2", tmp_path)
    assert datasets.asked[-1] == ("disk", str(tmp_path))


def test_glue_that_cannot_be_had(
    datasets: FakeDatasets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets.fails = ConnectionError("host unreachable")
    with pytest.raises(
        InputError, match=r"glue = 'cola': not found in the cache, and it cannot be fetched \(C"
    ):
        read_glue("cola")
    with pytest.raises(
        InputError, match=r"glue = 'cola': not found in /.*\(ConnectionError\); fetch it once"
    ):
        read_glue("cola", tmp_path)
    datasets.fails, datasets.columns = None, ("another",)
    with pytest.raises(InputError, match=r"not found in the cache, .* \(KeyError\)"):
        read_glue("cola")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        InputError, match=r"glue = 'cola' needs the extra 'glue': pip install 'fedsim-icl\[glue\]'"
    ):
        read_glue("cola")


def test_it_is_found_by_its_kind() -> None:
    assert TASKS["text"] is TextTask
