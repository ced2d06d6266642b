"""How many tokens prompts are for a model on this machine: counted by llama.cpp once, and kept."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from fedsim.errors import FedsimError, InputError
from fedsim.icl.models.local.own_process import RuntimeProcess
from fedsim.icl.models.local.part import runtime_version
from fedsim.icl.models.local.runtime import Runtime
from fedsim.whole_files import write_whole

CONTEXT_TOKENS = 256
"""What llama.cpp makes room for: it answers no prompt here."""

_FAILED: dict[str, str] = {}
"""What is wrong with files of weights that could not be loaded, by their hashes."""


@lru_cache(maxsize=64)
def mean_tokens(file: Path, sha256: str, as_chat: bool, prompts: tuple[str, ...], kept: bool) -> float:
    """Return the mean number of tokens of some prompts, looked up and kept on disk if so wished (`kept`).

    No prompt is kept. The other arguments and the errors are those of `token_counts`.
    """
    asked = json.dumps([sha256, runtime_version(), as_chat, prompts])
    place = _folder() / hashlib.sha256(asked.encode()).hexdigest() if kept else None
    if place is not None:
        with suppress(OSError, ValueError):
            return float(place.read_text())
    counts = token_counts(file, sha256, as_chat, prompts)
    found = sum(counts) / len(counts)
    if place is not None:
        with suppress(FedsimError):  # counted again next time
            write_whole(place, repr(found))
    return found


def token_counts(file: Path, sha256: str, as_chat: bool, texts: Sequence[str]) -> list[int]:
    """Return the number of tokens of each text.

    Args:
        file: the weights, with the vocabulary.
        sha256: of their content.
        as_chat: whether each text is the one message of a chat.
        texts: whole prompts.

    Raises:
        InputError: the package xllamacpp is missing, or cannot load the file.
        ModelError: llama.cpp has died.
    """
    if sha256 in _FAILED:
        raise InputError(_FAILED[sha256])
    try:
        # Elsewhere a process cannot hand over the end of a pipe by its number.
        runtime = (RuntimeProcess if os.name == "posix" else Runtime)(file, CONTEXT_TOKENS)
    except InputError as error:
        _FAILED[sha256] = str(error)
        raise
    try:
        before, after = runtime.chat_template() if as_chat else ("", "")
        return [len(runtime.tokens(before + text + after, whole=True)) for text in texts]
    finally:
        runtime.close()


def _folder() -> Path:
    from fedsim.icl.answers.cache import cache_root

    return cache_root() / "token_counts"
