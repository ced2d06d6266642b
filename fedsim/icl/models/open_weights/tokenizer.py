"""Texts cut into tokens by llama.cpp, which starts when the first text comes."""

from __future__ import annotations

import os
from pathlib import Path

from fedsim.icl.models.label_rule import LabelTokens, Tokens
from fedsim.icl.models.local.own_process import RuntimeProcess
from fedsim.icl.models.local.runtime import Runtime

CONTEXT_TOKENS = 256
"""What llama.cpp makes room for: it answers no prompt here."""


class Tokenizer:
    """Cuts texts into tokens, each text once.

    Args:
        weights: the GGUF file with the vocabulary.
    """

    def __init__(self, weights: Path) -> None:
        self._weights = weights
        self._runtime: Runtime | RuntimeProcess | None = None
        self._known: dict[str, Tokens] = {}
        self.labels = LabelTokens(lambda text: self._opened().tokens(text))
        """The tokens of label words."""

    def tokens(self, prompt: str) -> Tokens:
        """Return the tokens of a whole prompt.

        Raises:
            InputError: the package xllamacpp is missing, or cannot load the file.
            ModelError: llama.cpp has died.
        """
        if prompt not in self._known:
            self._known[prompt] = self._opened().tokens(prompt, whole=True)
        return self._known[prompt]

    def text(self, tokens: Tokens) -> str:
        """Return the text of some tokens; errors as for `tokens`."""
        return self._opened().text(tokens)

    def close(self) -> None:
        """Free llama.cpp, which comes back when needed."""
        if self._runtime is not None:
            self._runtime.close()
        self._runtime = None

    def _opened(self) -> Runtime | RuntimeProcess:
        if self._runtime is None:
            # Elsewhere a process cannot hand over the end of a pipe by its number.
            own = RuntimeProcess if os.name == "posix" else Runtime
            self._runtime = own(self._weights, CONTEXT_TOKENS)
        return self._runtime
