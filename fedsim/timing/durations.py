"""How long the parts of a job take, as functions of a number: drawn by address, block by block."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from fedsim.streams import Stream, Streams
from fedsim.timing.delays import Delay
from fedsim.timing.delays.constant import Constant
from fedsim.timing.groups import WorkerGroup

DRAWS_A_BLOCK = 16
"""Delays drawn at one address: block b of a worker holds those of its starts 16 b to 16 b + 15."""


@cache
def always(value: float) -> Callable[[int], float]:
    """Return the same number every time: one function for all workers alike."""
    return lambda start: value


NO_DELAY = always(0.0)


def drawn(delay: Delay, streams: Streams, purpose: Stream, worker: int) -> Callable[[int], float]:
    """Return the delay of a worker's job as a function of the number of its start, drawn block by block.

    Who is always on starts every job once: the start's number is then the job's.
    """
    if isinstance(delay, Constant):
        return always(delay.value_s)
    block_number, block = -1, [0.0]

    def delay_s(start: int) -> float:
        nonlocal block_number, block
        number, place = divmod(start, DRAWS_A_BLOCK)
        if number != block_number:
            block_number = number
            block = delay.sample(streams.seat(purpose, worker, number), DRAWS_A_BLOCK).tolist()
        return block[place]

    return delay_s


def factors(group: WorkerGroup, streams: Streams, worker: int) -> Callable[[int], float]:
    """Return how much slower than normal a worker's job is, as a function of the number of its start."""
    transient, slow_down = group.transient, group.slow_down
    if transient is None or transient.probability == 0:
        return always(slow_down)
    probability, slower = transient.probability, slow_down * transient.factor

    def factor(start: int) -> float:
        straggles = streams.seat(Stream.STRAGGLE, worker, start).random() < probability
        return slower if straggles else slow_down

    return factor
