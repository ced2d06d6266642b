"""Fed-ICL: a plain twin of its rounds, votes by hand, costs by arithmetic, attacks, and whole runs."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_model import FakeModel, probability
from pydantic import ValidationError
from question_cases import Parrot, Server, Topics
from text_cases import tiny_text_task
from waiting import LIMIT_S

from fedsim.algorithms.fedicl.fedicl import Fedicl
from fedsim.attack import Assigned
from fedsim.errors import InputError
from fedsim.icl.attacks.flipped_labels import FlippedLabels
from fedsim.icl.attacks.flipped_queries import FlippedQueries
from fedsim.icl.call_tokens import Tokens
from fedsim.icl.tasks.text import TextTask
from fedsim.learning.aggregators.median import Median
from fedsim.learning.aggregators.trimmed_mean import TrimmedMean
from fedsim.learning.aggregators.vote import Vote
from fedsim.learning.attacks.wrong_answers import WrongAnswers
from fedsim.messages import JobCost
from fedsim.problems.icl.show_prompt import exact_prompt
from fedsim.problems.questions.answerer import TextAnswerer
from fedsim.problems.questions.base import Shown
from fedsim.problems.questions.problem import QuestionsProblem
from fedsim.scenario import Scenario
from fedsim.simulation import run
from fedsim.streams import Streams

FORMS = ("full", "free", "gt")
QUESTIONS, HELD = 7, 10
"""M, and the labelled texts of a client of the tiny task."""


@pytest.fixture(autouse=True)
def _one_thread_without_gradients():
    """As in a run."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def task(tmp_path):
    """The tiny task without what is about words: questions have none."""
    whole = tiny_text_task(tmp_path, reuse=True)
    stated = whole.model_fields_set.difference(whole.of_words)
    return TextTask.model_validate({name: getattr(whole, name) for name in stated})


def questions(task, model: Any = None, **settings: Any) -> QuestionsProblem:
    model = model or FakeModel(cache=False)
    return QuestionsProblem(
        **{"task": task, "model": model, "n_demonstrations": 3, "encoder": Topics()} | settings
    )


def scenario(problem: QuestionsProblem, count: int = 3, **tables: Any) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "tiny",
            "algorithm": {"kind": "fedicl"},
            "problem": problem,
            "workers": ({"count": count, "compute": {"kind": "constant", "value_s": 1.0}},),
            "llm": {"kind": "independent", "latency": {"kind": "exponential", "mean_s": 2.0}},
            "budget": {"server_steps": 3},
            "evaluation": {"every_steps": 1},
        }
        | tables
    )


# Rounds.


class Plain:
    """Fed-ICL in loops, on the texts of the tiny task."""

    def __init__(self, problem: QuestionsProblem, n_workers: int, form: str) -> None:
        task, self.shown, self.form = problem.task.without_fragment(), problem.n_demonstrations, form
        data = task.draw(Streams(0), n_workers, 1, problem.dirichlet_alpha)
        rows = data.source.rows
        self.template = data.source.template
        self.questions = [rows[i] for i in data.test.x[0]]
        self.held = [
            [(rows[i], int(y)) for i, y in zip(data.train.x[w], data.train.y[w], strict=True)]
            + [(rows[data.demonstrations.x[w, u, v]], u) for u in range(2) for v in range(3)]
            for w in range(n_workers)
        ]
        self.corrected = problem.model.correction == "content_free"
        self.asked: set[str] = set()

    def nearest(self, texts, query) -> list[int]:
        """Return the places of the C texts most like a query, the nearest last."""
        points, point = Topics().encode([text.a for text in texts]), Topics().encode([query.a])[0]
        by_likeness = sorted(range(len(texts)), key=lambda i: (-float(points[i] @ point), i))
        return by_likeness[: self.shown][::-1]

    def said(self, before, query) -> int:
        prompts = [self.template.prompt(before, query, "")]
        if self.corrected:
            prompts.append(self.template.prompt(before, query._replace(a="N/A"), ""))
        self.asked |= set(prompts)
        scores = []
        for label in self.template.labels:
            score = probability("one", prompts[0], label)
            scores.append(score / probability("one", prompts[1], label) if self.corrected else score)
        return scores.index(max(scores))

    def round(self, worker: int, y: list[int]) -> tuple[list[int], list[int]]:
        """Return what a client labels its data with, and what it answers."""
        held = self.held[worker]
        texts = [text for text, _ in held]
        near = [self.nearest(texts, question) for question in self.questions]
        chosen = sorted({place for row in near for place in row})
        new = {}
        for place in chosen if self.form != "gt" else []:
            before = [(self.questions[m], y[m]) for m in self.nearest(self.questions, texts[place])]
            new[place] = self.said(before, texts[place])
        answers = []
        for question, row in zip(self.questions, near, strict=True):
            relabelled = [(texts[place], new[place]) for place in row if self.form != "gt"]
            own = [held[place] for place in row if self.form != "free"]
            answers.append(self.said(relabelled + own, question))
        return list(new.values()), answers


@pytest.mark.parametrize(
    ("form", "correction", "alpha"),
    [("full", "none", None), ("full", "content_free", 0.5), ("free", "none", 0.5), ("gt", "none", None)],
)
def test_rounds_equal_a_plain_twin(task, form, correction, alpha) -> None:
    problem = questions(task, FakeModel(cache=False, correction=correction), dirichlet_alpha=alpha)
    server, plain = Server(Fedicl(form=form), problem, 3), Plain(problem, 3, form)
    asked = 0
    for _ in range(3):
        y = server.states[-1].y.argmax(1).tolist()
        state = server.step(0, 1, 2)
        told = [plain.round(worker, y) for worker in range(3)]
        for worker, (labels, answers) in enumerate(told):
            assert server.voter._reported[worker].relabelled.tolist() == labels
            assert server.voter.received[worker].argmax(1).tolist() == answers
            asked += (len(labels) + len(answers)) * (2 if correction == "content_free" else 1)
            right = [label == true for label, (_, true) in zip(labels, _chosen(plain, worker), strict=False)]
            if labels:
                assert server.voter._reported[worker].right == pytest.approx(sum(right) / len(right))
        # Of three votes on two classes one has two.
        assert state.y.argmax(1).tolist() == [
            int(sum(answers[m] for _, answers in told) >= 2) for m in range(QUESTIONS)
        ]
        assert server.voter.counts() == {"rejected": 0, "fallbacks": 0, "asked": asked}
    assert set(problem.model.asked) == plain.asked


def _chosen(plain: Plain, worker: int):
    texts = [text for text, _ in plain.held[worker]]
    chosen = sorted({place for question in plain.questions for place in plain.nearest(texts, question)})
    return [plain.held[worker][place] for place in chosen]


def test_prompts_that_are_shown_beforehand_are_asked(task) -> None:
    for form, split in (("full", "train"), ("gt", "test"), ("gt", "train")):
        problem = questions(task)
        given = scenario(problem, algorithm={"kind": "fedicl", "form": form})
        beforehand = [exact_prompt(given, worker=1, query=query, split=split) for query in (0, 6)]
        assert problem.model.asked == []
        Server(Fedicl(form=form), problem, 3).step(0, 1, 2)
        assert set(beforehand) <= set(problem.model.asked)
    with pytest.raises(InputError, match="query: found 7, expected 0 to 6"):
        exact_prompt(given, query=7, split="test")
    with pytest.raises(InputError, match='split: found \'validation\', expected "train" or "test"'):
        exact_prompt(given, split="validation")


def test_without_demonstrations_nobodys_data_matter(task) -> None:
    problem = questions(task, n_demonstrations=0)
    server, plain = Server(Fedicl(), problem, 2), Plain(problem, 2, "gt")
    server.rounds(2, 2)
    expected = [plain.said([], question) for question in plain.questions]
    assert server.voter.received.argmax(2).tolist() == [expected, expected]
    assert server.voter.counts()["asked"] == 2 * 2 * QUESTIONS
    assert "relabelled_right" not in server.voter.evaluate([0, 1])


def test_what_is_measured_by_hand(task) -> None:
    oracle = questions(task).prepare(Streams(0), 1)
    truth = [0] * 4 + [1] * 3  # four questions of class 0, three of class 1
    z = torch.tensor([[0.75, 0.25]] * QUESTIONS, dtype=torch.float64)
    y = torch.tensor([[1.0, 0.0]] * QUESTIONS, dtype=torch.float64)
    found = oracle.evaluate(z, y, [])
    assert found == {
        "loss": pytest.approx(-(4 * math.log(0.75) + 3 * math.log(0.25)) / 7),
        "accuracy": pytest.approx(4 / 7),
    }
    (one,) = oracle.answer([0], [y], [0.0], Shown(True, True))
    right = torch.nn.functional.one_hot(torch.tensor(truth), 2).double()
    reported = [one._replace(answers=right, right=0.5), one._replace(answers=1 - right, right=0.25)]
    found = oracle.evaluate(z, y, reported)
    assert (found["accuracy_own"], found["relabelled_right"]) == (0.5, 0.375)


def test_which_of_equal_votes_wins_is_drawn_at_an_address(task) -> None:
    oracle = questions(task).prepare(Streams(5), 1)
    assert oracle.start.tolist() == [[0.5, 0.5]] * QUESTIONS
    uniforms = [Streams(5).generator(30, 0, step).random(QUESTIONS) for step in (0, 1)]
    for step, drawn in enumerate(uniforms):
        assert oracle.settled(oracle.start, step).argmax(1).tolist() == [int(u >= 0.5) for u in drawn]
    assert (uniforms[0] >= 0.5).any() != (uniforms[0] >= 0.5).all()
    three = torch.tensor([[0.4, 0.2, 0.4], [0.2, 0.5, 0.3]], dtype=torch.float64)
    settled = oracle.settled(three, 0)
    assert settled[1].tolist() == [0, 1, 0]
    assert settled[0].tolist() == ([1, 0, 0] if uniforms[0][0] < 0.5 else [0, 0, 1])


# The server.


def one_hot(classes: list[int]) -> list[list[float]]:
    return torch.nn.functional.one_hot(torch.tensor(classes), 2).double().tolist()


def test_of_one_client_the_answers_are_the_servers(task) -> None:
    server = Server(Fedicl(), questions(task), 1)
    for _ in range(3):
        state = server.step(0)
        assert torch.equal(state.y, server.voter.received[0])
        assert torch.equal(state.z, state.y)
    measured = server.voter.evaluate([0])
    assert measured["accuracy"] == measured["accuracy_own"]


def test_without_waiting_the_last_answers_of_all_who_have_answered_count(task) -> None:
    server = Server(Fedicl(wait_for=1, tau=9), questions(task), 3)
    first = server.step(1)
    assert torch.equal(first.z, server.voter.received[1])
    second = server.step(2)
    assert torch.allclose(second.z, server.voter.received[1:].mean(0))
    third = server.step(1)  # answers of version 1 in the place of those of version 0
    assert torch.allclose(third.z, server.voter.received[1:].mean(0))
    server.voter.evict(2)
    fourth = server.step(0)  # which read version 0
    assert torch.allclose(fourth.z, server.voter.received[:2].mean(0))
    server.voter.admit(2)
    assert torch.allclose(server.step(1).z, server.voter.received.mean(0))


def test_who_skips_its_job_sends_back_what_it_read_and_asks_nothing(task) -> None:
    problem = questions(task)
    server = Server(Fedicl(), problem, 2)
    server.voter._waiting["any"][0] = server.voter._waiting["any"][0]._replace(skipped=True)
    before = server.states[0].y
    server.step(0, 1, skipped=[0])
    assert torch.equal(server.voter.received[0], before)
    assert server.voter.counts()["asked"] == server.voter._reported[1].asked > 0
    assert "relabelled_right" not in server.voter.evaluate([0])


@pytest.mark.parametrize(
    ("rule", "votes", "expected"),
    [
        ({"kind": "vote"}, [[1, 0], [1, 0], [0, 1]], [2 / 3, 1 / 3]),
        # One that is not sure abstains under a vote, and counts for what it says under a mean.
        ({"kind": "vote"}, [[1, 0], [0.5, 0.5], [0, 1]], [0.5, 0.5]),
        ({"kind": "vote"}, [[0.6, 0.4], [0.6, 0.4], [0, 1]], [2 / 3, 1 / 3]),
        ({"kind": "mean"}, [[0.6, 0.4], [0.6, 0.4], [0, 1]], [0.4, 0.6]),
        ({"kind": "median", "f": 1}, [[1, 0], [1, 0], [0, 1]], [1, 0]),
        ({"kind": "trimmed_mean", "f": 1}, [[1, 0], [1, 0], [0, 1]], [1, 0]),
    ],
)
def test_rules_on_one_question_by_hand(task, rule, votes, expected) -> None:
    server = Server(Fedicl(aggregation={"outer": rule}), questions(task), 3)
    rows = torch.tensor(votes, dtype=torch.float64)[:, None].expand(3, QUESTIONS, 2)
    server.voter._oracle.answer = lambda workers, *_: [
        server_answer._replace(answers=rows[worker]) for worker in workers
    ]
    server_answer = TextAnswerer.answer(
        server.voter._oracle, [0], [server.states[0].y], [0.0], Shown(True, False)
    )[0]
    assert server.step(0, 1, 2).z.tolist() == [pytest.approx(expected)] * QUESTIONS


def test_where_no_class_has_half_of_all_votes_a_median_knows_nothing() -> None:
    """Three votes of seven for the first class, two for each other one."""
    rows = torch.eye(3, dtype=torch.float64)[[0, 0, 0, 1, 1, 2, 2]]
    before = torch.full((3,), 1 / 3, dtype=torch.float64)
    assert Vote().aggregate(rows, before).tolist() == pytest.approx([3 / 7, 2 / 7, 2 / 7])
    assert Median().aggregate(rows, before).tolist() == [0, 0, 0]
    assert TrimmedMean(f=2).aggregate(rows, before).tolist() == pytest.approx([1 / 3, 0, 0])


def test_a_rate_below_one_goes_part_of_the_way(task) -> None:
    server = Server(Fedicl(aggregation={"outer_rate": 0.25}), questions(task), 1)
    state = server.step(0)
    assert torch.allclose(state.z, 0.75 * 0.5 + 0.25 * server.voter.received[0])
    assert torch.equal(state.y, server.voter.received[0])


# Attacks.


def test_wrong_answers_of_two_in_three_turn_what_the_honest_label(task) -> None:
    """A model that repeats the label it is shown most often, and shows all questions before each text.

    Free form: everybody labels all its data with the commonest of the server's answers, a, and answers a. Two
    of three send the other class, b: the server's answers are all b. Everybody labels its data b, answers b,
    and the attackers turn the answers back to a: what the honest label is one thing or the other, round by
    round, never what honest clients answered before. Of one attacker in three nothing is seen.
    """
    problem = questions(task, Parrot(cache=False), n_demonstrations=QUESTIONS)
    start = Server(Fedicl(form="free"), problem, 3).states[0].y.argmax(1).tolist()
    a = int(sum(start) > QUESTIONS / 2)
    for attackers, expected in (((1, 2), [a, 1 - a, a, 1 - a]), ((2,), [a] * 4)):
        attack = WrongAnswers(workers=attackers)
        server = Server(Fedicl(form="free"), problem, 3, [Assigned(attack, frozenset(attackers))])
        for told in expected:
            server.step(0, 1, 2)
            honest = server.voter._reported[0]
            assert set(honest.relabelled.tolist()) == {told}
            # A client holds as many texts of each class, and shows all of them here but for equal ones.
            truth = problem.prepare(Streams(0), 3).selection(0).truth
            assert honest.right == pytest.approx(truth.count(told) / len(truth))
        won = [state.y.argmax(1).tolist() for state in server.states[1:]]
        turned = len(attackers) == 2
        assert won == [[1 - told if turned else told] * QUESTIONS for told in expected]


@pytest.mark.parametrize("attack", [FlippedLabels, FlippedQueries])
def test_attacked_data_are_shown_while_the_attack_lasts_and_the_truth_stays(task, attack) -> None:
    attacks = [Assigned(attack(workers=(1,), start_s=5.0, stop_s=9.0), frozenset({1}))]
    oracle = questions(task).prepare(Streams(0), 2, 1, attacks)
    before, during, after = (oracle.selection(1, start_s) for start_s in (4.9, 5.0, 9.0))
    flipped = [was != now for (_, was), (_, now) in zip(before.texts, during.texts, strict=True)]
    # Queries come first, four of them; the pool follows.
    n_queries = sum(text in [t for t, _ in oracle._desk(1, oracle._clean).train] for text, _ in before.texts)
    assert flipped == [(place < n_queries) == (attack is FlippedQueries) for place in range(len(flipped))]
    assert [text for text, _ in before.texts] == [text for text, _ in during.texts]
    assert before.truth == during.truth == [label for _, label in before.texts]
    assert after.texts == before.texts
    assert oracle.selection(0, 5.0).texts == oracle.selection(0, 0.0).texts


# Costs.


@pytest.mark.parametrize(
    ("form", "shown", "correction", "expected"),
    [
        # Ten texts are relabelled with three before each; seven questions, with three and three before each.
        ("full", 3, "none", JobCost(17, 10 * 4 * 60 + 7 * 7 * 60, 17, 7, 7)),
        ("free", 3, "none", JobCost(17, 10 * 4 * 60 + 7 * 4 * 60, 17, 7, 7)),
        ("gt", 3, "none", JobCost(7, 7 * 4 * 60, 7, 7, 0)),
        ("full", 3, "content_free", JobCost(34, 2 * (10 * 4 * 60 + 7 * 7 * 60), 34, 7, 7)),
        # Seven questions have at most seven nearest texts.
        ("full", 1, "none", JobCost(14, 7 * 2 * 60 + 7 * 3 * 60, 14, 7, 7)),
        ("full", 0, "none", JobCost(7, 7 * 60, 7, 7, 7)),
    ],
)
def test_cost_by_hand(task, form, shown, correction, expected) -> None:
    model = FakeModel(cache=False, correction=correction)
    problem = QuestionsProblem(
        task=task, model=model, n_demonstrations=shown, text_bytes=100, tokens=Tokens()
    )
    schedule = scenario(problem, algorithm={"kind": "fedicl", "form": form}).schedule
    (work,) = schedule.work.values()
    assert work.cost == expected
    assert schedule.standing == (700, None)
    assert problem.access == ("probabilities" if correction == "content_free" else "text")


@pytest.mark.parametrize("form", FORMS)
def test_a_run_costs_what_arithmetic_says_and_the_clock_alone_agrees(task, form) -> None:
    given = scenario(
        questions(task, text_bytes=100, tokens=Tokens()),
        algorithm={"kind": "fedicl", "form": form, "wait_for": 2, "tau": 4},
        budget={"server_steps": 5},
    )
    learned, clock = run(given), run(given, timing_only=True)
    shared = [
        name
        for name in clock.steps
        if name not in ("loss", "accuracy", "accuracy_own", "relabelled_right", "asked")
    ]
    assert learned.steps[shared].equals(clock.steps[shared])
    kind = "answer" if form == "gt" else "relabel_and_answer"
    (name, counts), *none = learned.summary["by_kind"].items()
    assert (name, none) == (kind, [])
    calls, tokens_in = {"full": (17, 5340), "free": (17, 4080), "gt": (7, 1680)}[form]
    jobs = counts["jobs"]
    assert counts["llm_calls"] == calls * jobs
    assert counts["tokens_in"] == tokens_in * jobs
    assert counts["bytes_up"] == 7 * jobs
    # Three workers are sent the questions once; their first answers are known to all.
    later = counts["bytes_down"] - 3 * 700
    assert later % 7 == 0
    assert (later > 0) == (form != "gt")
    assert 0 < learned.steps["asked"].iloc[-1] <= learned.summary["llm_calls"]


def test_bytes_of_synchronous_rounds_by_hand(task) -> None:
    done = run(scenario(questions(task, text_bytes=100)), timing_only=True)
    # Three rounds of three: answers up each time; down the questions once, and answers with each later job.
    assert done.summary["bytes_up"] == 3 * 3 * 7
    assert done.summary["bytes_down"] in (3 * 700 + 2 * 3 * 7, 3 * 700 + 3 * 3 * 7)


# Whole runs.


def test_the_order_and_the_company_of_jobs_do_not_matter(task) -> None:
    oracle = questions(task).prepare(Streams(0), 3)
    y = [oracle.settled(oracle.start, step) for step in range(3)]
    together = oracle.answer([0, 1, 2], y, [0.0] * 3, Shown(True, True))
    for worker in (2, 0, 1):
        (alone,) = oracle.answer([worker], [y[worker]], [0.0], Shown(True, True))
        assert torch.equal(alone.answers, together[worker].answers)
        assert torch.equal(alone.relabelled, together[worker].relabelled)


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = {paths!r}
from question_cases import Topics
from text_cases import tiny_text_task
from fake_model import FakeModel
from fedsim.algorithms.fedicl.fedicl import Fedicl
from fedsim.problems.questions.problem import QuestionsProblem
from question_cases import Server
task = tiny_text_task(Path({folder!r}), reuse=True)
problem = QuestionsProblem(task=task, model=FakeModel(cache=False), n_demonstrations=3, encoder=Topics())
print([y.argmax(1).tolist() for y in Server(Fedicl(), problem, 3).rounds(3, 3)])
"""


def test_another_process_answers_alike(task, tmp_path) -> None:
    here = [y.argmax(1).tolist() for y in Server(Fedicl(), questions(task), 3).rounds(3, 3)]
    tests = Path(__file__).parents[1]
    paths = [str(tests / folder) for folder in ("algorithms", "icl")]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(paths=paths, folder=str(tmp_path))],
        env=os.environ | {"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
        timeout=LIMIT_S,
    )
    assert done.stdout.strip() == str(here)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_demonstrations": 11}, "n_demonstrations: found 11, expected at most 10, .* texts of a client"),
        ({"n_demonstrations": 8}, "n_demonstrations: found 8, expected at most 7, the number of questions"),
        ({"model": {"kind": "surrogate"}}, "a language model answers questions; model 'surrogate' is none"),
    ],
)
def test_problems_that_do_not_fit_are_refused(task, settings, message) -> None:
    with pytest.raises(ValidationError, match=message):
        questions(task, **settings)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"algorithm": {"kind": "fedicl", "wait_for": 2}}, "expected both wait_for and tau"),
        ({"algorithm": {"kind": "fedicl", "wait_for": 4, "tau": 2}}, "wait_for: found 4, expected at most 3"),
        (
            {"algorithm": {"kind": "fedicl", "aggregation": {"filter": {"kind": "basgd", "buffers": 1}}}},
            "'basgd' judges what workers tune, but here they send answers",
        ),
        (
            {"algorithm": {"kind": "fedicl", "aggregation": {"outer": {"kind": "dp_rsa", "step": 0.1}}}},
            "with 'dp_rsa' workers send signs, but here they send answers",
        ),
        (
            {"algorithm": {"kind": "fedicl", "aggregation": {"outer": {"kind": "krum", "f": 1}}}},
            "'krum' needs at least 5 rows in a step, got 3",
        ),
        ({"algorithm": {"kind": "sdbt"}}, "'sdbt' asks for gradients; expected"),
        ({"attacks": [{"kind": "backdoor", "workers": [0]}]}, "none of the server's questions carries"),
        (
            {"attacks": [{"kind": "worst_word", "word": 2, "workers": [0]}]},
            "worst_word: found word 2, expected 0 to 1",
        ),
    ],
)
def test_scenarios_that_do_not_fit_are_refused(task, tables, message) -> None:
    with pytest.raises(ValidationError, match=message):
        scenario(questions(task), **tables)


def test_messages_that_are_no_distributions_become_the_nearest(task) -> None:
    attacks = [{"kind": "gaussian", "std": 100.0, "workers": [0]}]
    done = run(scenario(questions(task), attacks=attacks))
    assert np.isfinite(done.steps["loss"]).all()
    assert done.summary["ended"] == "budget"
