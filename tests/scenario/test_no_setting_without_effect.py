"""Every setting that a scenario may state changes something: no key is read by nobody.

Each base scenario of `setting_cases` shows this for some settings: another value, and the run is another one.
What does nothing beside other settings is refused (`Strict.idle`, `Algorithm.unread`), and so it is not among
them.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from setting_cases import BASES, Base, Setting, Table, beside, changed, declared, others, settings
from text_cases import rows, write_jsonl

from fedsim.errors import FedsimError
from fedsim.scenario import Scenario, parse, resolved
from fedsim.scenario.unread import unread
from fedsim.simulation import run

WITHOUT = {
    "scenario.description": "for readers",
    "scenario.device": "needs a GPU, which gives the same results",
    "Record.answers": "keeps what a real model has answered",
    "aggregators/median.f": "only demands that there are enough rows",
    "aggregators/geometric_median.f": "only demands that there are enough rows",
    "attacks/honest.": "an attack that is switched off keeps its table",
    "WorkerGroup.own_model": "for algorithms with jobs for a model of the workers' own, which none here has",
    "OwnModel.": "likewise",
    "problems/baseline.tokens.tokens_per_word": "the prompts of a baseline have no fragment: always refused",
    "problems/questions.tokens.tokens_per_word": "questions have no fragment: always refused",
    "problems/injection.tokens.tokens_per_word": "prompts have no fragment: always refused",
    "problems/injection.tokens.tokens_out": "the model is not asked for answers: always refused",
    "algorithms/ifedicl.task_store.sha256": "refuses a file that has changed",
    "algorithms/cendbt.inner.z_rate": "always refused, as are the others that are about z",
    "algorithms/cendbt.inner.rho_rate": "likewise",
    "algorithms/cendbt.inner.mu": "likewise",
    "algorithms/cendbt.cuts.participation": "always refused: there is one machine",
    "algorithms/cendbt.cuts.restart": "always refused: there is one machine",
    "algorithms/fedicl.aggregation.filter": "always refused: filters judge what workers tune",
    "algorithms/sdbt.cuts.participation": "always refused: all workers take part in every step",
    **{
        f"attacks/{kind}.knowledge": "always refused: it looks at nobody's messages"
        for kind in ("gaussian", "random_simplex", "same_value", "sign_flip", "wrong_answers", "zero")
    },
    "networks/graph_file.format": "tells how the text is to be read",
    "tasks/text.glue": "needs the data of GLUE",
    "tasks/text.folder": "needs the data of GLUE",
    "tasks/text.sha256": "refuses a file that has changed",
    "models/": "need weights, a server or a file; the closed form has no settings",
    "encoders/": "need weights",
    "loggers/": "are named on the command line and not in scenarios",
}
"""Settings that need not change a run, by how their keys begin, and why."""
FILE = re.compile(r"\.(file|column|unit)$")
"""Settings that are kept by the content of the file that they name."""
SAID = re.compile(r"(?m)^scenario: (\S+): has no effect")


@cache
def reviews() -> tuple[TemporaryDirectory[str], Path]:
    """Return a file of texts, and the folder that holds it as long as it is held itself.

    Beside it is one, `own.jsonl`, that does not say which of them are for testing.
    """
    folder = TemporaryDirectory()
    own = [{"text": row["text_a"], "label": row["label"]} for row in rows()]
    write_jsonl(Path(folder.name), own, "own.jsonl")
    return folder, write_jsonl(Path(folder.name), rows())


def placed(value: Any) -> Any:
    """Return a table in which the texts have their place."""
    if isinstance(value, dict):
        return {key: placed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [placed(inner) for inner in value]
    if value == "OWN":
        return str(reviews()[1].with_name("own.jsonl"))
    return str(reviews()[1]) if value == "REVIEWS" else value


def parsed(table: Table, place: str = "") -> Scenario:
    """Return a scenario without the settings that another value at a place leaves without effect."""
    while True:
        try:
            return parse(table)
        except FedsimError as error:
            idle = SAID.findall(str(error))
            if not idle or any(f"{place}.".startswith(f"{one}.") for one in idle):
                raise
        for one in idle:
            table = changed(table, one, None)


def given(scenario: Scenario, timing_only: bool) -> dict[str, Any]:
    """Return everything that a run gives, its scenario apart."""
    done = run(scenario, timing_only=timing_only)
    tables = (done.steps, done.workers, done.spans, done.tickets, done.queue, done.links)
    return {
        "summary": json.dumps(done.summary),
        "tables": [None if table is None else table.to_csv() for table in tables],
        "answers": done.answers,
        "learned": done.learned,
    }


def shown(base: Base) -> list[Setting]:
    """Return the settings whose effect a base shows."""
    scenario = parse(placed(base.table))
    idle = tuple(f"{place}." for place in unread(scenario))
    return [
        setting
        for setting in settings(scenario)
        if base.has(setting.key) and not f"{setting.place}.".startswith(idle)
        if not exempt(setting.key)
    ]


def exempt(key: str) -> bool:
    return key.startswith(tuple(WITHOUT)) or bool(FILE.search(key))


@pytest.mark.parametrize("name", BASES)
def test_another_value_changes_the_run(name: str) -> None:
    base = BASES[name]
    scenario = parse(placed(base.table))
    table, before = resolved(scenario), given(scenario, base.timing_only)
    silent: dict[str, list[str]] = {}
    heard: set[str] = set()
    for setting in shown(base):
        tried = silent.setdefault(setting.key, [])
        for value in others(setting) if setting.key not in heard else ():
            other = changed(table, setting.place, value)
            parent = setting.place.rpartition(".")[0]
            for key, beside_it in beside(setting).items():
                other = changed(other, f"{parent}.{key}".lstrip("."), beside_it)
            try:
                after = given(parsed(other, setting.place), base.timing_only)
            except FedsimError as error:
                tried.append(str(error).splitlines()[0])
                continue
            if after != before:
                heard.add(setting.key)
                break
            tried.append(f"{setting.place} = {value!r} changes nothing")
    assert {key: tried for key, tried in silent.items() if key not in heard} == {}


def test_every_setting_is_shown_by_a_base() -> None:
    reached = {setting.key for base in BASES.values() for setting in shown(base)}
    assert {key for key in declared() - reached if not exempt(key)} == set()


def test_what_is_said_to_have_no_effect_is_a_setting() -> None:
    known = declared()
    assert [start for start in WITHOUT if not any(key.startswith(start) for key in known)] == []
