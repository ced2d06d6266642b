"""The exact text of a call is the one that a run of the scenario sends."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from fake_model import FakeModel
from icl_cases import tiny_task
from text_cases import tiny_text_task

from fedsim.errors import InputError
from fedsim.icl.tasks.base import Text
from fedsim.problems.icl.problem import IclProblem
from fedsim.problems.icl.show_prompt import exact_prompt
from fedsim.problems.quadratic import Quadratic
from fedsim.scenario import Scenario
from fedsim.simulation import run
from fedsim.streams import Stream, Streams

N_WORKERS, N_SAMPLES, N_TRAIN = 2, 3, 4


def scenario(problem: Any, **settings: Any) -> Scenario:
    table = {
        "name": "prompts",
        "seed": 3,
        "algorithm": {"kind": "sdbt"},
        "problem": problem,
        "workers": [{"count": N_WORKERS}],
        "llm": {"kind": "independent", "latency": {"kind": "constant", "value_s": 1.0}},
        "budget": {"epochs": 1},
    }
    return Scenario.model_validate(table | settings)


def text_problem(folder: Path, model: FakeModel | None = None, **settings: Any) -> IclProblem:
    model, task = model or FakeModel(cache=False), tiny_text_task(folder)
    if settings.get("use_fragment") is False:
        task = type(task).model_validate(
            task.model_dump(exclude={"n_words", "n_candidates", "vocabulary", "test_share"})
        )
    return IclProblem(task=task, model=model, **({"n_samples": N_SAMPLES} | settings))


def in_all(found: Scenario, n_workers: int, n_samples: int, n_queries: int, **which: Any) -> list[str]:
    """Return the texts of all calls, in any order."""
    places = product(range(n_workers), range(n_samples), range(n_queries))
    return sorted(
        exact_prompt(found, worker, query, sample=sample, **which) for worker, sample, query in places
    )


@pytest.mark.parametrize(
    ("settings", "n_samples", "n_queries"),
    [
        ({}, N_SAMPLES, N_TRAIN),
        ({"batch": 3}, N_SAMPLES, 3),
        ({"upper_split": True}, N_SAMPLES, 2),
        ({"use_demonstrations": False}, N_SAMPLES, N_TRAIN),
        ({"use_fragment": False}, N_SAMPLES, N_TRAIN),
    ],
)
def test_a_run_asks_just_these(tmp_path, settings, n_samples, n_queries):
    model = FakeModel(cache=False)
    found = scenario(text_problem(tmp_path, model, also_measured=(), **settings))
    run(found)
    # Only training texts say when the film was seen, and only the first jobs ask about them.
    trained = {prompt for prompt in model.asked if re.search(r" , seen [a-z ]+\?.*$", prompt)}
    assert trained == set(in_all(found, N_WORKERS, n_samples, n_queries))
    assert set(in_all(found, N_WORKERS, 1, 7, split="test")) <= set(model.asked) - trained


def test_attacks_are_shown_unless_they_ask_the_model(tmp_path):
    model = FakeModel(cache=False)
    backdoor = {"kind": "backdoor", "workers": [1], "trigger": "Poof!"}
    attacked = scenario(text_problem(tmp_path, model), attacks=[backdoor])
    prompts = in_all(attacked, N_WORKERS, N_SAMPLES, N_TRAIN)
    assert sum(" Poof!" in prompt for prompt in prompts) == N_SAMPLES * N_TRAIN
    asking = scenario(text_problem(tmp_path, model), attacks=[{"kind": "adversarial", "workers": [1]}])
    clean = scenario(text_problem(tmp_path, model))
    assert exact_prompt(asking, worker=1) == exact_prompt(clean, worker=1)
    assert not model.asked
    run(attacked)
    assert set(prompts) <= set(model.asked)


def test_a_prompt_by_hand(tmp_path):
    found = scenario(text_problem(tmp_path))
    data = found.problem.prepare(Streams(3), N_WORKERS).data
    rows, _, words = data.source
    # One uniform for each of two slots, then for each of two positions, each for all samples; the start is
    # uniform over 3 demonstrations and 5 words.
    uniforms = Streams(3).uniforms(Stream.PROMPTS, [1], [0], 4 * N_SAMPLES)[0].reshape(4, N_SAMPLES)[:, 2]
    bad, good = (rows[data.demonstrations.x[1, slot, int(3 * uniforms[slot])]].a for slot in (0, 1))
    note = " ".join(words[int(5 * u)] for u in uniforms[2:])
    question = (
        'Question: How is the sentiment of the sentence {}? Respond ONLY with "Great" or "Terrible". '
        f"Note: {note}. Answer:"
    )
    assert exact_prompt(found, worker=1, query=3, sample=2) == (
        f"{question.format(bad)} Terrible\n{question.format(good)} Great\n"
        f"{question.format(rows[data.train.x[1, 3]].a)}"
    )


def test_measurements_at_the_start_use_a_random_prompt(tmp_path):
    found = scenario(text_problem(tmp_path))
    data = found.problem.prepare(Streams(3), N_WORKERS).data
    rows, template, words = data.source
    tables = [*data.demonstrations.x[0], words, words]
    drawn = Streams(3).uniforms(Stream.EVALUATION, [0], [1], 4)[0]
    *numbers, first, second = [table[int(u * len(table))] for table, u in zip(tables, drawn, strict=True)]
    shown = [(rows[number], slot) for slot, number in enumerate(numbers)]
    for split, worker in (("test", 0), ("validation", 0)):
        query = Text(*rows[getattr(data, split).x[worker, 1]])
        expected = template.prompt(shown, query, f"{first} {second}")
        assert exact_prompt(found, query=1, split=split) == expected


def test_another_seed_is_another_prompt(tmp_path):
    found = scenario(text_problem(tmp_path))
    assert exact_prompt(found, seed=3) == exact_prompt(found)
    assert exact_prompt(found, seed=4) == exact_prompt(found.model_copy(update={"seed": 4}))
    assert exact_prompt(found, seed=4) != exact_prompt(found)


def test_the_centralised_form_pools_all_queries(tmp_path):
    model = FakeModel(cache=False)
    found = scenario(text_problem(tmp_path, model, also_measured=()), algorithm={"kind": "cendbt"})
    run(found)
    first_job = in_all(found, 1, N_SAMPLES, N_WORKERS * N_TRAIN)
    assert set(first_job) <= set(model.asked)
    with pytest.raises(InputError, match=r"^worker: found 1, expected 0 to 0$"):
        exact_prompt(found, worker=1)


@pytest.mark.parametrize(
    ("which", "sentence"),
    [
        ({"worker": 2}, "worker: found 2, expected 0 to 1"),
        ({"worker": -1}, "worker: found -1, expected 0 to 1"),
        ({"query": 4}, "query: found 4, expected 0 to 3"),
        ({"sample": 3}, "sample: found 3, expected 0 to 2"),
        ({"sample": 1, "split": "test"}, "sample: found 1, expected 0 to 0"),
        ({"query": 7, "split": "test"}, "query: found 7, expected 0 to 6"),
    ],
)
def test_no_such_call(tmp_path, which, sentence):
    with pytest.raises(InputError) as error:
        exact_prompt(scenario(text_problem(tmp_path)), **which)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("problem", "kind"), [(IclProblem(task=tiny_task()), "synthetic"), (Quadratic(), "quadratic")]
)
def test_a_problem_without_texts(problem, kind):
    with pytest.raises(InputError) as error:
        exact_prompt(scenario(problem))
    assert str(error.value) == (
        f"no prompt of '{kind}' can be shown; expected problem.kind = \"icl\" with problem.task.kind = "
        '"text", or "questions"'
    )


def test_no_model_is_started_and_none_is_asked(tmp_path):
    model = FakeModel(cache=False)
    exact_prompt(scenario(text_problem(tmp_path, model)))
    assert model.sessions == []
