"""Scenario files: TOML with ``extends``, ``variants`` and overrides, resolved into scenarios and back."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from fedsim.catalog import Strict
from fedsim.errors import STRAY, InputError, nearest
from fedsim.faults import blame
from fedsim.plain_text import decoded, with_line_feeds
from fedsim.safety import check_inside
from fedsim.scenario.explain import explain, is_known, shown
from fedsim.scenario.model import Scenario
from fedsim.scenario.names import possible_name, wrong_with_name
from fedsim.scenario.overrides import UNSET, Table, merged, overridden, read_override, with_setting
from fedsim.scenario.settled import settled, with_folder
from fedsim.scenario.spots import Spot
from fedsim.scenario.toml_text import read_toml
from fedsim.scenario.unread import unread, without_unread
from fedsim.secrets import found_in

MOST_FILES = 64
"""Files that extend one another."""
STANDARD_INPUT = "-"
"""What to call it, as many commands do."""
OF_FILES = ("$schema", "extends", "variants", "sweep", "variant")
"""Keys at the top of a file that are no settings of a run."""


class ScenarioFile(NamedTuple):
    """A file as it was read, with what it extends."""

    path: Path
    table: Table
    """The settings that all variants share."""
    variants: dict[str, tuple[Table, ...]]
    """What goes over them, one table over the other: a variant may stand in several files."""
    sweep: Table | None
    """The table ``[sweep]``; none: the file states no sweep."""
    own_sweeps: dict[str, Table] = {}  # noqa: RUF012 -- never written to
    """What ``[variants.NAME.sweep]`` states for that variant alone."""

    @property
    def name(self) -> str:
        """What the scenarios are called, unless a variant or an override says something else."""
        return str(self.table.get("name", self.path.stem))

    def settings(self, variant: str) -> Table:
        """Return the settings of one variant; of the file itself for no name.

        Raises:
            InputError: the variant takes away what is not there.
        """
        table = self.table
        for over in self.variants[variant] if variant else ():
            table = merged(table, over, f"{self.path}: variants.{variant}.")
        return table | {"variant": variant} if variant else table

    def who_knows(self, variant: str, table: Table, keys: Iterable[str]) -> str:
        """Say which variants have settings that one does not have; nothing if none has them.

        Args:
            variant: which one.
            table: its settings.
            keys: dotted.
        """
        for key in keys:
            if is_known(key, table):
                continue
            knowing = [name for name in self.variants if is_known(key, self.settings(name))]
            if knowing:
                only = " ".join(f"--only {name}" for name in knowing)
                has = "variant {} has" if len(knowing) == 1 else "variants {} have"
                return f"{has.format(', '.join(knowing))} it: use {only}"
        return ""

    def parsed(self, table: Table, place: str = "") -> Scenario:
        """Return the scenario of settings, which is called like the file if it has no name.

        Args:
            table: the settings, all overrides over them.
            place: how an error begins; the path if not given.

        Raises:
            InputError: they say something impossible, or the file's name cannot be a scenario's.
        """
        place = place or str(self.path)
        if "name" not in table:
            name = self.path.stem
            if _is_stream(self.path):
                raise InputError(f"{place}: name: missing; what comes from a pipe has no file's name")
            if expected := wrong_with_name(name):
                hint = f'; write name = "{possible}" into it' if (possible := possible_name(name)) else ""
                raise InputError(
                    f"{place}: name: missing, and that of the file cannot be the scenario's: found "
                    f"{shown(name)}, expected {expected}{hint}"
                )
            table = {"name": name, **table}
        return parse(table, place)

    def chosen(self, only: Iterable[str] = ()) -> list[str]:
        """Return the variants named in `only`, or all of them; for a file without any, one without a name.

        Raises:
            InputError: there is no variant of such a name.
        """
        chosen = list(dict.fromkeys(only))
        for name in chosen:
            self.check_variant(name)
        return chosen or list(self.variants) or [""]

    def check_variant(self, name: str) -> None:
        """Make sure that there is such a variant.

        Raises:
            InputError: there is none.
        """
        if name not in self.variants:
            hint, known = nearest(name, self.variants), ", ".join(self.variants) or "none"
            raise InputError(f"{self.path}: no variant {name!r}{hint} (variants: {known})")

    def scenario(self, variant: str, overrides: Iterable[str] = ()) -> Scenario:
        """Return the scenario of a variant.

        Raises:
            InputError: it says something impossible; of which variant is told where overrides, which are
                for all, may not suit one.
        """
        table, laid, overrides = self.settings(variant), [], tuple(overrides)
        for override in overrides:
            key, value = read_override(override)
            if isinstance(value, dict) and not {UNSET, "kind"} & value.keys() and _is_table(table, key):
                laid.append(key)
            table = overridden(table, override)
        try:
            return self.parsed(table, f"{self.path}, variant {variant}" if variant and overrides else "")
        except InputError as error:
            keys = [read_override(override)[0] for override in overrides]
            if others := self.who_knows(variant, table, [key for key in keys if f": {key}: " in str(error)]):
                raise InputError(f"{error}; {others}") from error
            # Perhaps the table was meant to take the place of the one that it was laid over.
            hint = next((key for key in laid if f": {key}: " in str(error)), "")
            if not hint:
                raise
            raise InputError(
                f"{error}; {hint} of --set is laid over that of the file: unset = true in it makes it anew"
            ) from error


def _is_table(table: Any, key: str) -> bool:
    """Whether a table stands at a dotted key."""
    for step in key.split("."):
        table = table.get(step) if isinstance(table, dict) else None
    return isinstance(table, dict)


def load_scenario(
    source: str | Path | Mapping[str, Any],
    variant: str = "",
    overrides: Iterable[str] = (),
    *,
    folder: str | Path = ".",
) -> Scenario:
    """Load one scenario.

    Args:
        source: a TOML file, or a mapping with what such a file says, in which None stands for no value. A
            sweep, if it states one, is left aside.
        variant: which of its variants; a file without any needs none.
        overrides: ``"dotted.key=value"`` settings that go over the file's.
        folder: of a mapping: where its paths start, and what it `extends` lies.

    Raises:
        InputError: the file is missing, broken or says something impossible.

    >>> load_scenario({"extends": "scenarios/common/small.toml", "seed": 3})
    <Scenario scenario: asyndbt, 3 workers, seed 3>
    """
    file = _mapped(source, Path(folder)) if isinstance(source, Mapping) else read_file(source)
    if variant or file.variants:
        file.check_variant(variant)
    return file.scenario(variant, overrides)


def load_variants(
    path: str | Path, overrides: Iterable[str] = (), only: Iterable[str] = ()
) -> list[Scenario]:
    """Load every variant of a file, or those named in `only`; a file without variants is one scenario."""
    file, overrides = read_file(path), list(overrides)
    return [file.scenario(variant, overrides) for variant in file.chosen(only)]


def read_file(path: str | Path) -> ScenarioFile:
    """Read a file and those it extends, each once: it may be a pipe, and ``-`` is the standard input.

    Raises:
        InputError: a file is missing or broken.
    """
    return _read(Path(path), ())


def dump(scenario: Scenario) -> str:
    """Return the fully resolved scenario as TOML; loading it gives an equal scenario."""
    import tomli_w

    return tomli_w.dumps(resolved(scenario))


def stated_text(scenario: Scenario) -> str:
    """Return as TOML what was stated of a scenario, without what was left to its default."""
    import tomli_w

    return tomli_w.dumps(_without_none(scenario.model_dump(mode="json"), scenario, only_stated=True))


def resolved(scenario: Scenario) -> Table:
    """Return the fully resolved scenario as a table: all that is read, and nothing else."""
    scenario = without_idle_attacks(scenario)
    table: Table = _without_none(scenario.model_dump(mode="json"), scenario)
    return without_unread(table, unread(scenario))


def without_idle_attacks(scenario: Scenario) -> Scenario:
    """Return a scenario without its attacks if nobody carries them out: it is the same run."""
    if scenario.attacks and not scenario.malicious:
        return scenario.trusted_copy({"attacks": ()})
    return scenario


def _without_none(dumped: Any, value: Any, only_stated: bool = False) -> Any:
    """Leave out what is none, of which TOML knows nothing; where this would bring back a default, say so.

    Args:
        dumped: a part of a scenario as a table.
        value: what it was made of.
        only_stated: whether to leave out what was left to its default as well.
    """
    if isinstance(value, tuple | list):
        return [_without_none(part, inner, only_stated) for part, inner in zip(dumped, value, strict=True)]
    if not isinstance(value, Strict):
        return dumped
    fields = type(value).model_fields
    stated = {*value.model_fields_set, "kind"} if only_stated else dumped.keys()
    dumped = {key: part for key, part in dumped.items() if key in stated}
    table = {
        key: _without_none(part, getattr(value, key, None), only_stated)
        for key, part in dumped.items()
        if part is not None
    }
    unset = [
        key
        for key, part in dumped.items()
        if part is None and key in fields and not Spot(fields[key]).none_if_left_out
    ]
    return table | {UNSET: unset} if unset else table


def replaced(scenario: Scenario, settings: Mapping[str, Any]) -> Scenario:
    """Return a scenario with other settings, by dotted key; see `Scenario.replace`."""
    table = merged({}, _without_none(scenario.model_dump(mode="json"), scenario, only_stated=True))
    for key, value in settings.items():
        table = with_setting(table, key, value, f"replace {key!r}")
    return parse(table, scenario.label)


def without_places(dumped: Any, value: Any) -> Any:
    """Leave out the paths of files whose content is stated beside them: wherever they are, they are the same.

    Args:
        dumped: a resolved scenario, or a part of one.
        value: what it was made of.
    """
    if isinstance(value, tuple | list):
        return [without_places(part, inner) for part, inner in zip(dumped, value, strict=True)]
    if not isinstance(value, Strict) or not isinstance(dumped, dict):
        return dumped
    fields = type(value).model_fields
    known = "sha256" in fields and getattr(value, "sha256", None) is not None
    return {
        key: without_places(part, getattr(value, key, None))
        for key, part in dumped.items()
        if not (known and key in fields and Spot(fields[key]).path is not None)
    }


def parse(table: Table, place: str = "scenario") -> Scenario:
    """Turn a table into a scenario.

    Raises:
        InputError: with a sentence for each thing that is wrong.
    """
    table = settled(merged({}, table, f"{place}: "), f"{place}: ")
    try:
        return Scenario.model_validate(table)
    except ValidationError as error:
        raise InputError(explain(error, place, table)) from error
    except STRAY as error:  # a stranger's part may fail in any way
        if not (sentence := blame(error, table)):
            raise
        raise InputError(f"{place}: {sentence}") from error


def _mapped(source: Mapping[str, Any], folder: Path) -> ScenarioFile:
    """Return what a mapping says as if a file in a folder had said it; it is called ``scenario``."""
    return _laid_out(_as_toml(source), folder / "scenario", ())


def _as_toml(value: Any) -> Any:
    """Return a value with what TOML does not know in its form: no None, no tuples, no NumPy numbers."""
    if isinstance(value, Mapping):
        return {str(key): _as_toml(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_as_toml(part) for part in value]
    if value is None:
        return {UNSET: True}
    if isinstance(value, Path):
        return str(value)
    return value.item() if hasattr(value, "item") else value


def _read(path: Path, seen: tuple[Path, ...]) -> ScenarioFile:
    """Read a file and those it extends."""
    return _laid_out(read_toml(_text(path), str(path)), path, seen)


def _laid_out(table: Table, path: Path, seen: tuple[Path, ...]) -> ScenarioFile:
    """Return what a file says, with those it extends."""
    if secret := found_in(table):
        raise InputError("\n".join(f"{path}: {sentence}" for sentence in secret))
    table.pop("$schema", None)  # for editors
    table = with_folder(table, _folder(path), _folder(seen[0] if seen else path))
    _check_tables(table, path)
    base, variants, sweep = table.pop("extends", None), table.pop("variants", {}), table.pop("sweep", None)
    own_sweeps = {name: part["sweep"] for name, part in variants.items() if name != UNSET and "sweep" in part}
    variants = {
        name: {key: value for key, value in part.items() if key != "sweep"} if name in own_sweeps else part
        for name, part in variants.items()
    }
    inherited = ScenarioFile(path, {}, {}, None)
    if base is not None:
        seen = (*seen, path.resolve())
        inherited = _read(_origin(path, base, seen), seen)
    # A file takes away what it inherits, as in any other table.
    gone = [name for name in ("sweep", "variants") if name in _listed(table)]
    if gone:
        table = table | {UNSET: [name for name in table[UNSET] if name not in gone]}
    without_variants = "variants" in gone or variants.get(UNSET) is True
    without_sweep = "sweep" in gone or (sweep is not None and sweep.get(UNSET) is True)
    _check_owners(own_sweeps, variants, inherited.variants, path)
    layers = _layered({} if "variants" in gone else inherited.variants, variants, path)
    # Two sweeps do not mix: half of another one's points would be nobody's intention.
    if sweep is None and "sweep" not in gone:
        sweep = inherited.sweep
    elif sweep is not None and UNSET in sweep:
        sweep = {key: value for key, value in sweep.items() if key != UNSET} or None
    # What a variant varies alone goes with the variant, and with the sweep as a whole.
    anew = {name for name, part in variants.items() if name != UNSET and part.get(UNSET) is True}
    kept = {
        name: one
        for name, one in inherited.own_sweeps.items()
        if not without_sweep and not without_variants and name not in (anew | {*_listed(variants)})
    }
    own_sweeps = {
        name: {key: value for key, value in one.items() if key != UNSET}
        for name, one in (kept | own_sweeps).items()
    }
    own_sweeps = {name: one for name, one in own_sweeps.items() if one}
    if own_sweeps and sweep is None:
        sweep = {}
    found = ScenarioFile(path, merged(inherited.table, table, f"{path}: "), layers, sweep, own_sweeps)
    if layers and isinstance(stated := found.table.get("variant"), str):
        raise InputError(
            f"{path}: variant: found {stated!r}, but --only chooses one of the variants; leave it out, or "
            'take it away by unset = ["variant"]'
        )
    return found


def _text(path: Path) -> str:
    """Return the text of a file, which is read once."""
    try:
        content = sys.stdin.buffer.read() if str(path) == STANDARD_INPUT else path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder, expected a scenario file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError:
        raise InputError(f"{str(path)!r}: cannot be read: no file has a null character in its name") from None
    return with_line_feeds(decoded(content, str(path)))


def _is_stream(path: Path) -> bool:
    """Whether what is read comes from no place in a folder."""
    return str(path) == STANDARD_INPUT or path.is_relative_to("/dev") or path.is_relative_to("/proc")


def _folder(path: Path) -> Path:
    """Return the folder that a file's paths start at: where one works, for what comes from no folder."""
    return Path() if _is_stream(path) else path.parent


def _check_owners(own_sweeps: Table, variants: Table, inherited: Mapping[str, Any], path: Path) -> None:
    """Refuse a variant that states nothing but a sweep and is called almost like an inherited one.

    Raises:
        InputError: there is such a variant, which is misspelt.
    """
    for name in own_sweeps:
        if not variants[name] and name not in inherited and (hint := nearest(name, inherited)):
            raise InputError(
                f"{path}: variants.{name}.sweep: no variant {name!r}{hint} (a new variant states a setting, "
                "for example a description)"
            )


def _listed(table: Table) -> list[Any]:
    """Return the names that a table takes away."""
    return names if isinstance(names := table.get(UNSET), list) else []


def _layered(
    inherited: Mapping[str, tuple[Table, ...]], variants: Table, path: Path
) -> dict[str, tuple[Table, ...]]:
    """Lay a file's variants over those that it inherits."""
    gone = variants.get(UNSET, [])
    names = _listed(variants)
    if gone is not True and (gone != names or (unknown := [name for name in names if name not in inherited])):
        found = gone if gone != names else unknown[0]
        raise InputError(f"{path}: variants.{UNSET}: found {found!r}, expected a list of variants, or true")
    layers = {} if gone is True else {name: one for name, one in inherited.items() if name not in names}
    for name, variant in variants.items():
        if name == UNSET:
            continue
        anew = variant.get(UNSET) is True
        rest = {key: value for key, value in variant.items() if key != UNSET} if anew else variant
        layers[name] = (*(() if anew else layers.get(name, ())), rest)
        if anew and not rest:
            del layers[name]
    return layers


def _origin(path: Path, base: Any, seen: tuple[Path, ...]) -> Path:
    """Return the file that a file extends."""
    if not isinstance(base, str) or "\0" in base:
        raise InputError(f"{path}: extends: found {shown(base)}, expected the path of a scenario file")
    origin = _folder(path) / base
    check_inside(origin, _folder(seen[0] if len(seen) > 1 else path), f"{path}: extends")
    try:
        is_there = origin.exists()
    except OSError as error:
        raise InputError(f"{path}: extends: found {shown(base)}: {error.strerror}") from error
    if not is_there:
        raise InputError(f"{path}: extends: {origin}: no such file")
    if origin.resolve() in seen:
        raise InputError(f"{path}: extends: {base!r} leads back to a file that extends this one")
    if len(seen) >= MOST_FILES:
        raise InputError(f"{path}: extends: {MOST_FILES} files extend one another, expected fewer")
    return origin


def _check_tables(table: Table, path: Path) -> None:
    variants = table.get("variants", {})
    known = variants if isinstance(variants, dict) else {"": variants}
    parts = {name: part for name, part in known.items() if name != UNSET}
    if not all(isinstance(part, dict) for part in parts.values()):
        raise InputError(f"{path}: variants: expected tables, as in [variants.NAME]")
    for name, part in parts.items():
        if name == "" or (expected := wrong_with_name(name)):
            expected = expected if name else "a name"
            raise InputError(f"{path}: variants: found {shown(name)}, expected {expected}")
        if not isinstance(part.get("sweep", {}), dict):
            raise InputError(
                f"{path}: variants.{name}.sweep: found {shown(part['sweep'])}, expected a table, as in "
                f"[variants.{name}.sweep.grid]"
            )
        if key := next((key for key in OF_FILES if key in part and key != "sweep"), None):
            raise InputError(
                f"{path}: variants.{name}.{key}: no setting of a run, expected it at the top of a file"
            )
    if not isinstance(table.get("sweep", {}), dict):
        raise InputError(
            f"{path}: sweep: found {shown(table['sweep'])}, expected a table, as in [sweep.grid]"
        )
