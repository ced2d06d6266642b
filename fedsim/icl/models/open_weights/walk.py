"""Texts run through a model, each common beginning once.

Keys and values of what was computed stay in a memory, under the tokens that led there, so that a text adds to
them what is new in it: beside the others of a walk, and beside those of walks before it with the same memory.
New tokens of several texts are computed together, so that multiplications are of many rows.
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
from fedsim.progress import tell

TOGETHER = 256
"""Tokens computed together: more of them are not faster, and need more memory."""
REMEMBERED = 8192
"""Tokens in a memory: 360 MiB of the default model. One that is full is emptied."""

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


class Memory:
    """Keys and values of tokens, under all that stands before them in their text.

    Args:
        llama: the model.
        n_tokens: how many fit.
    """

    def __init__(self, llama: Llama, n_tokens: int = REMEMBERED) -> None:
        self.n_tokens = n_tokens
        self.n_used = 0
        shape = (2, llama.sizes.n_layers, n_tokens, llama.sizes.n_kv_heads * llama.sizes.head_width)
        self.keys_and_values = torch.zeros(shape, dtype=llama.dtype)
        self._places: dict[tuple[int, int], int] = {}
        """By the place of the token before, -1 at the beginning of a text, and the token."""

    def known(self, tokens: Tokens) -> list[int]:
        """Return the places of a text's first tokens, as far as they are here."""
        found: list[int] = []
        for token in tokens:
            place = self._places.get((found[-1] if found else -1, token))
            if place is None:
                break
            found.append(place)
        return found

    def add(self, before: int, token: int) -> int:
        """Return a new place for a token behind another one, -1: at the beginning of a text."""
        self._places[before, token] = self.n_used
        self.n_used += 1
        return self.n_used - 1

    def clear(self) -> None:
        """Forget everything."""
        self._places.clear()
        self.n_used = 0


def walk(
    llama: Llama, texts: Sequence[Tokens], keep: bool = False, memory: Memory | None = None
) -> Iterator[list[TextEnd]]:
    """Yield the ends of all texts, of those together that are computed together.

    Args:
        llama: the model.
        texts: tokens of each, at least one; all different.
        keep: whether keys and values of all tokens are asked for.
        memory: what is known of walks before this one, and of this one afterwards; none: nothing is.
    """
    if not texts:
        return
    longest = max(map(len, texts))
    if memory is None or memory.n_tokens < longest:
        # No larger than needed: zeros take time to write.
        memory = Memory(llama, max(min(REMEMBERED, sum(map(len, texts))), longest))
    n_ended = 0
    for pieces in _chunks(texts, memory):
        new = np.array([place for piece in pieces for place in piece.path[piece.start :]])
        old = np.setdiff1d(np.concatenate([piece.path for piece in pieces]), new)
        held = np.concatenate([old, new])
        order = np.argsort(held)
        local = [
            piece._replace(path=order[np.searchsorted(held, piece.path, sorter=order)]) for piece in pieces
        ]
        kept = memory.keys_and_values[:, :, torch.from_numpy(old)]
        try:
            ends, found = _computed(llama, local, kept, keep)
        except BaseException:
            memory.clear()  # it has places for what was not computed
            raise
        memory.keys_and_values[:, :, torch.from_numpy(new)] = found
        n_ended += len(ends)
        tell("texts read by the model", n_ended, len(texts))
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


def _chunks(texts: Sequence[Tokens], memory: Memory) -> Iterator[list[_Piece]]:
    """Yield what is new in each text, in lists of at most `TOGETHER` tokens; places are in the memory."""
    pieces: list[_Piece] = []
    n_new = 0
    for number in sorted(range(len(texts)), key=texts.__getitem__):
        tokens = texts[number]
        # The last token is computed in any case: its end is asked for.
        path = memory.known(tokens[:-1])
        if memory.n_used + len(tokens) - len(path) > memory.n_tokens:
            if pieces:
                yield pieces
                pieces, n_new = [], 0
            memory.clear()
            path = []
        while (at := len(path)) < len(tokens):
            part = tokens[at : at + TOGETHER - n_new]
            for token in part:
                path.append(memory.add(path[-1] if path else -1, token))
            pieces.append(_Piece(number, part, at, len(path) == len(tokens), np.array(path)))
            n_new += len(part)
            if n_new == TOGETHER:
                yield pieces
                pieces, n_new = [], 0
    if pieces:
        yield pieces


def _computed(llama: Llama, pieces: list[_Piece], kept: Tensor, keep: bool) -> tuple[list[TextEnd], Tensor]:
    """Return the ends of texts that are among the pieces, and keys and values of the new tokens.

    Args:
        llama: the model.
        pieces: whose places are those in `kept`, or behind them in the order of the new tokens.
        kept: keys and values of tokens computed before.
        keep: whether ends come with keys and values of all tokens of their text.
    """
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
    return done, held[:, :, n_kept:]


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
        rows = torch.arange(n + -n % QUERIES).clamp(max=n - 1) + piece.start
        hidden = torch.arange(len(places)) > rows[:, None]
        return cls(n, places, torch.zeros(hidden.shape, dtype=dtype).masked_fill(hidden, -torch.inf))

    def attention(self, q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        k, v = (each[self.places].view(len(self.places), -1, q.shape[-1]) for each in (keys, values))
        if self.n % QUERIES:
            q = torch.cat([q, q[-1:].expand(-self.n % QUERIES, -1, -1)])
        return attention(q, k, v, self.mask)[: self.n]
