"""`fedsim trace`: one JSON file of one run or several, whole or not at all."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sealing import seal

import fedsim


@pytest.fixture
def folders(small, command) -> list[Path]:
    """Two finished runs with spans."""
    command("run", small, "--set", "record.spans=true", "--replicates", 2, "--timing-only", "--out", "kept")
    return sorted(Path("kept/timing-only/small").iterdir())


def parsed(file: str) -> list[dict[str, Any]]:
    found = json.loads(Path(file).read_text(encoding="utf-8"))
    assert found.keys() == {"displayTimeUnit", "traceEvents"}
    assert found["displayTimeUnit"] == "ms"
    return found["traceEvents"]


def numbers(events: list[dict[str, Any]], key: str) -> set[int]:
    return {event[key] for event in events if key in event}


def test_one_run(folders, command):
    answer = command("trace", folders[0], "-o", "new/t.json")
    events = parsed("new/t.json")
    said = f"new/t.json: {len(events):,} events of 1 run; open it at https://ui.perfetto.dev\n"
    assert answer == (0, said, "")
    steps = pd.read_parquet(folders[0] / "steps.parquet")
    tickets = pd.read_parquet(folders[0] / "tickets.parquet")
    assert sum(event["ph"] == "f" for event in events) == (tickets.kind != "inner").sum() > 12
    counts = [event["args"]["tickets"] for event in events if event["name"] == "active set"]
    assert counts == steps.active.tolist()[1:]
    assert numbers(events, "pid") == {100, 200, 300, 400}


def test_several_runs_share_nothing(folders, command):
    for folder in folders:
        command("trace", folder, "-o", f"{folder.name}.json")
    alone = [parsed(f"{folder.name}.json") for folder in folders]
    answer = command("trace", "kept", folders[0])  # the same run twice is one run
    together = parsed("trace.json")
    assert "of 2 runs;" in answer.out
    assert len(together) == sum(map(len, alone))
    first, second = together[: len(alone[0])], together[len(alone[0]) :]
    assert first == alone[0]
    for key in ("pid", "tid", "id"):
        assert not numbers(first, key) & numbers(second, key)
        assert len(numbers(second, key)) == len(numbers(alone[1], key))
    assert [event.get("ts") for event in second] == [event.get("ts") for event in alone[1]]
    names = {event["args"]["name"] for event in together if event["name"] == "process_name"}
    assert {"small seed 0: server", "small seed 1: worker 2"} <= names


def test_a_run_without_spans(small, command):
    command("run", small, "--timing-only", "--out", "plain")
    answer = command("trace", "plain")
    (folder,) = Path("plain/timing-only/small").iterdir()
    wanted = "no spans were recorded; run the scenario with --again --set record.spans=true"
    assert answer == (2, "", f"fedsim: {folder}: {wanted}\n")
    assert not list(Path().glob("trace.json*"))


def no_tickets(folder: Path) -> None:
    (folder / "tickets.parquet").unlink()


def a_stranger(folder: Path) -> None:
    spans = pd.read_parquet(folder / "spans.parquet")
    spans.loc[3, "entity"] = "worker 99"
    spans.to_parquet(folder / "spans.parquet", index=False)


def too_long(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | {"simulated_time_s": 1e10}))


@pytest.mark.parametrize(
    ("plant", "code", "said"),
    [
        (no_tickets, 2, "no tickets were recorded"),
        (a_stranger, 2, "damaged: its spans and tickets cannot be read"),
        (too_long, 2, "1e+10 s of simulated time; a trace holds 9e+09 s"),
    ],
)
def test_what_cannot_be_traced_leaves_the_old_file(plant, code, said, folders, command):
    """The first run is fine and has been written when the second is found to be broken."""
    plant(folders[1])
    seal(folders[1])
    Path("trace.json").write_text("old")
    answer = command("trace", "kept")
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.startswith(f"fedsim: {folders[1]}: {said}")
    assert Path("trace.json").read_text() == "old"
    assert not Path("trace.json.partial").exists()


def test_a_place_that_cannot_be_written(folders, command):
    Path("blocked").write_text("")
    answer = command("trace", folders[0], "-o", "blocked/t.json")
    assert answer.code == 2
    assert answer.err.startswith("fedsim: cannot write blocked/t.json: ")
    answer = command("trace", "nowhere")
    assert (answer.code, answer.err) == (2, "fedsim: nowhere: no such results folder\n")


def test_the_bar_counts_the_events(folders, command, monkeypatch):
    done: list[int] = []

    class Progress:
        def update(self, task: object, completed: int, note: str) -> None:
            assert note == folders[0].name
            done.append(completed)

    monkeypatch.setattr("fedsim.console.bar", lambda *_: nullcontext((Progress(), 0)))
    command("trace", folders[0])
    assert done[-1] == len(parsed("trace.json"))


def test_tickets_are_a_table_of_results(folders):
    tickets = fedsim.load_results("kept", "tickets")
    assert set(tickets.kind) == {"active", "drained", "inner"}
    assert tickets.run_id.nunique() == 2
    # Of every run: each worker's jobs 0, 1, 2, ..., each once and in order.
    for _, jobs in tickets.groupby(["run_id", "worker"]).job:
        assert jobs.tolist() == list(range(len(jobs)))
    assert (tickets.start_s <= tickets.finish_s).all()


def test_without_spans_no_tickets_are_kept(small, command):
    command("run", small, "--timing-only", "--out", "plain")
    assert fedsim.load_results("plain", "tickets").empty
