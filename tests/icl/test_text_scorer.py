"""From numbers to texts to label probabilities: by hand, and against one call at a time."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from fake_model import FakeModel, probability
from text_cases import tiny_text_task

from fedsim.icl.models import text_scorer
from fedsim.icl.models.base import Prompts
from fedsim.icl.models.text_scorer import PromptTexts, TextScorer, texts_of
from fedsim.icl.prompts import PromptTemplate
from fedsim.icl.tasks.base import Demonstrations, Queries, TaskData, Text, Texts
from fedsim.streams import Streams

TEMPLATE = PromptTemplate(
    question="{{ text_a }}{% if text_b %}&{{ text_b }}{% endif %}"
    "{% if fragment %} [{{ fragment }}]{% endif %}",
    labels=("bad", "good"),
    demonstration="{{ question }}={{ label }}",
    query="{{ question }}=",
    separator="; ",
)
ROWS = [Text(f"t{number}") for number in range(20)]
TRAIN = Queries(np.array([[0, 1, 2], [3, 4, 5]]), np.zeros((2, 3), dtype=np.int64))
TEST = Queries(np.array([[18, 19]]), np.zeros((1, 2), dtype=np.int64))
# Worker 1's second demonstration of slot 0 shows the wrong label.
POOLS = Demonstrations(
    x=np.array([[[6, 7], [8, 9]], [[10, 11], [12, 13]]]),
    y=np.array([[[0, 0], [1, 1]], [[0, 1], [1, 1]]]),
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSIM_CACHE", str(tmp_path / "cache"))


def data(rows: list[Text] = ROWS) -> TaskData[Texts]:
    return TaskData(TRAIN, TRAIN, TEST, POOLS, Texts(rows, TEMPLATE, ("red", "dark blue", "green")))


def asked(**changes: Any) -> Prompts:
    """Two prompts at workers 1 and 0, with two of the training queries."""
    prompts = Prompts(
        workers=torch.tensor([1, 0]),
        words=torch.tensor([[[2, 1], [0, 1]], [[0, 0], [1, 2]]]),
        demonstrations=torch.tensor([[[1, 0], [0, 1]], [[0, 1], [1, 1]]]),
        split="train",
        queries=torch.tensor([[2, 0], [1, 1]]),
    )
    return prompts._replace(**changes)


def plain(prompts: Prompts, source: TaskData[Texts], correction: bool) -> list[list[list[list[float]]]]:
    """Return the scores one call at a time, as lists (J, I, U, b)."""
    rows, template, words = source.source
    shape = next(
        (t.shape[-1] for t in (prompts.words, prompts.demonstrations) if t is not None),
        1,
    )
    scores = []
    for j, worker in enumerate(prompts.workers.tolist()):
        split = getattr(source, prompts.split).x
        numbers = split[0 if prompts.split == "test" else worker].tolist()
        if prompts.queries is not None:
            numbers = [numbers[k] for k in prompts.queries[j].tolist()]
        of_job = []
        for i in range(shape):
            bag = [] if prompts.words is None else prompts.words[j, :, i].tolist()
            fragment = " ".join(words[k] for k in bag)
            shown = []
            if prompts.demonstrations is not None:
                for u, k in enumerate(prompts.demonstrations[j, :, i].tolist()):
                    x, y = source.demonstrations.x[worker, u, k], source.demonstrations.y[worker, u, k]
                    shown.append((rows[x], int(y)))
            columns = []
            for number in numbers:
                text = template.prompt(shown, rows[number], fragment)
                found = [probability("one", text, label) for label in template.labels]
                if correction:
                    blank = template.prompt(
                        shown, Text(*("N/A" if f else "" for f in rows[number])), fragment
                    )
                    found = [
                        p / probability("one", blank, x) for p, x in zip(found, template.labels, strict=True)
                    ]
                columns.append([p / sum(found) for p in found])
            of_job.append([list(row) for row in zip(*columns, strict=True)])
        scores.append(of_job)
    return scores


def test_the_exact_texts_by_hand() -> None:
    first, second, third, _ = texts_of(asked(), data())
    assert first == PromptTexts(
        head="t11 [green red]=good; t12 [green red]=good; ",
        tails=["t5 [green red]=", "t3 [green red]="],
        content_free=[],
    )
    assert second.head == "t10 [dark blue dark blue]=bad; t13 [dark blue dark blue]=good; "
    assert (
        third.head + third.tails[0] == "t6 [red dark blue]=bad; t9 [red dark blue]=good; t1 [red dark blue]="
    )


def test_the_parts_that_a_prompt_does_not_have() -> None:
    (words_only, _, _, _) = texts_of(asked(demonstrations=None), data())
    assert words_only == PromptTexts("", ["t5 [green red]=", "t3 [green red]="], [])
    (shown_only, _, _, _) = texts_of(asked(words=None, queries=None, split="test"), data())
    assert shown_only == PromptTexts("t11=good; t12=good; ", ["t18=", "t19="], [])
    neither = list(texts_of(asked(words=None, demonstrations=None), data()))
    assert neither == [PromptTexts("", ["t5=", "t3="], []), PromptTexts("", ["t1=", "t1="], [])]


def test_the_content_free_query_has_the_fields_of_the_query() -> None:
    rows = [*ROWS[:3], Text("t3", "u3"), *ROWS[4:]]
    (first, _, _, _) = texts_of(asked(demonstrations=None), data(rows), with_content_free=True)
    assert first.tails == ["t5 [green red]=", "t3&u3 [green red]="]
    assert first.content_free == ["N/A [green red]=", "N/A&N/A [green red]="]


def one(told: dict[str, tuple[float, ...]], **settings: Any) -> list[float]:
    """Return the scores of one prompt without demonstrations and words, and one query."""
    prompts = Prompts(torch.tensor([0]), None, None, "train", torch.tensor([[0]]))
    return (
        TextScorer(FakeModel(told=told, cache=False, **settings), data()).scores(prompts).flatten().tolist()
    )


def test_scores_by_hand() -> None:
    assert one({"t0=": (0.1, 0.3)}) == pytest.approx([0.25, 0.75])
    # (0.2 / 0.1, 0.6 / 0.6) is (2, 1).
    told = {"t0=": (0.2, 0.6), "N/A=": (0.1, 0.6)}
    assert one(told, correction="content_free") == pytest.approx([2 / 3, 1 / 3])


def test_zeros() -> None:
    assert one({"t0=": (0.0, 0.3)}) == [0, 1]
    assert one({"t0=": (0.0, 0.0)}) == [0.5, 0.5]
    # Zero after the content-free query: the smallest probability known there, 0.6, stands for it.
    told = {"t0=": (0.2, 0.6), "N/A=": (0.0, 0.6)}
    assert one(told, correction="content_free") == pytest.approx([0.25, 0.75])


CASES = [
    {},
    {"words": None},
    {"demonstrations": None},
    {"words": None, "demonstrations": None},
    {"queries": None},
    {"queries": None, "split": "test"},
    {"split": "validation"},
]


@pytest.mark.parametrize("correction", ["none", "content_free"])
@pytest.mark.parametrize("changes", CASES, ids=str)
def test_scores_equal_one_call_at_a_time(changes: dict[str, Any], correction: Any) -> None:
    prompts = asked(**changes)
    scores = TextScorer(FakeModel(correction=correction), data()).scores(prompts)
    expected = plain(prompts, data(), correction == "content_free")
    assert scores.dtype == torch.float64
    np.testing.assert_allclose(scores, np.array(expected), rtol=1e-12)


@pytest.mark.parametrize("correction", ["none", "content_free"])
def test_four_labels_equal_one_call_at_a_time(tmp_path: Any, correction: Any) -> None:
    source = tiny_text_task(tmp_path, n_classes=4).draw(Streams(0), 2)
    prompts = Prompts(
        workers=torch.tensor([1, 0]),
        words=torch.tensor([[[2, 1], [0, 1]], [[0, 0], [1, 2]]]),
        demonstrations=torch.tensor([[[2, 0], [0, 1], [1, 1], [2, 2]], [[0, 1], [1, 1], [2, 0], [0, 0]]]),
        split="train",
        queries=torch.tensor([[7, 0], [1, 4]]),
    )
    scores = TextScorer(FakeModel(correction=correction), source).scores(prompts)
    assert scores.shape == (2, 2, 4, 2)
    np.testing.assert_allclose(scores, plain(prompts, source, correction != "none"), rtol=1e-12)


def test_random_prompts_equal_one_call_at_a_time() -> None:
    rng = np.random.default_rng(0)
    for n_jobs, n_prompts, b in ((1, 1, 1), (2, 3, 2), (4, 5, 3)):
        prompts = Prompts(
            workers=torch.from_numpy(rng.integers(2, size=n_jobs)),
            words=torch.from_numpy(rng.integers(3, size=(n_jobs, 4, n_prompts))),
            demonstrations=torch.from_numpy(rng.integers(2, size=(n_jobs, 2, n_prompts))),
            split="train",
            queries=torch.from_numpy(rng.integers(3, size=(n_jobs, b))),
        )
        scores = TextScorer(FakeModel(cache=False), data()).scores(prompts)
        assert scores.shape == (n_jobs, n_prompts, 2, b)
        np.testing.assert_allclose(scores, np.array(plain(prompts, data(), False)), rtol=1e-12)


def test_one_batch_reaches_the_model_with_like_beginnings_side_by_side() -> None:
    model = FakeModel(correction="content_free")
    TextScorer(model, data()).scores(asked(queries=None))
    (session,) = model.sessions
    # 4 prompts, each with 3 queries and one content-free query.
    assert session.batches == [16]
    heads = [prompt.rpartition("; ")[0] for prompt in model.asked]
    assert len(list(itertools.groupby(heads))) == len(set(heads)) == 4


def test_a_large_batch_in_parts_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = TextScorer(FakeModel(cache=False), data()).scores(asked(queries=None))
    monkeypatch.setattr(text_scorer, "CALLS_AT_ONCE", 4)
    model = FakeModel(cache=False)
    parts = TextScorer(model, data()).scores(asked(queries=None))
    assert model.sessions[0].batches == [6, 6]
    assert torch.equal(whole, parts)


def test_usage_is_passed_on() -> None:
    scorer = TextScorer(FakeModel(), data())
    scorer.scores(asked())
    # Worker 0 is asked about query 1 twice.
    assert scorer.usage()["asked"] == 8
    assert scorer.usage()["from_model"] == 6
    assert scorer.questions is not None
    assert scorer.questions.usage() == scorer.usage()
