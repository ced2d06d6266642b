"""A language model on this machine whose weights are read by fedsim itself."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fedsim.icl.models.label_rule import LABEL_RULE
from fedsim.icl.models.language import Session
from fedsim.icl.models.local.part import runtime_version
from fedsim.icl.models.open_weights.gguf_header import F32, read_header
from fedsim.icl.models.open_weights.sizes import ModelSizes, Shape, sizes_of
from fedsim.icl.models.weights import FromWeights, sha256, weights_file

if TYPE_CHECKING:
    from fedsim.icl.models.open_weights.white_box import WhiteBox

ARITHMETIC = 1
"""The version of what is computed; raised whenever any number changes in any bit."""


class OpenWeights(FromWeights):
    """A language model on this machine that is computed here, so that methods can look into it and change it.

    The weights are those of `local`, and so are the rule for label words and what is asked; the numbers
    differ, as llama.cpp rounds on its way through the model and this does not. The same bit for bit whatever
    is asked at the same time. The file must be of the architecture of Llama. It is read from a copy in
    float32, which is made once and kept.

    Source: the default weights are SmolLM2-135M-Instruct of Ben Allal et al., "SmolLM2: When Smol Goes Big",
    arXiv:2502.02737 (2025); what can be changed is Li et al., "Implicit in-context learning", ICLR 2025,
    section 3.
    """

    kind: Literal["open_weights"] = "open_weights"

    @property
    def identity(self) -> dict[str, Any]:
        """What an answer depends on besides the prompt and the labels; reads the weights to hash them."""
        return {"kind": self.kind, "label_rule": LABEL_RULE} | _arithmetic(sha256(weights_file(self.weights)))

    @property
    def sizes(self) -> ModelSizes:
        """What the model is like; reads the beginning of the file.

        Raises:
            InputError: the weights are missing, or no Llama.
        """
        file = weights_file(self.weights)
        return _sizes(file, sha256(file))

    @property
    def shape(self) -> Shape:
        """How many layers the model has, and how wide they are; errors as for `sizes`."""
        return Shape(self.sizes.n_layers, self.sizes.width)

    def white_box(self) -> WhiteBox:
        """Return the model with its weights; in a process there is one, whatever the number of runs.

        Raises:
            InputError: the weights or an optional package are missing, or the file is no Llama.
            ModelError: there is no room for the copy of the weights.
        """
        file = weights_file(self.weights)
        runtime_version()
        return _white_box(file, sha256(file), self.context_tokens, _passes_folder() if self.cache else None)

    def connect(self) -> Session:
        """Return a session; errors as for `white_box`."""
        from fedsim.icl.models.open_weights.session import OpenSession

        return OpenSession(self.white_box())


@cache
def _sizes(file: Path, sha256: str) -> ModelSizes:
    return sizes_of(read_header(file), file)


@cache
def _white_box(file: Path, sha256: str, context_tokens: int, passes: Path | None) -> WhiteBox:
    from fedsim.icl.models.local.gguf_copy import EXACT, copy_of
    from fedsim.icl.models.open_weights.llama import Llama
    from fedsim.icl.models.open_weights.pass_cache import PassCache
    from fedsim.icl.models.open_weights.tokenizer import Tokenizer
    from fedsim.icl.models.open_weights.white_box import WhiteBox

    header = read_header(file)
    sizes_of(header, file)
    is_exact = all(place.number_format == F32 for place in header.tensors.values())
    exact = file if is_exact else copy_of(file, sha256, EXACT)
    kept = None if passes is None else PassCache(_arithmetic(sha256), passes)
    return WhiteBox(Llama(exact), Tokenizer(file), context_tokens, kept)


def _arithmetic(sha256: str) -> dict[str, Any]:
    """Return what the numbers depend on that a text is to the model."""
    # Another torch may compute sums in another order; the runtime cuts texts into tokens.
    return {
        "weights_sha256": sha256,
        "arithmetic": ARITHMETIC,
        "torch": version("torch"),
        "runtime": f"xllamacpp {runtime_version()}",
    }


def _passes_folder() -> Path:
    """Return where is kept what texts are to models: beside the answers of language models."""
    from fedsim.icl.answers.cache import cache_root

    return cache_root() / "passes"
