"""The report: whole in itself, right in its numbers, and safe from what people write into scenarios."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_cases import HOSTILE, SCENARIO, SEEDS, SLOW_DOWNS, Page, results, runs

from fedsim import load_results, sweep
from fedsim.errors import ResultsWarning
from fedsim.results import find_runs, write_failure
from fedsim.scenario import load_variants
from fedsim_analysis import report, style
from fedsim_analysis.report import headline, material, origin, spans
from fedsim_analysis.report.differences import differences
from fedsim_analysis.report.explorer import explorer
from fedsim_analysis.report.looks import contrast, look, method_looks, on_dark
from fedsim_analysis.report.places import in_places, telling
from fedsim_analysis.style import ACTIVITIES, DEFENCES, METHODS

N_RUNS = 2 * len(SLOW_DOWNS) * len(SEEDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return results(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def text(folder) -> str:
    return report.page(folder, Path("report.html"))


@pytest.fixture(scope="module")
def page(text) -> Page:
    return Page(text)


def copied(folder: Path, place: Path) -> Path:
    return Path(shutil.copytree(folder, place))


# The page


def test_headings(page):
    sections = [
        "What was run",
        "Headline numbers",
        "Comparison",
        "Figures",
        "Timeline",
        "Explore",
        "Provenance",
    ]
    assert page.text("h1") == ["bench"]
    assert page.text("h2") == sections
    ids = [attributes["id"] for attributes in page.named("section")]
    assert [attributes["href"] for attributes in page.named("a")] == [
        "#content",
        *(f"#{name}" for name in ids),
    ]


def test_nothing_is_loaded_from_anywhere(page):
    for tag, attributes in page.elements:
        for key in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
            assert (attributes.get(key) or "#").startswith(("#", "data:image/png;base64,")), (tag, attributes)
    assert not page.named("link")
    assert not any(re.search(r"@import|url\((?!#)", style) for style in page.text("style"))
    policy = next(attributes for attributes in page.named("meta") if "http-equiv" in attributes)
    assert policy["content"].startswith("default-src 'none'; ")
    assert "http" not in policy["content"]


def test_what_people_write_is_text_and_nothing_else(page, text):
    assert not page.named("img")
    assert len(page.named("script")) == 3
    assert HOSTILE in page.text("p")
    # In the table of differences and, of two methods, in the headline table.
    assert sum(HOSTILE in row[1] for table in page.tables for row in table) == 3
    data = json.loads(page.text("script")[0])
    names = next(each for each in data["explorer"]["dimensions"] if each["name"] == "workers.1.name")
    assert HOSTILE in names["values"]
    assert text.count("</script>") == 3


def test_ids_are_unique_and_what_refers_to_one_finds_it(page):
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids)) > 100
    found = set()
    for _, attributes in page.elements:
        for key, value in attributes.items():
            if key in ("href", "xlink:href") and value.startswith("#"):
                found.add(value[1:])
            found |= set(re.findall(r"url\(#([^)]*)\)", value or ""))
            found |= set(value.split()) if key == "aria-labelledby" else set()
    assert found <= set(ids)
    assert any(name.startswith("timeline-") for name in found)


def test_figures_have_names_and_no_rules_for_the_whole_page(page):
    assert page.text("style")[0].startswith("\n:root")
    assert len(page.text("style")) == 1
    pictures = page.named("svg")
    assert {attributes["aria-label"].split(":")[0] for attributes in pictures} >= {"timeline", "idle"}
    assert all(attributes["role"] == "img" for attributes in pictures)


def test_a_figure_that_cannot_be_drawn_says_why(page):
    said = dict(zip(page.text("dt"), page.text("dd"), strict=True))
    assert said["speedup"] == "drawn by its study alone: python -m fedsim_analysis.studies.speedup"
    assert "which differ in workers.1.name, workers.1.slow_down" in said["curves"]
    assert said["topology"]


def test_the_controls_have_names(page):
    inside = 0
    for tag, attributes in page.elements:
        if tag in ("select", "input"):
            inside += 1
            assert attributes["id"]
    assert inside == len(page.named("label"))
    for attributes in page.named("div"):
        if "tabindex" in attributes:
            assert attributes["role"] == "region"
            assert attributes["aria-label"]


def test_the_headline_table_shows_the_means_of_the_results(page, folder):
    table = next(table for table in page.tables if table[0][0].strip() == "Method")
    assert [cell.strip() for cell in table[0]][:4] == ["Method", "name", "slow_down", "Runs"]
    assert len(table) == 1 + 2 * len(SLOW_DOWNS)
    found = load_results(folder)
    labels = {METHODS[name].label: name for name in ("sdbt", "asyndbt")}
    for row in table[1:]:
        group = found[
            (found["variant"] == labels[row[0].split("|")[0]])
            & (found["workers.1.slow_down"] == float(row[2]))
        ]
        mean_s = sum(group["simulated_time_s"]) / len(SEEDS)
        assert row[3] == "3"
        assert row[4].split("|")[0] == f"{mean_s:.4g}"
    assert {(row[0].split("|")[0], row[2]) for row in table[1:]} == {
        (label, size) for label in labels for size in ("1", "4")
    }


def test_the_comparison_is_that_of_the_command(page, folder, command, text):
    answer = command("compare", folder, "--format", "json")
    rows = json.loads(answer.out)["rows"]
    table = next(table for table in page.tables if "ratio" in table[0])
    assert len(table) == 1 + len(rows)
    place = table[0].index("ratio")
    told = [row[place].split(" ")[0] for row in table[1:] if row[place].strip()]
    assert told == [f"{row['simulated_time_s_ratio']:.3f}" for row in rows if not row["baseline"]]
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    kept = pd.read_csv(io.StringIO(data["comparison"]))
    assert kept["simulated_time_s_ratio"].dropna().tolist() == pytest.approx(
        [row["simulated_time_s_ratio"] for row in rows if not row["baseline"]]
    )


def test_the_plot_library_is_carried_compressed(page, text):
    from plotly.offline import get_plotlyjs

    (carried,) = re.findall(r'<script type="text/plain" id="plotly">([^<]*)</script>', text)
    assert gzip.decompress(base64.b64decode(carried)).decode() == get_plotlyjs()
    assert len(carried) < 2_100_000


def test_the_same_results_give_the_same_page(folder, text):
    assert report.page(folder, Path("report.html")) == text


# The headline numbers


def test_a_mean_and_its_interval_worked_out_by_hand():
    # The mean of 10, 12 and 14 is 12, the deviation 2; t for two degrees of freedom is 4.302653, so that half
    # the width is 4.302653 * 2 / sqrt(3) = 4.968.
    table = runs(*({"simulated_time_s": time_s} for time_s in (10, 12, 14)))
    (row,) = headline.rows(table)
    assert [heading.text for heading in headline.headings(table)][1:3] == ["Runs", "Simulated time (s)"]
    assert row[2] == headline.Cell("12", ("7.032 to 16.97",), 12.0, is_number=True)
    assert row[3].notes == ("all equal", "3 of 3 runs")


def test_a_missed_target_makes_every_time_a_median():
    # Three runs: one is there after 4 s, one after 6 s, one never. Two thirds are under way after 4 s and one
    # third after 6 s, so that half of them are there by 6 s; the mean of the two, 5 s, would be too short.
    times = [{"time_to_target_s": time_s} for time_s in (4, 6, None)]
    table = runs(
        *times, *({"method": "sdbt", "place": 1, "time_to_target_s": time_s} for time_s in (1, 2, 9))
    )
    one, other = headline.rows(table)
    assert headline.headings(table)[3].text == "Median time to target (s)"
    assert (one[3].text, one[3].notes[-1], one[3].key) == ("6", "2 of 3 runs", 6)
    assert (other[3].text, other[3].notes[-1]) == ("2", "3 of 3 runs")
    assert headline.headings(table.iloc[3:])[3].text == "Time to target (s)"
    assert headline.rows(table.iloc[3:])[0][3].text == "4"


def test_where_nobody_reached_the_target_the_table_says_so():
    table = runs({"time_to_target_s": np.nan}, {"time_to_target_s": np.nan})
    assert headline.rows(table)[0][3] == headline.Cell(
        "not reached by half", ("0 of 2 runs",), is_number=True
    )
    without = table.assign(has_target=False)
    assert "Time to target (s)" not in [heading.text for heading in headline.headings(without)]


def test_how_well_a_time_to_the_target_is_known_stands_below_it():
    names = ("time_to_target_s", "time_to_target_resolution_s")
    some = runs(*(dict(zip(names, cells, strict=True)) for cells in ((100.0, 25.0), (270.1, 50.0))))
    assert headline.rows(some)[0][3].notes[-1] == "known to within 50 s"
    few = runs(dict(zip(names, (270.1, 50.0), strict=True)), *[dict.fromkeys(names, np.nan)] * 2)
    cell = headline.rows(few)[0][3]
    assert (cell.text, cell.notes) == ("not reached by half", ("1 of 3 runs", "known to within 50 s"))


def test_runs_that_ended_badly_are_counted_and_lost_numbers_left_out():
    table = runs({"loss": 1.0}, {"loss": 3.0}, {"loss": None, "ended": "diverged"})
    (row,) = headline.rows(table)
    assert row[1] == headline.Cell("3", ("1 diverged",), 3, is_number=True)
    assert row[4].text == "2"
    assert row[4].notes[-1] == "2 of 3 runs"


def test_a_column_a_setting_that_varies_within_a_method():
    table = runs({"a.size": 1.0}, {"a.size": 2.0, "place": 1}, {"method": "sdbt", "a.size": 2.0, "place": 2})
    table["b.size"], table["c.kind"] = [1, 1, 2], [["x"], ["y"], ["x"]]
    assert [heading.text for heading in headline.headings(table)][:3] == ["Method", "size", "kind"]
    assert [row[1].key for row in headline.rows(table)] == [1, 2, 2]
    assert headline.rows(table)[1][2].text == '["y"]'


def test_what_only_some_runs_have_has_a_column_only_where_it_tells_something():
    # The factor belongs to one kind of attack and follows from it; the limit is set or not for any kind.
    kinds = [{"a.kind": kind, "seed": seed, "run_id": f"{kind}{seed}"} for kind in "xy" for seed in (0, 1)]
    table = runs(*kinds).assign(**{"a.factor": [2.0, 2.0, None, None], "method": "asyndbt"})
    assert telling(table) == ["a.kind"]
    placed = in_places(table.drop(columns="place"))
    assert placed[["setting", "seed", "place"]].to_numpy().tolist() == [
        ["kind = x", 0, 0],
        ["kind = x", 1, 0],
        ["kind = y", 0, 1],
        ["kind = y", 1, 1],
    ]
    assert telling(table.assign(**{"b.limit": [1.0, None, 1.0, None]})) == ["a.kind", "b.limit"]
    assert [one.by_method for one in differences(table)] == [False, False]


def test_runs_that_nothing_tells_apart_are_told_apart_by_their_address():
    placed = in_places(runs({"run_id": "one"}, {"run_id": "two"}, {"seed": 1}).drop(columns="place"))
    assert placed["setting"].tolist() == ["run one", "run two", ""]
    assert placed["place"].nunique() == 3


def test_places_are_ordered_by_size_and_methods_as_in_all_figures():
    rows = [{"a.size": size, "method": name} for size in (10.0, 9.0) for name in ("asyndbt", "sdbt")]
    placed = in_places(runs(*rows).drop(columns="place"))
    assert placed["setting"].tolist() == ["size = 9"] * 2 + ["size = 10"] * 2
    assert placed["method"].tolist() == ["sdbt", "asyndbt"] * 2
    assert placed["place"].tolist() == [0, 1, 2, 3]


def test_differences_tell_settings_from_methods():
    table = runs({"a.size": 10.0}, {"a.size": 9.0}, {"method": "sdbt", "a.size": 9.0}).assign(**{"d.same": 1})
    table["b.wait_for"] = [5.0, 5.0, np.nan]
    found = [(one.name, one.values, one.by_method) for one in differences(table)]
    assert found == [("a.size", "9, 10", False), ("b.wait_for", "5, not set", True)]


# The runs


def test_a_copy_of_a_run_counts_once_and_runs_of_the_clock_alone_do_not_count(folder, tmp_path):
    place = copied(folder, tmp_path / "results")
    first = find_runs(folder)[0]
    shutil.copytree(first, place / "again" / first.name)
    (tmp_path / "bench.toml").write_text(SCENARIO)
    scenario = load_variants(tmp_path / "bench.toml", ['workers.1.name="other"', "workers.1.slow_down=1"])[0]
    timed = sweep.run_one(scenario, place, timing_only=True).folder
    with pytest.warns(ResultsWarning, match="it counts once"):
        found = material.read(place)
    assert len(found.runs) == N_RUNS
    assert found.timing_only == 1
    assert found.folders[timed.name] == timed
    alone = material.read(place / "timing-only")
    assert (len(alone.runs), alone.timing_only) == (1, 0)
    assert alone.folders == {timed.name: timed}


def test_seeds_of_one_setting_share_a_place(folder):
    found = material.read(folder)
    sizes = found.runs.groupby("place").agg(
        {"seed": list, "method": "nunique", "workers.1.slow_down": "nunique"}
    )
    assert sizes["seed"].tolist() == [list(SEEDS)] * 4
    assert (sizes[["method", "workers.1.slow_down"]] == 1).all(axis=None)
    assert found.descriptions() == {"bench": [HOSTILE]}
    assert found.runs["has_target"].all()


def test_failed_runs_are_told(folder, tmp_path):
    place = copied(folder, tmp_path / "results")
    (tmp_path / "bench.toml").write_text(SCENARIO)
    scenario = load_variants(tmp_path / "bench.toml")[0]
    for name in ("one", "two"):
        write_failure(place / "bench" / name, scenario, "the part broke", "", "fedsim sweep")
    assert material.read(place).failures() == {"the part broke": 2}
    assert material.read(folder).failures() == {}


# The timeline


def test_the_spans_of_a_run_are_those_of_its_file(folder):
    found = material.read(folder)
    first = spans.timelines(found)["runs"][0]
    recorded = load_results(folder, "spans").query(
        f"run_id == {first['run_id']!r} and activity != 'stepping'"
    )
    assert first["rows"] == ["server", "worker 0", "worker 1", "worker 2"]
    assert first["n_spans"] == len(recorded)
    calls = recorded[recorded["activity"] == "calling"]
    drawn = first["activities"]["calling"]
    assert [first["rows"][row] for row in drawn["row"]] == calls["entity"].tolist()
    assert drawn["start_s"] == pytest.approx(calls["start_s"], abs=1e-6)
    assert drawn["length_s"] == pytest.approx(calls["end_s"] - calls["start_s"], abs=2e-6)
    assert first["steps"]["step"] == list(range(1, 13))


@pytest.mark.parametrize("limit", ["MAX_ALL", "MAX_RUNS"])
def test_one_run_of_each_place_comes_first_and_too_many_are_left_out(folder, monkeypatch, limit):
    monkeypatch.setattr(spans, limit, 1)
    found = spans.timelines(material.read(folder))
    assert len(found["runs"]) == 1
    assert found["note"].startswith(f"{N_RUNS - 1} more runs with spans left out")
    monkeypatch.undo()
    every = spans.timelines(material.read(folder))
    assert ["seed 0" in run["label"] for run in every["runs"]] == [True] * 4 + [False] * 8
    assert every["note"] == ""


def test_too_many_spans_are_cut_at_one_time_for_all(folder, monkeypatch):
    monkeypatch.setattr(spans, "MAX_SPANS", 20)
    run = spans.timelines(material.read(folder))["runs"][0]
    recorded = load_results(folder, "spans").query(f"run_id == {run['run_id']!r} and activity != 'stepping'")
    assert run["n_spans"] == 20
    assert run["end_s"] == pytest.approx(recorded["start_s"].iloc[20], abs=1e-6)
    assert f"The first 20 of {len(recorded)} spans" in run["note"]
    assert max(run["steps"]["time_s"]) <= run["end_s"]
    # Before the cut nothing is missing.
    assert (recorded["start_s"] < run["end_s"] - 1e-6).sum() <= 20


def test_too_many_workers(folder, monkeypatch):
    monkeypatch.setattr(spans, "MAX_ROWS", 2)
    run = spans.timelines(material.read(folder))["runs"][0]
    assert run["rows"] == ["server", "worker 0"]
    assert "The server and the first 1 of 3 workers." in run["note"]


def test_the_chosen_run_comes_first(folder):
    last = material.read(folder).runs["run_id"].iloc[-1]
    assert spans.timelines(material.read(folder, last))["runs"][0]["run_id"] == last


# The plot


def test_the_plot_gets_every_run_and_the_quantiles_of_its_intervals(folder):
    found = material.read(folder)
    data = explorer(found.runs)
    names = [dimension["name"] for dimension in data["dimensions"]]
    assert names[0] == "method"
    assert {"workers.1.slow_down", "workers.1.name"} <= set(names)
    assert [measure["name"] for measure in data["measures"]][:2] == ["simulated_time_s", "time_to_target_s"]
    assert data["measures"][0]["values"] == pytest.approx(found.runs["simulated_time_s"])
    assert data["student"] == pytest.approx([12.7062, 4.302653])  # t tables: 0.975, one and two degrees
    slow_down = data["dimensions"][names.index("workers.1.slow_down")]
    assert slow_down["numeric"]
    assert slow_down["tells"]
    assert [each["tells"] for each in data["dimensions"] if each["name"] == "algorithm.kind"] == [False]
    assert data["first_measure"] == "simulated_time_s"
    assert (
        explorer(found.runs.assign(simulated_time_s=found.runs["seed"]))["first_measure"]
        == "time_to_target_s"
    )
    assert [level["value"] for level in slow_down["levels"]] == list(SLOW_DOWNS)


def test_colours_are_those_of_the_figures_and_can_be_seen_on_a_dark_page():
    names = ["asyndbt", "asyndbt_s2", "asyndbt_s5", "trimmed_mean", "mine"]
    shown, drawn = method_looks(names), style.methods(names)
    assert {name: shown[name]["light"] for name in names} == {name: drawn[name].colour for name in names}
    assert shown["asyndbt"]["light"] == METHODS["asyndbt"].colour
    assert look("krum", 0)["light"] == DEFENCES["krum"].colour
    assert look("something", 0)["light"] != look("something", 1)["light"]
    # White has the luminance 1, this red 0.2126 * ((0.6 + 0.055) / 1.055) ** 2.4 = 0.0677.
    assert contrast("#990000", "#FFFFFF") == pytest.approx(1.05 / (0.0677 + 0.05), abs=0.01)
    for mark in (*METHODS.values(), *DEFENCES.values()):
        assert contrast(on_dark(mark.colour), "#14181F") >= 3
    assert contrast(on_dark(ACTIVITIES["waiting"].colour), "#14181F") < 3  # waiting stays in the background


# Provenance


def provenance(**changed):
    versions = {"fedsim-icl": "1.0", "python": "3.11"}
    known = {"versions": versions, "platform": "P", "format": 2, "command": "fedsim run a.toml"}
    return {**known, "finished": "2026-05-04T10:11:12+00:00", "duration_s": 1.5, **changed}


def test_provenance_counts_and_orders():
    newer = provenance(
        versions={"fedsim-icl": "1.1"}, finished="2026-05-05T00:00:00+00:00", command="fedsim run\nb.toml"
    )
    origins = {"a": newer, "b": provenance(), "c": provenance()}
    said = dict(origin.facts(origins))
    assert said["Finished"] == "2026-05-04 10:11:12 UTC to 2026-05-05 00:00:00 UTC"
    assert said["Computing time"] == "4.5 s over 3 runs"
    assert said["fedsim-icl"] == "1.0 (2 runs), 1.1 (1 run)"
    assert said["python"] == "3.11 (2 runs), none (1 run)"
    assert origin.commands(origins, Path("my results"), Path("r.html")).splitlines() == [
        "fedsim run a.toml",
        "fedsim run b.toml",
        "fedsim report 'my results' -o r.html",
    ]


# The command


def test_the_command_writes_a_page(folder, command):
    run_id = find_runs(folder)[0].name
    answer = command("report", folder, "-o", "new/page.html", "--run", run_id)
    assert answer.code == 0
    assert re.fullmatch(r"new/page\.html: \d\.\d MB, opens in any browser without a network\n", answer.out)
    page = Page(Path("new/page.html").read_text(encoding="utf-8"))
    assert json.loads(page.text("script")[0])["timeline"]["runs"][0]["run_id"] == run_id
    assert f"All settings of run {run_id}" in page.text("summary")
    assert list(Path("new").iterdir()) == [Path("new/page.html")]


def test_a_folder_that_holds_no_results(command, tmp_path):
    answer = command("report", tmp_path / "none")
    assert answer == (2, "", f"fedsim: {tmp_path / 'none'}: no such results folder\n")


def test_an_unknown_run(folder, command):
    known = material.read(folder).runs["run_id"].iloc[0]
    answer = command("report", folder, "--run", known[:-1] + "?")
    assert answer.code == 2
    assert f"no run '{known[:-1]}?'; did you mean '{known}'? (runs: {known}, " in answer.err
    assert answer.err.count("\n") == 1


def test_a_chosen_run_without_spans(folder, command, tmp_path):
    (tmp_path / "bench.toml").write_text(SCENARIO)
    scenario = load_variants(tmp_path / "bench.toml", ["record.spans=false"])[0]
    name = sweep.run_one(scenario, tmp_path / "bare").folder.name
    answer = command("report", tmp_path / "bare", "--run", name)
    assert answer.code == 2
    assert f"run {name!r} kept no spans: set `record.spans = true`" in answer.err


def test_without_plotly(folder, command, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    answer = command("report", folder)
    expected = "fedsim: a report needs the extra 'report': pip install 'fedsim-icl[report]'\n"
    assert answer == (2, "", expected)


def test_what_cannot_be_written_leaves_what_was_there(
    folder, command, tmp_path, monkeypatch, text, full_disk
):
    monkeypatch.setattr(report, "page", lambda *_: text)
    (tmp_path / "file").write_text("")
    answer = command("report", folder, "-o", tmp_path / "file" / "r.html")
    assert answer.code == 2
    assert answer.err.startswith(f"fedsim: cannot write {tmp_path / 'file' / 'r.html'}: ")
    (tmp_path / "r.html").write_text("old")

    with full_disk(len(text) // 2):
        answer = command("report", folder, "-o", "r.html")
    assert answer == (2, "", "fedsim: cannot write r.html: File too large\n")
    assert (tmp_path / "r.html").read_bytes() == b"old"
    assert not list(tmp_path.glob("*.partial"))
