"""What wrong labels, other texts and the order of demonstrations do: measured, published and simulated.

Run as ``python -m fedsim_analysis.studies.demonstrations SCENARIO``: its task gives texts, its model is real.
Every change is made to the same draws of demonstrations and asked about the same queries. Writes below
``--out`` the answers of the model (`measured.csv`), those of the surrogate's readers on the calibrated tasks
(`simulated.csv`) and the table of both beside published figures (`table.csv`). Answers of the real model are
cached: a second start goes on from there. Ends with `figures/demonstrations.pdf`, PNG and CSV.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.table import Table

from fedsim.errors import FedsimError, InputError
from fedsim.icl.models.language import LanguageModel
from fedsim.icl.tasks.text import TextTask
from fedsim.learning.one_thread import one_thread
from fedsim.problems.icl.problem import IclProblem
from fedsim.scenario import load_scenario
from fedsim.terminal import plain_table, say, show
from fedsim.whole_files import write_whole
from fedsim_analysis import demonstration_changes, figures, simulated_changes
from fedsim_analysis.demonstration_changes import Amounts, Measuring
from fedsim_analysis.statistics import estimate
from fedsim_analysis.tables import demonstrations as side_by_side

AMOUNTS = Amounts()


def main(words: Sequence[str] | None = None) -> None:
    """Run the study and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--variant", default="", help="of the scenario")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--draws", type=int, default=AMOUNTS.draws, help="of demonstrations and queries")
    parser.add_argument("--queries", type=int, default=AMOUNTS.queries_per_class, help="of a class, a draw")
    parser.add_argument("--out", type=Path, default=Path("results/demonstrations"))
    parser.add_argument("--figure", type=Path, default=Path("figures/demonstrations.pdf"))
    options = parser.parse_args(words)
    try:
        study(options)
    except FedsimError as error:
        parser.exit(error.exit_code, f"{error}\n")


@one_thread()
def study(options: argparse.Namespace) -> None:
    """Measure, simulate, compare."""
    scenario = load_scenario(options.scenario, options.variant, options.overrides)
    problem = scenario.problem
    if not isinstance(problem, IclProblem) or not isinstance(problem.task, TextTask):
        raise InputError("the study needs a problem of kind 'icl' with a task of texts")
    if not isinstance(problem.model, LanguageModel):
        raise InputError(f"the study needs a language model, but model {problem.model.kind!r} reads no text")
    sizes = AMOUNTS._replace(draws=options.draws, queries_per_class=options.queries)
    measuring = Measuring(problem.task, problem.model, scenario.seed, sizes)
    try:
        measured = measuring.answers(demonstration_changes.PLAN)
    finally:
        measuring.asking.close()
    simulated = simulated_changes.answers()
    rows = side_by_side.table(measured, simulated)
    tables = {"measured": measured, "simulated": simulated, "table": rows}
    for name, found in tables.items():
        write_whole(options.out / f"{name}.csv", found.to_csv(index=False))
    files = figures.draw("demonstrations", tables.__getitem__, options.figure)
    show(measured_table(measured))
    show(side_by_side.render(rows))
    for file in (options.out / "table.csv", *files):
        say(file)


def measured_table(measured: pd.DataFrame) -> Table:
    """Return the means over draws of what was measured, for the terminal."""
    columns = {"accuracy": 100, "base": 100, "margin": 1, "answered_last": 100}
    shown = plain_table("change", "a class", "order", title="Measured: means over draws (95 % interval)")
    for name in ("accuracy, %", "without trigger, %", "margin", "last class answered, %"):
        shown.add_column(name, justify="right", no_wrap=True)
    for key, rows in measured.groupby(side_by_side.KEYS, sort=False):
        found = [estimate(scale * rows[name]) for name, scale in columns.items()]
        shown.add_row(*map(str, key), *("-" if one.mean != one.mean else _cell(one) for one in found))
    return shown


def _cell(one: object) -> str:
    mean, low, high = (getattr(one, name) for name in ("mean", "low", "high"))
    return f"{mean:.2f} ({low:.2f}, {high:.2f})"


if __name__ == "__main__":
    main()
