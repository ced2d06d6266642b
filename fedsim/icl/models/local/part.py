"""A language model on this machine, from a file of weights."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from fedsim.errors import InputError
from fedsim.icl.models.label_rule import LABEL_RULE
from fedsim.icl.models.language import Session
from fedsim.icl.models.local.gguf_copy import CopyAs, copy_of
from fedsim.icl.models.weights import SMOLLM2, FromWeights, sha256, weights_file


class Local(FromWeights):
    """A language model on this machine, through llama.cpp in a process of its own.

    Nothing is downloaded and nothing leaves the machine. The log-probabilities of the label words are exact,
    and the same bit for bit whatever was asked before. A label counts by its first token where these differ
    between the labels, and whole where they do not. One thread per process: run several processes instead.

    Source: the default weights are SmolLM2-135M-Instruct of Ben Allal et al., "SmolLM2: When Smol Goes Big",
    arXiv:2502.02737 (2025); the prompt and its scores are Ma et al., "AsynDBT", Scientific Reports 16:9381
    (2026), section 3.1.
    """

    kind: Literal["local"] = "local"
    copy_as: CopyAs | Literal["none"] | None = None
    """Number format of a copy of the weights that is made once, kept, and used instead. When not given,
    "Q8_0" for the default weights, which saves a third of the time, and "none" for a file."""
    layout: Literal["completions", "chat"] = "completions"
    """Whether the model continues the prompt itself, or answers it as the one message of a chat."""

    @property
    def copy_format(self) -> CopyAs | Literal["none"]:
        """What `copy_as` says, or means where it is not given."""
        return self.copy_as or ("Q8_0" if self.weights == SMOLLM2 else "none")

    @property
    def wraps_prompts(self) -> bool:
        return self.layout == "chat"

    @property
    def identity(self) -> dict[str, Any]:
        """What an answer depends on besides the prompt and the labels; reads the weights to hash them."""
        # The runtime's version, as another one may compute sums in another order.
        return {
            "kind": self.kind,
            "weights_sha256": sha256(weights_file(self.weights)),
            "copy_as": self.copy_format,
            "layout": self.layout,
            "label_rule": LABEL_RULE,
            "runtime": f"xllamacpp {runtime_version()}",
        }

    def connect(self) -> Session:
        """Return a session; loads the weights, a matter of a second.

        Raises:
            InputError: the weights or an optional package are missing, or the file is no model.
        """
        from fedsim.icl.models.local.session import LocalSession

        return LocalSession(self.loadable(), self.context_tokens, self.layout)

    def loadable(self) -> Path:
        """Return the file to load: the weights, or the copy of them, which is made if there is none yet.

        Raises:
            InputError: the weights or an optional package are missing, or the file is no model.
        """
        file = weights_file(self.weights)
        runtime_version()
        if (wanted := self.copy_format) != "none":
            file = copy_of(file, sha256(file), wanted)
        return file


def runtime_version() -> str:
    """Return the version of the package that computes.

    Raises:
        InputError: it is not installed.
    """
    try:
        return version("xllamacpp")
    except PackageNotFoundError as error:
        raise InputError("a local model needs the extra 'llm': pip install 'fedsim-icl[llm]'") from error
