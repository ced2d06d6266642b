"""The result of tuning: what runs keep of it, its exact text, and new texts put to it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fake_model import FakeModel
from scipy import stats
from test_show_prompt import scenario, text_problem
from text_cases import rows, tiny_text_task, write_jsonl

from fedsim.algorithms.base import tuned_by
from fedsim.answering import AnswerError
from fedsim.errors import InputError
from fedsim.icl.tasks.base import Text
from fedsim.learning.tuned import MOST_ROWS, Tuned, kept_workers, of_distributions, of_vectors
from fedsim.problems.icl.tuned_prompt import TunedPrompt
from fedsim.results import write
from fedsim.simulation import Run, run

LEARNT = {"optimizer": {"kind": "sgd", "learning_rate": 0.5}}


def test_rows_of_distributions_by_hand() -> None:
    table = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.0, 0.5, 0.5]], dtype=torch.float64)
    found = of_distributions("worker 4", "word", table, torch.tensor([0, 2, 2]))
    assert [row[:5] for row in found] == [
        ("worker 4", "word", 0, 0, 0.5),
        ("worker 4", "word", 1, 2, 0.6),
        ("worker 4", "word", 2, 2, 0.5),  # of two that are as likely, the one that is measured
    ]
    assert [(row.second, row.second_probability) for row in found] == [(1, 0.3), (0, 0.2), (1, 0.5)]
    assert [row.entropy for row in found] == pytest.approx([stats.entropy(row) for row in table.numpy()])
    (alone,) = of_distributions("worker 0", "word", torch.ones(1, 1, dtype=torch.float64))
    assert (alone.number, alone.second, alone.entropy) == (0, -1, 0.0)


def test_rows_of_vectors_by_hand() -> None:
    vectors = torch.tensor([[[3.0, 4.0], [0.0, 2.0]]])
    coefficients = torch.tensor([[[0.5, 1.0], [0.25, 0.75]]])
    found = of_vectors("consensus", vectors, coefficients)
    assert [(row.what, row.place, row.norm, row.strength, row.kept) for row in found] == [
        ("attention", 0, 5.0, 0.5, 1.0),
        ("feedforward", 0, 2.0, 0.25, 0.75),
    ]


def test_many_workers_stay_small() -> None:
    assert len(kept_workers(10_000, 77)) == 100
    assert len(kept_workers(10_000, 300)) == MOST_ROWS // 300
    assert kept_workers(3, 77) == [0, 1, 2]


@pytest.fixture(params=["sdbt", "fedbdpl", "bdpl", "cendbt"])
def finished(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Run, FakeModel]:
    model = FakeModel(cache=False)
    more = {"use_demonstrations": False} if request.param == "fedbdpl" else {}
    also = ("consensus",) if request.param == "sdbt" else ()
    problem = text_problem(tmp_path, model, also_measured=also, **more)
    return run(scenario(problem, algorithm={"kind": request.param, **LEARNT})), model


def test_the_tuned_prompts_are_those_that_were_measured_last(finished: tuple[Run, FakeModel]) -> None:
    done, model = finished
    kind, data = done.scenario.algorithm.kind, [row["text_a"] for row in rows() if row["split"] == "test"]
    tuned = TunedPrompt(done.scenario, done.prompt, done.summary["simulated_time_s"])
    owners = [] if kind in ("bdpl", "cendbt") else ["consensus"]
    demonstrating = [] if kind == "fedbdpl" else ["worker 0", "worker 1"][: done.scenario.n_machines]
    assert tuned.owners == owners + demonstrating
    for number in range(done.scenario.n_machines):
        asked = {tuned.text(number, Text(text)) for text in data}
        assert len(asked & set(model.asked)) == 7, (
            "the seven test texts, with the prompt of the last measurement"
        )
    if kind == "sdbt":
        agreed = {tuned.text(None, Text(text)) for text in data}
        assert len(agreed & set(model.asked)) == 7
        assert any(row["probability"] > 0.34 for row in tuned.rows("worker 0")), "something was learned"
    for number, message in ((7, "of worker 7|no consensus"), (None, "no consensus: expected a worker")):
        if number == 7 or kind in ("bdpl", "cendbt"):
            with pytest.raises(InputError, match=message):
                tuned.text(number, Text("x"))


@pytest.mark.parametrize("name", ["icl", "fedicl", "quadratic"])
def test_what_methods_keep(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "scenario")
    from test_no_setting_without_effect import BASES, parsed, placed

    done = run(parsed(placed(BASES[name].table)))
    if name == "quadratic":  # no distribution over anything
        assert done.prompt is None
        return
    kept = done.prompt.groupby(["whose", "what"]).size().to_dict()
    assert {what for _, what in kept} == ({"word", "demonstration"} if name == "icl" else {"answer"})
    assert "consensus" in {whose for whose, _ in kept}
    assert list(done.prompt) == list(Tuned._fields)
    if name == "icl":
        assert kept["worker 0", "word"] == kept["consensus", "word"] == done.scenario.problem.task.n_words
    assert done.prompt["probability"].between(0, 1).all()


@pytest.fixture
def results(tmp_path: Path) -> Path:
    task = {"kind": "text", **tiny_text_task(tmp_path).model_dump(exclude_unset=True)}
    model = {"kind": "fake_model:FakeModel", "cache": False}
    problem = {"kind": "icl", "task": task, "model": model, "n_samples": 3, "also_measured": []}
    return write(run(scenario(problem, algorithm={"kind": "sdbt", **LEARNT})), tmp_path / "results", 1.0)


def test_commands(command: Any, results: Path, tmp_path: Path) -> None:
    printed = command("prompt", results).out
    assert "consensus:" in printed
    assert "worker 1:" in printed
    assert "Great" in printed, "the label of a demonstration"
    assert "How is the sentiment of the sentence {text}?" in printed
    assert "worker 0:" not in command("prompt", results, "--worker", 1).out
    answer = command("ask", results.parent, "a film about a dog")
    assert answer.code == 0, answer.err
    heading, row = answer.out.splitlines()[:2]
    assert heading.split() == ["text", "answer", "p(Terrible)", "p(Great)"]
    assert sum(map(float, row.split()[-2:])) == pytest.approx(1, abs=0.01)
    write_jsonl(tmp_path, [{"text": "one", "label": 0}, {"text": "two", "label": "Great"}], "new.jsonl")
    answer = command("ask", results, "--file", "new.jsonl", "-o", "answers.csv", "--worker", 1)
    table = np.genfromtxt(tmp_path / "answers.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    assert table["label"].tolist() == ["Terrible", "Great"]
    right = (table["label"] == table["answer"]).sum()
    assert f"{right} of 2 answers are their label" in answer.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("prompt", "results", "--query", 1), "is a folder of results, of which --worker chooses"),
        (
            ("prompt", "results", "--worker", 9),
            "the run has nothing of worker 9 (it has worker 0 to worker 1)",
        ),
        (("ask", "results"), "expected a text, or a file of them"),
        (("ask", "results", "x", "--text-b", "y", "--file", "a.csv"), "expected a text, or a file"),
        (("ask", "results", "--file", "none.csv"), "cannot read none.csv"),
        (("ask", "elsewhere", "x"), "elsewhere: no such results folder"),
    ],
)
def test_mistakes(command: Any, results: Path, words: tuple[Any, ...], said: str) -> None:
    answer = command(*words)
    assert answer.code == 2
    assert said in answer.err


def test_data_that_moved_are_named_anew(command: Any, results: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "reviews.jsonl").rename(tmp_path / "elsewhere" / "mine.jsonl")
    assert command("prompt", results).code == 2
    moved = ("--set", "problem.task.file=elsewhere/mine.jsonl")
    assert "worker 0:" in command("prompt", results, *moved).out
    assert "p(Great)" in command("ask", results, "a film", *moved).out


def test_a_strangers_learner_may_tell_rows_and_nothing_else() -> None:
    assert tuned_by(SimpleNamespace()) == []  # type: ignore[arg-type]
    row = Tuned("worker 0", "word", 0)
    assert tuned_by(SimpleNamespace(tuned=lambda: [row])) == [row]  # type: ignore[arg-type]
    for wrong, said in (
        (7, "expected a list of Tuned"),
        ([row] * (2 * MOST_ROWS + 1), "at most 20,000 rows"),
    ):
        with pytest.raises(AnswerError, match=said):
            tuned_by(SimpleNamespace(tuned=lambda wrong=wrong: wrong))  # type: ignore[arg-type]
