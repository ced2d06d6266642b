"""The JSON Schema of scenario files, for editors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from fedsim.algorithms import ALGORITHMS
from fedsim.catalog import FAMILY_MARK, Family, Part
from fedsim.icl.baselines import BASELINES
from fedsim.icl.encoders import ENCODERS
from fedsim.icl.models import MODELS
from fedsim.icl.tasks import TASKS
from fedsim.learning.aggregators import AGGREGATORS
from fedsim.learning.filters import FILTERS
from fedsim.learning.optimizers import OPTIMIZERS
from fedsim.learning.preaggregators import PREAGGREGATORS
from fedsim.loggers import LOGGERS
from fedsim.problems import PROBLEMS
from fedsim.scenario.model import ATTACKS, Scenario
from fedsim.scenario.overrides import UNSET
from fedsim.scenario.sweep_table import OwnSweep, Sweep
from fedsim.timing.attacks import TIMING_ATTACKS
from fedsim.timing.availability import AVAILABILITIES
from fedsim.timing.delays import DELAYS
from fedsim.timing.llm_service import LLM_SERVICES
from fedsim.timing.network import NETWORKS

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        ALGORITHMS,
        PROBLEMS,
        TASKS,
        MODELS,
        BASELINES,
        ENCODERS,
        ATTACKS,
        TIMING_ATTACKS,
        AGGREGATORS,
        PREAGGREGATORS,
        FILTERS,
        OPTIMIZERS,
        DELAYS,
        AVAILABILITIES,
        LLM_SERVICES,
        NETWORKS,
        LOGGERS,
    )
}
"""Everything interchangeable, by the name that `fedsim list` takes."""


ELSEWHERE = {"type": "object", "properties": {"kind": {"pattern": ":"}}, "required": ["kind"]}
"""A part named by its place, as in ``kind = "package.module:ClassName"``."""

UNSET_KEYS = {
    "anyOf": [{"type": "array", "items": {"type": "string"}}, {"const": True}],
    "description": "Keys to take away, inherited ones or such that are to be none. True: all inherited ones.",
}
NONE = {"type": "object", "properties": {UNSET: {"const": True}}, "required": [UNSET]}
"""A table in the place of a value: the setting is to be none, or is inherited and taken away."""


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a scenario file, with `extends`, `variants` and `sweep`.

    No key is required: a file that extends another, and a variant, may leave out anything, at any depth.
    """
    parts: list[type[Part]] = [part for family in FAMILIES.values() for _, part in family]
    models: list[type[BaseModel]] = [Scenario, Sweep, OwnSweep, *parts]
    references, schema = models_json_schema([(model, "validation") for model in models])
    # By reference, not by name: of two classes with one name pydantic makes longer names.
    refer = {model: reference for (model, _), reference in references.items()}
    definitions = {name: _lenient(part, refer) for name, part in schema["$defs"].items()}
    scenario = definitions[refer[Scenario]["$ref"].rpartition("/")[2]]
    own_sweep = {**refer[OwnSweep], "description": "What is varied of this variant alone."}
    only_in_files = {
        "$schema": {"type": "string"},
        "extends": {"type": "string", "description": "A scenario file that this one is laid over."},
        "variants": {
            "type": "object",
            "description": "Tables laid over the file, one run each.",
            "additionalProperties": scenario | {"properties": scenario["properties"] | {"sweep": own_sweep}},
        },
        "sweep": {**refer[Sweep], "description": "The runs of `fedsim sweep`."},
    }
    root = scenario | {"properties": scenario["properties"] | only_in_files}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **root, "$defs": definitions}


def _lenient(schema: Any, refer: Mapping[Any, dict[str, str]]) -> Any:
    """Return a schema without required keys, and with references to its parts in place of a family's mark."""
    if isinstance(schema, list):
        return [_lenient(part, refer) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if FAMILY_MARK in schema:
        family = FAMILIES[schema[FAMILY_MARK]]
        rest = {key: value for key, value in schema.items() if key != FAMILY_MARK}
        return rest | {"anyOf": [*(refer[part] for _, part in family), ELSEWHERE]}
    found = {key: _lenient(value, refer) for key, value in schema.items() if key != "required"}
    if found.get("additionalProperties") is False:
        settings = {
            key: setting if key == "kind" else _or_none(setting)
            for key, setting in found.get("properties", {}).items()
        }
        found["properties"] = {**settings, UNSET: UNSET_KEYS}
    return found


def _or_none(setting: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a setting that may also be taken away; TOML has no null."""
    told = {key: value for key, value in setting.items() if key in ("title", "description", "default")}
    rest = {key: value for key, value in setting.items() if key not in told}
    either = rest["anyOf"] if rest.keys() == {"anyOf"} else [rest]
    return told | {"anyOf": [*(one for one in either if one != {"type": "null"}), NONE]}
