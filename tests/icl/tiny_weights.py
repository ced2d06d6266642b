"""GGUF files of a model so small that its answers are worked out by hand: the next token hangs on the last.

The embedding of token i is the i-th unit vector, and the one layer adds nothing. Normalised, it is that
vector times the root of the width. So with `logits[i][j]` over that root as its output weights the model
gives token j the logit `logits[i][j]` after token i, whatever came before. What is not listed has logit 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType

MERGES = ["Ġ Y", "Ġ N", "Ġ G"]
END = "<end>"


def _byte_letters() -> list[str]:
    """Return the letter that GPT-2's tokenizer has for each byte: itself if printable, or a spare one."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]


VOCABULARY = [*_byte_letters(), *(merge.replace(" ", "") for merge in MERGES), END]
WIDTH = 288
"""The vocabulary's 260 tokens, rounded up to heads and blocks of 32."""

Logits = Mapping[str, Mapping[str, float]]
"""By the last token and the next, each a letter (Ġ is a space) or one of the merges."""


def write_weights(
    file: Path,
    logits: Logits,
    kind: GGMLQuantizationType = GGMLQuantizationType.F32,
    chat_template: str | None = None,
) -> Path:
    """Write the model's file, with its output weights in one of the formats."""
    from gguf import quants

    writer = GGUFWriter(file, "llama")
    _write_metadata(writer, chat_template)
    output = np.zeros((len(VOCABULARY), WIDTH), np.float32)
    for last, row in logits.items():
        for following, logit in row.items():
            output[VOCABULARY.index(following), VOCABULARY.index(last)] = logit / np.sqrt(WIDTH)
    writer.add_tensor("token_embd.weight", np.eye(len(VOCABULARY), WIDTH, dtype=np.float32))
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    writer.add_tensor("output.weight", quants.quantize(output, kind), raw_dtype=kind)
    for name in ("attn_norm", "ffn_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", np.ones(WIDTH, np.float32))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((WIDTH, WIDTH), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _write_metadata(writer: GGUFWriter, chat_template: str | None) -> None:
    writer.add_name("tiny")
    writer.add_file_type(LlamaFileType.ALL_F32)
    writer.add_block_count(1)
    writer.add_context_length(1024)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(WIDTH // 32)
    writer.add_layer_norm_rms_eps(1e-12)
    _write_vocabulary(writer)
    if chat_template is not None:
        writer.add_chat_template(chat_template)


N_LAYERS, RANDOM_WIDTH, N_HEADS, N_KV_HEADS = 2, 64, 4, 2
ROPE_BASE, EPSILON = 1e4, 1e-5


def write_random_weights(
    file: Path, seed: int = 0, kind: GGMLQuantizationType = GGMLQuantizationType.F32, head: bool = False
) -> Path:
    """Write a Llama with random weights in which every part of the model has something to say: 0.3 MB.

    Args:
        file: the GGUF file.
        seed: of the weights.
        kind: the format of the matrices.
        head: whether the model has output weights of its own; otherwise those of the embedding serve twice.
    """
    from gguf import quants

    writer = GGUFWriter(file, "llama")
    writer.add_name("random")
    writer.add_block_count(N_LAYERS)
    writer.add_context_length(1024)
    writer.add_embedding_length(RANDOM_WIDTH)
    writer.add_feed_forward_length(96)
    writer.add_head_count(N_HEADS)
    writer.add_head_count_kv(N_KV_HEADS)
    writer.add_rope_dimension_count(RANDOM_WIDTH // N_HEADS)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_layer_norm_rms_eps(EPSILON)
    _write_vocabulary(writer)
    generator = np.random.default_rng(seed)
    kv_width = RANDOM_WIDTH // N_HEADS * N_KV_HEADS
    matrices = {
        "attn_q": (RANDOM_WIDTH, RANDOM_WIDTH),
        "attn_k": (kv_width, RANDOM_WIDTH),
        "attn_v": (kv_width, RANDOM_WIDTH),
        "attn_output": (RANDOM_WIDTH, RANDOM_WIDTH),
        "ffn_gate": (96, RANDOM_WIDTH),
        "ffn_up": (96, RANDOM_WIDTH),
        "ffn_down": (RANDOM_WIDTH, 96),
    }

    def add(name: str, *shape: int, mean: float = 0.0, scale: float) -> None:
        numbers = generator.normal(mean, scale, shape).astype(np.float32)
        if shape[0] == len(VOCABULARY):
            # The end of a text, and halves of characters, are never the likeliest token.
            numbers[128:256] = numbers[-1] = 0
        if len(shape) == 1:
            writer.add_tensor(f"{name}.weight", numbers)
        else:
            writer.add_tensor(f"{name}.weight", quants.quantize(numbers, kind), raw_dtype=kind)

    add("token_embd", len(VOCABULARY), RANDOM_WIDTH, scale=1.0)
    add("output_norm", RANDOM_WIDTH, mean=0.3, scale=0.05)
    if head:
        add("output", len(VOCABULARY), RANDOM_WIDTH, scale=1.0)
    for i in range(N_LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            add(f"blk.{i}.{name}", RANDOM_WIDTH, mean=1.0, scale=0.2)
        for name, shape in matrices.items():
            add(f"blk.{i}.{name}", *shape, scale=2 / shape[1] ** 0.5)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _write_vocabulary(writer: GGUFWriter) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(VOCABULARY)
    writer.add_token_types([TokenType.NORMAL] * (len(VOCABULARY) - 1) + [TokenType.CONTROL])
    writer.add_token_merges(MERGES)
    writer.add_eos_token_id(VOCABULARY.index(END))
    writer.add_bos_token_id(VOCABULARY.index(END))
    writer.add_add_bos_token(False)
