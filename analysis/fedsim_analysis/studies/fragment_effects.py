"""How do the effects of a fragment's words add up on a real model? Ask hundreds of fragments, fit the forms.

Run as ``python -m fedsim_analysis.studies.fragment_effects SCENARIO``: its task gives texts of two classes,
its model is real. Words alone, repeated, in random fragments of several lengths and at several places are
asked under several templates, with and without demonstrations. Writes below ``--out`` the effects
(``effects.csv``), how large they are (``sizes.csv``), the fitted exponents (``exponents.csv``) and how much
of them is a sum over words (``shares.csv``); ends with `figures/fragment_effects.pdf`, PNG and CSV. Answers
of the real model are cached: a second start goes on from there.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from fedsim import console
from fedsim.errors import FedsimError, InputError
from fedsim.icl.answers.asking import Asking
from fedsim.icl.models.language import LanguageModel
from fedsim.icl.tasks.text import TextTask
from fedsim.learning.one_thread import one_thread
from fedsim.problems.icl.problem import IclProblem
from fedsim.scenario import Scenario, load_scenario
from fedsim.streams import Stream, Streams
from fedsim.terminal import plain_table, say, show
from fedsim.whole_files import write_whole
from fedsim_analysis import figures
from fedsim_analysis.fragments import forms
from fedsim_analysis.fragments.asking import Condition, Context, Floats, conditions, margins
from fedsim_analysis.fragments.designs import FEWER, PLACES, Fragment, Sizes, fragments

SIZES = (Sizes(), FEWER)
"""How much is asked under the first condition, and under the others."""
N_OFFERED, N_CANDIDATES, CONTEXTS_PER_CLASS = 100, 16, 2
ROWS_PER_CLASS = 100
"""Training texts and, as many, demonstrations from which words are found."""
SHOWN = ("length_exponent", "repeat_exponent", "recency", "middle")


class WordsAndContexts(NamedTuple):
    """What prompts are made of."""

    words: tuple[str, ...]
    """Those that are asked alone come first."""
    contexts: tuple[Context, ...]


def main(words: Sequence[str] | None = None) -> None:
    """Run the study and draw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", type=Path)
    parser.add_argument("--variant", default="", help="of the scenario")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--only", action="append", default=[], metavar="CONDITION", help="ask it alone")
    parser.add_argument("--out", type=Path, default=Path("results/fragment_effects"))
    parser.add_argument("--figure", type=Path, default=Path("figures/fragment_effects.pdf"))
    options = parser.parse_args(words)
    try:
        study(load_scenario(options.scenario, options.variant, options.overrides), options)
    except FedsimError as error:
        parser.exit(error.exit_code, f"{error}\n")


@one_thread()
def study(scenario: Scenario, options: argparse.Namespace) -> None:
    """Ask, fit, draw."""
    problem = scenario.problem
    if not isinstance(problem, IclProblem) or not isinstance(problem.task, TextTask):
        raise InputError("the study needs a problem of kind 'icl' with a task of kind 'text'")
    if not isinstance(problem.model, LanguageModel) or problem.task.n_classes != 2:
        raise InputError("the study needs a language model and a task of two classes")
    streams = Streams(scenario.seed)
    found = material(problem.task, streams)
    asked = [
        one for one in conditions(problem.task.prompt, *SIZES) if not options.only or one.name in options.only
    ]
    asking, rows = Asking(problem.model), []
    try:
        with console.bar(len(asked), "conditions") as (progress, task):
            for condition in asked:
                rows.append(_answered(asking, condition, found, streams))
                progress.advance(task)
    finally:
        asking.close()
    tables = {name: pd.concat([part[name] for part in rows], ignore_index=True) for name in rows[0]}
    for name, table in tables.items():
        write_whole(options.out / f"{name}.csv", table.to_csv(index=False))
    _show(tables)
    for file in figures.draw("fragment_effects", tables.__getitem__, options.figure):
        say(file)


def material(task: TextTask, streams: Streams) -> WordsAndContexts:
    """Return words as a worker would offer them, and contexts.

    A worker of the task has too few texts for so many words; here one has `ROWS_PER_CLASS`.

    Raises:
        InputError: the data are too few for that.
    """
    changes: dict[str, Any] = {
        "n_candidates": N_OFFERED,
        "n_demonstrations": ROWS_PER_CLASS,
        "train_per_class": ROWS_PER_CLASS,
        "validation_per_class": 1,
        "test_counts": (CONTEXTS_PER_CLASS,) * 2,
    }
    data = task.trusted_copy(changes).draw(streams, 1)
    rows, _, words = data.source
    chosen = streams.generator(Stream.PROMPTS).choice(N_OFFERED, N_CANDIDATES, replace=False).tolist()
    others = sorted({*range(N_OFFERED)} - {*chosen})
    contexts = []
    for number, (query, label) in enumerate(zip(data.test.x[0], data.test.y[0], strict=True)):
        shown = tuple((rows[data.demonstrations.x[0, u, number]], u) for u in range(2))
        contexts.append(Context(rows[query], int(label), number % CONTEXTS_PER_CLASS, shown))
    return WordsAndContexts(tuple(words[i] for i in (*chosen, *others)), tuple(contexts))


def _answered(
    asking: Asking, condition: Condition, found: WordsAndContexts, streams: Streams
) -> dict[str, pd.DataFrame]:
    generator = streams.generator(Stream.PROMPTS, 1)
    asked = fragments(N_CANDIDATES, N_OFFERED, condition.sizes, generator)
    texts = [" ".join(found.words[word] for word in one.words) for one in asked]
    contexts = [one for one in found.contexts if one.number < condition.contexts_per_class]
    answered = margins(asking, condition, contexts, texts)
    return analysed(condition.name, asked, answered, [one.label for one in contexts])


def analysed(
    condition: str, asked: Sequence[Fragment], answered: Floats, labels: Sequence[int]
) -> dict[str, pd.DataFrame]:
    """Return the tables of one condition.

    Args:
        condition: its name.
        asked: F fragments, the first of them empty.
        answered: log-odds of label 1, (F, Q).
        labels: classes of the Q queries.

    Returns:
        ``effects``: one row per fragment and context. ``sizes``: one row per component, design and length,
        with the `value` of its size, `low` and `high`; of design ``position`` the length is the place.
        ``exponents``: one row per component and quantity. ``shares``: one row per component, form and what
        predicts, with the share of the variance of random and mixed fragments that it explains.
    """
    counts = forms.counts(asked, N_OFFERED)
    sets = forms.sets_of(asked, forms.ADDING)
    # Other words were not asked often enough to know what each of them does.
    known = [one for one in sets if one.design != "wide"]
    judged = [one for one in sets if one.design in ("random", "mixed")]
    tables: dict[str, list[dict[str, Any]]] = {"sizes": [], "exponents": [], "shares": []}
    for component, effects in forms.components(answered, labels).items():
        of = {"condition": condition, "component": component}
        for one in sets:
            size = forms.size_interval(effects[one.rows])
            tables["sizes"].append(of | {"design": one.design, "length": one.length} | size.columns("value"))
        for place, size in zip(PLACES, forms.place_sizes(effects, asked), strict=True):
            tables["sizes"].append(of | {"design": "position", "length": place} | size.columns("value"))
        found = forms.exponent_intervals(effects, counts, forms.with_rare_repeats(sets, N_CANDIDATES))
        found |= forms.position_intervals(effects, asked)
        tables["exponents"] += [
            of | {"quantity": name} | number.columns("value") for name, number in found.items()
        ]
        length_exponent = found["length_exponent"].value
        tried = {
            "mean": forms.MEAN,
            "count": forms.Form(length_exponent, 1.0),
            "sublinear": forms.Form(length_exponent, found["repeat_exponent"].value),
        }
        for form, exponents in tried.items():
            for by, predicted in _PREDICTED.items():
                share = forms.share(effects, predicted(effects, counts, known, exponents), judged)
                tables["shares"].append(of | {"form": form, "predicted_from": by} | share.columns("value"))
    frames = {name: pd.DataFrame(rows) for name, rows in tables.items()}
    return {"effects": _effects(condition, asked, answered, labels)} | frames


_PREDICTED = {"single words": forms.predicted_from_single, "fragments": forms.predicted_from_fragments}


def _effects(
    condition: str, asked: Sequence[Fragment], answered: Floats, labels: Sequence[int]
) -> pd.DataFrame:
    rows = [
        {
            "condition": condition,
            "fragment": number,
            "design": one.design,
            "length": len(one.words),
            "context": context,
            "label": label,
            "effect": answered[number, context] - answered[0, context],
        }
        for number, one in enumerate(asked)
        for context, label in enumerate(labels)
    ]
    return pd.DataFrame(rows)


def _show(tables: dict[str, pd.DataFrame]) -> None:
    """Print the exponents and the shares."""
    exponents, shares = tables["exponents"], tables["shares"]
    shown = plain_table("condition", "component")
    for column in (*SHOWN, "share of the sum"):
        shown.add_column(column.replace("_", " "), justify="right")
    sums = shares[(shares["form"] == "sublinear") & (shares["predicted_from"] == "fragments")]
    for (condition, component), group in exponents.groupby(["condition", "component"], sort=False):
        numbers = group.set_index("quantity")
        cells = [_cell(numbers.loc[name]) for name in SHOWN]
        here = sums[(sums["condition"] == condition) & (sums["component"] == component)]
        shown.add_row(str(condition), str(component), *cells, _cell(here.iloc[0]))
    say("How words add up: estimates with 95 % bootstrap intervals")
    show(shown)


def _cell(row: Any) -> str:
    return f"{row['value']:.2f} ({row['value_low']:.2f}, {row['value_high']:.2f})"


if __name__ == "__main__":
    main()
