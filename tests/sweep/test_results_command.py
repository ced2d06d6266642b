"""`fedsim results`: rows that a query keeps, columns by name, formats that others read back."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

import fedsim
from fedsim import sweep
from fedsim.scenario import load_scenario
from fedsim_analysis.tables.booktabs import of_frame


@pytest.fixture(scope="module")
def swept(tmp_path_factory) -> Path:
    """Four runs with two settings that vary, one of them a switch here and a number there."""
    from conftest import SMALL

    out = tmp_path_factory.mktemp("swept")
    file = out / "small.toml"
    file.write_text(SMALL)
    for wait_for in (1, 2):
        for cuts in ("algorithm.cuts.every=5", "algorithm.cuts=false"):
            scenario = load_scenario(file, overrides=[f"algorithm.wait_for={wait_for}", cuts])
            sweep.run_one(scenario, out / "results")
    return out / "results"


def test_a_table_tells_what_varies_and_the_headlines(command, swept):
    answer = command("results", swept)
    assert (answer.code, answer.err) == (0, "")
    heading, *rows, below = answer.out.splitlines()
    # With the cuts go the settings that are about them, each with one value: that there are none says enough.
    settings = ["algorithm.cuts", "algorithm.wait_for"]
    assert heading.split() == [*settings, "seed", "simulated_time_s", "llm_calls", "loss"]
    # In the order of the settings, and runs without a setting (`algorithm.cuts.every`) first.
    assert [row.split()[:2] for row in rows] == [["False", "1"], ["False", "2"], ["-", "1"], ["-", "2"]]
    assert below == "4 rows, scenario small, ended budget"


def test_latex_and_markdown_show_what_the_table_shows(command, swept):
    latex, markdown = (command("results", swept, "--format", form).out for form in ("latex", "markdown"))
    columns = ["algorithm.cuts", "algorithm.wait_for", "seed", "simulated_time_s", "llm_calls", "loss"]
    heading, *rows = rows_of_latex(latex)
    assert heading == [name.replace("_", r"\_") for name in columns]
    assert r"{tabular}{lrrrrr}" in latex
    assert [row[:2] for row in rows] == [["False", "1"], ["False", "2"], ["-", "1"], ["-", "2"]]
    heading, _, *rows = markdown.splitlines()
    assert heading == f"| {' | '.join(columns)} |".replace("_", r"\_")
    assert len(rows) == 4
    # CSV is for programs, and whole.
    assert len(pd.read_csv(io.StringIO(command("results", swept, "--format", "csv").out)).columns) > 60


def test_times_are_told_in_minutes_as_well(command, swept):
    run = fedsim.load_results(swept).iloc[0]
    assert run.simulated_time_s < 60
    out = command("run", swept.parent / "small.toml", "--timing-only", "--set", "budget.server_steps=100").out
    assert out
    line = command("results", "results").out.splitlines()[1]
    run = fedsim.load_results("results").iloc[0]
    assert f"{run.simulated_time_s:.6g} ({run.simulated_time_s / 60:.1f} min)" in line


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> Path:
    """Three seeds of two settings, of the clock alone."""
    from conftest import SMALL

    out = tmp_path_factory.mktemp("seeds")
    file = out / "small.toml"
    file.write_text(SMALL)
    for wait_for in (2, 1):
        for seed in range(3):
            # Constant times have no spread.
            changes = [f"algorithm.wait_for={wait_for}", f"seed={seed}"]
            latency = "llm.latency={kind='exponential', mean_s=1}"
            scenario = load_scenario(file, overrides=[*changes, latency])
            sweep.run_one(scenario, out / "results", timing_only=True)
    return out / "results"


def test_groups_are_means_over_seeds_with_the_t_interval_of_scipy(command, seeds):
    rows = pd.read_csv(io.StringIO(command("results", seeds, "--group", "--format", "csv").out))
    assert rows["algorithm.wait_for"].tolist() == [1, 2]
    assert rows["runs"].tolist() == [3, 3]
    runs = fedsim.load_results(seeds)
    for _, row in rows.iterrows():
        times = runs.loc[runs["algorithm.wait_for"] == row["algorithm.wait_for"], "simulated_time_s"]
        low, high = stats.t.interval(0.95, 2, times.mean(), stats.sem(times))
        found = row[["simulated_time_s", "simulated_time_s_low", "simulated_time_s_high"]].tolist()
        assert found == pytest.approx([times.mean(), low, high])
    heading, first, *_ = command("results", seeds, "--group", "--columns", "llm_calls").out.splitlines()
    assert heading.split() == ["wait_for", "method", "runs", "llm_calls"]
    assert first.split()[:3] == ["1", "AsynDBT", "3"]
    # Cells of means are texts that stand to the right, as numbers do.
    latex = command("results", seeds, "--group", "--format", "latex").out
    assert r"{tabular}{rlrrr}" in latex
    assert r" $\pm$ " in latex


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--by", "algorithm.wait_for"), "expected --group beside it"),
        (("--group", "--table", "steps"), "--group: found --table steps, expected runs"),
        (("--group", "--by", "algorithm.wait_fro"), "did you mean 'algorithm.wait_for'?"),
        (("--group", "--by", "variant"), "these 6 runs differ in algorithm.wait_for as well"),
        (("--group", "--where", "seed > 5"), "--group: no run is left"),
        (("--group", "--columns", "ended"), "metric 'ended': a column that is no measurement"),
    ],
)
def test_what_cannot_be_averaged_is_a_sentence(command, seeds, words, sentence):
    answer = command("results", seeds, *words)
    assert (answer.code, answer.out) == (2, "")
    assert sentence in answer.err
    assert answer.err.count("\n") == 1


def test_a_condition_keeps_rows_and_names_may_have_dots(command, swept):
    words = ("--columns", "seed,algorithm.wait_for,algorithm.cuts.every", "--format", "csv")
    answer = command(
        "results", swept, "--where", "`algorithm.wait_for` > 1 and `algorithm.cuts.every` == 5", *words
    )
    assert answer == (0, "seed,algorithm.wait_for,algorithm.cuts.every\n0,2,5.0\n", "")
    bare = "algorithm.wait_for > 1 and algorithm.cuts.every == 5 and ended != 'algorithm.wait_for'"
    assert command("results", swept, "--where", bare, *words) == answer
    assert command("results", swept, "--where", "ended == 'stalled'", *words).out.count("\n") == 1


WRONG = {
    "unknown column": ("lost < 1", "no column 'lost'; did you mean 'loss'?"),
    "unknown dotted column": (
        "`algorithm.wait_fro` > 1",
        "no column 'algorithm.wait_fro'; did you mean 'algorithm.wait_for'?",
    ),
    "no backticks": ("algorithm.wait_fro > 1", "; names with dots stand in backticks: `workers.0.count`\n"),
    "no expression": ("loss <", "invalid syntax"),
    "no condition": ("loss + 1", "expected something that is true or false of each row"),
    "words and numbers": ("ended > 3", "str"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_query_is_a_sentence(command, swept, name):
    query, sentence = WRONG[name]
    answer = command("results", swept, "--where", query)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"fedsim: --where {query!r}: ")
    assert sentence in answer.err
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--columns", "seed,los"), "fedsim: --columns: no column 'los'; did you mean 'loss'?\n"),
        (("--table", "step"), "fedsim: no table 'step'; did you mean 'steps'?"),
        (("--format", "parket"), "fedsim: --format: no format 'parket'; did you mean 'parquet'?"),
        (("--format", "parquet"), "fedsim: --format parquet is not for reading: expected a file to write"),
        (("-o", "blocked/x.csv"), "fedsim: cannot write blocked/x.csv: "),
    ],
)
def test_a_wrong_option_is_a_sentence(command, swept, tmp_path, words, sentence):
    (tmp_path / "blocked").write_text("mine")
    answer = command("results", swept, *words)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(sentence)


def test_csv_and_parquet_read_back_as_the_table(command, swept, tmp_path):
    table = fedsim.load_results(swept)
    printed = pd.read_csv(io.StringIO(command("results", swept, "--format", "csv").out))
    pd.testing.assert_frame_equal(printed, pd.read_csv(io.StringIO(table.to_csv(index=False))))
    answer = command("results", swept, "--format", "parquet", "-o", "new/runs.parquet")
    assert answer == (0, "new/runs.parquet\n", "")
    read = pd.read_parquet(tmp_path / "new" / "runs.parquet")
    assert list(read.columns) == list(table.columns)
    assert list(read.loss) == list(table.loss)
    assert list(tmp_path.joinpath("new").iterdir()) == [tmp_path / "new" / "runs.parquet"]


def test_columns_of_mixed_types_become_texts_in_parquet():
    from fedsim.cli.querying import _same_types

    mixed = pd.DataFrame({"a": [False, [1, 2], None], "b": [1, 2, 3]})
    assert list(_same_types(mixed).a)[:2] == ["False", "[1, 2]"]
    assert list(_same_types(mixed).b) == [1, 2, 3]


def test_latex_and_other_tables(command, swept):
    latex = command("results", swept, "--columns", "algorithm.cuts.every,ended", "--format", "latex").out
    assert r"algorithm.cuts.every & ended \\" in latex
    assert latex.count(r"budget \\") == 4
    steps = pd.read_csv(io.StringIO(command("results", swept, "--table", "steps", "--format", "csv").out))
    pd.testing.assert_frame_equal(
        steps, pd.read_csv(io.StringIO(fedsim.load_results(swept, "steps").to_csv(index=False)))
    )


SEEDS = 122807528840384100672342137672332424406, 2**64 - 1, 3
"""One of 128 bits, as numpy draws them; the largest of 64; a common one."""


def test_a_seed_of_128_bits_works_in_every_format(command, small, tmp_path):
    for seed in SEEDS:
        assert command("run", small, "--set", "record.spans=true", "--seed", seed).code == 0
    assert set(fedsim.load_results("results").seed) == set(SEEDS)
    assert command("verify", "results").code == 0
    for table in ("runs", "steps", "workers", "spans"):
        for form in ("parquet", "csv", "latex", "table"):
            answer = command(
                "results", "results", "--table", table, "--format", form, "-o", f"{table}.{form}"
            )
            assert (answer.code, answer.err) == (0, "")
        assert {int(seed) for seed in pd.read_parquet(f"{table}.parquet").seed} == set(SEEDS)
        for form in ("csv", "latex", "table"):
            assert all(str(seed) in (tmp_path / f"{table}.{form}").read_text() for seed in SEEDS)
    assert command("results", "results", "--where", f"seed == {SEEDS[0]}").out.endswith(
        "\n1 row, scenario small\n"
    )


def rows_of_latex(text: str) -> list[list[str]]:
    """Read a table as LaTeX does: cells up to an & or the end of a row that nothing guards.

    What LaTeX would take for something else ends it.
    """
    body = text.split("\\toprule\n")[1].split("\\bottomrule")[0].replace("\\midrule\n", "")
    assert all(letter.isprintable() for letter in body if letter != "\n")
    found = []
    for line in body.splitlines():
        cells, cell, depth, rest = [], "", 0, line
        assert not re.match(r"\s*(\[|\*|$)", line), line
        while rest:
            token = re.match(r"\\[a-zA-Z]+ ?|\\.|.", rest, re.DOTALL)[0]
            rest = rest[len(token) :]
            if token == "\\\\":
                assert rest == ""
            elif token == "&" and not depth:
                cells, cell = [*cells, cell.strip()], ""
            else:
                assert token not in ("%", "#", "$", "~", "^", "_") or (token == "$" and r"\pm" in line), line
                depth += {"{": 1, "}": -1}.get(token, 0)
                assert depth >= 0
                cell += token
        assert depth == 0
        found.append([*cells, cell.strip()])
    return found


HOSTILE = [
    "[2pt]",
    "*[x]",
    "a\nb\n\nc",
    "",
    "50 % & more \\\\ {x}",
    "#1 $x^2$ ~ a_b",
    "\t\x1b[31m\u202ered",
    "\u8868 \u00e9 -- <a|b>",
]


@pytest.mark.parametrize(
    ("columns", "left"), [(["a", "b", "x", "[y"], "llrr"), (["[y", "a", "x", "b"], "rlrl")]
)
def test_latex_reads_every_cell_as_it_is(columns, left):
    frame = pd.DataFrame({"a": HOSTILE, "b": HOSTILE[::-1], "x": range(8), "[y": [None, 1.5] * 4})
    text = of_frame(frame[columns])
    header, *rows = rows_of_latex(text)
    assert {len(row) for row in (header, *rows)} == {4}
    assert f"{{tabular}}{{{left}}}" in text
    assert text.startswith(
        "% needs lualatex or xelatex, and a font with all its letters\n% needs \\usepackage"
    )
    told = [row[columns.index("a")] for row in rows]
    assert told[:2] == ["{[}2pt{]}", "{*}{[}x{]}" if left == "llrr" else "*{[}x{]}"]
    assert told[2:4] == [r"a\textbackslash{}nb\textbackslash{}n\textbackslash{}nc", ""]
    assert r"-{}- \textless{}a\textbar{}b\textgreater{}" in told[7]


def test_what_a_spreadsheet_takes_for_a_formula_is_told_and_kept(command, small):
    command("run", small, "--timing-only", "--set", 'workers.0.name="=1+1"')
    answer = command("results", "results", "--table", "workers", "--format", "csv")
    assert answer.out.count("=1+1") == 3
    assert answer.err.startswith("fedsim: 3 texts begin with =, +, -, @ or a tab, and spreadsheets take")
    assert command("results", "results", "--format", "csv").err == ""


def test_a_column_named_twice_is_a_sentence(command, swept):
    answer = command("results", swept, "--columns", "seed,loss,seed")
    assert answer == (2, "", "fedsim: --columns: 'seed' is named twice, expected each column once\n")
