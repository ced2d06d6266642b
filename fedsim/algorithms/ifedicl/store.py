"""A task store: what was learned of a task, kept in a file, so that nobody learns it again."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, ValidationError, model_validator

from fedsim.catalog import StatedPath, Strict
from fedsim.errors import InputError
from fedsim.icl.tasks.text_files import check_unchanged
from fedsim.problems.injection.problem import InjectionProblem

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_BYTES = 64 * 2**20
"""A file larger than this is not read: vectors of the largest open models take some megabytes."""


class Learned(Strict):
    """What a store keeps of a task: the vectors and coefficients, and what they are good for.

    Source: Li et al., "IFed-ICL", arXiv 2511.06757, "Application Optimization".
    """

    model: dict[str, Any]
    """What the model says of itself."""
    template: dict[str, Any]
    """How texts are written."""
    at: str
    """At which tokens vectors are injected."""
    n_layers: int = Field(ge=1)
    width: int = Field(ge=1)
    coefficients: tuple[float, ...]
    """4 L numbers: by layer, by module (attention, MLP), lambda before beta."""
    vectors: str
    """2 L d numbers of half precision, little-endian, in base64: by layer, by module."""

    @model_validator(mode="after")
    def _check_sizes(self) -> Learned:
        n_numbers = 2 * self.n_layers * self.width
        if len(self.coefficients) != 4 * self.n_layers or len(self._halves()) != n_numbers:
            raise ValueError(
                f"found {len(self.coefficients)} coefficients, expected those of {self.n_layers} layers, "
                f"and {n_numbers} numbers of vectors"
            )
        return self

    @classmethod
    def of(cls, problem: InjectionProblem, vectors: Tensor, coefficients: Tensor) -> Learned:
        """Return what is kept of a problem, with vectors (L, 2, d) and coefficients (L, 2, 2)."""
        halves = vectors.half().numpy().astype("<f2").tobytes()
        return cls(
            **_meant(problem),
            coefficients=tuple(coefficients.float().flatten().tolist()),
            vectors=base64.b64encode(halves).decode(),
        )

    def check(self, problem: InjectionProblem) -> None:
        """Check that what was learned can be used for a problem.

        Raises:
            ValueError: it was learned with another model or template.
        """
        needed, names = _meant(problem), {"n_layers": "layers", "width": "width", "at": "problem.at"}
        for key, name in names.items():
            if getattr(self, key) != needed[key]:
                raise ValueError(
                    f"learned with {name} {getattr(self, key)!r}, but here it is {needed[key]!r}"
                )
        if self.model != needed["model"]:
            raise ValueError("learned with another model than problem.model")
        if self.template != needed["template"]:
            raise ValueError("learned with another template than problem.task.prompt")

    def tensors(self) -> tuple[Tensor, Tensor]:
        """Return the vectors, (L, 2, d), and the coefficients, (L, 2, 2)."""
        import torch

        halves = torch.from_numpy(self._halves().astype(np.float64))
        numbers = torch.tensor(self.coefficients, dtype=torch.float64)
        return halves.view(self.n_layers, 2, self.width), numbers.view(self.n_layers, 2, 2)

    def text(self) -> str:
        """Return the content of its file."""
        return json.dumps(self.model_dump(mode="json")) + "\n"

    def _halves(self) -> np.ndarray[Any, np.dtype[np.float16]]:
        try:
            return np.frombuffer(base64.b64decode(self.vectors, validate=True), dtype="<f2")
        except ValueError as error:
            raise ValueError("vectors: expected numbers of two bytes in base64") from error


class TaskStore(Strict):
    """A file of a task store: the `learned.json` of an earlier run that had ``record.learned = true``."""

    file: StatedPath
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """The hash of the file; filled in when the scenario is loaded."""

    @model_validator(mode="before")
    @classmethod
    def _identify(cls, settings: Any) -> Any:
        if not isinstance(settings, dict) or not isinstance(settings.get("file"), str):
            return settings
        file, stated = Path(settings["file"]).resolve(), settings.get("sha256")
        try:
            found = hashlib.sha256(_content(file)).hexdigest()
            check_unchanged(file, found, stated)
        except InputError as error:
            raise ValueError(str(error)) from error
        return settings | {"file": str(file), "sha256": found if stated is None else stated}

    def learned(self) -> Learned:
        """Return what the file holds.

        Raises:
            InputError: it cannot be read, or is no such file.
        """
        return _read(Path(self.file), self.sha256 or "")


@lru_cache(maxsize=4)
def _read(file: Path, sha256: str) -> Learned:
    content = _content(file)
    check_unchanged(file, hashlib.sha256(content).hexdigest(), sha256)
    try:
        return Learned.model_validate(json.loads(content))
    except (ValidationError, ValueError, RecursionError) as error:
        why = "no JSON" if isinstance(error, json.JSONDecodeError | RecursionError) else str(error)
        if isinstance(error, ValidationError):
            wrong = error.errors()[0]
            place = ".".join(map(str, wrong["loc"]))
            why = f"{place}: {wrong['msg']}".removeprefix(": ")
        raise InputError(f"{file} is not what a run has learned (`learned.json`): {why}") from error


def _content(file: Path) -> bytes:
    try:
        if file.stat().st_size > LARGEST_BYTES:
            raise InputError(
                f"{file}: larger than {LARGEST_BYTES:,} bytes, so it is not what a run has learned"
            )
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from error


def _meant(problem: InjectionProblem) -> dict[str, Any]:
    """Return what vectors and coefficients that are learned of a problem are good for."""
    template: Any = getattr(problem.task, "prompt", None)
    return {
        "model": problem.model_identity,
        "template": {} if template is None else template.model_dump(mode="json"),
        "at": problem.at,
        "n_layers": problem.shape.n_layers,
        "width": problem.shape.width,
    }
