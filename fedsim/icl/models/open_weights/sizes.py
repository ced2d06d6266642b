"""What a Llama is like, as the header of its file says."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from fedsim.errors import InputError
from fedsim.icl.models.open_weights.gguf_header import Header

CONTROL = 3
"""The type of a token that is no text, in ggml."""

LAYER = {
    "attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down"
}  # fmt: skip
"""The tensors of a layer. Any other one belongs to a relative of Llama that computes something else."""


class Shape(NamedTuple):
    """How large the part of a model is that injection touches."""

    n_layers: int
    width: int


class ModelSizes(NamedTuple):
    """What a model is like, as its file says."""

    n_layers: int
    width: int
    n_heads: int
    n_kv_heads: int
    rope_base: float
    epsilon: float
    """Added to the mean square in each norm."""

    @property
    def head_width(self) -> int:
        """Return how many numbers each head has."""
        return self.width // self.n_heads


def sizes_of(header: Header, file: Path) -> ModelSizes:
    """Return what a model is like.

    Raises:
        InputError: it is not a Llama, or one with something that is not computed here.
    """
    fields = header.fields
    if fields.get("general.architecture") != "llama":
        raise InputError(
            f"the weights {file} are of the architecture {fields.get('general.architecture')!r}; a model of "
            "kind 'open_weights' computes 'llama' alone; kind = 'local' knows many others"
        )
    try:
        n_heads = fields["llama.attention.head_count"]
        sizes = ModelSizes(
            n_layers=fields["llama.block_count"],
            width=fields["llama.embedding_length"],
            n_heads=n_heads,
            n_kv_heads=fields.get("llama.attention.head_count_kv", n_heads),
            rope_base=fields.get("llama.rope.freq_base", 10_000.0),
            epsilon=fields["llama.attention.layer_norm_rms_epsilon"],
        )
    except KeyError as error:
        raise InputError(f"the weights {file} do not say {error.args[0]}") from error
    known = {"token_embd.weight", "output_norm.weight", "output.weight"}
    known |= {f"blk.{i}.{name}.weight" for i in range(sizes.n_layers) for name in LAYER}
    odd = sorted(header.tensors.keys() - known)
    odd += [name for name in fields if name.startswith("llama.rope.scaling")]
    if fields.get("llama.rope.dimension_count", sizes.head_width) != sizes.head_width:
        odd.append("llama.rope.dimension_count")
    if odd:
        raise InputError(
            f"the weights {file} have {odd[0]}, which a model of kind 'open_weights' does not compute; "
            "kind = 'local' may know it"
        )
    if absent := sorted(known - header.tensors.keys() - {"output.weight"}):
        raise InputError(f"the weights {file} lack {absent[0]}")
    return sizes


def ends_of(header: Header) -> frozenset[int]:
    """Return the tokens that end what a model writes: named so by the file, or no text at all."""
    names = ("eos", "eot", "eom")
    named = (header.fields.get(f"tokenizer.ggml.{name}_token_id") for name in names)
    kinds = header.fields.get("tokenizer.ggml.token_type", ())
    controls = (number for number, kind in enumerate(kinds) if kind == CONTROL)
    return frozenset(controls) | {number for number in named if number is not None}
