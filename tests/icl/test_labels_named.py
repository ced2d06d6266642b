"""Answers that name no label: counted wherever they come from, said loudly, and too many are an error."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from endpoint_runs import endpoint_scenario, prompt_of
from loopback_server import Loopback, Reply, chat, error

from fedsim.errors import ModelError
from fedsim.icl.answers.answer import Answer
from fedsim.icl.answers.naming import EARLY, LabelCensus
from fedsim.results import load_results

NAMED = chat({" Yes": 0.5, " No": 0.25})
THINKS = chat({"<think>": 0.9, "The": 0.05}, text="<think>")
AS_TEXT: dict[str, Any] = {"when_unlisted": "text", "top_logprobs": 0}


def written(text: str | None, finish: str = "stop", **message: Any) -> Reply:
    """Return an answer that lists nothing."""
    return chat(None, choices=[{"message": {"content": text, **message}, "finish_reason": finish}])


@pytest.mark.parametrize(
    ("reply", "settings", "why"),
    [
        (THINKS, {}, ""),
        (chat({"\n": 0.9}), {}, ""),
        (chat({" YES": 0.5, " no": 0.5}), {}, ""),
        (written("Sure, here"), AS_TEXT, ""),
        (written(None), AS_TEXT, "had no text (a model that thinks"),
        (written("Let me think about", "length"), AS_TEXT, "were cut off after text_tokens"),
        (written(None, "content_filter"), {}, "were refused by a filter"),
        (written("", refusal="I cannot"), {}, "were refused by a filter"),
        (error(400, code="content_filter"), {}, "were refused by a filter"),
    ],
)
def test_a_run_without_any_label_is_an_error_wherever_it_is_shown(command, tmp_path, reply, settings, why):
    with Loopback(reply) as server:
        ran = command("run", endpoint_scenario(tmp_path, server, **settings), "--out", "o")
    assert ran.code == 1
    last = ran.err.strip().splitlines()[-1]
    assert "(100%) name none of the labels 'No', 'Yes'" in last
    assert "more than max_unnamed_share = 0.5 allows" in last
    assert why in last
    assert "`fedsim prompt FILE --ask` shows an answer" in last
    verified = command("verify", "o")
    assert verified.code == 1
    assert "name none of the labels" in verified.out
    shown = command("results", "o")
    assert "no labels" in shown.out
    assert "fedsim: warning: asked, seed 0: " in shown.err


def test_a_share_between_the_bounds_is_a_warning_wherever_it_is_shown(command, tmp_path):
    def at_times(body: dict[str, Any], _: int) -> Reply:
        return THINKS if "dog" in prompt_of(body).rpartition("Review")[2] else NAMED

    with Loopback(at_times) as server:
        ran = command("run", endpoint_scenario(tmp_path, server, warn_unnamed_share=0.01), "--out", "o")
        assert ran.code == 0
        assert "name none of the labels 'No', 'Yes': for those all labels were taken" in ran.err
        verified = command("verify", "o")
        assert verified.code == 0
        assert "  warning: " in verified.out
        assert "name none of the labels" in command("results", "o", "--format", "csv").err
        assert command("report", "o", "-o", "page.html").code == 0
        assert "Warning, of 1 run:" in (tmp_path / "page.html").read_text()
        (share,) = load_results("o").unnamed_share
        assert 0.01 < share < 0.5
        file = endpoint_scenario(tmp_path, server, warn_unnamed_share=1.0, max_unnamed_share=0.0)
        assert command("run", file, "--out", "strict").code == 1
        file = endpoint_scenario(tmp_path, server, warn_unnamed_share=share)
        assert "warning" not in command("run", file, "--out", "lax").err


def test_answers_that_were_kept_or_recorded_count_as_well(command, tmp_path):
    with Loopback(THINKS) as server:
        file = endpoint_scenario(tmp_path, server, cache=True, max_unnamed_share=1.0)
        assert command("run", file, "--out", "o", "--set", "record.answers=true").code == 0
        file = endpoint_scenario(tmp_path, server, cache=True)
        ran = command("run", file, "--out", "o2")
    assert ran.code == 1
    assert "more than max_unnamed_share" in ran.err
    shutil.copy(next((tmp_path / "o").rglob("answers.jsonl")), tmp_path / "answers.jsonl")
    text = file.read_text().partition("[problem.model]")[0]
    file.write_text(text + '[problem.model]\nkind = "replay"\nfile = "answers.jsonl"\n')
    ran = command("run", file, "--out", "o3")
    assert ran.code == 1
    assert "(100%) name none of the labels" in ran.err


def test_a_label_that_no_answer_names_is_said(command, tmp_path):
    with Loopback(chat({" Yes": 0.9, " no": 0.1})) as server:
        ran = command("run", endpoint_scenario(tmp_path, server), "--out", "o")
    assert ran.code == 0
    assert "answers of the model names the label 'No'" in ran.err
    (run,) = (tmp_path / "o").rglob("summary.json")
    assert json.loads(run.read_text())["unnamed_share"] == 0


def test_a_long_run_is_ended_early():
    census = LabelCensus(warn_share=0.1, most_share=0.5)
    silent, named = Answer((-4.6, -4.6), 1, 1, 0, 0, "floor", (0, 1)), Answer((-0.1, -4.6), 1, 1, 0, 0)
    for _ in range(2 * EARLY):
        census.add(silent, ("a", "b"))
        census.check()
    census.add(silent, ("a", "b"))
    with pytest.raises(ModelError, match="101 of 101 answers"):
        census.check()
    for _ in range(101):
        census.add(named, ("a", "b"))
    census.check()
    assert census.too_many() == ""
    census.add(silent, ("a", "b"))
    assert "102 of 203 answers" in census.too_many()


def test_nothing_of_any_label_is_no_label_whatever_the_model():
    census = LabelCensus(0.1, 0.5)
    census.add(Answer((float("-inf"), float("-inf")), 1, 1, 0, 0), ("a", "b"))
    assert "1 of 1 answers" in census.too_many()


@pytest.mark.parametrize(
    ("reply", "settings", "lines"),
    [
        (
            NAMED,
            {},
            ["written: 'Yes'", "0.5  ' Yes'  begins 'Yes'", "0.25  'No'  listed", "0.5  'Yes'  listed"],
        ),
        (THINKS, {}, ["0.9  '<think>'", "0.01  'No'  by the rule 'floor', not in the answer"]),
        (written("Hm", "length"), AS_TEXT, ["written: 'Hm'", "ended by 'length'", "by the rule 'cut_off'"]),
        (written("Yes"), AS_TEXT, ["0.99  'Yes'  by the rule 'text'", "'No'  by the rule 'text', not in"]),
        (written("x"), {}, ["written: 'x'", "of no use: the server lists no log-probabilities"]),
        (
            chat({"Yes": 0.5}, model="m-2", system_fingerprint="fp_1"),
            {},
            ["the server names the model 'm-2', fingerprint 'fp_1'"],
        ),
    ],
)
def test_one_answer_can_be_looked_at(command, tmp_path, reply, settings, lines):
    with Loopback(reply) as server:
        said = command("prompt", endpoint_scenario(tmp_path, server, **settings), "--ask", "--query", "1")
        assert len(server.requests) == 1
    assert said.code == 0
    prompt, _, told = said.out.partition("\n---\n")
    assert prompt == prompt_of(server.requests[0])
    for line in lines:
        assert line in told


def test_a_server_that_sends_nothing_shows_nothing(command, tmp_path: Path):
    with Loopback(error(404)) as server:
        said = command("prompt", endpoint_scenario(tmp_path, server), "--ask")
    assert said.code == 1
    assert said.err == (
        "fedsim: model 'm': the server does not know this model or route (404): look at model, base_url and "
        "layout\n"
    )


def test_a_sweep_says_once_what_is_true_of_several_runs(command, tmp_path):
    with Loopback(chat({" Yes": 0.9, " no": 0.1})) as server:
        file = endpoint_scenario(tmp_path, server)
        file.write_text(file.read_text() + "[sweep]\nreplicates = 2\n")
        swept = command("sweep", file, "--jobs", 1, "--out", "o")
    assert swept.code == 0
    assert swept.err.count("of the model names the label 'No'") == 1
    assert "(and 1 more like this)" in swept.err
