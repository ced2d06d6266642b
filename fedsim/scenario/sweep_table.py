"""What the table ``[sweep]`` of a scenario file may hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from fedsim.catalog import Strict
from fedsim.scenario.explain import shown

Table = dict[str, Any]

MOST_RUNS = 10_000_000
"""Of each variant in a sweep; all of them are checked before the first is run."""


class Draw(Strict):
    """Where the values of one key are drawn from: an interval, or a list."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    """Evenly on a logarithmic scale."""
    integer: bool = False
    """Whole numbers, both ends included; otherwise the interval is [low, high)."""
    choices: tuple[Any, ...] = ()
    """Instead of an interval: one of these, each as likely as the others."""

    @model_validator(mode="after")
    def _possible(self) -> Draw:
        if self.choices:
            if self.low is not None or self.high is not None or self.log or self.integer:
                raise ValueError("found choices and an interval, expected one of them")
            return self
        if self.low is None or self.high is None:
            raise ValueError("expected low and high, or choices")
        if self.low >= self.high:
            raise ValueError(f"high: found {self.high:g}, expected more than low = {self.low:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low: found {self.low:g}, expected more than 0 with log = true")
        if self.integer and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError("expected whole low and high with integer = true")
        return self


def _flat(is_leaf: Callable[[Any], bool], table: Any) -> Any:
    """Return nested tables as one, under dotted keys."""
    if not isinstance(table, dict):
        return table
    found: Table = {}
    for key, value in table.items():
        if isinstance(value, dict) and not is_leaf(value):
            found |= {f"{key}.{inner}": leaf for inner, leaf in _flat(is_leaf, value).items()}
        else:
            found[key] = value
    return found


def flat_axes(table: Any) -> Any:
    """Return axes under their dotted keys, however they were nested."""
    return _flat(lambda value: False, table)


def _axes(table: Any) -> Any:
    """Read the values of each key."""
    flat = flat_axes(table)
    if not isinstance(flat, dict):
        return flat
    for key, values in flat.items():
        if not isinstance(values, list | tuple) or not values:
            raise ValueError(f"{key}: found {shown(values)}, expected a list of values")
    return {key: tuple(values) for key, values in flat.items()}


def _point(table: Any) -> Any:
    return _flat(lambda value: "kind" in value, table)


def _draws(table: Any) -> Any:
    return _flat(lambda value: not value or not {"low", "high", "choices"}.isdisjoint(value), table)


def _schema(inner: str | list[str]) -> WithJsonSchema:
    """Return what an editor should know: keys may be dotted in quotes, or nested tables."""
    return WithJsonSchema({"type": "object", "additionalProperties": {"type": inner}})


Axes = Annotated[dict[str, tuple[Any, ...]], BeforeValidator(_axes), _schema(["array", "object"])]
Point = Annotated[Table, BeforeValidator(_point), WithJsonSchema({"type": "object"})]
Draws = Annotated[dict[str, Draw], BeforeValidator(_draws), _schema("object")]


class RandomPoints(Strict):
    """Points drawn at random, the same ones each time."""

    samples: int = Field(ge=1)
    """How many points."""
    method: Literal["random", "latin_hypercube"] = "random"
    """`latin_hypercube`: each key has one value in each of `samples` equal parts of its range (McKay et al.,
    Technometrics 1979)."""
    seed: int = Field(0, ge=0)
    """Of the points, not of the runs."""
    keys: Draws
    """Dotted keys, each with what its values are drawn from."""


class OwnSweep(Strict):
    """What a sweep varies: all combinations of what is given."""

    grid: Axes = Field({})
    """Dotted keys with lists of values: all combinations."""
    zip: Axes = Field({})
    """Dotted keys with lists of equal length, whose values go together."""
    list: tuple[Point, ...] = ()
    """Points as they stand: dotted keys with values."""
    random: RandomPoints | None = None

    @model_validator(mode="after")
    def _fits(self) -> OwnSweep:
        lengths = {key: len(values) for key, values in self.zip.items()}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{length} for {key}" for key, length in lengths.items())
            raise ValueError(f"zip: expected lists of equal length, found {found}")
        homes = {name: keys for name, keys in self.keys_by_home().items() if keys}
        for name, keys in homes.items():
            for other, others in homes.items():
                if name < other and (twice := sorted(set(keys) & set(others))):
                    raise ValueError(f"found {twice[0]} in {name} and in {other}, expected it in one of them")
        return self

    @property
    def n_points(self) -> int:
        """How many combinations there are."""
        axes = [len(values) for values in self.grid.values()]
        axes += [len(next(iter(self.zip.values())))] if self.zip else []
        axes += [len(self.list)] if self.list else []
        axes += [self.random.samples] if self.random is not None else []
        return math.prod(axes)

    @property
    def keys(self) -> tuple[str, ...]:
        """The dotted keys that vary."""
        return tuple(key for keys in self.keys_by_home().values() for key in keys)

    def keys_by_home(self) -> dict[str, tuple[str, ...]]:
        """Return the dotted keys that vary, under the name of the table that varies them."""
        return {
            "grid": tuple(self.grid),
            "zip": tuple(self.zip),
            "list": tuple(dict.fromkeys(key for point in self.list for key in point)),
            "random": tuple(self.random.keys if self.random else ()),
        }


class Sweep(OwnSweep):
    """The runs of a sweep: all combinations of what is given, for each variant, with several seeds."""

    replicates: int = Field(1, ge=1)
    """Runs of each point, with seeds counting up from the scenario's."""
    paired: bool = True
    """Every point has the same seeds, so that differences between points are paired (common random numbers);
    false: no two points share a seed."""

    only_where_known: tuple[str, ...] = ()
    """Keys that a variant is run without if its method, or another part, has no such setting; points that are
    equal then are run once. Without this such a key is an error."""

    @model_validator(mode="after")
    def _possible(self) -> Sweep:
        if self.n_runs > MOST_RUNS:
            raise ValueError(f"found {self.n_runs:,} runs for each variant, expected at most {MOST_RUNS:,}")
        return self

    @property
    def n_runs(self) -> int:
        """How many runs of each variant are asked for; equal ones are made once."""
        return self.n_points * self.replicates


class VariantSweep(Strict):
    """The part of a variant that is about its sweep."""

    sweep: OwnSweep = OwnSweep()
    """What is varied of this variant alone, together with what the file varies of all."""

    @model_validator(mode="before")
    @classmethod
    def _seeds_are_common(cls, table: Any) -> Any:
        own = table.get("sweep") if isinstance(table, dict) else None
        common = Sweep.model_fields.keys() - OwnSweep.model_fields.keys()
        for key in sorted(common & own.keys() if isinstance(own, dict) else ()):
            raise ValueError(f"sweep.{key}: found here, expected in [sweep], which is for all variants")
        return table


class SweepFile(Strict):
    """The part of a scenario file that is about its sweep."""

    sweep: Sweep = Sweep()
    variants: dict[str, VariantSweep] = Field({})

    @model_validator(mode="after")
    def _fits(self) -> SweepFile:
        for name, variant in self.variants.items():
            if twice := sorted(set(self.sweep.keys) & set(variant.sweep.keys)):
                raise ValueError(
                    f"found {twice[0]} in sweep and in variants.{name}.sweep, expected it in one of them"
                )
            if "variant" in variant.sweep.keys:
                raise ValueError(f"variants.{name}.sweep: found variant, which is {name!r} here")
            n_runs = self.sweep.n_runs * variant.sweep.n_points
            if n_runs > MOST_RUNS:
                raise ValueError(f"variants.{name}: found {n_runs:,} runs, expected at most {MOST_RUNS:,}")
        return self
