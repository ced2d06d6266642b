"""The runs that a sweep file states."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, product
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from fedsim.errors import InputError
from fedsim.part_code import PartCode, code_of
from fedsim.scenario import Scenario
from fedsim.scenario.explain import explain, shown
from fedsim.scenario.files import ScenarioFile, read_file
from fedsim.scenario.overrides import overridden, read_override, with_setting
from fedsim.scenario.sizes import check_memory
from fedsim.scenario.sweep_table import Sweep, SweepFile
from fedsim.sweep.sampling import random_points
from fedsim.sweep.seeds import own_seed, with_seed

VARIANT = "variant"
SWEEP = "sweep"
"""How the key of an override of the sweep's own settings begins."""


class Point(NamedTuple):
    """A variant of the file, and the settings laid over it."""

    number: int
    variant: str
    settings: dict[str, Any]

    @property
    def label(self) -> str:
        """How this point differs from the others, in words for people."""
        varied = ({VARIANT: self.variant} if self.variant else {}) | self.settings
        return ", ".join(f"{key} = {shown(value)}" for key, value in varied.items())


class Planned(NamedTuple):
    """A run of a sweep, and the point that it belongs to."""

    scenario: Scenario
    point: Point


class Survey(NamedTuple):
    """What a plan asks for."""

    n_runs: int
    parts: dict[str, PartCode]
    """The code of parts that are not ours, by ``module:Class``."""


@dataclass(frozen=True)
class Plan:
    """All runs of a sweep, made when they are asked for: there may be more than fit in memory."""

    file: ScenarioFile
    sweep: Sweep
    overrides: tuple[str, ...] = ()
    """``dotted.key=value`` settings that go over those of the points."""
    only: tuple[str, ...] = ()
    """Variants to keep; none: all of them."""

    @property
    def keys(self) -> list[str]:
        """The dotted keys that vary, the variant apart."""
        homes = self.sweep.keys_by_home().values()
        return [key for keys in homes for key in keys if key != VARIANT]

    @property
    def name(self) -> str:
        """The name of the scenario."""
        return self.file.name

    @property
    def varies_variant(self) -> bool:
        """Whether points differ in the variant of the file."""
        return bool(self.file.variants)

    def points(self) -> Iterator[Point]:
        """Yield the points: variants first, what is drawn at random last."""
        sweep, numbers = self.sweep, count()
        axes: list[list[dict[str, Any]]] = [
            [{key: value} for value in values] for key, values in sweep.grid.items()
        ]
        if sweep.zip:
            rows = zip(*sweep.zip.values(), strict=True)
            axes.append([dict(zip(sweep.zip, row, strict=True)) for row in rows])
        if sweep.list:
            axes.append(list(sweep.list))
        if sweep.random:
            axes.append(random_points(sweep.random))
        if VARIANT not in {key for keys in sweep.keys_by_home().values() for key in keys}:
            axes.insert(0, [{VARIANT: variant} for variant in self.file.chosen(self.only)])
        for parts in product(*axes):
            settings = {key: value for part in parts for key, value in part.items()}
            variant = settings.pop(VARIANT, "")
            number = next(numbers)
            if not self.only or variant in self.only:
                yield Point(number, variant, settings)

    def scenario(self, point: Point) -> Scenario:
        """Return the scenario of a point.

        Raises:
            InputError: its settings are impossible.
        """
        place = f"{self.file.path}, point {point.label}" if point.label else str(self.file.path)
        if not isinstance(point.variant, str):
            raise InputError(f"{place}: found {shown(point.variant)}, expected the name of a variant")
        if point.variant or self.file.variants:
            self.file.check_variant(point.variant)
        table = self.file.settings(point.variant)
        for key, value in point.settings.items():
            try:  # what is said of a change of kind is the same for all points, and said once
                table = with_setting(table, key, value, f"{self.file.path}: {key}")
            except InputError as error:
                raise InputError(f"{place}{str(error).removeprefix(str(self.file.path))}") from error
        for override in self.overrides:
            table = overridden(table, override)
        return self.file.parsed(table, place)

    def runs(self) -> Iterator[Planned]:
        """Yield every run once, the replicates of a point one after the other.

        Raises:
            InputError: the settings of a point are impossible.
        """
        known: set[bytes] = set()
        first = None
        for point in self.points():
            scenario = self.scenario(point)
            first = scenario.seed if first is None else first
            if not self.sweep.paired and scenario.seed != first:
                raise InputError(
                    f"{self.file.path}: sweep.paired: found false, expected true where points or variants "
                    "have seeds of their own"
                )
            for replicate in range(self.sweep.replicates):
                alike = scenario.seed + replicate
                seed = alike if self.sweep.paired else own_seed(first, point.number, replicate)
                planned = Planned(with_seed(scenario, seed), point)
                mark = _mark(planned.scenario)
                if mark not in known:
                    known.add(mark)
                    yield planned

    def survey(self, here: bool = True) -> Survey:
        """Return how many runs there are and what code they need; all of them are checked on the way.

        Args:
            here: whether they are to be run on this machine, whose memory they must fit into.

        Raises:
            InputError: the settings of a point are impossible.
        """
        n_runs, parts = 0, {}
        for planned in self.runs():
            n_runs += 1
            if here:
                check_memory(planned.scenario)
            parts.update(code_of(planned.scenario))
        if not n_runs:
            raise InputError(f"{self.file.path}: no run is left: no point has the variant {self.only[0]!r}")
        return Survey(n_runs, parts)

    def count(self) -> int:
        """Return the number of runs, all of which are checked on the way.

        Raises:
            InputError: the settings of a point are impossible.
        """
        return self.survey().n_runs


def read_plan(path: Path | ScenarioFile, overrides: Iterable[str] = (), only: Iterable[str] = ()) -> Plan:
    """Read a scenario file with a table ``[sweep]``.

    Args:
        path: the TOML file, or what was read from it.
        overrides: ``dotted.key=value`` settings that go over those of all points; those that begin with
            ``sweep.`` change the sweep itself, as in ``sweep.replicates=2``.
        only: variants to keep.

    Raises:
        InputError: the file is missing or broken, states no sweep, or an impossible one.
    """
    file = path if isinstance(path, ScenarioFile) else read_file(path)
    overrides, only = list(overrides), tuple(only)
    for variant in only:
        file.check_variant(variant)
    table = {"sweep": file.sweep} if file.sweep is not None else {}
    for override in overrides:
        key, value = read_override(override)
        if _is_of_sweep(key):
            table = with_setting(table, key, value, f"--set {override!r}", SweepFile)
    if not table:
        raise InputError(f"{file.path}: no table [sweep]; `fedsim run` runs a scenario without one")
    try:
        sweep = SweepFile.model_validate(table).sweep
    except ValidationError as error:
        raise InputError(explain(error, str(file.path), table, SweepFile)) from error
    rest = tuple(override for override in overrides if not _is_of_sweep(read_override(override)[0]))
    return Plan(file, sweep, rest, only)


def _is_of_sweep(key: str) -> bool:
    return key.partition(".")[0] == SWEEP


def _mark(scenario: Scenario) -> bytes:
    """Return a short mark by which scenarios are known that give one run."""
    told = scenario.model_dump_json(exclude={"description"})
    return hashlib.blake2b(told.encode(), digest_size=16).digest()
