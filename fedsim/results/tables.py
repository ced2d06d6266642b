"""The tables that results hold."""

from __future__ import annotations

KEPT_WITH_SPANS = ("spans", "tickets")
"""The tables of those runs alone whose scenario says `record.spans = true`."""

NOT_ALWAYS = (*KEPT_WITH_SPANS, "queue", "links", "prompt")
"""Those; a queue at the LLM service, kept with the spans too; the links of a network that has some; and
what was tuned, where something was."""

TABLES = ("runs", "steps", "workers", *NOT_ALWAYS)
"""Those that `load_results` gives; `runs` has one row per run."""

MODEL = ("kind", "model", "weights", "file")
METHOD = ("kind", "encoder.kind", "encoder.model")
ALWAYS = (
    "problem.kind",
    "algorithm.wait_for",
    "algorithm.tau",
    "network.server",
    "network.workers",
    *(f"problem.model.{key}" for key in MODEL),
    *(f"problem.method.{key}" for key in METHOD),
)
"""Settings that have a column even where they do not vary: who answered belongs beside any accuracy, S and
tau beside any staleness."""
