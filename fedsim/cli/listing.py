"""Commands that list parts, and print the schema."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from fedsim.errors import InputError


def list_parts(family: Annotated[str | None, typer.Argument(help="One family only.")] = None) -> None:
    """List what exists: delays, algorithms, tasks, figures, ..."""
    from analysis.figures import FIGURES
    from analysis.tables import TABLES
    from fedsim.errors import nearest
    from fedsim.scenario.schema import FAMILIES

    drawn: dict[str, dict[str, Any]] = {"figures": {**FIGURES}, "tables": {**TABLES}}
    known = [*FAMILIES, *drawn]
    if family is not None and family not in known:
        raise InputError(f"no family {family!r}{nearest(family, known)} (families: {', '.join(known)})")
    for name in [family] if family else known:
        typer.echo(f"{name}:")
        if name in drawn:
            lines = [(entry, what.summary, "") for entry, what in drawn[name].items()]
        else:
            lines = [(kind, part.summary(), part.source()) for kind, part in FAMILIES[name]]
        for kind, summary, source in lines:
            typer.echo(f"  {kind:20} {summary}" + (f"  [{source}]" if source else ""))


def schema() -> None:
    """Print the JSON Schema of scenario files."""
    from fedsim.scenario.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
