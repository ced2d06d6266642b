"""The study of wrong answers in Fed-ICL: its table by hand, and a small one from a scenario to the table."""

from __future__ import annotations

import pandas as pd
from text_cases import rows, write_jsonl

from fedsim_analysis.studies import fedicl_attack

SCENARIO = """
name = "tiny"
[algorithm]
kind = "fedicl"
[problem]
kind = "questions"
n_demonstrations = 3
encoder = {{ kind = "question_cases:Topics" }}
model = {{ kind = "question_cases:Parrot" }}
[problem.task]
kind = "text"
file = "{file}"
prompt = "sst2"
n_demonstrations = 3
train_per_class = 2
validation_per_class = 1
test_counts = [4, 3]
[[workers]]
count = 3
[llm]
kind = "independent"
latency = {{ kind = "constant", value_s = 1.0 }}
[budget]
server_steps = 3
[evaluation]
every_steps = 1
[[attacks]]
kind = "wrong_answers"
workers = [2]
[variants.vote]
[variants.median.algorithm.aggregation]
outer = {{ kind = "median" }}
"""


def test_the_table_by_hand():
    def run(rule, attackers, seed, right):
        return [
            {"variant": rule, "attackers": attackers, "seed": seed, "step": step, "relabelled_right": share}
            | {"accuracy": share}
            for step, share in enumerate(right)
        ]

    steps = [*run("vote", 1, 0, [0.7, 0.6, 0.5]), *run("vote", 1, 1, [0.7, 0.4, 0.6])]
    steps += [*run("vote", 2, 0, [0.7, 0.6, 0.3]), *run("vote", 2, 1, [0.4, 0.2, 0.2])]
    found = fedicl_attack.table(pd.DataFrame(steps)).to_dict("list")
    assert found == {
        "rule": ["vote", "vote"],
        "attackers": [1, 2],
        "seeds": [2, 2],
        "rounds_until_wrong": ["1 -", "0 2"],
        "relabelled_right_at_end": [0.55, 0.25],
        "accuracy_at_end": [0.55, 0.25],
    }


def test_a_small_study(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fedicl").mkdir()
    (tmp_path / "fedicl" / "attack.toml").write_text(SCENARIO.format(file=write_jsonl(tmp_path, rows())))
    fedicl_attack.main(["--scenarios", "fedicl", "--replicates", "2"])
    found = pd.read_csv("figures/fedicl_attack.csv")
    assert list(zip(found.rule, found.attackers, strict=True)) == [
        (rule, attackers) for attackers in (0, 1, 2) for rule in ("median", "vote")
    ]
    # Of two classes and three clients the median of votes is their majority.
    shown = ["rounds_until_wrong", "relabelled_right_at_end", "accuracy_at_end"]
    vote, median = (found[found.rule == rule][shown].reset_index(drop=True) for rule in ("vote", "median"))
    pd.testing.assert_frame_equal(vote, median)
    assert "rounds_until_wrong" in capsys.readouterr().out
