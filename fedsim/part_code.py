"""The code that parts run: what tells one version of somebody's part from the next.

A scenario names a part and states its settings, which say nothing of its code. For parts of other packages,
the code belongs to the address of a run. It is every file with Python code of the package of the part, and of
whatever that imports and is not installed: modules in the folder where one works, packages that are being
edited. Other packages that it uses, and files of data, are not looked at.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.machinery import ModuleSpec, all_suffixes
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from pydantic import BaseModel

from fedsim.catalog import Part

OURS = frozenset({"fedsim", "fedsim_analysis"})
"""Packages whose version of fedsim tells what they do."""

PACKAGE = "fedsim-icl"

MAIN = ("__main__", "__mp_main__")
"""What Python calls the module that it was started with; there is a second name in other processes."""

UNKNOWN = "unknown"
"""How a digest begins where there is no file to read."""

KNOWN = OURS | sys.stdlib_module_names | {"pydantic", "numpy"}
"""Packages whose classes a part builds on without being another part for it."""

SKIPPED = frozenset({"__pycache__", "site-packages", "node_modules"})
"""Folders within a package that are not of its code; those that begin with a dot are none either."""

CODE = tuple(all_suffixes())
"""How the names of files end that Python imports."""


class PartCode(NamedTuple):
    """What somebody else's part runs."""

    modules: dict[str, str]
    """SHA-256 of the code, by package or module that is a file of its own."""
    packages: dict[str, str]
    """Versions, by the installed package that the part comes from; empty where none is installed."""

    @property
    def mark(self) -> str:
        """A short hash of it all."""
        return hashlib.sha256(json.dumps(self, sort_keys=True).encode()).hexdigest()[:12]


class _Home(NamedTuple):
    """A package, or a module in no package, as Python finds it."""

    name: str
    spec: ModuleSpec

    @property
    def files(self) -> dict[str, Path]:
        """Its files of code, by the place within it."""
        if archive := getattr(self.spec.loader, "archive", None):  # packed
            return {Path(archive).name: Path(archive)}
        if self.spec.submodule_search_locations is None:
            return {Path(self.spec.origin or "").name: Path(self.spec.origin or "")}
        return dict(_within(self.spec.submodule_search_locations))

    @property
    def installed(self) -> bool:
        """Whether it lies where packages are installed, and is not edited."""
        return _is_installed(Path(self.spec.origin or ""))


def code_of(scenario: BaseModel) -> dict[str, PartCode]:
    """Return the code of each part of somebody else's, by ``module:Class``; nothing for parts of ours."""
    strangers = {type(model) for model in models_in(scenario) if not _is_ours(type(model))}
    return {own_name(kind): code_of_class(kind) for kind in sorted(strangers, key=own_name)}


def models_in(value: Any) -> Iterator[BaseModel]:
    """Yield a model of pydantic's and those within it, however deep."""
    if isinstance(value, BaseModel):
        yield value
        inner: Iterable[Any] = [getattr(value, name) for name in type(value).model_fields]
    elif isinstance(value, Mapping):
        inner = value.values()
    else:
        inner = value if isinstance(value, tuple | list) else ()
    for part in inner:
        yield from models_in(part)


def own_name(kind: type) -> str:
    """Return what a class is called wherever it is named from: ``module:Class``."""
    return f"{module_name(kind.__module__)}:{kind.__qualname__}"


def has_own_kinds(scenario: BaseModel) -> bool:
    """Whether each part is under the kind that `with_own_kinds` gives it."""
    return all(own_kind(part) == part.kind for part in models_in(scenario) if isinstance(part, Part))


def with_own_kinds(table: Any, value: Any) -> Any:
    """Return the table of a model with each part under one kind: a part may be named in several ways."""
    if isinstance(value, BaseModel) and isinstance(table, dict):
        named = {key: with_own_kinds(part, getattr(value, key, None)) for key, part in table.items()}
        return named | {"kind": own_kind(value)} if isinstance(value, Part) else named
    if isinstance(value, Mapping) and isinstance(table, dict):
        return {key: with_own_kinds(part, value.get(key)) for key, part in table.items()}
    if isinstance(value, tuple | list) and isinstance(table, list) and len(table) == len(value):
        return [with_own_kinds(part, inner) for part, inner in zip(table, value, strict=True)]
    return table


def own_kind(part: Part) -> str:
    """Return the kind of one of our parts, and the place of somebody else's."""
    own = type(part).model_fields["kind"].default
    return own if _is_ours(type(part)) and isinstance(own, str) else own_name(type(part))


@cache
def code_of_fedsim() -> str:
    """Return the SHA-256 of the code of fedsim, as it is installed here."""
    home = _home("fedsim")
    assert home is not None
    return _digest(home)


def _is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in OURS


def code_of_class(kind: type) -> PartCode:
    """Return the code of a class and of what it derives from."""
    loaded, found = _CODE.get(kind, ((), None))
    if found is None or not _still(loaded):
        homes = _homes(kind)
        if homes is None:  # typed in somewhere: no two sessions are known to mean the same
            found = PartCode({own_name(kind).partition(":")[0]: f"{UNKNOWN}-{uuid4().hex}"}, {})
        else:
            found = PartCode({name: _digest(homes[name]) for name in sorted(homes)}, _packages(homes))
        _CODE[kind] = _loaded(homes or ()), found
    return found


_Loaded = tuple[tuple[str, ModuleSpec | None], ...]
"""Modules, as they were loaded when their files were read."""

# What is read once counts until its modules are loaded anew, as in a notebook: that is the code that runs.
_CODE: dict[type, tuple[_Loaded, PartCode]] = {}
_DIGESTS: dict[str, tuple[_Loaded, str]] = {}


def _loaded(homes: Iterable[str]) -> _Loaded:
    """Return the modules of packages that are loaded."""
    known = tuple(homes)
    names = [name for name in list(sys.modules) if any(f"{name}.".startswith(f"{home}.") for home in known)]
    return tuple((name, _spec_of(name)) for name in names)


def _still(loaded: _Loaded) -> bool:
    return all(_spec_of(name) is spec for name, spec in loaded)


def _spec_of(name: str) -> ModuleSpec | None:
    return getattr(sys.modules.get(name), "__spec__", None)


def _homes(kind: type) -> dict[str, _Home] | None:
    """Return where the code of a class lies; none where one of its modules is no file."""
    homes: dict[str, _Home] = {}
    todo = []
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] in KNOWN:
            continue
        home = _home(base.__module__)
        if home is None or not all(file.is_file() for file in home.files.values()):
            return None
        todo.append(home)
    while todo:
        home = todo.pop()
        if home.name in homes:
            continue
        homes[home.name] = home
        if not home.installed:
            used = (_home(name) for name in _imports(home))
            todo += [other for other in used if other is not None and not other.installed]
    return homes


def _home(module: str) -> _Home | None:
    """Return the outermost package with code that a module is in, or the module itself; nothing is run."""
    if module_name(module) != module:
        file = getattr(sys.modules[module], "__file__", None)
        return _Home(module_name(module), ModuleSpec(module, None, origin=file)) if file else None
    pieces = module.split(".")
    for length in range(1, len(pieces) + 1):
        name = ".".join(pieces[:length])
        try:
            spec = _spec_of(name) or find_spec(name)
        except (ImportError, ValueError, AttributeError):
            return None
        if spec is None:
            return None
        if spec.has_location and spec.origin is not None:
            return _Home(name, spec)
        if spec.submodule_search_locations is None:
            return None
    return None


def module_name(module: str) -> str:
    """Return the name of a module; that of its file for the one that Python was started with."""
    if module not in MAIN:
        return module
    main = sys.modules[module]
    named, file = getattr(getattr(main, "__spec__", None), "name", module), getattr(main, "__file__", None)
    if named not in MAIN:
        return str(named)
    return Path(file).stem if file else module


def _imports(home: _Home) -> Iterator[str]:
    """Yield the full names that the files of a package import, those of the standard library left out."""
    for place, file in home.files.items():
        if file.suffix != ".py":
            continue
        try:
            tree = ast.parse(file.read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue
        inside = home.name.split(".") if home.spec.submodule_search_locations is not None else []
        package = ".".join([*inside, *Path(place).parts[:-1]]) or home.name.rpartition(".")[0]
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                start = ".".join([*above, *([node.module] if node.module else [])])
                names = [f"{start}.{alias.name}" for alias in node.names if start]
            else:
                continue
            yield from (name for name in names if name.partition(".")[0] not in KNOWN)


def _within(folders: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Yield the files of code below folders, by their place in them."""
    for top in folders:
        seen: set[str] = set()
        for folder, inner, files in os.walk(top, followlinks=True):
            real = os.path.realpath(folder)
            if real in seen:  # a link that leads back
                inner.clear()
                continue
            seen.add(real)
            inner[:] = sorted(name for name in inner if name not in SKIPPED and not name.startswith("."))
            for name in sorted(files):
                if name.endswith(CODE):
                    file = Path(folder, name)
                    yield file.relative_to(top).as_posix(), file


def _digest(home: _Home) -> str:
    """Return a hash of all code in a package; that of its file for a module."""
    loaded, digest = _DIGESTS.get(home.name, ((), ""))
    if not digest or not _still(loaded):
        total = hashlib.sha256()
        for place, file in sorted(home.files.items()):
            total.update(f"{place} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
        digest = total.hexdigest()
        _DIGESTS[home.name] = _loaded([home.name]), digest
    return digest


@cache
def _is_installed(file: Path) -> bool:
    roots = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    return (
        not SKIPPED.isdisjoint(file.parts)
        or "dist-packages" in file.parts
        or any(file.is_relative_to(root) for root in roots if root)
    )


def _packages(homes: Mapping[str, _Home]) -> dict[str, str]:
    """Return the versions of the installed packages that modules come from."""
    brought = {
        distribution.name: distribution.version
        for distribution in distributions()
        if distribution.name != PACKAGE and any(_brings(distribution, home) for home in homes.values())
    }
    return dict(sorted(brought.items()))


def _brings(distribution: Distribution, home: _Home) -> bool:
    """Whether an installed package brought a module, points to where it lies, or offers parts in it."""
    top, file = home.name.partition(".")[0], Path(home.spec.origin or "")
    if any(
        point.group.startswith("fedsim.") and point.module.partition(".")[0] == top
        for point in distribution.entry_points
    ):
        return True
    if home.installed:
        record = "\n" + (distribution.read_text("RECORD") or "")
        listed = f"\n{top}/" in record or f"\n{top}.py," in record
        return listed and file.is_relative_to(str(distribution.locate_file("")))
    try:
        url = urlsplit(json.loads(distribution.read_text("direct_url.json") or "{}").get("url", ""))
    except (ValueError, AttributeError):
        return False
    return url.scheme == "file" and file.is_relative_to(unquote(url.path))
