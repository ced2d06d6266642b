"""What makes the results of a run mean less than they seem to, as its summary says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def cautions(summary: Mapping[str, Any]) -> list[str]:
    """Return a sentence on each such thing, with the name and the seed of the run."""
    label = " ".join(part for part in (summary["scenario"], summary["variant"]) if part)
    return [f"{label}, seed {summary['seed']}: {sentence}" for sentence in summary.get("cautions", ())]
