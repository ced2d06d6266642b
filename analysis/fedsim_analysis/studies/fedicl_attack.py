"""Clients that answer every question of Fed-ICL wrongly: when do the honest label their own texts wrongly?

Run as ``python -m fedsim_analysis.studies.fedicl_attack``; ends with a table, `figures/fedicl_attack.csv`: by
rule and number of attackers the first round after which the honest clients have given the wrong class to more
than half of their own texts, for each seed by itself, and what was right at the end, as means over seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from io import StringIO

import pandas as pd

from fedsim import sweep
from fedsim.results import load_results
from fedsim.scenario import Scenario, load_variants
from fedsim.terminal import say
from fedsim.whole_files import write_whole
from fedsim_analysis.studies.running import carry_out, finished

NEVER = "-"
"""In the place of a round that did not come."""


def main(words: Sequence[str] | None = None) -> None:
    """Run the study and print its table."""
    carry_out(study, words, "fedicl_attack", __doc__, scenarios="fedicl")


def study(options: argparse.Namespace) -> None:
    """Run what is not finished yet, then tell."""
    rules = load_variants(options.scenarios / "attack.toml")
    runs = [
        run
        for attackers in range(rules[0].n_workers)
        for rule in rules
        for run in sweep.replicates([attacked(rule, attackers)], options.replicates)
    ]
    finished([(run, False) for run in runs], options.results, options.jobs)
    counts = {sweep.folder_of(run, options.results).name: len(run.malicious) for run in runs}
    found = table(
        load_results(options.results, "steps").assign(attackers=lambda rows: rows.run_id.map(counts))
    )
    text = StringIO()
    found.to_csv(text, index=False)
    file = options.output / "fedicl_attack.csv"
    write_whole(file, text.getvalue().encode())
    say(found.to_string(index=False))
    say(file)


def attacked(scenario: Scenario, attackers: int) -> Scenario:
    """Return a scenario in which its last so many workers attack."""
    first = scenario.n_workers - attackers
    members = list(range(first, scenario.n_workers))
    return scenario.replace("attacks", [{"kind": "wrong_answers", "workers": members}] if attackers else [])


def table(steps: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each number of attackers and rule, in their order.

    Args:
        steps: the steps of all runs: `variant, attackers, seed, step`, and what was measured after each:
            `relabelled_right, accuracy`.
    """
    rows = []
    for (attackers, rule), of_rule in steps.groupby(["attackers", "variant"]):
        ends = of_rule.groupby("seed").tail(1)
        rows.append(
            {
                "rule": rule,
                "attackers": attackers,
                "seeds": len(ends),
                "rounds_until_wrong": rounds_until_wrong(of_rule),
                "relabelled_right_at_end": round(float(ends.relabelled_right.mean()), 3),
                "accuracy_at_end": round(float(ends.accuracy.mean()), 3),
            }
        )
    return pd.DataFrame(rows)


def rounds_until_wrong(steps: pd.DataFrame) -> str:
    """Return for each seed the first round after which most relabelled texts are wrong, in rising order."""
    wrong = steps[steps.relabelled_right < 0.5].groupby("seed").step.min()
    found = [*map(str, sorted(wrong)), *[NEVER] * (steps.seed.nunique() - len(wrong))]
    return " ".join(found)


if __name__ == "__main__":
    main()
