"""Recordings, replays, and runs that are killed and started again."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import FullDisk
from fake_model import FakeModel
from pydantic import ValidationError
from text_cases import tiny_text_task

from fedsim import simulation
from fedsim.errors import InputError, ModelError
from fedsim.icl.answers.asking import Asking
from fedsim.icl.answers.kept import addresses, scoring, writing
from fedsim.icl.answers.recording import (
    Recording,
    latencies,
    load,
    save,
    save_latencies,
    text_of,
)
from fedsim.icl.models import replay
from fedsim.icl.models.language import Answer, LanguageModel, Writing
from fedsim.icl.models.replay import Replay
from fedsim.scenario.files import parse
from fedsim.simulation import Run
from fedsim.timing.delays.empirical import Empirical

LABELS = ("bad", "good")
IDENTITY = {"kind": "real", "name": "one"}
FIRST, SECOND = addresses(IDENTITY, scoring(LABELS), ["p", "q"])
(THIRD,) = addresses(IDENTITY, writing(7), ["p"])
RECORDING = Recording(
    IDENTITY,
    "content_free",
    {
        SECOND: Answer((-0.1, -math.inf), 12, 1, 0.25, 0.5),
        FIRST: Answer((-0.30000000000000004, -1e-320), 11, 1, 0.125, 0.375, "floor", (0,)),
        THIRD: Writing('A "thought".\n', 11, 7, 0.0625, 4.0),
    },
)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSIM_CACHE", str(tmp_path / "kept"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "answers.jsonl"
    path.write_text(text_of(RECORDING))
    return path


def test_a_recording_by_hand(file: Path) -> None:
    header, *lines = file.read_text().splitlines()
    assert header == (
        '{"recording": "fedsim answers", "format": 1, "identity": {"kind": "real", "name": "one"}, '
        '"correction": "content_free"}'
    )
    assert [line[13:77] for line in lines] == sorted([FIRST, SECOND, THIRD])
    assert (
        f'{{"address": "{SECOND}", "logprobs": [-0.1, null], "tokens_in": 12, "tokens_out": 1, '
        '"ttft_s": 0.25, "end_to_end_s": 0.5, "rule": "listed"}'
    ) in lines


def test_what_was_recorded_is_read_back_bit_for_bit(file: Path) -> None:
    assert load(file) == RECORDING
    assert [repr(load(file).answers[key]) for key in (FIRST, THIRD)] == [
        repr(RECORDING.answers[key]) for key in (FIRST, THIRD)
    ]


def test_saving_is_whole_or_not_at_all(tmp_path: Path, full_disk: FullDisk) -> None:
    asking = Asking(FakeModel(cache=False))
    answers = asking.ask(["secret text", "b"], LABELS)
    path = tmp_path / "saved.jsonl"
    save(path, asking)
    assert sorted(load(path).answers.values()) == sorted(answers)
    assert "secret" not in path.read_text()
    before = path.read_text()
    asking.ask(["c"], LABELS)

    with (
        full_disk(len(before)),
        pytest.raises(InputError, match=r"cannot write .*saved.jsonl: File too large"),
    ):
        save(path, asking)
    assert path.read_text() == before
    assert [each.name for each in tmp_path.iterdir()] == ["saved.jsonl"]


def changed(number: int, old: str, new: str) -> str:
    lines = text_of(RECORDING).splitlines()
    assert old in lines[number]
    lines[number] = lines[number].replace(old, new)
    return "\n".join(lines)


ANSWER_LINE = 1 + sorted([FIRST, SECOND, THIRD]).index(SECOND)
WRONG = {
    "empty": ("", r"line 1: expected the first line of a recording of format 1"),
    "other format": (changed(0, '"format": 1', '"format": 2'), r"line 1: expected the first line"),
    "other file": (changed(0, "fedsim answers", "fedsim"), r"line 1: expected the first line"),
    "unknown key": (changed(0, '"format"', '"x": 1, "format"'), r"line 1: expected the first line"),
    "no identity": (changed(0, '{"kind": "real", "name": "one"}', "1"), r"line 1: the identity or"),
    "no correction": (changed(0, "content_free", "some"), r"line 1: the identity or the correction"),
    "no JSON": (changed(2, "{", ""), r"line 3: not valid JSON"),
    "no object": (text_of(RECORDING) + "[1]", r"line 5: expected a JSON object"),
    "cut off": (text_of(RECORDING)[:-9], r"line 4: not valid JSON"),
    "no address": (changed(2, '"address": "', '"address": "g'), r"line 3: expected the address"),
    "twice": (text_of(RECORDING) + text_of(RECORDING).splitlines()[2], r"line 5: a second answer"),
    "missing": (changed(ANSWER_LINE, '"tokens_in": 12, ', ""), "missing field 'tokens_in'"),
    "unknown": (changed(ANSWER_LINE, '"rule"', '"rle"'), "missing field 'rle'|unknown field 'rle'"),
    "impossible": (changed(ANSWER_LINE, "12", "-12"), "field 'tokens_in' holds something impossible"),
    "NaN": (changed(ANSWER_LINE, "-0.1", "NaN"), "field 'logprobs' holds something that is no number"),
}


@pytest.mark.parametrize(("text", "sentence"), WRONG.values(), ids=WRONG)
def test_a_wrong_recording_names_file_and_line(file: Path, text: str, sentence: str) -> None:
    file.write_text(text)
    with pytest.raises(InputError, match=rf"answers\.jsonl, line .*{sentence.removeprefix('line ')}"):
        load(file)
    with pytest.raises(ValidationError, match=r"answers\.jsonl, line"):
        Replay(file=str(file))


def test_a_recording_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read the recording .*none\.jsonl: No such file"):
        load(tmp_path / "none.jsonl")
    with pytest.raises(ValidationError, match=r"cannot read the recording .*none\.jsonl: No such file"):
        Replay(file=str(tmp_path / "none.jsonl"))


def test_latencies_are_a_delay(file: Path, tmp_path: Path) -> None:
    table = tmp_path / "latency.csv"
    assert save_latencies([file], table) == 3
    rows = pd.read_csv(table)
    assert list(rows) == ["ttft_s", "end_to_end_s", "tokens_in", "tokens_out", "error_code"]
    assert rows.to_dict("records")[ANSWER_LINE - 1] == {
        "ttft_s": 0.25,
        "end_to_end_s": 0.5,
        "tokens_in": 12,
        "tokens_out": 1,
        "error_code": pytest.approx(math.nan, nan_ok=True),
    }
    assert [row["end_to_end_s"] for row in latencies(file)] == list(rows["end_to_end_s"])
    delay = Empirical.model_validate({"file": str(table), "column": "end_to_end_s"})
    assert sorted(delay.samples_s) == [0.375, 0.5, 4.0]


def test_a_replay_answers_as_recorded(file: Path, tmp_path: Path) -> None:
    asking = Asking(Replay(file=str(file)))
    assert asking.ask(["q", "p"], LABELS) == [RECORDING.answers[SECOND], RECORDING.answers[FIRST]]
    assert asking.write(["p"], 7) == [RECORDING.answers[THIRD]]
    # What a replay was asked is the same recording again, byte for byte.
    assert asking.recording() == file.read_text()
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize(
    ("prompts", "labels"), [(["p", "private", "also"], LABELS), (["p", "q"], ("a", "b"))]
)
def test_a_prompt_that_was_not_recorded(file: Path, prompts: list[str], labels: tuple[str, ...]) -> None:
    with pytest.raises(ModelError) as error:
        Asking(Replay(file=str(file))).ask(prompts, labels)
    assert str(error.value) == (
        f"the recording {file} has no answer to 2 of {len(prompts)} prompts: the scenario, its seed, the "
        "texts or the template are not those of the recorded run"
    )


def test_loading_pins_the_recording(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = Replay(file="answers.jsonl")
    assert model.model_dump() == {
        "kind": "replay",
        "file": str(file),
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "correction": "content_free",
        "cache": False,
        "warn_unnamed_share": 0.1,
        "max_unnamed_share": 0.5,
    }
    assert Replay.model_validate(model.model_dump(mode="json")) == model
    assert Replay(file="answers.jsonl", correction="none").correction == "none"
    resolved = model.model_dump()
    file.write_text(text_of(RECORDING._replace(correction="none")))
    with pytest.raises(ValidationError, match="is not the recording that this scenario was made with"):
        Replay.model_validate(resolved)
    # Read again, as in another process, after the scenario was loaded.
    replay.recording_in.cache_clear()
    with pytest.raises(InputError, match="has changed since the scenario was loaded"):
        Asking(model).ask(["p"], LABELS)


def test_a_replay_has_no_cache(file: Path) -> None:
    with pytest.raises(ValidationError, match="cache"):
        Replay(file=str(file), cache=True)  # type: ignore[arg-type]  # what is tested


def run(folder: Path, model: LanguageModel, **record: bool) -> Run:
    """Run a small scenario with everything: staleness, cuts, measurements, a batch of the queries."""
    table = {
        "name": "texts",
        "algorithm": {"kind": "asyndbt", "wait_for": 2, "tau": 3, "cuts": {"every": 4, "rounds": 2}},
        "problem": {
            "kind": "icl",
            "task": tiny_text_task(folder).model_dump(exclude={"test_share"}, exclude_none=True),
            "model": model,
            "n_samples": 3,
            "batch": 2,
        },
        "workers": [{"count": 3, "compute": {"kind": "exponential", "mean_s": 1.0}}],
        "llm": {"kind": "independent", "latency": {"kind": "constant", "value_s": 0.5}},
        "budget": {"server_steps": 8},
        "evaluation": {"every_steps": 4},
        "record": record,
    }
    return simulation.run(parse(table))


def assert_same(one: Run, other: Run) -> None:
    """Both runs have the same tables, bit for bit; what was really sent may differ."""
    pd.testing.assert_frame_equal(one.steps, other.steps, check_exact=True)
    pd.testing.assert_frame_equal(one.workers, other.workers, check_exact=True)
    results = {key for key in one.summary if not key.startswith("real_")}
    different = {key for key in results if one.summary[key] != other.summary[key]}
    assert not different


@pytest.fixture
def whole(tmp_path: Path) -> tuple[Run, FakeModel]:
    """A run that was not killed, in a cache of its own."""
    model = FakeModel(cache=False)
    finished = run(tmp_path, model, answers=True)
    assert finished.steps["loss"].nunique() > 1
    return finished, model


@pytest.mark.parametrize("fails_with", ["error", "interrupt"])
def test_a_killed_run_goes_on_where_it_stopped(
    tmp_path: Path, whole: tuple[Run, FakeModel], fails_with: Any
) -> None:
    finished, never_killed = whole
    n_calls = len(never_killed.asked)
    asked: list[str] = []
    # Killed at the first call, in the first batch, in the middle, and at the last call.
    for place in (1, 5, n_calls // 3, None):
        fail_at = place or n_calls - len(asked)
        killed = FakeModel(fail_at=fail_at, fails_with=fails_with)
        with pytest.raises((ModelError, KeyboardInterrupt)):
            run(tmp_path, killed)
        assert len(killed.asked) == fail_at - 1
        asked += killed.asked
    last = FakeModel()
    assert_same(run(tmp_path, last, answers=True), finished)
    assert len(last.asked) == 1
    asked += last.asked
    assert sorted(asked) == sorted(set(asked)) == sorted(never_killed.asked)


def test_a_run_replayed_is_the_run(tmp_path: Path, whole: tuple[Run, FakeModel]) -> None:
    finished, model = whole
    assert finished.answers is not None
    assert finished.answers.count("\n") == 1 + len(model.asked)
    recording = tmp_path / "run.jsonl"
    recording.write_text(finished.answers)
    again = run(tmp_path, Replay(file=str(recording)), answers=True)
    assert_same(again, finished)
    assert again.answers == finished.answers


def test_a_run_of_another_seed_is_not_in_the_recording(tmp_path: Path, file: Path) -> None:
    with pytest.raises(ModelError, match=r"no answer to \d+ of \d+ prompts: the scenario, its seed"):
        run(tmp_path, Replay(file=str(file), correction="none"))


def test_addresses_in_a_recording_are_those_of_the_cache() -> None:
    asking = Asking(FakeModel())
    asking.ask(["p"], LABELS)
    asking.close()
    line = json.loads(asking.recording().splitlines()[1])
    assert [line["address"]] == addresses(FakeModel().identity, scoring(LABELS), ["p"])
