"""The study of what workers share: its places, and a small one of it from scenarios to pictures."""

from __future__ import annotations

import pandas as pd
import pytest

from fedsim_analysis.studies import systems

COMMON = """
[algorithm]
kind = "asyndbt"
wait_for = 2
tau = 5
[problem]
kind = "quadratic"
dimension = 2
calls = 10
bytes_up = 1000
[[workers]]
count = 3
upload = { kind = "lognormal", median_s = 0.03, sigma = 1.0 }
[budget]
worker_updates = 60
"""
SHARED = """
[llm]
kind = "shared"
ttft = { kind = "exponential", mean_s = 0.3 }
"""
TINY = {
    "rate_limit": COMMON
    + SHARED
    + """[variants.sdbt]
algorithm = { kind = "sdbt" }
[variants.asyndbt]
""",
    "queue": COMMON
    + SHARED
    + """concurrency = 2
[record]
spans = true
[variants.calm]
[variants.outage]
llm = { outages = [{ start_s = 20.0, stop_s = 30.0 }] }
""",
    "topology": COMMON
    + """
[llm]
kind = "independent"
latency = { kind = "constant", value_s = 0.3 }
[variants.star]
network = { kind = "star", link = { mbps = 0.1 }, server_link = { mbps = 0.2 } }
[variants.ring]
network = { kind = "ring", link = { mbps = 0.1 } }
""",
}


def test_every_place_is_a_scenario_of_its_own(root):
    places = {name: list(make(root / "scenarios/systems")) for name, make in systems.PLACES.items()}
    assert {name: len(found) for name, found in places.items()} == {
        "rate_limit": 2 * len(systems.WORKERS) * len(systems.LIMITS),
        "queue": 4,
        "topology": 6,
    }
    scenarios = [place.scenario for found in places.values() for place in found]
    assert len(set(scenarios)) == len(scenarios)
    for labels, scenario in places["rate_limit"]:
        assert scenario.llm.requests_per_minute == labels["llm.requests_per_minute"]
        updates = scenario.budget.updates(scenario.n_workers)
        assert updates == 1200  # the same work, whoever does it
        if scenario.variant == "asyndbt":
            assert scenario.algorithm.wait_for == (scenario.n_workers + 1) // 2
    (outage,) = [labels for labels, scenario in places["queue"] if scenario.variant == "outage"]
    assert outage == {"llm.outages.0.start_s": 40.0, "llm.outages.0.stop_s": 55.0}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Return what the study says when it runs on tiny scenarios."""
    monkeypatch.setattr(systems, "LIMITS", (60.0, 600.0, None))
    monkeypatch.setattr(systems, "WORKERS", (2, 4))
    folder = tmp_path / "scenarios"
    folder.mkdir()
    for name, text in TINY.items():
        (folder / f"{name}.toml").write_text(text)
    places = {"scenarios": folder, "results": tmp_path / "results", "output": tmp_path / "figures"}
    words = [word for name, place in places.items() for word in (f"--{name}", str(place))]
    return lambda *more: systems.main([*words, "--replicates", "2", *more])


def test_from_scenarios_to_pictures(tiny, tmp_path, capsys):
    tiny()
    said = capsys.readouterr().out.split()
    names = [f"{name}.{suffix}" for name in systems.PLACES for suffix in ("pdf", "png", "csv")]
    assert [word.rpartition("/")[2] for word in said[-9:]] == names
    tables = {name: pd.read_csv(tmp_path / "figures" / f"{name}.csv") for name in systems.PLACES}
    check_rate_limit(tables["rate_limit"])
    queue = tables["queue"]
    assert set(queue["method"]) == {"calm", "outage"}
    assert (queue["seeds"] == 2).all()
    assert queue["serving_high"].max() <= 2 * (1 + 1e-9)
    silent = queue[(queue["method"] == "outage") & (queue["start_s"] >= 20) & (queue["end_s"] <= 30)]
    assert len(silent)
    assert silent["serving_high"].max() == pytest.approx(0)
    topology = tables["topology"]
    assert topology.groupby("variant").size().to_dict() == {"ring": 8, "star": 8}
    assert 0 < topology["utilisation_percent"].max() <= 100


def check_rate_limit(table):
    """At 60 per minute the limit alone decides; nothing beats it but the burst of one second."""
    assert set(table["runs"]) == {2}
    by_measure = table.pivot_table(
        index=["method", "requests_per_minute", "n_workers"], columns="measure", values="mean"
    ).reset_index()
    assert (by_measure["time_s"] >= by_measure["bound_s"] - 1 - 1e-9).all()
    slow = by_measure[by_measure["requests_per_minute"] == 60]
    assert len(slow) == 4
    assert (slow["time_s"] < 1.1 * slow["bound_s"]).all()


def test_what_is_finished_is_found_again(tiny, tmp_path):
    tiny("--only", "topology")
    files = sorted((tmp_path / "results").rglob("provenance.json"))
    assert len(files) == 2
    before = [file.read_text() for file in files]
    picture = (tmp_path / "figures/topology.pdf").read_bytes()
    for file in files:
        assert "timing-only" in file.parts
        file.touch()
    marks = [file.stat().st_mtime_ns for file in files]
    tiny("--only", "topology")
    assert [file.stat().st_mtime_ns for file in files] == marks
    assert [file.read_text() for file in files] == before
    assert (tmp_path / "figures/topology.pdf").read_bytes() == picture


def test_a_missing_scenario_is_one_sentence(tiny, tmp_path, capsys):
    (tmp_path / "scenarios/queue.toml").unlink()
    with pytest.raises(SystemExit) as ended:
        tiny("--only", "queue")
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("queue.toml: no such file\n")
