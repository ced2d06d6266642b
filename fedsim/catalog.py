"""Interchangeable parts: the configuration is the component.

A *part* is a frozen pydantic model with a literal ``kind``; its fields are its settings and its methods are
pure. A *family* is a readable list of parts (delays, algorithms, optimizers, ...). A stranger's part joins
through a Python entry point of the group ``fedsim.<family>``, or is named in a scenario file as
``kind = "package.module:ClassName"``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from fedsim.errors import nearest

FAMILY_MARK = "x-fedsim-family"


class Part(BaseModel):
    """A component of a scenario: frozen, strict about unknown keys, without NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants")

    kind: str

    @classmethod
    def summary(cls) -> str:
        """Return the first line of the docstring."""
        return (cls.__doc__ or "").strip().splitlines()[0]

    @classmethod
    def source(cls) -> str:
        """Return what the docstring states after ``Source:``, on one line."""
        _, found, rest = (cls.__doc__ or "").partition("Source:")
        return " ".join(rest.split("\n\n")[0].split()) if found else ""


class Family:
    """A named list of parts, and the pydantic type of a field that takes any one of them."""

    def __init__(self, name: str, base: type[Part], *parts: type[Part]) -> None:
        self.name = name
        self.base = base
        self.builtin: dict[str, type[Part]] = {}
        self.add(*parts)

    def add(self, *parts: type[Part]) -> None:
        """Add built-in parts; needed only by a family whose parts hold parts of the same family."""
        for part in parts:
            kind = part.model_fields["kind"].default
            if kind in self.builtin:
                raise ValueError(f"two parts of the family {self.name!r} have the kind {kind!r}")
            self.builtin[kind] = part

    def __iter__(self) -> Iterator[tuple[str, type[Part]]]:
        return iter((self.builtin | self.installed).items())

    def __getitem__(self, kind: str) -> type[Part]:
        return self.resolve(kind)

    @cached_property
    def installed(self) -> dict[str, type[Part]]:
        """The parts that other distributions offer, by entry-point name."""
        return {point.name: point.load() for point in entry_points(group=f"fedsim.{self.name}")}

    def resolve(self, kind: str) -> type[Part]:
        """Return the class behind a kind.

        Raises:
            PydanticCustomError: the kind is unknown; the message names the nearest known one.
        """
        if kind in self.builtin:
            return self.builtin[kind]
        if kind in self.installed:
            return self.installed[kind]
        if ":" in kind:
            return self._imported(kind)
        known = [*self.builtin, *self.installed]
        raise PydanticCustomError(
            "unknown_kind",
            "unknown kind {kind}{hint} (known: {known})",
            {"kind": repr(kind), "hint": nearest(kind, known), "known": ", ".join(known)},
        )

    def _imported(self, kind: str) -> type[Part]:
        module, _, name = kind.partition(":")
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise PydanticCustomError(
                "unknown_kind", "cannot import {kind}: {why}", {"kind": repr(kind), "why": str(error)}
            ) from error
        if not (isinstance(found, type) and issubclass(found, self.base)):
            raise PydanticCustomError(
                "unknown_kind",
                "{kind} is not a subclass of {base}",
                {"kind": repr(kind), "base": f"{self.base.__module__}.{self.base.__name__}"},
            )
        return found

    def validate(self, value: Any) -> Part:
        """Turn a table of a scenario file into a part."""
        if isinstance(value, self.base):
            return value
        if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
            raise PydanticCustomError(
                "kind_missing",
                'expected a table with kind = "..." (known: {known})',
                {"known": ", ".join(kind for kind, _ in self)},
            )
        return self.resolve(value["kind"]).model_validate(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.validate)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        # A mark, not the parts themselves: a part may hold parts of its own family. `schema.py` resolves it.
        return {FAMILY_MARK: self.name}
