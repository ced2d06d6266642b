"""A Llama of our own: what happens inside is there to be read and changed.

Sums are made in an order that does not depend on what else is computed at the same time, so that a text has
the same numbers, bit for bit, alone and beside others. The libraries below take other ways for very few rows,
and for lengths that their blocks do not divide; so everything is filled up to whole blocks with what adds
nothing: see `ROWS`, `KEYS` and `QUERIES`.
Long sums are made of short ones, as the libraries would cut them otherwise with each length: see `SUMMANDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812  # the name that everybody gives it

from fedsim.errors import InputError
from fedsim.icl.models.open_weights.gguf_header import F32, read_header
from fedsim.icl.models.open_weights.sizes import LAYER, ends_of, sizes_of

ROWS = 8
"""Multiplications by weights are of a multiple of so many rows."""
KEYS = 16
"""Attention is over a multiple of so many tokens."""
QUERIES = 8
"""Attention is for a multiple of so many tokens."""

SUMMANDS = 128
"""A multiplication of matrices adds at most so many products to one number where their number varies."""

ATTENTION, MLP = 0, 1
"""The numbers of a layer's two modules."""

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""Returns what a layer's heads found, (N, width), by the layer's number and the new tokens' queries, keys and
values, (N, heads, head width)."""

Change = Callable[[int, int, Tensor], Tensor]
"""Returns what enters the residual stream in place of a module's output, by layer, module and it, (N, d)."""


class Llama:
    """A model with its weights, which stay in the file until they are used: processes share the memory.

    Source: Touvron et al., "LLaMA", arXiv:2302.13971 (2023), section 2.2; attention with fewer key heads is
    Ainslie et al., "GQA", EMNLP 2023; rotations are Su et al., "RoFormer", arXiv:2104.09864 (2021), section
    3.4.2, of neighbouring numbers, as GGUF files have them.

    Args:
        file: a GGUF file with all tensors in float32.
        dtype: float64 is for tests.

    Raises:
        InputError: it is no such file.
    """

    def __init__(self, file: Path, dtype: torch.dtype = torch.float32) -> None:
        header = read_header(file)
        self.sizes = sizes_of(header, file)
        # Copied when written to, which it never is: torch wants memory that it may write to.
        content = np.memmap(file, np.uint8, mode="c")
        weights: dict[str, Tensor] = {}
        for name, (shape, number_format, offset) in header.tensors.items():
            end = offset + 4 * int(np.prod(shape))
            if number_format != F32 or end > len(content):
                raise InputError(f"the weights {file} are incomplete, or {name} is not in float32")
            numbers = content[offset:end].view(np.float32).reshape(shape)
            weights[name.removesuffix(".weight")] = torch.from_numpy(numbers).to(dtype)
        self.dtype = dtype
        self.ends = ends_of(header)
        """The tokens that end a text."""
        self.embedding = weights["token_embd"]
        self.head = weights.get("output", self.embedding)
        self._last_norm = weights["output_norm"]
        self._layers = [
            {name: weights[f"blk.{i}.{name}"] for name in LAYER} for i in range(self.sizes.n_layers)
        ]

    def run(self, tokens: Tensor, positions: Tensor, attend: Attend, change: Change | None = None) -> Tensor:
        """Return the residual stream behind the last layer, (N, d), for N tokens of any texts.

        Args:
            tokens: their numbers, (N,).
            positions: how many tokens stand before each of them in its text, (N,).
            attend: looks from each token at those of its text; see `attention`.
            change: for each module's output.
        """
        sizes = self.sizes
        x = self.embedding[tokens]
        turns = rotations(positions, sizes.head_width, sizes.rope_base, self.dtype)
        for i, layer in enumerate(self._layers):
            h = normalised(x, layer["attn_norm"], sizes.epsilon)
            q, k, v = (
                times(h, layer[name]).view(len(h), -1, sizes.head_width)
                for name in ("attn_q", "attn_k", "attn_v")
            )
            y = times(attend(i, rotated(q, turns), rotated(k, turns), v), layer["attn_output"])
            x = x + (y if change is None else change(i, ATTENTION, y))
            h = normalised(x, layer["ffn_norm"], sizes.epsilon)
            y = times(F.silu(times(h, layer["ffn_gate"])) * times(h, layer["ffn_up"]), layer["ffn_down"])
            x = x + (y if change is None else change(i, MLP, y))
        return x

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits of all tokens, (N, vocabulary), from the stream behind the last layer."""
        return times(normalised(x, self._last_norm, self.sizes.epsilon), self.head)


def times(x: Tensor, weights: Tensor) -> Tensor:
    """Return the product of rows (N, a) with weights (b, a), by whole blocks of `ROWS`."""
    n = len(x)
    return F.linear(F.pad(x, (0, 0, 0, -n % ROWS)), weights)[:n] if n % ROWS else F.linear(x, weights)


def normalised(x: Tensor, weights: Tensor, epsilon: float) -> Tensor:
    """Return rows over the root of their mean square, times weights.

    Source: Zhang and Sennrich, "Root mean square layer normalization", NeurIPS 2019, equation 4.
    """
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon) * weights


def rotations(positions: Tensor, width: int, base: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return cosine and sine of the angle by which each pair of a head's numbers turns, (N, 1, width / 2)."""
    pace = base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = positions[:, None, None] * pace
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotated(x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Return the heads' numbers, (N, heads, width), with each neighbouring pair turned."""
    cosine, sine = turns
    first, second = x[..., 0::2], x[..., 1::2]
    return torch.stack((first * cosine - second * sine, first * sine + second * cosine), -1).flatten(-2)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Return what each token finds in those that it may see, (..., Q, heads * width).

    Args:
        q: of the tokens that look, (..., Q, heads, width), Q a multiple of `QUERIES`.
        k, v: of those that are looked at, (..., T, key heads, width), T a multiple of `KEYS`. Each key head
            serves as many neighbouring heads.
        mask: added to the scores, (..., Q, T): 0, or minus infinity for what may not be seen.
    """
    n_heads, width = q.shape[-2:]
    n_kv_heads = k.shape[-2]
    n_each = n_heads // n_kv_heads
    q = q.reshape(*q.shape[:-2], n_kv_heads, n_each, width).transpose(-4, -3) / width**0.5
    keys, values = (torch.split(each.transpose(-3, -2), SUMMANDS, -2) for each in (k, v))
    at_once = max(SUMMANDS // n_each // QUERIES, 1) * QUERIES
    parts = zip(torch.split(q, at_once, -3), torch.split(mask, at_once, -2), strict=True)
    found = [_attention(some, keys, values, visible) for some, visible in parts]
    return torch.cat(found, -3).transpose(-4, -3).flatten(-3)


def _attention(q: Tensor, k: Sequence[Tensor], v: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Return the same for some tokens, (..., key heads, Q, heads each, width), all else in parts."""
    rows = q.flatten(-3, -2)
    scores = torch.cat([rows @ part.transpose(-2, -1) for part in k], -1)
    scores = scores + mask.repeat_interleave(q.shape[-2], -2).unsqueeze(-3)
    weights = torch.split(scores.softmax(-1), SUMMANDS, -1)
    found = weights[0] @ v[0]
    for weight, part in zip(weights[1:], v[1:], strict=True):
        found = found + weight @ part
    return found.view_as(q)
