"""What was fitted to a real model's answers, as a file that holds no text."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from fedsim.catalog import Strict
from fedsim.errors import InputError
from fedsim.icl.encoders import AnyEncoder, WordLlama
from fedsim.icl.models.reading import FragmentReading
from fedsim.icl.tasks.base import Text
from fedsim.plain_text import read_text
from fedsim.whole_files import write_whole

Row = tuple[float, ...]


class FittedParameters(Strict):
    """The numbers of the closed form in `Fitted`, and what they were fitted to.

    Texts and words appear as hashes. That hides a sentence; a single common word can be found by trying.
    """

    labels: tuple[str, ...]
    """The label word of each of the U classes."""
    encoder: AnyEncoder = WordLlama()
    centre: Row
    """Subtracted from an embedding, (D,)."""
    projection: tuple[Row, ...]
    """An embedding to d features, (D, d)."""
    base: tuple[Row, ...]
    """W0, (U, d + 1)."""
    step: float
    queries: dict[str, Row]
    """Each query's own scores, by its `address`, (U,)."""
    demonstrations: dict[str, Row]
    """Scores by which a demonstration favours each label whatever the query is, (U,)."""
    fragment: FragmentReading
    """How the scores of a fragment's words add up."""
    words: dict[str, Row]
    """Each word's scores, (U,)."""
    gains: dict[str, float]
    """By which share each demonstration and word makes the box surer of what it thinks of a query."""
    fitted_to: dict[str, Any] = Field(default_factory=dict)
    """The model's identity, numbers of prompts and queries, ridge and seed: for readers, not for answers."""

    @model_validator(mode="after")
    def _check_sizes(self) -> FittedParameters:
        n_classes, n_features = len(self.labels), len(self.projection[0]) if self.projection else 0
        rows = [*self.queries.values(), *self.demonstrations.values(), *self.words.values()]
        fits = (
            n_classes >= 2
            and len(self.projection) == len(self.centre)
            and {len(row) for row in self.projection} <= {n_features}
            and [len(row) for row in self.base] == [n_features + 1] * n_classes
            and {len(row) for row in rows} <= {n_classes}
        )
        if not fits:
            raise ValueError("the sizes of labels, centre, projection, base and effects do not fit together")
        return self


def address(text: Text | str) -> str:
    """Return the name of a text or word in a file of parameters: a hash, since texts are private."""
    return hashlib.sha256(json.dumps(text).encode()).hexdigest()[:16]


def write(parameters: FittedParameters, file: Path) -> None:
    """Write a file of parameters, whole or not at all.

    Raises:
        InputError: the place cannot be written to.
    """
    write_whole(file, parameters.model_dump_json(indent=1) + "\n")


def read(file: Path) -> FittedParameters:
    """Return the parameters in a file.

    Raises:
        InputError: there are none.
    """
    try:
        return FittedParameters.model_validate(_frozen(json.loads(read_text(file))))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = f"{first['loc'][0]}: " if first["loc"] else ""
        raise InputError(f"{file} is not a file of fitted parameters: {where}{first['msg']}") from error
    except ValueError as error:
        raise InputError(f"{file} is not a file of fitted parameters: not JSON: {error}") from error


def _frozen(value: Any) -> Any:
    """Return what JSON holds with tuples for arrays, at any depth."""
    if isinstance(value, list):
        return tuple(map(_frozen, value))
    return {key: _frozen(part) for key, part in value.items()} if isinstance(value, dict) else value
