"""Where the runs of a report come from: versions, machine, commands, when and how long."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fedsim.secrets import redacted
from fedsim_analysis import style
from fedsim_analysis.words import counted, number, short_list

MAX_COMMANDS = 20


def facts(origins: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return rows of a name and what it says, over the provenances of all runs."""
    every = list(origins.values())
    finished = sorted(_instant(str(origin["finished"])) for origin in every)
    spent_s = sum(float(origin["duration_s"]) for origin in every)
    unit, symbol = style.time_unit(spent_s)
    packages = list(dict.fromkeys(name for origin in every for name in origin["versions"]))
    return [
        ("Finished", finished[0] if finished[0] == finished[-1] else f"{finished[0]} to {finished[-1]}"),
        ("Computing time", f"{number(spent_s / unit)} {symbol} over {counted(len(every), 'run')}"),
        ("Platform", _told(str(origin["platform"]) for origin in every)),
        ("Results", f"format {_told(str(origin['format']) for origin in every)}"),
        ("fedsim's code", _told(str(origin.get("code", "none"))[:12] for origin in every)),
        *((name, _told(origin["versions"].get(name, "none") for origin in every)) for name in packages),
    ]


def commands(origins: Mapping[str, Mapping[str, Any]], path: Path, output: Path) -> str:
    """Return the commands that made the runs, in the order of their ends, and the one that makes the page."""
    ordered = sorted(origins.values(), key=lambda origin: str(origin["finished"]))
    made = list(dict.fromkeys(redacted(str(origin["command"])).replace("\n", " ") for origin in ordered))
    if len(made) > MAX_COMMANDS:
        more = len(made) - MAX_COMMANDS
        made = [
            *made[:MAX_COMMANDS],
            f"# and {counted(more, 'more command')}: see the provenance.json of each run",
        ]
    return "\n".join([*made, f"fedsim report {_quoted(path)} -o {_quoted(output)}"])


def _instant(written: str) -> str:
    """Return an instant as a person writes it.

    >>> _instant("2026-05-04T10:11:12+00:00")
    '2026-05-04 10:11:12 UTC'
    """
    return written.replace("T", " ").replace("+00:00", " UTC")


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _told(values: Iterable[str]) -> str:
    """Return the one value, or all values with how often each is there."""
    counts = Counter(values)
    if len(counts) == 1:
        return next(iter(counts))
    return short_list(f"{value} ({counted(count, 'run')})" for value, count in sorted(counts.items()))
