"""The JSON Schema of scenario files, for editors."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from fedsim.catalog import FAMILY_MARK, Family, Part
from fedsim.icl.models import MODELS
from fedsim.icl.tasks import TASKS
from fedsim.learning.algorithms import ALGORITHMS
from fedsim.learning.optimizers import OPTIMIZERS
from fedsim.scenario.model import PROBLEMS, Scenario
from fedsim.timing.delays import DELAYS
from fedsim.timing.llm_service import LLM_SERVICES

FAMILIES: dict[str, Family] = {
    family.name: family for family in (ALGORITHMS, PROBLEMS, TASKS, MODELS, OPTIMIZERS, DELAYS, LLM_SERVICES)
}
"""Everything interchangeable, by the name that `fedsim list` takes."""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a scenario file, keys that only files have (`extends`, `variants`) included."""
    parts: list[type[Part]] = [part for family in FAMILIES.values() for part in family.builtin.values()]
    models: list[type[BaseModel]] = [Scenario, *parts]
    _, schema = models_json_schema([(model, "validation") for model in models])
    definitions = {name: _resolved(part) for name, part in schema["$defs"].items()}
    root = definitions.pop("Scenario")
    root["properties"] |= {
        "$schema": {"type": "string"},
        "extends": {"type": "string", "description": "A scenario file that this one is laid over."},
        "variants": {
            "type": "object",
            "description": "Tables laid over the file, one run each.",
            "additionalProperties": {"type": "object"},
        },
    }
    root["properties"]["cuts"] = {"anyOf": [root["properties"]["cuts"], {"const": False}]}
    # A file that extends another may leave anything out, its name included.
    root["required"] = []
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root, "$defs": definitions}


def _resolved(schema: Any) -> Any:
    """Replace each family's mark by references to its parts."""
    if isinstance(schema, list):
        return [_resolved(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if FAMILY_MARK in schema:
        family = FAMILIES[schema[FAMILY_MARK]]
        rest = {key: value for key, value in schema.items() if key != FAMILY_MARK}
        return rest | {"oneOf": [{"$ref": f"#/$defs/{part.__name__}"} for part in family.builtin.values()]}
    return {key: _resolved(value) for key, value in schema.items()}
