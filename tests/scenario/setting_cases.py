"""Every setting that a scenario may state, other values for it, and small scenarios that hold all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Any, NamedTuple, get_args, get_origin

import numpy as np
from injection_cases import known_task, problem_table
from pydantic.fields import FieldInfo
from text_cases import SINGLE_WORDS

from fedsim.catalog import Family, Part, Strict
from fedsim.icl.encoders.base import Encoder, Floats, unit_rows
from fedsim.scenario import Scenario
from fedsim.scenario.schema import FAMILIES
from fedsim.timing.llm_service.shared import Shared

Table = dict[str, Any]

ANOTHER_PART: Table = {
    "delays": {"kind": "constant", "value_s": 0.37},
    "optimizers": {"kind": "sgd", "learning_rate": 0.3},
    "networks": {"kind": "star", "link": {"latency": {"kind": "constant", "value_s": 0.7}}},
    "availabilities": {"kind": "lifetime", "joins": {"kind": "constant", "value_s": 2.5}},
    "aggregators": {"kind": "mean"},
    "filters": {"kind": "basgd", "buffers": 1},
}
"""What takes the place of a part, by family; of a part that is the matter itself, as a task is, nothing."""


REQUESTS = "ttft_s,end_to_end_s,tokens_in,tokens_out,error_code\n0.5,1.5,10,4,\n0.2,0.6,10,2,\n,,10,,503\n"
ARRIVALS = "time_s,tokens_in,tokens_out\n0.5,500,2\n1.5,20,1\n"
DEVICES = "device_id,compute_scale,mbps_down,mbps_up\na,1,0.1,0.2\nb,3,0.05,0.01\nc,2,0.5,0.1\n"
ON_OFF = "device_id,t_on_s,t_off_s\na,0,9\na,12,20\nb,0,15\nc,3,18\n"
ONE_MORE = {"ArrivalTrace": "3.0,9,1\n", "DeviceTrace": "d,4,1,1\n", "RequestTrace": "1.0,2.0,10,2,\n"}
ONE_MORE |= {"AvailabilityTrace": "d,2,4\n"}
ONE_OUTAGE = [[{"start_s": 1.0, "stop_s": 4.0}]]

VALUES: dict[str, list[Any]] = {
    "algorithms/cendbt.machine": ["others"],
    "algorithms/ifedicl.task_store": [{"file": known_task()}],
    "problems/icl.also_measured": [["consensus"]],
    "networks/graph_file.text": ["hub a {'mbps': 0.01}\nhub b\na c\na d\nb e\n"],
    "networks/graph_file.server": ["c"],
    "networks/graph_file.workers": [["b", "b", "c", "d", "e"]],
    "scenario.name": ["other"],
    "scenario.variant": ["other"],
    "scenario.llm": [{"kind": "independent", "latency": {"kind": "constant", "value_s": 9.0}}],
    "llm_services/shared.requests": [{"csv": REQUESTS}],
    "Background.arrivals": [{"csv": ARRIVALS}],
    "WorkerGroup.devices": [{"csv": DEVICES}],
    "tasks/text.words": [["dull", "warm", "wooden", "wonderful"]],
    "PromptTemplate.question": ["{{ fragment }} {{ text_a }}"],
    "before": [[], [{"kind": "norm_clipping", "radius": 0.01}]],
    "outages": ONE_OUTAGE,
    "filters/fldetector.quorum": [0.3],
    "attacks.workers": [[0]],
}
"""Other values of settings that take not just any, by key, or by name in whichever table."""

WITH: dict[str, Table] = {
    "attacks.workers": {"fraction": None},
    "aggregators/dp_rsa.noise": {"flip_probability": None},
    "aggregators/dp_rsa.noise_std": {"flip_probability": None, "noise": "gaussian"},
    "Background.arrivals": {"requests_per_minute": None},
    "llm_services/shared.requests": {"ttft": None, "per_output_token": None, "prefill_tokens_per_s": None},
    "WorkerGroup.devices": {"upload_mbps": None, "download_mbps": None},
    "tasks/text.words": {"vocabulary": None},
    "problems/injection.texts": {"task.n_demonstrations": 2},
    "up": {"down": {"kind": "constant", "value_s": 0.4}},
    "down": {"up": {"kind": "constant", "value_s": 0.5}},
}
"""What has to be said beside such a setting, in the same table, for it may not stand beside another."""


class Setting(NamedTuple):
    """A setting at its place in a scenario."""

    place: str
    """Its dotted place."""
    key: str
    """What it is, in whichever scenario: the part or table, and its name there."""
    field: FieldInfo
    value: Any


def settings(scenario: Scenario) -> Iterator[Setting]:
    """Yield every setting of a scenario, those left to their defaults as well."""
    return _settings(scenario, "", "scenario.")


def _settings(table: Strict, place: str, home: str) -> Iterator[Setting]:
    for name, field in type(table).model_fields.items():
        if name == "kind":
            continue
        value, here, key = getattr(table, name), f"{place}{name}", f"{home}{name}"
        if _is_setting(field):
            yield Setting(here, key, field, value)
        for number, inner in enumerate(value) if isinstance(value, tuple) else [(-1, value)]:
            if isinstance(inner, Strict):
                inside = f"{here}." if number < 0 else f"{here}.{number}."
                family = _family(field)
                part = f"{family.name}/{getattr(inner, 'kind', '')}." if family else ""
                yield from _settings(inner, inside, part or _home_of(type(inner), home, name, field))


def declared() -> set[str]:
    """Return the key of every setting that the classes declare."""
    found = _declared(Scenario, "scenario.")
    for family in FAMILIES.values():
        for kind, part in family:
            found |= _declared(part, f"{_known(family).name}/{kind}.")
    return found


def _declared(model: type[Strict], home: str) -> set[str]:
    found = set()
    for name, field in model.model_fields.items():
        if name == "kind":
            continue
        if _is_setting(field):
            found.add(f"{home}{name}")
        for table in _marks(field):
            if isinstance(table, type) and issubclass(table, Strict) and not issubclass(table, Part):
                found |= _declared(table, _home_of(table, home, name, field))
    return found


def _home_of(table: type[Strict], home: str, name: str, field: FieldInfo) -> str:
    """Return how the keys of a table begin: some are its part's own, others are alike wherever it stands."""
    of_its_own = home.startswith(("algorithms/", "problems/", "networks/"))
    in_list = get_origin(field.annotation) is tuple
    return f"{home}{name}." if of_its_own and not in_list else f"{table.__name__}."


def _is_setting(field: FieldInfo) -> bool:
    """Whether another value can be given in the place of a field's; a table's settings are in it."""
    marks = _marks(field)
    family = _family(field)
    if field.default is None or get_origin(field.annotation) is tuple:
        return True
    if family is not None:
        return family.name in ANOTHER_PART
    return not any(isinstance(mark, type) and issubclass(mark, Strict) for mark in marks) or False in marks


def _family(field: FieldInfo) -> Family | None:
    found = next((mark for mark in _marks(field) if isinstance(mark, Family)), None)
    return found and _known(found)


def _known(family: Family) -> Family:
    """Return the family under whose name its parts are known: a sleeper's attack is an attack."""
    return FAMILIES["attacks"] if family.name == "timing_attacks" else family


def _marks(field: FieldInfo) -> list[Any]:
    return [*field.metadata, *_leaves(field.annotation)]


def _leaves(annotation: Any) -> list[Any]:
    inner = get_args(annotation)
    return [leaf for one in inner for leaf in _leaves(one)] if inner else [annotation]


def others(setting: Setting) -> list[Any]:
    """Return other values of a setting to try, the likeliest to matter first; none: leave it out."""
    value, field = setting.value, setting.field
    home = setting.key.removesuffix(".csv")
    if found := _by_key(VALUES, setting) or ([f"{value}{ONE_MORE[home]}"] if home in ONE_MORE else []):
        return found
    family = _family(field)
    if isinstance(value, tuple):
        shorter = [value[:-1], value[1:]] if value else []
        return [_plain(part) for part in (*shorter, *_other_items(value))]
    found: list[Any] = [None] if value is not None and field.default is None else []
    if False in _marks(field) and value is not False and isinstance(value, Strict):
        found.append(False)
    if family is not None:
        return [*found, *([ANOTHER_PART[family.name]] if family.name in ANOTHER_PART else [])]
    return found + _other_values(value, _leaves(field.annotation))


def beside(setting: Setting) -> Table:
    """Return what has to be said in the same table when a setting changes."""
    return _by_key(WITH, setting) or {}


def _by_key(table: dict[str, Any], setting: Setting) -> Any:
    family, _, _ = setting.key.partition("/")
    name = setting.key.rpartition(".")[2]
    return next((table[key] for key in (setting.key, f"{family}.{name}", name) if key in table), None)


def _other_items(value: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    if value and not isinstance(value[0], Strict):
        for other in _other_values(value[0], []):
            yield (other, *value[1:])


def _other_values(value: Any, types: list[Any]) -> list[Any]:
    words = [word for word in types if isinstance(word, str)]
    if isinstance(value, bool):
        return [not value]
    if words and (value is None or isinstance(value, str)):
        return [word for word in words if word != value]
    if isinstance(value, str):
        return [f"{value} again"]
    if isinstance(value, int) and float not in types:
        return [value + 1, value + 2, value - 1, 2 * value, 10 * value, 0, 1]
    if isinstance(value, int | float):
        return [2.0 * value, 0.5 * value, value + 0.3, 10.0 * value, 100.0 * value + 5.0, 0.0]
    if value is None and int in types:
        return [1, 2, 3, 4, 0]
    if value is None and float in types:
        return [0.3, 1.5, 3.0, 20.0, 0.01, 500.0, 1e-6]
    return []


def _plain(value: Any) -> Any:
    """Return a value as a scenario file holds it."""
    if isinstance(value, Strict):
        return value.model_dump(mode="json", exclude_none=True)
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def changed(table: Table, place: str, value: Any) -> Table:
    """Return a scenario's table with another value at a place; none: nothing stands there."""
    table = deepcopy(table)
    *steps, last = place.split(".")
    inside: Any = table
    for step in steps:
        inside = inside[int(step)] if isinstance(inside, list) else inside.setdefault(step, {})
    if isinstance(inside, list):
        inside[int(last)] = value
    elif value is None:
        inside.pop(last, None)
    else:
        inside[last] = value
    return table


class Base(NamedTuple):
    """A small scenario, and the settings whose effect it shows."""

    table: Table
    shows: tuple[str, ...]
    """How the keys of these settings begin, as a regular expression says it."""
    timing_only: bool = True

    def has(self, key: str) -> bool:
        """Whether the effect of a setting is shown here."""
        return any(re.match(name, key) for name in self.shows)


def constant(value_s: float) -> Table:
    """Return a delay of so many seconds."""
    return {"kind": "constant", "value_s": value_s}


def exponential(mean_s: float) -> Table:
    """Return a delay of so many seconds on average."""
    return {"kind": "exponential", "mean_s": mean_s}


EVALUATION = tuple(f"Evaluation.{name}" for name in ("every_steps", "max_workers", "patience"))
"""Without those that another one takes the place of."""
SGD = {"kind": "sgd", "learning_rate": 0.1}
QUADRATIC = {"kind": "quadratic", "dimension": 4, "noise_std": 0.1, "bytes_up": 4000, "bytes_down": 4000}
SOFTMAX = {"kind": "softmax", "features": 3, "classes": 3, "samples_per_worker": 4, "batch_size": 2}
SOFTMAX |= {"dirichlet_alpha": 0.5, "test_samples": 20}
SHARED_POOL = {"sharing": "shared", "offered_per_class": 1}
SIZES = {"n_words": 2, "n_candidates": 4, "n_demonstrations": 6, "train_per_class": 4}
SIZES |= {"validation_per_class": 3}
PARAMETERS = {"base_alignment": 0.3, "demo_step": 0.5, "label_bias": 0.5, "word_gain": 0.8, "n_features": 6}
SYNTHETIC = {"kind": "synthetic", "parameters": PARAMETERS, "test_counts": [3, 4], **SIZES}
ICL = {"kind": "icl", "task": SYNTHETIC, "n_samples": 3, "batch": 3}
PROMPT = {
    "question": "{{ text_a }}{% if fragment %} ({{ fragment }}){% endif %}",
    "labels": ["bad", "good"],
    "demonstration": "{{ question }} {{ label }}",
    "query": "{{ question }} so",
    "separator": " | ",
}
TEXT = {"kind": "text", "file": "REVIEWS", "prompt": PROMPT, "test_counts": [4, 3], "reuse": True}
TEXT |= {"vocabulary": SINGLE_WORDS}
TEXT |= SIZES | {"train_per_class": 2, "validation_per_class": 1, "n_demonstrations": 3}
FAKE = {"kind": "fake_model:FakeModel", "cache": False}
TEXTS = {"kind": "icl", "task": TEXT, "model": FAKE, "n_samples": 2, "batch": 2}
POOLED = {key: value for key, value in TEXT.items() if key not in ("n_words", "n_candidates", "vocabulary")}
POOLED |= {"n_demonstrations": 6}
ASYNDBT = {"kind": "asyndbt", "wait_for": 2, "tau": 3, "optimizer": SGD}
CUTS = {"cuts": {"every": 3, "rounds": 2}}
EPSILON = {"asyndbt": 0.2, "sdbt": 0.3, "cendbt": 0.05}
"""With which some cuts are made and others are not."""
FAST = {
    "z_rate": 0.05,
    "inner": {"p_rate": 0.1, "z_rate": 0.1, "rho_rate": 0.1},
    "multipliers": {"rate": 0.5},
}
EVERYBODY = {"kind": "fedbdpl", "optimizer": SGD}


def scenario(problem: Table = QUADRATIC, algorithm: Table = ASYNDBT, count: int = 3, **tables: Any) -> Table:
    """Return a small scenario with some tables of its own."""
    group = {"count": count, "compute": exponential(1.0)}
    llm = {"kind": "independent", "latency": exponential(0.5)}
    # Nobody asks a language model for a softmax regression.
    asks = {} if problem["kind"] == "softmax" else {"llm": llm}
    return {
        "name": "base",
        "algorithm": algorithm,
        "problem": problem,
        "workers": [group],
        **asks,
        "budget": {"server_steps": 12},
        "evaluation": {"every_steps": 2},
        "record": {"spans": True},
    } | tables


def attacked(problem: Table = QUADRATIC, algorithm: Table = EVERYBODY, **attack: Any) -> Base:
    """Return a base in which two of five workers attack for some time."""
    when = {"fraction": 0.4, "start_s": 4.0, "stop_s": 12.0}
    table = scenario(problem, algorithm, 5, attacks=[when | attack], budget={"horizon_s": 15.0}, seed=1)
    return Base(table, (f"attacks/{attack['kind']}.",), timing_only=False)


def combined(rule: Table, **rules: Any) -> Table:
    """Return a scenario of seven workers in which a rule combines messages."""
    algorithm = EVERYBODY | {"wait_for": 5, "tau": 4} if "filter" in rules else EVERYBODY
    algorithm = algorithm | {"aggregation": {"outer": rule, **rules}}
    return scenario(algorithm=algorithm, count=7, budget={"server_steps": 8})


def waiting(kind: str, **settings: Any) -> Base:
    """Return a base whose workers take a delay for their arithmetic."""
    group = {"count": 2, "compute": {"kind": kind, **settings}}
    return Base(scenario(workers=[group]), (f"delays/{kind}.", "Weighted."))


def coming_and_going(kind: str, **settings: Any) -> Base:
    """Return a base whose workers are on and off."""
    group = {"count": 3, "compute": exponential(1.0), "availability": {"kind": kind, **settings}}
    # Who starts anew asks for other work, and whoever never comes back is given up.
    table = scenario(workers=[group], server={"evict_after_s": 30.0}, budget={"horizon_s": 60.0})
    table |= {"clock": {"starts_at": 5.0}} if kind == "diurnal" else {}
    return Base(table, (f"availabilities/{kind}.", "AvailabilityTrace.", "ClockSettings."))


def linked(kind: str, **settings: Any) -> Base:
    """Return a base with a network."""
    return Base(scenario(count=5, network={"kind": kind, **settings}), (f"networks/{kind}.",))


LINK = {"latency": exponential(0.1), "mbps": 0.05, "loss": 0.2, "retransmit_s": 0.3}
RULES: dict[str, Table] = {
    "centred_clipping": {"radius": 0.05, "iterations": 2},
    "dp_rsa": {"step": 0.05, "noise": "flip", "flip_probability": 0.2},
    "geometric_median": {"f": 1, "smoothing": 0.1, "tolerance": 0.01, "most_iterations": 2},
    "krum": {"f": 1},
    "median": {},
    "multi_krum": {"f": 1},
    "rsa": {"step": 0.05},
    **{kind: {"f": 1} for kind in ("caf", "meamed", "minimum_diameter", "trimmed_mean")},
}
STAGES: dict[str, Table] = {
    "bucketing": {"size": 2},
    "nearest_neighbour_mixing": {"f": 1},
    "norm_clipping": {},
    "simplex_projection": {},
}
FILTERS: dict[str, Table] = {
    "basgd": {"buffers": 4, "reassign_after_steps": 2},
    "fldetector": {"history": 1, "window": 1, "starts_at_step": 3, "quorum": 1.0, "repeats": True},
    "kardam": {"f": 1},
    "zeno_plus_plus": {"rho": 0.01, "epsilon": 0.1, "refresh_steps": 2},
}
FORGED: dict[str, Table] = {
    "alie": {"z_max": 1.0},
    "gaussian": {"std": 1.0},
    "inner_product": {},
    "mimic": {},
    "min_max": {},
    "min_sum": {},
    "random_simplex": {},
    "same_value": {},
    "sign_flip": {},
    "worst_word": {},
    "wrong_answers": {},
    "zero": {},
}
POISONS: dict[str, Table] = {
    "adversarial": {"n_worst": 1},
    "backdoor": {},
    "duplicates": {"noise_std": 0.5},
    "flipped_labels": {},
    "flipped_queries": {},
    "out_of_class": {},
    "random_labels": {},
}
TEXT_POISONS: dict[str, Table] = {"backdoor": {}, "injected_instruction": {}, "off_topic": {}}
DELAYS: dict[str, Table] = {
    "constant": {"value_s": 1.0},
    "empirical": {"samples_s": [1.0, 2.0, 4.0]},
    "exponential": {"mean_s": 1.0},
    "mixture": {"components": [{"weight": 2, "delay": constant(1.0)}, {"weight": 1, "delay": constant(2.0)}]},
    "gamma": {"shape": 2.0, "mean_s": 1.0},
    "lognormal": {"median_s": 1.0, "sigma": 0.5},
    "pareto": {"minimum_s": 1.0, "tail_index": 2.0},
    "shifted_exponential": {"shift_s": 1.0, "mean_excess_s": 0.5},
    "uniform": {"low_s": 1.0, "high_s": 2.0},
    "weibull": {"shape": 2.0, "mean_s": 1.0},
}
AVAILABILITIES: dict[str, Table] = {
    "diurnal": {"period_s": 20.0, "from_s": 2.0, "to_s": 12.0, "jitter_s": 1.0},
    "lifetime": {"joins": exponential(3.0), "life": exponential(30.0)},
    "on_off": {"on": exponential(8.0), "off": exponential(3.0)},
    "trace": {"trace": {"csv": ON_OFF}},
}
NETWORKS: dict[str, Table] = {
    "graph_file": {
        "format": "edge_list",
        "text": "hub a {'mbps': 0.1}\nhub b {'mbps': 0.2}\na c {}\na d {}\nb e {}\n",
        "server": "hub",
        "link": LINK,
    },
    "hierarchy": {"edges": 2, "link": LINK, "edge_link": LINK},
    "random_geometric": {"radius": 0.7, "link": LINK, "latency_s_per_unit": 0.5},
    "ring": {"link": LINK},
    "star": {"link": LINK, "server_link": LINK},
    "tree": {"branching": 2, "link": LINK},
}
TIMING: dict[str, Table] = {
    "flapping": {"on_s": 2.0, "off_s": 3.0},
    "rushing": {},
    "sleeper": {"wakes_at_s": 3.0, "then": {"kind": "flapping", "on_s": 1.0, "off_s": 5.0}},
    "slow_rolling": {"start_s": 1.0, "stop_s": 7.0},
}


class Letters(Encoder):
    """How often some letters stand in a text.

    Source: no paper; a stand-in for tests.
    """

    kind: str

    def encode(self, texts: Sequence[str]) -> Floats:
        return unit_rows(np.array([[text.count(letter) for letter in "abcdefghij"] for text in texts], float))


ENCODER = {"kind": "setting_cases:Letters"}
METHODS: dict[str, Table] = {
    "adaicl": {"encoder": ENCODER, "n_demonstrations": 2, "n_initial": 2, "budget": 2, "n_neighbours": 2},
    "encoder_mlp": {"encoder": ENCODER, "hidden": 3, "learning_rate": 0.5, "epochs": 40, "patience": 3},
    "kate": {"encoder": ENCODER, "n_demonstrations": 2},
    "random_icl": {},
    "zero_shot_cot": {"reasoning_tokens": 4},
}


def _adapting(rule: Table) -> Table:
    """Return a scenario of unlike workers in which S goes up and down, and is held by its bounds."""
    groups = [{"name": f"{mean_s:g} s", "count": 2, "compute": exponential(mean_s)} for mean_s in (1, 2, 4)]
    adapt = {"least": 2, "most": 5, "every_steps": 2, "window": 3, "gain": 0.02}
    return scenario(
        QUADRATIC,
        rule | {"cuts": False, "wait_for": 3, "tau": 9, "adapt": adapt},
        workers=groups,
        budget={"server_steps": 40},
    )


def _methods() -> dict[str, Base]:
    """Return bases for the algorithms."""
    forging = [{"kind": "same_value", "workers": [1], "value": 2.0}]
    lower = ICL | {"n_samples": 4}
    found = {}
    for kind, rule in {"asyndbt": ASYNDBT, "sdbt": {"kind": "sdbt", "optimizer": SGD}}.items():
        own = f"algorithms/{kind}."
        tuned = rule | CUTS | FAST | {"polyhedron": {"epsilon": EPSILON[kind]}}
        tables = ("cuts", "polyhedron", "inner", "multipliers", "z_rate", "wait_for", "tau", "optimizer")
        found[kind] = Base(scenario(lower, tuned), tuple(own + table for table in tables), False)
        if kind == "asyndbt":
            found["asyndbt adapt"] = Base(_adapting(rule), (f"{own}adapt",))
        robust = tuned | {"robust": {"psi": 0.3}}
        found[f"{kind} robust"] = Base(scenario(ICL, robust, attacks=forging), (f"{own}robust",), False)
        rules = {"outer": {"kind": "median"}, "outer_rate": 0.5, "inner": {"kind": "mean"}, "inner_rate": 0.5}
        rules |= {"before": [{"kind": "bucketing"}], "rows": "active"}
        aggregating = rule | CUTS | {"inner": {"p_rate": 0.1, "rho_rate": 0.1}, "aggregation": rules}
        found[f"{kind} aggregation"] = Base(scenario(ICL, aggregating), (f"{own}aggregation",), False)
    pooled = {"kind": "cendbt", "optimizer": SGD, "machine": "some"} | CUTS
    pooled |= {"inner": {"p_rate": 0.1}, "multipliers": {"rate": 0.5}}
    pooled |= {"polyhedron": {"epsilon": EPSILON["cendbt"]}}
    groups = [
        {"name": name, "count": 2, "compute": constant(n)} for n, name in ((1.0, "some"), (2.0, "others"))
    ]
    found["cendbt"] = Base(scenario(lower, pooled, workers=groups), ("algorithms/cendbt.",), False)
    median = {"aggregation": {"outer": {"kind": "median"}}}
    own = "algorithms/fedbdpl."
    rounds = EVERYBODY | median | {"participants": 3}
    keys = tuple(own + key for key in ("participants", "local_steps", "aggregation", "optimizer"))
    found["fedbdpl"] = Base(scenario(ICL, rounds, count=4), keys, False)
    buffered = EVERYBODY | {"wait_for": 2, "tau": 3}
    found["fedbdpl buffered"] = Base(scenario(ICL, buffered), (f"{own}wait_for", f"{own}tau"))
    own = "algorithms/fedavg."
    found["fedavg"] = Base(scenario(ICL, rounds | {"kind": "fedavg"}, count=4), (own,), False)
    fedasync = {"kind": "fedasync", "optimizer": SGD, "local_steps": 2, "rho": 0.5}
    fedasync |= {"staleness": "hinge", "b": 1}
    found["fedasync"] = Base(scenario(algorithm=fedasync), ("algorithms/fedasync.",), False)
    fedbuff = {"kind": "fedbuff", "optimizer": SGD, "buffer": 2}
    found["fedbuff"] = Base(scenario(algorithm=fedbuff), ("algorithms/fedbuff.",), False)
    local = {"kind": "bdpl", "optimizer": SGD}
    found["bdpl"] = Base(scenario(ICL, local), ("algorithms/bdpl.",), False)
    for kind in ("adam", "adamw", "sgd"):
        clipping = ASYNDBT | {"optimizer": {"kind": kind, "learning_rate": 0.1, "clip_norm": 0.5}}
        found[f"optimizer {kind}"] = Base(scenario(algorithm=clipping), (f"optimizers/{kind}.",), False)
    return found


QUESTIONS = {"kind": "questions", "task": POOLED, "model": FAKE, "encoder": ENCODER, "n_demonstrations": 2}
QUESTIONS |= {"tokens": {"text_tokens": 20}}


def _questions() -> dict[str, Base]:
    """Return bases for answers to questions."""
    rules = {"outer": {"kind": "trimmed_mean", "f": 1}, "outer_rate": 0.5, "before": [{"kind": "bucketing"}]}
    fedicl = {"kind": "fedicl", "form": "full", "aggregation": rules}
    own = "algorithms/fedicl."
    group = {"count": 5, "compute": exponential(1.0), "download_mbps": 0.1}
    return {
        "fedicl": Base(
            scenario(QUESTIONS | {"dirichlet_alpha": 0.5}, fedicl, workers=[group]),
            ("problems/questions.", f"{own}form", f"{own}aggregation"),
            False,
        ),
        "fedicl asynchronous": Base(
            scenario(QUESTIONS, {"kind": "fedicl", "wait_for": 2, "tau": 3}), (f"{own}wait_for", f"{own}tau")
        ),
    }


def _injection() -> dict[str, Base]:
    """Return bases for vectors and coefficients in a model with open weights."""
    optimizer = {"kind": "sgd", "learning_rate": 1.0}
    common = {"local_steps": 2, "optimizer": optimizer}
    clipped = [{"kind": "norm_clipping", "radius": 0.5}]
    rules = {"outer": {"kind": "median"}, "outer_rate": 0.5, "before": clipped}
    unequal = {"model": {"weights": problem_table()["model"]["weights"], "kind": "open_weights"}}
    unequal |= {"dirichlet_alpha": 1.5, "loss": "vocabulary", "noise": 0.1}
    group = {"count": 5, "compute": exponential(1.0), "own_model": {"token_s": 0.01}}
    problem = problem_table(**unequal, tokens={"text_tokens": 20})
    ifedicl, i2cl = "algorithms/ifedicl.", "algorithms/i2cl."
    keys = ("optimizer", "local_steps", "lambda_start", "beta_start", "control")
    small = {"workers": [group | {"count": 3}], "budget": {"epochs": 2}, "llm": None}
    shapes = {"n_layers": 4, "width": 32, "value_width": 8}
    lora = {"kind": "fedavg_lora", "rank": 2, "local_steps": 2, "number_bytes": 2, "adapted": shapes}
    return {
        "ifedicl": Base(
            scenario(problem, {"kind": "ifedicl", **common}, **small),
            ("problems/injection.", *(ifedicl + key for key in keys), "Record.learned"),
            False,
        ),
        "ifedicl with rules": Base(
            scenario(
                problem, {"kind": "ifedicl", **common, "aggregation": rules}, **small | {"workers": [group]}
            ),
            tuple(ifedicl + key for key in ("aggregation", "measure_clients", "task_store")),
            False,
        ),
        "ifedicl asynchronous": Base(
            scenario(problem, {"kind": "ifedicl", "wait_for": 2, "tau": 3}, **small | {"workers": [group]}),
            (f"{ifedicl}wait_for", f"{ifedicl}tau"),
        ),
        "i2cl": Base(
            scenario(problem, {"kind": "i2cl", **common}, **small), tuple(i2cl + key for key in keys), False
        ),
        "fedavg_lora": Base(scenario(problem_table(), lora, **small), ("algorithms/fedavg_lora.",)),
    }


SHOTS = ICL | {"shots": {"per_class": 2}}
SHOTS |= {"model": {"kind": "surrogate", "demonstrations": {"recency": 0.5}}}
ICL_SHOTS = "problems/icl.shots."
VOCABULARY = {"min_count": 1, "pmi_threshold": 2.5, "max_words_per_candidate": 3}


def _problems() -> dict[str, Base]:
    """Return bases for the problems and what they are made of."""
    without_shots = r"problems/icl\.(?!shots\.)"
    found = {
        "quadratic": Base(scenario(QUADRATIC | {"coupling": 0.2}), ("problems/quadratic.",), False),
        "softmax": Base(scenario(SOFTMAX, EVERYBODY), ("problems/softmax.",), False),
        "icl": Base(
            scenario(ICL | {"evaluation": "sampled", "evaluation_samples": 2}), (without_shots,), False
        ),
        "shared pools": Base(scenario(ICL | {"pool": SHARED_POOL}), ("problems/icl.pool.",), False),
        "synthetic": Base(scenario(ICL), ("tasks/synthetic.", "SurrogateParameters."), False),
        "surrogate": Base(scenario(SHOTS), ("FragmentReading.", "DemonstrationReading.", ICL_SHOTS), False),
        "calibrated": Base(
            scenario(ICL | {"task": SIZES | {"kind": "calibrated", "name": "sst2", "test_counts": [4, 3]}}),
            ("tasks/calibrated.",),
            False,
        ),
        "text": Base(scenario(TEXTS, seed=1), ("tasks/text.", "PromptTemplate."), False),
        "text without a split": Base(
            scenario(TEXTS | {"task": TEXT | {"file": "OWN", "test_counts": [2, 2]}}),
            ("tasks/text.test_share",),
            False,
        ),
        "vocabulary": Base(
            scenario(TEXTS | {"task": TEXT | {"n_candidates": 5, "vocabulary": VOCABULARY}}),
            ("VocabularySettings.",),
            False,
        ),
    }
    for kind, more in METHODS.items():
        problem = {"kind": "baseline", "task": POOLED, "model": FAKE, "method": {"kind": kind, **more}}
        if kind == "adaicl":
            problem["tokens"] = {"text_tokens": 20}
        table = scenario(problem, {"kind": "sdbt"}, 2, budget={"server_steps": 1})
        if kind != "adaicl":
            del table["llm"]
        shows = (f"baselines/{kind}.", *(["problems/baseline."] if kind == "adaicl" else []))
        found[f"baseline {kind}"] = Base(table, shows, False)
    return found


def _clocks() -> dict[str, Base]:
    """Return bases for workers, services and the scenario's own tables."""
    limits = {"concurrency": 4, "queue_limit": 3, "per_output_token": constant(0.1)}
    limits |= {"prefill_tokens_per_s": 1000.0, "server_error_probability": 0.1}
    limits |= {"outages": [{"start_s": 2.0, "stop_s": 4.0}]}
    limits |= {
        "prefix_cache": {"share": 0.5},
        "background": {"requests_per_minute": 20.0, "tokens_in": 50, "tokens_out": 5},
    }
    rates = {"requests_per_minute": 60.0, "tokens_per_minute": 12000.0, "burst_s": 5.0}
    own = "llm_services/shared."
    of_rates = tuple(own + key for key in (*rates, "over_limit"))
    tables = ("Backoff.", "PrefixCache.", "Background.", "Outage.")
    tables += tuple(
        f"{own}{key}" for key in Shared.model_fields if own + key not in (*of_rates, f"{own}kind")
    )
    traces = {"kind": "shared", "requests": {"csv": REQUESTS}, "concurrency": 9}
    traces |= {"background": {"arrivals": {"csv": ARRIVALS}}}
    groups = [{"name": name, "count": 2, "compute": exponential(1.0)} for name in ("some", "others")]
    shared = {"kind": "shared", "ttft": exponential(0.5), **limits}
    group = groups[0] | {"upload": constant(0.1), "upload_mbps": 0.1, "download_mbps": 0.2}
    group |= {"transient": {"probability": 0.5, "factor": 3.0}}
    devices = groups[0] | {"devices": {"csv": DEVICES}}
    asynchronous = ASYNDBT | {"wait_for": 1, "tau": 30}
    dying = groups[0] | {"count": 3, "stops_at_s": 4.0}
    alternating = {"kind": "on_off", "on": exponential(4.0), "off": exponential(2.0)}
    whole = {"target": {"value": 0.05, "window": 2}, "evaluation": {"every_steps": 2, "patience": 9}}
    whole |= {"budget": {"epochs": 9, "server_steps": 12, "worker_updates": 30, "horizon_s": 20.0}}
    whole |= {"attacks": [{"kind": "zero", "workers": [0]}]}
    return {
        "service": Base(scenario(ICL, workers=groups, llm=shared), tables),
        "service with rates": Base(
            scenario(ICL, llm={"kind": "shared", "ttft": constant(0.1), **rates}), of_rates
        ),
        "service of traces": Base(scenario(ICL, llm=traces), ("RequestTrace.", "ArrivalTrace.")),
        "independent": Base(
            scenario(ICL, llm={"kind": "independent", "latency": constant(0.1), "per_input_token_s": 0.001}),
            ("llm_services/independent.",),
        ),
        "group": Base(scenario(ICL, workers=[group, groups[1]]), ("WorkerGroup.", "Transient.")),
        "devices": Base(scenario(workers=[devices]), ("DeviceTrace.",)),
        "on and off": Base(
            scenario(workers=[groups[0] | {"availability": alternating}]), ("WorkerGroup.on_return",)
        ),
        "server": Base(
            scenario(
                algorithm=asynchronous,
                workers=[dying, groups[1] | {"availability": alternating}],
                server={"evict_after_s": 3.0},
            ),
            ("ServerSettings.",),
        ),
        "whole": Base(
            scenario(ICL, ASYNDBT | {"cuts": False}, workers=groups, **whole),
            ("scenario.", "Budget.", "Target.", *EVALUATION, "Record."),
            False,
        ),
        **{
            f"measured {name}": Base(scenario(evaluation={name: 4}), (f"Evaluation.{name}$",), False)
            for name in ("every_updates", "every_s")
        },
    }


def _parts() -> dict[str, Base]:
    """Return a base for each kind of the families whose parts fit in at one place."""
    found = {}
    for kind, more in RULES.items():
        found[f"rule {kind}"] = Base(combined({"kind": kind, **more}), (f"aggregators/{kind}.",), False)
    for kind, more in STAGES.items():
        table = combined({"kind": "median"}, before=[{"kind": kind, **more}])
        found[f"stage {kind}"] = Base(table, (f"preaggregators/{kind}.",), False)
    for kind, more in FILTERS.items():
        table = combined({"kind": "mean"}, filter={"kind": kind, **more})
        table |= {"budget": {"server_steps": 30}} if kind == "fldetector" else {}  # it looks back
        found[f"filter {kind}"] = Base(table, (f"filters/{kind}.",), False)
    for kind, more in FORGED.items():
        of_words = kind in ("random_simplex", "worst_word", "wrong_answers")
        found[f"lie {kind}"] = attacked(ICL if of_words else QUADRATIC, kind=kind, **more)
    for kind, more in POISONS.items():
        found[f"poison {kind}"] = attacked(ICL | {"pool": SHARED_POOL}, kind=kind, **more)
    for kind, more in TEXT_POISONS.items():
        found[f"poison of texts {kind}"] = attacked(TEXTS | {"pool": SHARED_POOL}, kind=kind, **more)
    for kind, more in TIMING.items():
        found[f"timing {kind}"] = attacked(algorithm=ASYNDBT | {"tau": 9, "cuts": False}, kind=kind, **more)
    for kind, more in DELAYS.items():
        found[f"delay {kind}"] = waiting(kind, **more)
    for kind, more in AVAILABILITIES.items():
        found[f"availability {kind}"] = coming_and_going(kind, **more)
    for kind, more in NETWORKS.items():
        found[f"network {kind}"] = linked(kind, **more)
    return found


BASES: dict[str, Base] = {**_methods(), **_questions(), **_injection(), **_problems()}
BASES |= {**_clocks(), **_parts()}
