"""Randomness by address: a generator is a function of (seed, purpose, worker, job), never of call order.

The address is written into the 256-bit counter of numpy's counter-based Philox generator (Salmon et al.,
"Parallel random numbers: as easy as 1, 2, 3", SC 2011): the lowest 64 bits count draws, the other three words
hold job, worker and purpose, and the seed is the key. Two addresses therefore never share a draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Stream(IntEnum):
    """What a draw is for. Numbers are part of every result: never renumber, only append."""

    COMPUTE = 1
    UPLOAD = 2
    DOWNLOAD = 3
    LLM = 4
    STRAGGLE = 5
    PROMPTS = 6
    QUERIES = 7
    TASK = 8
    SPLIT = 9
    DATA = 10
    REALISATION = 11
    EVALUATION = 12
    NOISE = 13
    POISON = 14
    BASELINE = 15
    MEMBERS = 16
    ATTACK = 17
    ENCODING = 18
    PARTICIPANTS = 19
    BUCKETS = 20
    DEVICE = 21
    AVAILABILITY = 22
    HOP = 23
    LOSS = 24
    LINK_STATE = 25
    CALL_FAILURE = 26
    BACKOFF = 27
    BACKGROUND = 28
    ORDER = 29
    ANSWERS = 30
    LIKELY = 31


class Streams:
    """All random numbers of one run.

    >>> a = Streams(7).generator(Stream.UPLOAD, worker=3, job=1).random()
    >>> b = Streams(7).generator(Stream.UPLOAD, worker=3, job=1).random()
    >>> a == b
    True
    """

    def __init__(self, seed: int, branch: tuple[int, ...] = ()) -> None:
        self.seed = seed
        self._key = np.random.SeedSequence(seed, spawn_key=branch).generate_state(2, np.uint64)
        self._philox = np.random.Philox(key=self._key)
        self._seated = np.random.Generator(self._philox)
        self._state = self._philox.state

    def of_task(self, number: int) -> Streams:
        """Return the randomness of the same run for the data of one task: no other task shares a draw."""
        return Streams(self.seed, branch=(number,))

    def generator(self, purpose: Stream, worker: int = 0, job: int = 0) -> np.random.Generator:
        """Return a fresh generator standing at the start of its address."""
        counter = [0, job, worker, int(purpose)]
        return np.random.Generator(np.random.Philox(key=self._key, counter=counter))

    def seat(self, purpose: Stream, worker: int = 0, job: int = 0) -> np.random.Generator:
        """Return the one reusable generator, moved to the start of an address.

        Six times cheaper than `generator` and good for draws made at once: the next `seat` moves it away.
        """
        state = self._state
        state["state"]["counter"][:] = (0, job, worker, int(purpose))
        state["buffer_pos"] = 4  # the buffer of ready numbers is empty
        state["has_uint32"] = 0
        self._philox.state = state
        return self._seated

    def uniforms(
        self, purpose: Stream, workers: Sequence[int], jobs: Sequence[int], size: int
    ) -> NDArray[np.float64]:
        """Return a ``(len(workers), size)`` array of uniforms on [0, 1), one address a row."""
        out = np.empty((len(workers), size))
        for row, worker, job in zip(out, workers, jobs, strict=True):
            self.seat(purpose, worker, job).random(out=row)
        return out
