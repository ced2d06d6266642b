"""The result of tuning as rows: what each worker and the consensus would put into a prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

MOST_ROWS = 10_000
"""Rows that a run keeps at most: so many workers, in order of number, as fit with all of theirs."""
MOST_WORKERS = 100
"""Workers that a run keeps at most, however few rows each of them has."""
CONSENSUS = "consensus"


class Tuned(NamedTuple):
    """One thing that was tuned. What does not apply to it is NaN, and a number -1."""

    whose: str
    """``worker 3``, or ``consensus``: what the server holds."""
    what: str
    """``demonstration`` (a slot of a prompt), ``word`` (a place of the fragment), ``answer`` (to a question),
    or a vector with its coefficients, ``attention`` or ``feedforward`` (in a layer)."""
    place: int
    """Which slot, place, question or layer, from 0."""
    number: int = -1
    """The candidate that is taken: the likeliest; of several the one that is measured."""
    probability: float = math.nan
    """Of that candidate."""
    second: int = -1
    """The likeliest of the others."""
    second_probability: float = math.nan
    entropy: float = math.nan
    """Of all candidates together, in nats: 0 where one has everything, log N where all N are alike."""
    norm: float = math.nan
    """The Euclidean length of a vector."""
    strength: float = math.nan
    """lambda, by which the vector is multiplied."""
    kept: float = math.nan
    """beta, by which what it is added to is multiplied."""


def worker(number: int) -> str:
    """Return how a worker is called."""
    return f"worker {number}"


def kept_workers(n_workers: int, rows_each: int) -> list[int]:
    """Return the numbers of the workers whose rows are kept."""
    return list(range(min(n_workers, MOST_WORKERS, MOST_ROWS // max(1, rows_each))))


def of_distributions(whose: str, what: str, table: Tensor, taken: Tensor | None = None) -> list[Tuned]:
    """Return a row for each of K distributions over N candidates.

    Args:
        whose: see `Tuned`.
        what: likewise.
        table: probabilities, (K, N).
        taken: the candidates that are taken, (K,); none: the first of the likeliest.
    """
    taken = table.argmax(-1) if taken is None else taken
    own = table.gather(-1, taken[:, None])
    others = table.scatter(-1, taken[:, None], -1.0)
    second = others.max(-1)
    entropy = -(table * table.clamp_min(1e-300).log()).sum(-1) + 0.0  # no -0
    columns = (taken, own[:, 0], second.indices, second.values, entropy)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    if table.shape[-1] == 1:  # there is no other
        return [Tuned(whose, what, k, n, p, entropy=0.0) for k, (n, p, *_) in enumerate(rows)]
    return [Tuned(whose, what, place, *row) for place, row in enumerate(rows)]


def of_vectors(whose: str, vectors: Tensor, coefficients: Tensor) -> list[Tuned]:
    """Return two rows for each of L layers.

    Args:
        whose: see `Tuned`.
        vectors: (L, 2, d).
        coefficients: lambda and beta of each, (L, 2, 2).
    """
    norms, factors = vectors.norm(dim=-1).tolist(), coefficients.tolist()
    return [
        Tuned(whose, what, layer, norm=norms[layer][kind], strength=own[kind][0], kept=own[kind][1])
        for layer, own in enumerate(factors)
        for kind, what in enumerate(("attention", "feedforward"))
    ]


def of_prompts(
    oracle: object, workers: Sequence[int], P: Tensor | None, Q: Tensor, z: Tensor | None
) -> list[Tuned]:
    """Return the rows of distributions over words and demonstrations; none where nothing is one.

    Args:
        oracle: the problem with its data; where it has `likeliest`, that says what is measured of each.
        workers: whose P and Q these are, (J,) in order.
        P: over words, (J, M, N); none: workers have only those of the consensus.
        Q: over demonstrations, (J, S, V).
        z: over words, on which all agree, (M, N); none: there is no consensus.
    """
    tunes_p, tunes_q = _tunes(oracle)
    if not (getattr(oracle, "on_simplex", False) and len(workers) and (tunes_p or tunes_q)):
        return []
    likeliest = getattr(oracle, "likeliest", None)
    shared = z.expand(len(workers), *z.shape) if z is not None else None
    words_of = P if P is not None else shared
    assert words_of is not None
    words, shown = likeliest(list(workers), words_of, Q) if likeliest else (None, None)
    found: list[Tuned] = []
    if tunes_p and z is not None:
        agreed = likeliest(list(workers[:1]), z[None], Q[:1])[0][0] if likeliest else None
        found += of_distributions(CONSENSUS, "word", z, agreed)
    for row, number in enumerate(workers):
        if tunes_q:
            own = None if shown is None else shown[row]
            found += of_distributions(worker(number), "demonstration", Q[row], own)
        if tunes_p and P is not None:
            own = None if words is None else words[row]
            found += of_distributions(worker(number), "word", P[row], own)
    return found


def _tunes(oracle: object) -> tuple[bool, bool]:
    """Return whether words, and whether demonstrations are tuned: what has one candidate alone is not."""
    problem = getattr(oracle, "problem", None)
    if problem is not None and hasattr(problem, "tunes_p"):
        return bool(problem.tunes_p), bool(problem.tunes_q)
    sizes = (getattr(oracle, name).shape[-1] for name in ("start_p", "start_q"))
    tunes_p, tunes_q = (size > 1 for size in sizes)
    return tunes_p, tunes_q
