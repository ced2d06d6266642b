"""What a run's method is called and which model answered its prompts, read from the resolved scenario."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from fedsim_analysis.frames import named

CENTRALISED = " centralised"
NOT_STATED = "not stated"
LABELS = {
    "roberta": "RoBERTa",
    "manual": "Manual prompt",
    "zero_shot_cot": "Zero-shot CoT",
    "kate": "KATE",
    "adaicl": "AdaICL",
}
"""How the paper writes the methods that no figure shows."""


def described(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs with three more columns.

    ``method`` is the baseline's kind, with " centralised" where one worker holds all data, and for all other
    problems the variant or algorithm; ``in_paper`` is what published tables call it; ``model`` is who
    answered: the kind of the model and its name or file, or "not stated" where the results do not tell.
    """
    runs = named(runs)
    rows = runs.to_dict("records")
    base = [_baseline(row) or str(row["method"]) for row in rows]
    central = [bool(_baseline(row)) and row["algorithm"] == "cendbt" for row in rows]
    return runs.assign(
        method=[name + CENTRALISED * pooled for name, pooled in zip(base, central, strict=True)],
        in_paper=base,
        model=[_model(row) for row in rows],
    )


def is_small(model: str) -> bool:
    """Whether a model's name says that it has less than a billion parameters.

    >>> [is_small(f"local {name}") for name in ("smollm2-135m-instruct", "qwen-0.5B", "llama-8b")]
    [True, True, False]
    """
    sizes = re.findall(r"(?<![\w.])(\d+(?:\.\d+)?)([mb])(?![a-z])", model.lower())
    return any(float(size) * {"m": 1e6, "b": 1e9}[unit] < 1e9 for size, unit in sizes)


def _baseline(row: dict[Any, Any]) -> str:
    """Return the name of a baseline, with what an encoder's network stands on; empty for other problems."""
    kind = _text(row, "problem.method.kind")
    if kind != "encoder_mlp":
        return kind
    encoder = _text(row, "problem.method.encoder.model") or _text(row, "problem.method.encoder.kind")
    return f"{kind} ({encoder})" if encoder else kind


def _model(row: dict[Any, Any]) -> str:
    if _text(row, "problem.method.kind") == "encoder_mlp":
        return "no language model"
    kind = _text(row, "problem.model.kind")
    name = next(
        (found for key in ("model", "weights", "file") if (found := _text(row, f"problem.model.{key}"))), ""
    )
    short = re.split(r"[/\\]", name)[-1].removesuffix(".gguf").removesuffix(".jsonl")
    return f"{kind} {short}".strip() or NOT_STATED


def _text(row: dict[Any, Any], column: str) -> str:
    found = row.get(column)
    return found if isinstance(found, str) else ""
