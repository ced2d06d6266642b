"""Another model behind the same address and name: found out, said, and never mixed with the old one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from endpoint_runs import endpoint_scenario
from loopback_server import Loopback, Reply, chat, error

from fedsim.icl.answers import kept as kept_module
from fedsim.icl.answers.asking import Asking

A = {"model": "m-1", "system_fingerprint": "fp_1"}
LABELS = ("No", "Yes")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSIM_CACHE", str(tmp_path / "kept"))


def answer(p_yes: float = 0.6, **named: str) -> Reply:
    return chat({"Yes": p_yes, "No": 0.9 - p_yes}, **(A | named))


def provenance(folder: Path) -> dict[str, Any]:
    (file,) = folder.rglob("provenance.json")
    return json.loads(file.read_text())


@pytest.mark.parametrize(
    ("now", "what"),
    [
        (answer(model="m-2"), "names its model 'm-2' now, and kept answers are of 'm-1'"),
        (
            answer(0.2),
            "3 of 3 prompts asked anew have other answers: 'No' has the probability 0.7, and",
        ),
        (answer(0.2, model="", system_fingerprint="fp_2"), "the server does not answer as it did"),
    ],
)
def test_answers_of_another_model_are_not_mixed_with_kept_ones(command, tmp_path, now, what):
    with Loopback(answer()) as server:
        file = endpoint_scenario(tmp_path, server, cache=True)
        assert command("run", file, "--out", "o").code == 0
        n_asked = len(server.requests)
        server.script = lambda *_: now
        ran = command("run", file, "--out", "o2", "--again")
        assert ran.code == 1
        assert what in ran.err
        assert "Name another folder in FEDSIM_CACHE" in ran.err
        assert len(server.requests) - n_asked <= 3
        ran = command(
            "run", endpoint_scenario(tmp_path, server, cache=True, control_prompt=False), "--out", "o3"
        )
        assert ran.code == 0
        assert len(server.requests) - n_asked <= 3


def test_the_same_model_answers_once_more_and_is_recorded(command, tmp_path):
    with Loopback(answer()) as server:
        file = endpoint_scenario(tmp_path, server, cache=True)
        command("run", file, "--out", "o")
        n_asked = len(server.requests)
        # Not exactly the same: servers add up in another order each time.
        server.script = lambda *_: answer(0.65)
        ran = command("run", file, "--out", "o2")
        assert (ran.code, ran.err) == (0, "")
        assert len(server.requests) == n_asked + 1
    model = provenance(tmp_path / "o2")["model"]
    assert model["answered_by"] == [{"model": "m-1", "fingerprint": "fp_1", "answers": n_asked}]
    assert model["sent"]["calls"] == 1
    assert f"1 calls sent, 30 tokens in and 1 out, {n_asked} answers kept from before" in ran.out


def test_another_configuration_is_said(command, tmp_path):
    with Loopback(answer()) as server:
        file = endpoint_scenario(tmp_path, server, cache=True)
        command("run", file, "--out", "o")
        server.script = lambda *_: answer(system_fingerprint="fp_2")
        ran = command("run", file, "--out", "o2")
    assert ran.code == 0
    assert "configuration (system_fingerprint) is 'fp_2', and was 'fp_1' when answers were kept" in ran.err
    assert "fp_2" in command("verify", "o2").out


def test_a_model_that_changes_within_a_run_is_said(command, tmp_path):
    with Loopback(lambda _, number: answer(model="m-1" if number < 6 else "m-2")) as server:
        ran = command("run", endpoint_scenario(tmp_path, server), "--out", "o")
    assert ran.code == 0
    assert "the server names several models in this run: 'm-1' (5 answers), 'm-2' (" in ran.err
    assert "several models" in command("results", "o").err


def test_a_run_of_kept_answers_alone_needs_no_server_and_says_that_they_are_unchecked(command, tmp_path):
    with Loopback(answer()) as server:
        file = endpoint_scenario(tmp_path, server, cache=True)
        command("run", file, "--out", "o")
    ran = command("run", file, "--out", "o2")
    assert ran.code == 0
    assert "kept answers could not be compared with the model of now: " in ran.err
    assert "could not be reached" in ran.err


def asked(server: Loopback, *prompts: str, **settings: Any) -> Asking:
    asking = Asking(server.endpoint(**settings))
    try:
        asking.ask(prompts, LABELS)
    finally:
        asking.close()
    return asking


def test_what_is_missing_is_asked_only_after_the_comparison():
    with Loopback(answer()) as server:
        asked(server, "p")
        server.script = lambda _, number: error(500) if number == 2 else answer(model="m-2")
        with pytest.raises(Exception, match="names its model 'm-2' now"):
            asked(server, "p", "q")
        assert [body["messages"][0]["content"] for body in server.requests] == ["p", "p", "p"]


def test_one_close_call_of_three_is_no_other_model():
    with Loopback(answer()) as server:
        asked(server, "p", "q", "r")
        server.script = lambda _, number: answer(0.2 if number == 4 else 0.6)
        asking = asked(server, "p", "q", "r")
        assert len(server.requests) == 6
    (caution,) = asking.judge().cautions
    assert caution.startswith("1 of 3 prompts asked anew have other answers: 'No' has the probability 0.7")


def test_answers_kept_by_an_earlier_version_are_compared_by_what_they_hold(monkeypatch):
    def without_names(kept: Any, write: Any = kept_module.to_table) -> dict[str, Any]:
        return {name: value for name, value in write(kept).items() if name not in kept_module.LATER}

    with Loopback(answer()) as server:
        with monkeypatch.context() as patch:
            patch.setattr("fedsim.icl.answers.cache.to_table", without_names)
            asked(server, "p")
        assert asked(server, "p").judge().cautions == ()
        server.script = lambda *_: answer(0.2)
        with pytest.raises(Exception, match="does not answer as it did"):
            asked(server, "p")
