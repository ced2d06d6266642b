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
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(VOCABULARY)
    writer.add_token_types([TokenType.NORMAL] * (len(VOCABULARY) - 1) + [TokenType.CONTROL])
    writer.add_token_merges(MERGES)
    writer.add_eos_token_id(VOCABULARY.index(END))
    writer.add_bos_token_id(VOCABULARY.index(END))
    writer.add_add_bos_token(False)
    if chat_template is not None:
        writer.add_chat_template(chat_template)
