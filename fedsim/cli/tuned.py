"""What was tuned, printed; and the command that puts it to new texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedsim.cli.options import Overrides, announce, csv_text
from fedsim.cli.wide_tables import show_frame
from fedsim.errors import InputError, ResultsError
from fedsim.terminal import say

if TYPE_CHECKING:
    from fedsim.icl.tasks.base import Text
    from fedsim.problems.icl.tuned_prompt import TunedPrompt

MOST_SHOWN = 5
"""Workers that are printed where nobody chooses one."""
LONGEST = 60
"""Characters of a text in a table."""
NUMBERS = ("probability", "second_probability", "entropy", "norm", "strength", "kept")


def ask(
    run: Annotated[
        Path, typer.Argument(help="The folder of a run with a task of texts.", show_default=False)
    ],
    text: Annotated[str | None, typer.Argument(help="The text to ask about.", show_default=False)] = None,
    pair: Annotated[
        str | None, typer.Option("--text-b", metavar="TEXT", help="The second text, where a task has pairs.")
    ] = None,
    context: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What else the task tells of it.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help="Many texts: a .csv or .jsonl with a column `text`, and `text_b`, `context`, `label`."
        ),
    ] = None,
    worker: Annotated[
        int | None,
        typer.Option(
            min=0, help="Whose prompt; if not given the consensus' words, with worker 0's examples."
        ),
    ] = None,
    overrides: Overrides = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="CSV to write; otherwise it is printed.")
    ] = None,
) -> None:
    """Put the tuned prompt of a run to new texts: its model answers, with the probability of each label.

    The model is asked now, with the settings of the run, and may cost money: kept answers are used, and its
    `max_calls` and `max_cost` hold.
    """
    import pandas as pd

    from fedsim.icl.tasks.base import Text
    from fedsim.icl.tasks.text_files import read_texts
    from fedsim.whole_files import check_file, write_whole

    if (text is None) == (file is None):
        raise InputError(
            'expected a text, or a file of them: fedsim ask RUN "some text", or --file texts.csv'
        )
    if file is not None and (pair or context):
        raise InputError("--text-b and --context belong to one text; a file has columns for them")
    if output is not None:
        check_file(output)
    texts = (
        read_texts(file) if file is not None else [(Text(str(text).strip(), pair or "", context or ""), "")]
    )
    if not texts[0][0].a:
        raise InputError("the text: found nothing, expected a text")
    tuned = _of_one_run(run, overrides or [])
    found = tuned.answers(worker, [each for each, _ in texts])
    labels = tuned.labels
    answers = [labels[row.index(max(row))] for row in found]
    table = pd.DataFrame({"text": [_written(each) for each, _ in texts], "answer": answers})
    for number, label in enumerate(labels):
        table[f"p({label})"] = [row[number] for row in found]
    known = [stated for _, stated in texts]
    if any(known):
        words = [
            labels[int(name)] if name.isdecimal() and int(name) < len(labels) else name for name in known
        ]
        table.insert(1, "label", words)
    if output is None:
        show_frame(table.assign(text=[_short(said) for said in table["text"]]), 1, _cell)
    else:
        write_whole(output, csv_text(table))
        announce(output, str(output))
    if all(known):
        right = sum(a == b for a, b in zip(table["label"], answers, strict=True))
        say(f"{right} of {len(texts)} answers are their label: accuracy {right / len(texts):.3f}")


def show_tuned(folder: Path, worker: int | None, overrides: list[str]) -> None:
    """Print what the runs below a folder have tuned.

    Args:
        folder: of results.
        worker: print this one alone; none: the consensus, and the first few workers.
        overrides: of their scenarios, such as where the data are now.
    """
    runs = _prompts(folder, overrides)
    for number, (place, tuned) in enumerate(runs.items()):
        if number:
            say("")
        if len(runs) > 1:
            say(f"{place}")
        chosen = [f"worker {worker}"] if worker is not None else tuned.owners
        workers = [owner for owner in chosen if owner != "consensus"]
        shown = [owner for owner in chosen if owner == "consensus"] + workers[:MOST_SHOWN]
        for owner in shown:
            _show_one(tuned, owner)
        if len(workers) > MOST_SHOWN:
            say(f"... and {len(workers) - MOST_SHOWN:,} more workers; --worker N shows one")


def _show_one(tuned: TunedPrompt, owner: str) -> None:
    """Print the rows of a worker or of the consensus, and in words the whole prompt."""
    import pandas as pd

    from fedsim.icl.tasks.base import Text

    say(f"{owner}:")
    rows: list[dict[str, Any]] = []
    for row in tuned.rows(owner):
        shown: dict[str, Any] = {"what": row["what"], "place": int(row["place"])}
        first, second = (tuned.candidate(owner, row, int(row[key])) for key in ("number", "second"))
        if row["number"] >= 0:
            shown["taken"] = _short(first.text) if first else str(int(row["number"]))
            if first is not None and first.label:
                shown["label"] = first.label
            shown["probability"] = row["probability"]
            shown["next"] = (
                "-" if row["second"] < 0 else _short(second.text) if second else str(int(row["second"]))
            )
        shown |= {key: row[key] for key in NUMBERS if key not in shown and row[key] == row[key]}
        rows.append(shown)
    show_frame(pd.DataFrame(rows).rename(columns={"second_probability": "its probability"}), 2, _cell)
    number = None if owner == "consensus" else int(owner.removeprefix("worker "))
    if tuned.has_texts and number is not None:
        say("the tuned prompt, with {text} for the text that is asked about:")
        say(tuned.text(number, Text("{text}")))


def _of_one_run(folder: Path, overrides: list[str]) -> TunedPrompt:
    runs = _prompts(folder, overrides)
    if len(runs) > 1:
        raise InputError(
            f"{folder}: found {len(runs):,} runs, expected the folder of one, such as {next(iter(runs))}"
        )
    return next(iter(runs.values()))


def _prompts(folder: Path, overrides: list[str]) -> dict[Path, TunedPrompt]:
    """Return the tuned prompts of the runs below a folder.

    Raises:
        ResultsError: there is no run that has one.
    """
    from fedsim.problems.icl.tuned_prompt import TunedPrompt
    from fedsim.results import found_runs, read_summary, read_table
    from fedsim.scenario import load_scenario

    origins = found_runs(folder)
    found = {
        place: TunedPrompt(
            load_scenario(place / "scenario.toml", overrides=overrides),
            read_table(place, "prompt"),
            read_summary(place)["simulated_time_s"],
        )
        for place, origin in origins.items()
        if "prompt.parquet" in origin["files"]
    }
    if not found:
        these = "this run" if len(origins) == 1 else "these runs"
        raise ResultsError(
            f"{folder}: nothing tuned is kept in {these}: methods that learn nothing, runs of the clock "
            "alone, diverged runs and those of older versions have none"
        )
    return found


def _written(text: Text) -> str:
    return " / ".join(field for field in text if field)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{value:.3g}"
    return str(value)
