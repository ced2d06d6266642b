"""The interface of an encoder: texts as points whose inner products are cosine similarities."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedsim.answering import answers, array, refuse
from fedsim.catalog import Part

Floats = NDArray[np.float64]


def _vectors(part: Part, name: str, given: list[Any], answer: Any) -> Floats:
    shape = np.shape(answer)
    if len(shape) != 2 or shape[0] != len(given[0]):
        refuse(name, answer, f"an array of shape ({len(given[0])}, d)")
    found: Floats = array(name, answer, shape)
    return found


class Encoder(Part):
    """A way to turn texts into vectors."""

    @abstractmethod
    @answers(_vectors)
    def encode(self, texts: Sequence[str]) -> Floats:
        """Return a vector of length one for each text, (n, d); a text with nothing to encode gives zeros.

        A text's vector depends on that text alone.

        Raises:
            InputError: the encoder's package or weights are missing.
        """


def unit_rows(vectors: Floats) -> Floats:
    """Return the rows divided by their lengths, (n, d); rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths == 0, 1.0, lengths)
