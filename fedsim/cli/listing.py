"""Commands that tell what exists."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from fedsim.errors import InputError


def list_parts(family: Annotated[str | None, typer.Argument(help="One family only.")] = None) -> None:
    """List what exists: delays, algorithms, tasks, figures, ..."""
    from fedsim.errors import nearest
    from fedsim.scenario.schema import FAMILIES
    from fedsim_analysis.figures import summaries
    from fedsim_analysis.tables import TABLES

    known = [*FAMILIES, "figures", "tables"]
    if family is not None and family not in known:
        raise InputError(f"no family {family!r}{nearest(family, known)} (families: {', '.join(known)})")
    for name in [family] if family else known:
        typer.echo(f"{name}:")
        if name == "figures":
            lines = [(drawn, summary, "") for drawn, summary in summaries().items()]
        elif name == "tables":
            lines = [(made, entry.summary, "") for made, entry in TABLES.items()]
        else:
            lines = [(kind, part.summary(), part.source()) for kind, part in FAMILIES[name]]
        for kind, summary, source in lines:
            typer.echo(f"  {kind:20} {summary}" + (f"  [{source}]" if source else ""))


def schema() -> None:
    """Print the JSON Schema of scenario files."""
    from fedsim.scenario.schema import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
