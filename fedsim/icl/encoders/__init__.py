"""Text encoders, one per file: which texts are near one another."""

from __future__ import annotations

from typing import Annotated

from fedsim.catalog import Family
from fedsim.icl.encoders.base import Encoder
from fedsim.icl.encoders.sentence_transformers import SentenceTransformers
from fedsim.icl.encoders.wordllama import WordLlama

ENCODERS = Family("encoders", Encoder, WordLlama, SentenceTransformers)
AnyEncoder = Annotated[Encoder, ENCODERS]

__all__ = ["ENCODERS", "AnyEncoder", "Encoder", "SentenceTransformers", "WordLlama"]
