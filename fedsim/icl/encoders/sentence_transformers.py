"""Any model of the package sentence-transformers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import model_validator

from fedsim.errors import InputError
from fedsim.icl.encoders.base import Encoder, Floats, unit_rows
from fedsim.safety import is_safe

if TYPE_CHECKING:
    from collections.abc import Callable


class SentenceTransformers(Encoder):
    """A sentence encoder by its name or folder, for example the RoBERTa models that KATE was published with.

    Source: Reimers and Gurevych, "Sentence-BERT", EMNLP 2019, section 3.
    """

    kind: Literal["sentence_transformers"] = "sentence_transformers"
    model: str
    """A folder, or a name that is looked up among the downloaded models and then at the model hub."""

    @model_validator(mode="after")
    def _from_here(self) -> SentenceTransformers:
        if is_safe():
            raise ValueError("with --safe no model is loaded by its name: the hub is another machine")
        return self

    def encode(self, texts: Sequence[str]) -> Floats:
        encode = _loaded(self.model)
        # One at a time: padding to the longest of a batch would change the last digits of the others.
        rows = [encode(text, show_progress_bar=False) for text in texts]
        return unit_rows(np.array(rows, dtype=np.float64).reshape(len(rows), -1 if rows else 0))


@cache
def _loaded(model: str) -> Callable[..., Any]:
    if find_spec("sentence_transformers") is None:
        raise InputError(
            "the encoder 'sentence_transformers' needs a package: pip install sentence-transformers"
        )
    # An optional package: where it is missing, so are its types.
    from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found, unused-ignore]

    try:
        return SentenceTransformer(model).encode
    except (OSError, ValueError) as error:
        raise InputError(f"no sentence encoder {model!r} could be loaded: give a folder or a name") from error
