"""Scenario files: TOML with ``extends``, ``variants`` and overrides, resolved into scenarios and back."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fedsim.errors import InputError, nearest
from fedsim.scenario.explain import explain, shown
from fedsim.scenario.model import Scenario

Table = dict[str, Any]


def load_scenario(path: str | Path, variant: str = "", overrides: Iterable[str] = ()) -> Scenario:
    """Load one scenario.

    Args:
        path: the TOML file.
        variant: which of its variants; a file without any needs none.
        overrides: ``"dotted.key=value"`` settings that go over the file's.

    Raises:
        InputError: the file is missing, broken or says something impossible.
    """
    table, variants = _read(Path(path))
    if variant not in variants and (variant or variants):
        hint = nearest(variant, variants)
        known = ", ".join(variants) or "none"
        raise InputError(f"{path}: no variant {variant!r}{hint} (variants: {known})")
    return _resolve(Path(path), table, variant, variants, overrides)


def load_variants(
    path: str | Path, overrides: Iterable[str] = (), only: Iterable[str] = ()
) -> list[Scenario]:
    """Load every variant of a file, or those named in `only`; a file without variants is one scenario."""
    table, variants = _read(Path(path))
    if unknown := [name for name in only if name not in variants]:
        known = ", ".join(variants) or "none"
        raise InputError(
            f"{path}: no variant {unknown[0]!r}{nearest(unknown[0], variants)} (variants: {known})"
        )
    overrides = list(overrides)
    chosen = list(dict.fromkeys(only)) or list(variants) or [""]
    return [_resolve(Path(path), table, variant, variants, overrides) for variant in chosen]


def dump(scenario: Scenario) -> str:
    """Return the fully resolved scenario as TOML; loading it gives an equal scenario."""
    import tomli_w

    return tomli_w.dumps(resolved(scenario))


def resolved(scenario: Scenario) -> Table:
    """Return the fully resolved scenario as the table that `dump` writes."""
    table = scenario.model_dump(mode="json", exclude_none=True)
    if scenario.cuts is None:
        table["cuts"] = False
    return table


def parse(table: Table, place: str = "scenario") -> Scenario:
    """Turn a table into a scenario.

    Raises:
        InputError: with a sentence for each thing that is wrong.
    """
    try:
        return Scenario.model_validate(table)
    except ValidationError as error:
        raise InputError(explain(error, place, table)) from error


def merged(base: Table, over: Table) -> Table:
    """Lay one table over another.

    Tables are merged key by key; anything else is replaced, and so is a part whose kind changes: the settings
    of another kind mean nothing to it.
    """
    result = dict(base)
    for key, value in over.items():
        old = base.get(key)
        result[key] = value
        if isinstance(old, dict) and isinstance(value, dict):
            same_kind = value.get("kind", old.get("kind")) == old.get("kind")
            result[key] = merged(old, value) if same_kind else value
    return result


def _resolve(
    path: Path, table: Table, variant: str, variants: dict[str, Table], overrides: Iterable[str]
) -> Scenario:
    table = {"name": path.stem, **table}
    if variant:
        table = merged(table, {**variants[variant], "variant": variant})
    for override in overrides:
        table = _overridden(table, override)
    return parse(table, str(path))


def _read(path: Path, seen: tuple[Path, ...] = ()) -> tuple[Table, dict[str, Table]]:
    """Read a file and those it extends; return the table and its variants."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: a folder, expected a scenario file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text in UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}") from error
    table.pop("$schema", None)  # for editors
    _locate_files(table, path.parent)
    _check_variants(table, path)
    base = table.pop("extends", None)
    if base is not None:
        origin = _origin(path, base, (*seen, path.resolve()))
        inherited, variants = _read(origin, (*seen, path.resolve()))
        table = merged(inherited | {"variants": variants}, table)
    return table, table.pop("variants", {})


def _origin(path: Path, base: Any, seen: tuple[Path, ...]) -> Path:
    """Return the file that a file extends."""
    if not isinstance(base, str):
        raise InputError(f"{path}: extends: found {shown(base)}, expected the path of a scenario file")
    origin = path.parent / base
    if not origin.exists():
        raise InputError(f"{path}: extends: {origin}: no such file")
    if origin.resolve() in seen:
        raise InputError(f"{path}: extends: {base!r} leads back to a file that extends this one")
    return origin


def _check_variants(table: Table, path: Path) -> None:
    variants = table.get("variants", {})
    if not isinstance(variants, dict) or not all(isinstance(part, dict) for part in variants.values()):
        raise InputError(f"{path}: variants: expected tables, as in [variants.NAME]")


def _locate_files(value: Any, folder: Path) -> None:
    """Make the files that parts read relative to the scenario that names them."""
    if isinstance(value, dict):
        for key, path in value.items():
            if isinstance(path, str) and (key in ("file", "folder") or path.endswith(".gguf")):
                value[key] = str(folder / path)
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            _locate_files(part, folder)


def _overridden(table: Table, override: str) -> Table:
    """Lay one ``dotted.key=value`` over a table; numbers in the key are places in a list."""
    key, equals, text = override.partition("=")
    steps = key.strip().split(".")
    if not equals or not all(steps):
        raise InputError(f"--set {override!r}: expected dotted.key=value")
    return _with(table, steps, _value(text.strip(), override), override)


def _value(text: str, override: str) -> Any:
    """Read a value as TOML; a bare word, as in ``algorithm.kind=sdbt``, is a text."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError as error:
        if text.startswith(("{", "[", '"', "'")):
            raise InputError(f"--set {override!r}: not a value of TOML") from error
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _with(old: Any, steps: list[str], value: Any, override: str) -> Any:
    if not steps:
        return merged({"": old}, {"": value})[""]
    step, rest = steps[0], steps[1:]
    if isinstance(old, list):
        if not step.isdigit() or int(step) >= len(old):
            raise InputError(
                f"--set {override!r}: expected a place from 0 to {len(old) - 1} in the list, got {step!r}"
            )
        return [
            _with(part, rest, value, override) if place == int(step) else part
            for place, part in enumerate(old)
        ]
    table = old if isinstance(old, dict) else {}
    return (
        merged(table, {step: _with(table.get(step), rest, value, override)})
        if rest
        else merged(table if step != "kind" or table.get("kind") == value else {}, {step: value})
    )
