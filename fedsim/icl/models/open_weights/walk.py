"""Texts run through a model, each common beginning once.

In the order of their tokens, texts with the same beginning are neighbours. Each one adds to the keys and
values of the one before what is new in it; what it does not share with that is not needed any more. New
tokens of several texts are computed together, so that multiplications are of many rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedsim.icl.models.open_weights.llama import KEYS, QUERIES, Llama, attention

TOGETHER = 256
"""Tokens computed together: more of them are not faster, and need more memory."""

Tokens = tuple[int, ...]


class TextEnd(NamedTuple):
    """The last token of a text, when it has been computed."""

    number: int
    """Of the text, as it was given."""
    stream: Tensor
    """The residual stream behind the last layer, (d,)."""
    outputs: Tensor
    """What each module adds to the residual stream, (L, 2, d)."""
    seconds: float
    """Its share, by new tokens, of the time."""
    keys_and_values: Tensor | None
    """Of all tokens of the text, (2, L, T, key heads * width), where they are asked for."""


class _Piece(NamedTuple):
    """New tokens of one text that follow each other."""

    text: int
    tokens: Tokens
    start: int
    """How many tokens of the text stand before them."""
    ends: bool
    """Whether its last token is the text's last."""
    path: NDArray[np.int64]
    """Where keys and values of the text's tokens are, up to the last of these."""


def walk(llama: Llama, texts: Sequence[Tokens], keep: bool = False) -> Iterator[list[TextEnd]]:
    """Yield the ends of all texts, of those together that are computed together.

    Args:
        llama: the model.
        texts: tokens of each, at least one; all different.
        keep: whether keys and values of all tokens are asked for.
    """
    kept = nothing(llama)
    for pieces in _chunks(texts):
        ends, kept = _computed(llama, pieces, kept, keep)
        if ends:
            yield ends


def one_more(llama: Llama, token: int, kept: Tensor) -> TextEnd:
    """Return the end of a text that grows by one token.

    Args:
        llama: the model.
        token: what is new.
        kept: keys and values of what stands before it.
    """
    n_kept = kept.shape[2]
    ends, _ = _computed(llama, [_Piece(0, (token,), n_kept, True, np.arange(n_kept + 1))], kept, True)
    return ends[0]


def nothing(llama: Llama) -> Tensor:
    """Return keys and values of no tokens."""
    sizes = llama.sizes
    return torch.zeros((2, sizes.n_layers, 0, sizes.n_kv_heads * sizes.head_width), dtype=llama.dtype)


def _chunks(texts: Sequence[Tokens]) -> Iterator[list[_Piece]]:
    """Yield what is new in each text, in lists of `TOGETHER` tokens.

    A place is that of a token in the keys and values kept from the list before, which are of the last text
    there, or behind them in the order of this list's tokens.
    """
    pieces: list[_Piece] = []
    n_kept, n_new = 0, 0
    before: Tokens = ()
    path: NDArray[np.int64] = np.arange(0)
    for number in sorted(range(len(texts)), key=texts.__getitem__):
        tokens = texts[number]
        at = _n_shared(before, tokens)
        path = path[:at]
        while at < len(tokens):
            part = tokens[at : at + TOGETHER - n_new]
            path = np.concatenate([path, np.arange(n_kept + n_new, n_kept + n_new + len(part))])
            pieces.append(_Piece(number, part, at, at + len(part) == len(tokens), path))
            at += len(part)
            n_new += len(part)
            if n_new == TOGETHER:
                yield pieces
                pieces, n_kept, n_new = [], at, 0
                path = np.arange(at)
        before = tokens
    if pieces:
        yield pieces


def _n_shared(one: Tokens, other: Tokens) -> int:
    """Return how many tokens two texts have in common at their beginning."""
    n = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        n += 1
    return n


def _computed(llama: Llama, pieces: list[_Piece], kept: Tensor, keep: bool) -> tuple[list[TextEnd], Tensor]:
    """Return the ends of texts that are among the pieces, and keys and values of the last one's tokens."""
    start_s = perf_counter()
    n_kept = kept.shape[2]
    tokens = torch.tensor([token for piece in pieces for token in piece.tokens])
    positions = torch.tensor([piece.start + i for piece in pieces for i in range(len(piece.tokens))])
    new = kept.new_zeros((*kept.shape[:2], len(tokens), kept.shape[3]))
    held = torch.cat([kept, new], 2)
    behind = np.cumsum([len(piece.tokens) for piece in pieces])
    ends = [int(at) - 1 for piece, at in zip(pieces, behind, strict=True) if piece.ends]
    outputs = held.new_zeros((len(ends), llama.sizes.n_layers, 2, llama.sizes.width))
    looks = [_Look.of(piece, held.dtype) for piece in pieces]

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys, values = held[0, layer], held[1, layer]
        keys[n_kept:], values[n_kept:] = k.flatten(1), v.flatten(1)
        found = q.new_empty(len(q), q.shape[1] * q.shape[2])
        at = 0
        for look in looks:
            there = slice(at, at + look.n)
            found[there] = look.attention(q[there], keys, values)
            at += look.n
        return found

    def noted(layer: int, module: int, y: Tensor) -> Tensor:
        outputs[:, layer, module] = y[ends]
        return y

    with torch.no_grad():
        stream = llama.run(tokens, positions, attend, noted)
    paths = [held[:, :, torch.from_numpy(piece.path)] if keep and piece.ends else None for piece in pieces]
    each_s = (perf_counter() - start_s) / len(tokens)
    done: list[TextEnd] = []
    for piece, at, path in zip(pieces, behind, paths, strict=True):
        if piece.ends:
            seconds = len(piece.tokens) * each_s
            done.append(TextEnd(piece.text, stream[int(at) - 1], outputs[len(done)], seconds, path))
    return done, held[:, :, torch.from_numpy(pieces[-1].path)]


class _Look(NamedTuple):
    """Where a piece's tokens look."""

    n: int
    """How many tokens they are."""
    places: Tensor
    """Of the tokens that they look at, filled up to whole blocks with any."""
    mask: Tensor
    """See `attention`."""

    @classmethod
    def of(cls, piece: _Piece, dtype: torch.dtype) -> _Look:
        n, n_seen = len(piece.tokens), len(piece.path)
        places = torch.zeros(n_seen + -n_seen % KEYS, dtype=torch.int64)
        places[:n_seen] = torch.from_numpy(piece.path)
        rows = torch.arange(max(n, QUERIES)).clamp(max=n - 1) + piece.start
        hidden = torch.arange(len(places)) > rows[:, None]
        return cls(n, places, torch.zeros(hidden.shape, dtype=dtype).masked_fill(hidden, -torch.inf))

    def attention(self, q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        k, v = (each[self.places].view(len(self.places), -1, q.shape[-1]) for each in (keys, values))
        if self.n < QUERIES:
            q = torch.cat([q, q[-1:].expand(QUERIES - self.n, -1, -1)])
        return attention(q, k, v, self.mask)[: self.n]
