"""How long a call is: as stated, by the committed table, by the model's own count, or by characters."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from fake_model import FakeModel
from injection_cases import weights
from text_cases import rows, write_jsonl

from fedsim.answering import AnswerError
from fedsim.errors import InputError
from fedsim.icl.call_tokens import CHARACTERS_PER_TOKEN, Tokens, check_counted, tokens_in
from fedsim.icl.models.local import Local
from fedsim.icl.models.open_weights.tokenizer import Tokenizer
from fedsim.icl.models.token_counts import mean_tokens, token_counts
from fedsim.icl.models.weights import SMOLLM2, sha256, weights_file
from fedsim.icl.prompts import TABLE_1
from fedsim.icl.shots import Shots
from fedsim.icl.tasks.base import Text
from fedsim.icl.tasks.calibrated.part import FOLDER, NAMES, Calibrated
from fedsim.icl.tasks.text import TextTask
from fedsim.problems.icl.problem import IclProblem
from fedsim.scenario import Scenario
from fedsim.simulation import run
from fedsim_analysis.task_tokens import TEXTS, main, measure, texts_of

with (FOLDER / "tokens.csv").open(newline="") as table:
    TABLE = {(row["name"], row["tokenizer"]): row for row in csv.DictReader(table)}

QUESTION = "{{ text_a }}{% if fragment %} {{ fragment }}{% endif %}"
PROMPT = {"question": QUESTION, "demonstration": "{{ question }}={{ label }}", "query": "{{ question }}="}
PROMPT |= {"separator": "\n", "labels": ("n", "p")}


@pytest.fixture
def task(tmp_path: Path) -> TextTask:
    """Return texts of three letters each, and four words of two."""
    table = [
        {"id": f"{split}{i}", "split": split, "text_a": f"t{i:02}", "text_b": None, "label": i % 2}
        for split in ("train", "test")
        for i in range(40)
    ]
    words = ("aa", "bb", "cc", "dd")
    sizes = {"n_words": 5, "n_candidates": 4, "n_demonstrations": 4, "train_per_class": 2}
    file = write_jsonl(tmp_path, table)
    return TextTask(file=str(file), prompt=PROMPT, words=words, test_counts=(4, 4), **sizes)


def test_calibrated_tasks_are_charged_what_the_table_says() -> None:
    for name in NAMES:
        row, task = TABLE[name, "qwen"], Calibrated(name=name)
        mean = float(row["mean"])
        # Three questions, each with 75 words.
        made_up = 3 * (75 * float(row["tokens_per_word"]) + float(row["question_tokens"]))
        assert made_up == pytest.approx(mean, abs=0.1)
        problem = IclProblem(task=task)
        cost = problem.cost()
        assert cost.calls == 400
        assert cost.tokens_in == pytest.approx(400 * mean, abs=400 * 0.6)
        assert cost.tokens_in % 400 == 0
        without = IclProblem(task=task, use_fragment=False).cost().tokens_in
        assert without == 400 * round(3 * float(row["question_tokens"]))
        assert IclProblem(task=task, tokens=Tokens()).cost().tokens_in == 400 * round(3 * (75 * 1.3 + 60))
    # Query and four demonstrations in place of two.
    more = IclProblem(task=Calibrated(name="cola"), shots=Shots(per_class=2))
    assert more.cost().tokens_in / 400 == pytest.approx(float(TABLE["cola", "qwen"]["mean"]) * 5 / 3, abs=0.7)


def test_the_table_is_of_the_tasks_and_marks_its_guess() -> None:
    assert list(TABLE) == [(name, tokenizer) for tokenizer in ("qwen", "smollm2") for name in NAMES]
    for (name, _), row in TABLE.items():
        guess = row["mean_with_guessed_context"]
        assert guess == (str(round(float(row["mean"])) + 600) if name == "5g" else "")
        assert float(row["p5"]) < float(row["mean"]) < float(row["p95"])
        assert row["from"]
    sentences = [float(TABLE[name, "qwen"]["characters_per_token"]) for name in NAMES if name != "5g"]
    assert np.mean(sentences) == pytest.approx(CHARACTERS_PER_TOKEN, abs=0.05)


def test_texts_that_nobody_counts_are_charged_by_their_characters(task) -> None:
    # A question: 3 letters, and 5 words of 2 each after a space: 18. Two demonstrations with "=n" and the end
    # of a line, the query with "=": 3 * 18 + 2 * 3 + 1 = 61 characters.
    problem = IclProblem(task=task, model=FakeModel(cache=False), n_samples=2, batch=1)
    assert tokens_in(problem, 5, 2) == round(61 / CHARACTERS_PER_TOKEN)
    assert problem.cost().tokens_in == 2 * round(61 / CHARACTERS_PER_TOKEN)
    assert tokens_in(problem, 0, 1) == round((2 * 3 + 3 + 1) / CHARACTERS_PER_TOKEN)
    check_counted(problem)
    stated = IclProblem(task=task, model=FakeModel(cache=False), tokens=Tokens(text_tokens=7))
    assert tokens_in(stated, 0, 0) == 30 + 7


def test_likely_prompts_are_those_of_the_data(task) -> None:
    prompts = task.likely_prompts(5, 2)
    assert len(prompts) == 256
    assert prompts == task.likely_prompts(5, 2)
    shown = [prompt.split("\n") for prompt in prompts]
    for first, second, query in shown:
        assert (first[-1], second[-1], query[-1]) == ("n", "p", "=")
        texts = [part[:3] for part in (first, second, query)]
        # Every text is a training row of its class, and no prompt shows one twice.
        assert [int(text[1:]) % 2 for text in texts[:2]] == [0, 1]
        assert len(set(texts)) == 3
        assert first[3:18] == second[3:18] == query[3:18]
    assert {int(parts[2][1:3]) % 2 for parts in shown} == {0, 1}
    seen = [int(part[1:3]) for parts in shown for part in parts]
    assert set(seen) == set(range(40))
    words = " ".join(parts[2][4:18] for parts in shown).split()
    counts = [words.count(word) for word in ("aa", "bb", "cc", "dd")]
    assert sum(counts) == 256 * 5
    # Even draws: 320 of each, with a standard error of 15.5.
    assert max(abs(count - 320) for count in counts) < 4 * 15.5


def test_candidates_are_agreed_as_workers_agree(tmp_path) -> None:
    file = write_jsonl(tmp_path, rows())
    sizes = {"n_demonstrations": 2, "train_per_class": 2, "validation_per_class": 1, "test_counts": (1, 1)}
    task = TextTask(file=str(file), prompt=PROMPT, n_words=3, n_candidates=50, **sizes)
    known = {word for row in task.corpus().texts for word in row.joined().split()}
    fragments = [prompt.rpartition("\n")[2] for prompt in task.likely_prompts(3, 1)]
    assert all(set(fragment[:-1].split()) <= known for fragment in fragments)


class Counts(FakeModel):
    """Says how many tokens prompts have.

    Source: no paper; a stand-in for tests.
    """

    kind: Literal["counts"] = "counts"
    says: Any = None

    def mean_tokens(self, prompts: Sequence[str]) -> float | None:
        return self.says


def test_a_model_of_others_may_count_and_what_it_says_is_checked(task) -> None:
    told = IclProblem(task=task, model=Counts(cache=False, says=77.4))
    assert tokens_in(told, 5, 2) == 77
    assert tokens_in(IclProblem(task=task, model=Counts(cache=False)), 5, 2) == round(
        61 / CHARACTERS_PER_TOKEN
    )
    for wrong in (math.nan, -1, "many"):
        with pytest.raises(AnswerError, match="from mean_tokens, expected a number from 0"):
            tokens_in(IclProblem(task=task, model=Counts(cache=False, says=wrong)), 5, 2)


@pytest.mark.parametrize("layout", ["completions", "chat"])
def test_a_model_on_this_machine_counts_its_own_tokens(task, layout, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("FEDSIM_CACHE", str(tmp_path / "cache"))
    model = Local(weights=weights(), copy_as="none", layout=layout)
    problem = IclProblem(task=task, model=model, n_samples=2, batch=1)
    prompts = task.likely_prompts(5, 2)
    file = Path(weights())
    counts = token_counts(file, sha256(file), layout == "chat", prompts)
    assert tokens_in(problem, 5, 2) == round(np.mean(counts))
    session = model.connect()
    try:
        asked: list[int] = []
        session.write(prompts[:2], 1, lambda place, written: asked.append(written.tokens_in))
    finally:
        session.close()
    assert counts[:2] == asked
    # It is kept, and read again where no model is.
    mean_tokens.cache_clear()
    monkeypatch.setattr("fedsim.icl.models.token_counts.token_counts", None)
    assert tokens_in(problem, 5, 2) == round(np.mean(counts))


def test_without_weights_a_scenario_can_be_read_but_not_run(task, tmp_path) -> None:
    model = Local(weights=str(tmp_path / "none.gguf"))
    problem = IclProblem(task=task, model=model, n_samples=2, batch=1)
    table = {
        "name": "one",
        "algorithm": {"kind": "sdbt"},
        "workers": ({"count": 1},),
        "llm": {"kind": "independent", "latency": {"kind": "constant", "value_s": 1.0}},
        "budget": {"server_steps": 1},
    }
    read = Scenario.model_validate(table | {"problem": problem})
    with pytest.raises(
        InputError, match=r"problem.tokens: the model itself counts .* cannot read the weights"
    ):
        run(read, timing_only=True)
    stated = read.replace("problem.tokens", {"text_tokens": 3})
    assert run(stated, timing_only=True).summary["tokens_in"] == 2 * round(3 * (5 * 1.3 + 33))


PIECES = """Question : _Is _this _sentence {} . _grammat ically _correct ? _Respond _ONLY _with _" Yes " _or
_" No ". _Note : _the _sentence . _Answer :"""


@pytest.mark.needs_weights
def test_a_call_by_hand() -> None:
    """A whole prompt of Table 1, its tokens written one by one: 62."""
    prompt = TABLE_1["cola"].prompt([(Text("John is tall."), 0)], Text("It rained."), "the sentence")
    ask = 'Is this sentence {} grammatically correct? Respond ONLY with "Yes" or "No". Note: the sentence.'
    shown, query = ask.format("John is tall."), ask.format("It rained.")
    assert prompt == f"Question: {shown} Answer: No\nQuestion: {query} Answer:"
    shown, query = PIECES.format("_John _is _tall"), PIECES.format("_It _ra ined")
    by_hand = [*shown.split(), "_No", "\n", *query.split()]
    file = weights_file(SMOLLM2)
    tokenizer = Tokenizer(file)
    try:
        cut = [tokenizer.text((token,)).replace(" ", "_") for token in tokenizer.tokens(prompt)]
    finally:
        tokenizer.close()
    assert cut == by_hand
    assert token_counts(file, sha256(file), False, [prompt]) == [62]


@pytest.mark.shared_data
@pytest.mark.skipif(not TEXTS.is_dir(), reason="the folder of real texts is not there")
@pytest.mark.parametrize("tokenizer", ["qwen", "smollm2"])
def test_the_table_is_measured_again(tokenizer) -> None:
    try:
        found = measure("qnli", tokenizer)
    except InputError as error:
        pytest.skip(str(error))
    row = TABLE["qnli", tokenizer]
    assert float(row["mean"]) == pytest.approx(found["mean"], abs=0.2)
    assert {name: str(value) for name, value in found.items() if name != "from"} == {
        name: value for name, value in row.items() if name != "from"
    }


def test_missing_texts_are_said_in_a_sentence(tmp_path, capsys) -> None:
    with pytest.raises(InputError, match="the texts of 'mrpc' are not there"):
        texts_of("mrpc", tmp_path)
    assert main(["--texts", str(tmp_path), "-o", str(tmp_path / "t.csv")]) == 2
    assert "are not there" in capsys.readouterr().err
    assert not (tmp_path / "t.csv").exists()
