"""Every invariant of a finished run holds, and is seen to fail on a folder in which it is broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from sealing import seal

from fedsim import sweep
from fedsim.errors import InputError
from fedsim.scenario import load_scenario
from fedsim.verify import INVARIANTS, verify

FIGURE1 = Path(__file__).parents[2] / "scenarios" / "figure1"


@pytest.fixture
def folder(small, tmp_path) -> Path:
    """A finished run of twelve steps with spans."""
    return sweep.run_one(load_scenario(small, overrides=["record.spans=true"]), tmp_path / "results").folder


def table(name: str, change: Callable[[pd.DataFrame], pd.DataFrame | None]) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        frame = pd.read_parquet(folder / f"{name}.parquet")
        changed = change(frame)
        frame = frame if changed is None else changed
        frame.to_parquet(folder / f"{name}.parquet", index=False)

    return plant


def cell(name: str, row: int, column: str, value: float) -> Callable[[Path], None]:
    def change(frame: pd.DataFrame) -> None:
        frame.loc[row, column] = value

    return table(name, change)


def added(name: str, column: str, value: float, rows: slice = slice(None)) -> Callable[[Path], None]:
    def change(frame: pd.DataFrame) -> None:
        frame.loc[rows, column] += value

    return table(name, change)


def extra(name: str, *rows: dict[str, object]) -> Callable[[Path], None]:
    """Give the run a table that it does not have."""
    return lambda folder: pd.DataFrame(rows).to_parquet(folder / f"{name}.parquet", index=False)


def level(time_s: float, queued: int) -> dict[str, object]:
    return {"service": 0, "time_s": time_s, "queued": queued, "serving": 1}


def links(*rows: tuple[float, float]) -> Callable[[Path], None]:
    """Give the run links of 1 Mbit/s, that is 125,000 bytes per second, each with bytes and busy seconds."""

    def plant(folder: Path) -> None:
        end_s = json.loads((folder / "summary.json").read_text())["simulated_time_s"]
        frame = pd.DataFrame(rows, columns=["n_bytes", "busy_s"]).assign(source="a", target="b", mbps=1.0)
        frame["utilisation"] = frame.n_bytes / (125_000 * end_s)
        frame.to_parquet(folder / "links.parquet", index=False)

    return plant


def summary(key: str, value: object) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        found = json.loads((folder / "summary.json").read_text())
        (folder / "summary.json").write_text(json.dumps(found | {key: value}))

    return plant


def expelled_early(folder: Path) -> None:
    """Say that worker 0 was expelled before step 1, and count it as a member no more."""
    cell("workers", 0, "expelled_s", 0.0)(folder)
    added("steps", "members", -1)(folder)


# What is planted, the invariant that must see it, and how its finding begins.
PLANTED = {
    "a time back": (cell("steps", 5, "time_s", 0.0), "times never go back", "time goes back at step 5"),
    "a stale ticket": (
        cell("steps", 7, "staleness_max", 3),
        "staleness stays under tau",
        "step 7: staleness 3, tau 3",
    ),
    "a thin step": (
        cell("steps", 2, "active", 1),
        "at least S tickets in every step",
        "step 2: 1 tickets, S 2",
    ),
    "a second too many": (
        cell("workers", 1, "seconds_waiting", 1e3),
        "seconds per activity add up to the clock",
        "worker 1: 10",
    ),
    "a server second too many": (
        summary("server_seconds_by_activity", {"waiting": 1.0}),
        "seconds per activity add up to the clock",
        "server: 1.0 s booked",
    ),
    "a falling counter": (cell("steps", 9, "bytes_up", -1), "counters grow", "bytes_up falls at step 9"),
    "an update from nowhere": (
        added("steps", "worker_updates", 1, slice(4, None)),
        "worker updates are active plus drained tickets",
        "step 4: active and drained tickets do not add up",
    ),
    "a call from nowhere": (
        added("steps", "llm_calls", 1, slice(3, None)),
        "LLM calls follow from the jobs",
        "step 3: ",
    ),
    "a job of no kind": (
        summary("by_kind", {"extract": {"jobs": 3}}),
        "counts by kind of job cover the steps",
        "by_kind: {'extract': {'jobs': 3}}, expected one of ",
    ),
    "a job of nobody": (
        added("workers", "jobs", 1, slice(0, 0)),
        "counts by kind of job cover the steps",
        "",
    ),
    "a wrong headline": (summary("drained", 77), "tables agree with the summary", "drained: summary 77"),
    "a wrong end": (summary("simulated_time_s", 1.0), "tables agree with the summary", "the last step is at"),
    "a wrong staleness": (
        summary("staleness_max", 0),
        "tables agree with the summary",
        "staleness_max: summary 0",
    ),
    "a wrong activity": (
        summary("seconds_by_activity", {"down": 5.0}),
        "tables agree with the summary",
        "down: summary 5.0 s a worker, workers 0.0 s",
    ),
    "answers without labels": (
        summary("ended", "no labels"),
        "the answers of a real model name labels",
        "too many of them name none",
    ),
    "a gap": (added("spans", "start_s", 1e-3, slice(3, 3)), "spans tile the clock", "worker "),
    "an early end": (
        table("spans", lambda frame: frame.drop(frame.index[-1])),
        "spans tile the clock",
        "",
    ),
    "a ticket too few": (
        table("tickets", lambda frame: frame.drop(frame.index[0])),
        "steps agree with their tickets",
        "step 1: active 2, by its tickets 1",
    ),
    "a step without tickets": (
        table("tickets", lambda frame: frame[frame.step != 7]),
        "steps agree with their tickets",
        "step 7: active 2, by its tickets nan",
    ),
    "a step never taken": (
        cell("tickets", 0, "step", 13),
        "steps agree with their tickets",
        "step 13: it has tickets and was never taken",
    ),
    "an older ticket": (
        added("tickets", "staleness", 1, slice(0, 0)),
        "steps agree with their tickets",
        "step 1: staleness_mean 0, by its tickets 0.5",
    ),
    "a ticket after its step": (
        added("tickets", "finish_s", 1e3, slice(0, 0)),
        "steps agree with their tickets",
        "step 1: a ticket came after it",
    ),
    "a ticket not drained": (
        table("tickets", lambda frame: frame[frame.kind != "drained"]),
        "steps agree with their tickets",
        "step 2: drained 1, by its tickets 0",
    ),
    "a member who was expelled": (
        cell("workers", 1, "expelled_s", 0.0),
        "who was expelled takes part no more",
        "step 1: 3 members are more than are left",
    ),
    "a ticket of who was expelled": (
        expelled_early,
        "who was expelled takes part no more",
        "step 1 uses a ticket of worker 0",
    ),
    "a queue shorter than none": (
        extra("queue", level(0.0, 0), level(1.5, -1)),
        "the LLM service keeps its limit",
        "at 1.5 s: -1 calls wait, 1 are answered",
    ),
    "a queue back in time": (
        extra("queue", level(2.0, 0), level(1.5, 1)),
        "the LLM service keeps its limit",
        "time goes back at 1.5 s",
    ),
    "a link too fast": (
        links((125_000.0, 1.0), (125_001.0, 1.0)),
        "no link carries more than it can",
        "a to b: 125001 bytes in 1 s",
    ),
    "a link too busy": (
        links((1.0, 1e6)),
        "no link carries more than it can",
        "a to b: 1 bytes in 1000000 s",
    ),
    "a constraint met by nobody": (
        cell("steps", 9, "constraint_met", 1.0),
        "the constraint is met by most words",
        "step 9: met with 0% of the words within epsilon after 2 updates",
    ),
    "more than all multipliers": (
        cell("steps", 9, "multipliers_above_0", 1.5),
        "the constraint is met by most words",
        "step 9: multipliers_above_0 1.5, expected 0 to 1",
    ),
}


def test_a_finished_run_keeps_them_all(folder, command):
    assert [check.violation for check in verify(folder)] == [""] * len(INVARIANTS)
    answer = command("verify", folder.parent.parent)
    assert answer == (0, f"{folder}: all {len(INVARIANTS)} invariants hold\n", "")


def test_what_is_sent_again_takes_no_bandwidth(small, tmp_path):
    lossy = "server_link = { mbps = 5.0, loss = 0.7, retransmit_s = 0.2 }"
    scenario = load_scenario(
        small, overrides=[f"network={{ kind = 'star', {lossy} }}", "problem.bytes_up=9000"]
    )
    folder = sweep.run_one(scenario, tmp_path / "results").folder
    assert [check.violation for check in verify(folder)] == [""] * len(INVARIANTS)


@pytest.mark.parametrize(
    "overrides",
    [
        "mbps=1e4 compute=1.0",
        "mbps=2.5e3 compute=1e3",
        "mbps=1e7 compute=1e9",
        "mbps=1e3 compute=8e9",
        "mbps=1e3 compute=1e-9",
        "mbps=1e-3 compute=1e-3",
    ],
)
@pytest.mark.parametrize("kind", ["star", "hierarchy"])
def test_good_runs_hold_at_any_pace(kind, overrides, small, tmp_path):
    """The clock knows late instants less finely than fast links send messages."""
    mbps, compute_s = (word.split("=")[1] for word in overrides.split())
    link = f"link = {{ mbps = {mbps} }}"
    link += f", edge_link = {{ mbps = {mbps} }}, edges = 2" if kind == "hierarchy" else ""
    more = ["problem.bytes_up=12800", "problem.bytes_down=12801", "record.spans=true"]
    for seed in range(4):
        network = f"network={{ kind = '{kind}', {link} }}"
        scenario = load_scenario(
            small, overrides=[network, f"workers.0.compute.mean_s={compute_s}", f"seed={seed}", *more]
        )
        folder = sweep.run_one(scenario, tmp_path / "results", timing_only=True).folder
        assert [check for check in verify(folder) if check.violation] == []


def test_a_very_short_run_is_not_excused(small, tmp_path):
    short = ["workers.0.compute.mean_s=1e-12", "llm.latency.value_s=1e-12", "record.spans=true"]
    folder = sweep.run_one(load_scenario(small, overrides=short), tmp_path / "results").folder
    assert [check for check in verify(folder) if check.violation] == []
    table("workers", lambda frame: frame.assign(seconds_waiting=frame.seconds_waiting * 1.001))(folder)
    seal(folder)
    assert {check.invariant for check in verify(folder) if check.violation} >= {
        "seconds per activity add up to the clock"
    }


def test_no_number_of_the_summary_is_believed(small, tmp_path):
    asked = ["target.metric=loss", "target.value=1.8", "target.window=1"]
    folder = sweep.run_one(load_scenario(small, overrides=asked), tmp_path / "results").folder
    good = (folder / "summary.json").read_text()
    believed = set()
    for key, value in json.loads(good).items():
        wrong = {"x": 1.0} if isinstance(value, dict) else "other" if isinstance(value, str) else 1.763
        summary(key, wrong)(folder)
        seal(folder)
        if not any(check.violation for check in verify(folder)):
            believed.add(key)
        (folder / "summary.json").write_text(good)
    # What the tables do not tell: the digest of the file alone knows it.
    assert {key for key in believed if not key.startswith("llm_")} <= {"ended", "timing_only", "waiting_for"}


def test_every_invariant_is_planted_against():
    assert {invariant for _, invariant, _ in PLANTED.values()} == set(INVARIANTS)


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_planted_is_found(what, folder, command):
    plant, invariant, finding = PLANTED[what]
    plant(folder)
    seal(folder)
    found = {check.invariant: check.violation for check in verify(folder) if check.violation}
    assert invariant in found
    assert found[invariant].startswith(finding)
    answer = command("verify", folder)
    assert answer.code == 1
    assert answer.out.startswith(f"{folder}: broken\n")
    assert f"  {invariant}: {found[invariant]}\n" in answer.out


@pytest.mark.parametrize(
    ("plant", "sentence"),
    [
        (
            table("steps", lambda frame: frame.drop(columns="time_s")),
            "nothing is said about 'time_s'",
        ),
        (
            table("steps", lambda frame: frame.drop(columns="cost")),
            "nothing is said about 'cost'",
        ),
        (table("steps", lambda frame: frame.drop(frame.index)), "a table without rows"),
        (
            lambda folder: (folder / "summary.json").write_text(
                (folder / "summary.json").read_text().replace('"drained"', '"drain"')
            ),
            "nothing is said about 'drained'",
        ),
    ],
    ids=["no time", "no cost", "no rows", "no headline"],
)
def test_a_folder_that_lacks_something_is_damaged(plant, sentence, folder):
    plant(folder)
    seal(folder)
    with pytest.raises(InputError, match=f"damaged: {sentence}"):
        verify(folder)


@pytest.mark.parametrize(
    "overrides",
    [
        ["algorithm.kind=cendbt"],
        ["algorithm.kind=sdbt"],
        ["algorithm.cuts.participation=active"],
        ["algorithm.cuts.participation=rolling", "server.step_s=0.2"],
        ["algorithm.cuts.participation=rolling", "workers.0.stops_at_s=5", "server.evict_after_s=4"],
        ["workers.0.stops_at_s=5"],
        ["workers.0.stops_at_s=5", "server.evict_after_s=4"],
        ["budget={ horizon_s = 7.5 }"],
        ["budget={ horizon_s = 0.001 }"],
        ["algorithm.cuts=false", "algorithm.tau=1"],
    ],
    ids=str,
)
def test_they_hold_however_a_run_ends(small, tmp_path, overrides):
    outcome = sweep.run_one(load_scenario(small, overrides=[*overrides, "record.spans=true"]), tmp_path)
    assert [check for check in verify(outcome.folder) if check.violation] == []


def test_a_target_of_drawn_prompts_is_no_matter_of_the_clock(command):
    path = FIGURE1 / "5g.toml"
    run = command("run", path, "--only", "asyndbt", "--set", "budget.epochs=2", "--timing-only", "--out", "r")
    assert (run.code, run.err) == (0, "")
    assert command("verify", "r").code == 0
