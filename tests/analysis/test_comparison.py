"""The comparison of all methods: its table and figure from a small table, and a small study of it."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from text_cases import rows, write_jsonl
from tiny_tables import assert_inside, run
from tiny_weights import write_random_weights

from fedsim.errors import InputError
from fedsim.scenario import dump, load_scenario
from fedsim_analysis import short_texts, style, tables
from fedsim_analysis.figures import comparison as figure
from fedsim_analysis.studies import comparison as study
from fedsim_analysis.tables import comparison

METHODS = {
    "asyndbt": {"access": "probabilities", "reveals": "distributions", "bytes_up": 6e3, "bytes_down": 12e3},
    "ifedicl": {"access": "weights", "reveals": "vectors, numbers", "bytes_up": 6e5, "bytes_down": 12e5},
    "fedavg_lora": {"access": "weights", "reveals": "weight changes", "bytes_up": 6e7, "bytes_down": 6e7},
}
OF_IFEDICL = {"accuracy_zero_shot": 0.55, "accuracy_zero_vectors": 0.76, "accuracy_unbiased": 0.762}


def runs() -> pd.DataFrame:
    """Return three methods on two networks, with and without a slow worker, by two seeds."""
    found = []
    for method, cells in METHODS.items():
        for factor, network in enumerate(("mobile", "data_centre")):
            for slow in ("", ".straggler"):
                for seed in (0, 1):
                    time_s = (100.0 - 90 * factor) * (2 if slow else 1) + seed
                    of_run = run(f"subj.{network}{slow}", method, seed, time_s, **cells)
                    of_run |= {"accuracy": None if method == "fedavg_lora" else 0.7 + 0.1 * seed}
                    of_run |= {"n_workers": 6, "server_steps": 8, "llm_calls": 600.0, "tokens_in": 6e4}
                    of_run |= {"tokens_out": 600.0, "cost": 0.0359, "algorithm": method}
                    if method != "asyndbt":
                        of_run |= {"llm_calls": 0.0, "tokens_in": 0.0, "tokens_out": 0.0, "cost": 0.0}
                        of_run |= {"own_tokens": 60.0, "own_gradient_tokens": 600.0}
                    found.append(of_run | (OF_IFEDICL if method == "ifedicl" else {}))
    return pd.DataFrame(found)


def test_the_table_by_hand():
    found = comparison.table(runs())
    assert found["method"].unique().tolist() == ["asyndbt", "ifedicl", "fedavg_lora"]
    assert found["network"].tolist()[:4] == ["data_centre", "data_centre", "mobile", "mobile"]
    assert found["straggler"].tolist()[:4] == [False, True, False, True]
    assert found["time_s"].tolist()[:4] == [10.5, 20.5, 100.5, 200.5]
    first = found.iloc[0]
    assert (first["task"], first["seeds"], first["rounds"], first["workers"]) == ("subj", 2, 8, 6)
    # Student's t with one degree of freedom: half the interval is 12.706 times half the difference.
    assert first["accuracy_percent"] == pytest.approx(75)
    assert first["accuracy_percent_high"] - 75 == pytest.approx(12.7062 * 5, rel=1e-4)
    assert (first["own_tokens"], first["llm_calls"], first["bytes_down"]) == (0, 600, 12e3)
    assert found["accuracy_percent"].isna().tolist() == [False] * 8 + [True] * 4
    of_ifedicl = found[found["method"] == "ifedicl"].iloc[0]
    assert of_ifedicl["accuracy_zero_vectors_percent"] == pytest.approx(76)
    assert (of_ifedicl["access"], of_ifedicl["reveals"]) == ("weights", "vectors, numbers")


def printed(found: pd.DataFrame) -> str:
    console = Console(width=140, file=io.StringIO())
    console.print(comparison.render(found))
    return console.file.getvalue()


def test_the_printed_table():
    text = printed(comparison.table(runs()))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "AsynDBT 75.0 ± 63.5 10.5 (20.5) 100.5 (200.5)" in lines
    assert "FedAvg-LoRA costs only 10.5 (20.5) 100.5 (200.5)" in lines
    assert "AsynDBT 8 600 60,000 600 0 6.0 12.0 0.0359" in lines
    assert "IFed-ICL 8 0 0 0 60 + 600 600.0 1,200.0 0" in lines
    assert "IFed-ICL weights vectors, numbers" in lines
    beside = "beside IFed-ICL: with vectors of zero 76.0; no demonstration, nothing tuned 55.0;"
    assert any(line.startswith(beside) for line in lines)


def test_an_accuracy_that_depends_on_times_is_told_with_its_range():
    table = runs()
    slow = table["scenario"].str.endswith("straggler")
    table.loc[slow & (table["variant"] == "asyndbt"), "accuracy"] -= 0.2
    text = " ".join(printed(comparison.table(table)).split())
    assert "AsynDBT 75.0 ± 63.5 (55.0 to 75.0)" in text
    assert "IFed-ICL 75.0 ± 63.5 10.5" in text


def test_runs_of_other_settings_are_not_averaged():
    table = runs()
    table["algorithm.tau"] = [5.0, 6.0] * (len(table) // 2)
    with pytest.raises(InputError, match=r"differ in algorithm\.tau"):
        comparison.table(table)


def test_latex_has_all_columns():
    found, _ = tables.make("comparison", runs())
    assert "accuracy\\_percent\\_low" in tables.latex("comparison", found)


def test_the_figure_shows_methods_by_colour_and_slow_workers_hollow():
    picture = figure.figure(runs())
    assert_inside(picture)
    panels = [axes for axes in picture.axes if axes.get_xlabel() != ""]
    assert [axes.get_title() for axes in picture.axes[:2]] == ["data centre", "mobile"]
    assert picture.axes[0].get_ylabel() == "SUBJ\nTest accuracy (%)"
    assert len(panels) == 2 + 3
    looks = style.METHODS
    marks = [line for line in picture.axes[0].get_lines() if line.get_marker() not in ("None", "")]
    faces = {(line.get_color(), line.get_markerfacecolor()) for line in marks}
    for method in METHODS:
        assert {(looks[method].colour, looks[method].colour), (looks[method].colour, "white")} <= faces
    (legend,) = picture.legends
    told = [text.get_text() for text in legend.get_texts()]
    assert told == [
        *("AsynDBT", "IFed-ICL", "FedAvg-LoRA (costs only)"),
        *("hollow: one slow worker", "nothing tuned, nothing shown"),
    ]
    names = [text.get_text() for text in picture.axes[2].get_yticklabels()]
    assert names == ["AsynDBT", "IFed-ICL", "FedAvg-LoRA"]
    each = {line.get_color(): line.get_xdata()[0] for line in picture.axes[4].get_lines()}
    assert each[looks["ifedicl"].colour] == (60 + 3 * 600) / 6
    assert each[looks["asyndbt"].colour] == 0


def test_colours_and_markers_tell_all_methods_apart():
    names = ["cendbt", "sdbt", "asyndbt", "bdpl", "fedbdpl", "fedone", "fedicl", "ifedicl", "i2cl"]
    one = runs().query("variant == 'asyndbt'")
    parts = [one.assign(variant=name) for name in [*names, "random_icl", "fedavg_lora"]]
    (legend,) = figure.figure(pd.concat(parts, ignore_index=True)).legends
    looks = [(handle.get_marker(), handle.get_color()) for handle in legend.legend_handles[:11]]
    assert len({marker for marker, _ in looks}) == len({colour for _, colour in looks}) == 11


@pytest.fixture
def folder(root, tmp_path):
    """A copy of the comparison that a tiny model of random weights answers; one of its sets has no texts."""
    for name in ("common", "comparison"):
        shutil.copytree(root / "scenarios" / name, tmp_path / "scenarios" / name)
    write_random_weights(tmp_path / "tiny.gguf")
    (tmp_path / "data" / "comparison").mkdir(parents=True)
    write_jsonl(tmp_path / "data" / "comparison", rows(), "movie_reviews.jsonl")
    common = tmp_path / "scenarios" / "common" / "comparison.toml"
    smaller = {
        'kind = "open_weights"': 'kind = "open_weights"\nweights = "../../tiny.gguf"',
        "test_counts = [20, 20]": "test_counts = [1, 1]\nreuse = true",
        "n_samples = 4 ": "n_samples = 2 ",
        "batch = 3 ": "batch = 1 ",
        "epochs = 8 ": "epochs = 1 ",
        "epochs = 10 ": "epochs = 1 ",
        "server_steps = 6,": "server_steps = 1,",
        "local_steps = 3": "local_steps = 1",
    }
    text = common.read_text()
    for old, new in smaller.items():
        assert old in text
        text = text.replace(old, new)
    common.write_text(text)
    networks = tmp_path / "scenarios" / "common" / "networks.toml"
    networks.write_text(networks.read_text().partition("[[variants.mobile")[0])
    reviews = tmp_path / "scenarios" / "comparison" / "movie_reviews.toml"
    reviews.write_text(reviews.read_text().replace('"negative", "positive"', '"No", "Yes"'))
    return tmp_path / "scenarios" / "comparison"


def test_the_study_runs_draws_and_finds_again_what_is_finished(folder, tmp_path, capsys):
    words = ["--scenarios", folder, "--results", tmp_path / "results", "--output", tmp_path / "figures"]
    study.main([*map(str, words), "--replicates", "1"])
    said = capsys.readouterr()
    assert "subj.toml: left out, as there are no texts in" in said.err
    assert "FedAvg-LoRA" in said.out
    assert {file.name for file in (tmp_path / "figures").iterdir()} == {
        f"comparison.{suffix}" for suffix in ("pdf", "png", "csv", "tex")
    }
    drawn = pd.read_csv(tmp_path / "figures" / "comparison.csv")
    assert len(drawn) == 11 * 2 * 2
    assert set(drawn["reveals"]) == {
        *("distributions", "texts", "nothing", "answers", "vectors, numbers", "weight changes")
    }
    runs_there = sorted((tmp_path / "results").rglob("summary.json"))
    learned = [json.loads(file.read_text()) for file in runs_there if "timing-only" not in file.parts]
    # One of eleven learns nothing; AsynDBT learns at all four places, two that exchange nothing twice.
    assert len(learned) == 7 + 4 + 2 * 2
    before = {file: file.stat().st_mtime_ns for file in runs_there}
    study.main([*map(str, words), "--replicates", "1"])
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_scenarios_round_trip(folder, tmp_path):
    again = tmp_path / "again.toml"
    lines = study.networks(folder)
    (file,) = study.files_there(folder)
    for place in study.places_of(file, lines, 1):
        again.write_text(dump(place.clock))
        assert load_scenario(again) == place.clock


def test_texts_that_are_nowhere_are_a_sentence(folder, tmp_path):
    (tmp_path / "data" / "comparison" / "movie_reviews.jsonl").unlink()
    with pytest.raises(InputError, match="found no scenario whose texts are there"):
        study.files_there(folder)


def test_short_texts_are_the_first_of_each_class(tmp_path, capsys):
    texts = ["a b c", "a b c d", "a b c d e", "a b c d e f"]
    table = [
        {"split": split, "text_a": text, "label": label}
        for split in ("train", "test")
        for text in texts
        for label in (0, 1)
    ]
    found = short_texts.short_rows(table * 20, most_words=5)
    assert {row["text_a"] for row in found} == {"a b c d", "a b c d e"}
    counts = pd.DataFrame(found).groupby(["split", "label"]).size()
    assert counts.to_dict() == {("train", 0): 40, ("train", 1): 40, ("test", 0): 30, ("test", 1): 30}
    source = tmp_path / "source.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in table))
    assert short_texts.main([str(source), "--words", "4", "-o", str(tmp_path / "out.jsonl")]) == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 4
    source.write_text('{"split": "train"}\n')
    assert short_texts.main([str(source), "-o", str(tmp_path / "out.jsonl")]) == 2
    assert "expected rows with split, text_a and label as JSON" in capsys.readouterr().err


def test_every_network_says_all_of_an_access_line(root):
    lines = study.networks(root / "scenarios" / "comparison")
    assert list(lines) == list(comparison.NETWORKS)
    for name, line in lines.items():
        assert set(line) == {"upload", "download", "upload_mbps", "download_mbps"}, name
    assert Path("common") / "networks.toml" == study.NETWORKS
