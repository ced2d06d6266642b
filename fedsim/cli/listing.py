"""Commands that list parts, and print the schema."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from fedsim.errors import InputError
from fedsim.terminal import give, say

if TYPE_CHECKING:
    from fedsim.catalog import Family


def list_parts(family: Annotated[str | None, typer.Argument(help="One family only.")] = None) -> None:
    """List what exists: delays, algorithms, tasks, figures, ..."""
    from fedsim.errors import nearest
    from fedsim.scenario.schema import FAMILIES
    from fedsim_analysis.figures import summaries
    from fedsim_analysis.tables import TABLES

    known = [*FAMILIES, "figures", "tables"]
    if family is not None and family not in known:
        raise InputError(f"no family {family!r}{nearest(family, known)} (families: {', '.join(known)})")
    wanted = [family] if family else known
    for name in wanted:
        say(f"{name}:")
        if name == "figures":
            lines = [(drawn, summary, "") for drawn, summary in summaries().items()]
        elif name == "tables":
            lines = [(made, entry.summary, "") for made, entry in TABLES.items()]
        else:
            lines = [
                (kind, part.summary() or f"(no docstring; {FAMILIES[name].offered_by(kind)})", part.source())
                for kind, part in FAMILIES[name]
            ]
        for kind, summary, source in lines:
            say(f"  {kind:20} {summary}" + (f"  [{source}]" if source else ""))
    _tell_broken(FAMILIES[name] for name in wanted if name in FAMILIES)


def schema() -> None:
    """Print the JSON Schema of scenario files."""
    from fedsim.scenario.schema import FAMILIES, json_schema

    give(json.dumps(json_schema(), indent=2) + "\n")
    _tell_broken(FAMILIES.values())


def _tell_broken(families: Iterable[Family]) -> None:
    """Tell of the parts that packages offer and that are not in what was printed.

    Raises:
        InputError: there are some.
    """
    if broken := dict.fromkeys(sentence for family in families for sentence in family.broken):
        raise InputError("\n".join(broken))
