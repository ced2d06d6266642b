"""Static word vectors: small, offline, the same on every machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fedsim.errors import InputError
from fedsim.icl.encoders.base import Encoder, Floats, unit_rows

DIMENSIONS = 256
"""The dimension of the weights that come with the package."""


class WordLlama(Encoder):
    """The mean of static token vectors, of weights that the package `wordllama` carries: nothing is fetched.

    Source: Miller, "WordLlama: recycled token embeddings from large language models", 2024
    (github.com/dleemiller/WordLlama), model l2_supercat, 256 dimensions.
    """

    kind: Literal["wordllama"] = "wordllama"

    def encode(self, texts: Sequence[str]) -> Floats:
        return unit_rows(_loaded().embed(list(texts)).astype(np.float64))


@cache
def _loaded() -> Any:
    package = find_spec("wordllama")
    if package is None or package.origin is None:
        raise InputError("the encoder 'wordllama' needs the extra 'llm': pip install 'fedsim-icl[llm]'")
    with _root_logger_kept():
        from wordllama import WordLlama as Package  # type: ignore[import-untyped]  # ships no types
    # The tokenizer is in the package too, but is looked for there only when that is the cache's folder.
    folder = Path(package.origin).parent
    try:
        return Package.load(dim=DIMENSIONS, cache_dir=folder, disable_download=True)
    except FileNotFoundError as error:
        raise InputError("the package wordllama holds no weights; install it again") from error


@contextmanager
def _root_logger_kept() -> Iterator[None]:
    """Undo what importing `wordllama` does to all logging: it would make other packages talk."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
