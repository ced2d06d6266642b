"""Max-min fair rates of flows that share channels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Routes = NDArray[np.intp]


def fair_shares(routes: Routes, most: Numbers, counts: Numbers, capacities: Numbers) -> Numbers:
    """Return the max-min fair rate of a flow of each class, for c classes of flows and n channels.

    No flow could have more without taking from one that has no more than it.

    Args:
        routes: ``(d, c)``, the channels of each class, a column each, none twice in a column. Shorter routes
            are filled up with a channel of infinite capacity, which may be there any number of times.
        most: ``(c,)``, what a flow of the class may send at most (bytes/s), may be infinite.
        counts: ``(c,)``, how many flows the class has, as whole numbers.
        capacities: ``(n,)`` in bytes/s, may be infinite, and 0 where nothing can pass.

    Returns:
        ``(c,)`` in bytes/s; infinite where nothing limits a class, 0 for a class without flows.

    Source: Bertsekas and Gallager, Data Networks, 2nd edition, 1992, section 6.5.2.

    >>> parking_lot = np.array([[0, 0, 1], [1, 2, 2]])  # channel 2 is without limit
    >>> fair_shares(parking_lot, np.full(3, np.inf), np.ones(3), np.array([10.0, 12.0, np.inf]))
    array([5., 5., 7.])
    """
    rates = np.zeros(len(most))
    present = np.flatnonzero(counts)
    on, own, flows = np.take(routes, present, axis=1), most[present], counts[present]
    crowded = (np.bincount(on.ravel(), minlength=len(capacities)) > 1) & (capacities < np.inf)
    shared = np.flatnonzero(crowded)
    if len(shared) > 1:
        rates[present] = _fill(on, own, flows, capacities)
        return rates
    # A channel that no other class uses only limits its own.
    alone = np.where(crowded, np.inf, capacities)[on].min(axis=0, initial=np.inf) / flows
    reached = np.minimum(own, alone)
    if shared.size:
        sharing = crowded[on].any(axis=0)
        level = _level(reached[sharing], flows[sharing], capacities[shared[0]])
        reached = np.where(sharing, np.minimum(reached, level), reached)
    rates[present] = reached
    return rates


def _fill(routes: Routes, most: Numbers, counts: Numbers, capacities: Numbers) -> Numbers:
    """Fill progressively: all rates rise together from zero.

    A flow stops to rise when it has reached what it may send at most, or when a channel on its route is full;
    the others go on. All channels that no other channel keeps waiting are filled in one turn.
    """
    rates = np.zeros(len(most))
    left = capacities
    rising = np.arange(len(most))
    while rising.size:
        on, own, flows = np.take(routes, rising, axis=1), most[rising], counts[rising]
        sharing = _by_channel(on, flows, len(left))
        # What a channel that is in use gives to each if all its flows rise to the same rate.
        shares = (left / np.maximum(sharing, 1.0))[on]
        least = shares.min(axis=0)
        # A channel's share only grows as flows stop elsewhere, so that who needs no more than it is done.
        done = own <= least
        # A channel is full where nothing else stops any of its flows before.
        has_room = np.zeros(len(left), dtype=bool)
        has_room[on[(shares > least) | done]] = True
        done |= ~has_room[on].all(axis=0)
        reached = np.minimum(own, least)
        rates[rising[done]] = reached[done]
        rising = rising[~done]
        if rising.size:
            taken = np.where(done & (reached < np.inf), reached * flows, 0.0)
            left = left - _by_channel(on, taken, len(left))
    return rates


def _by_channel(on: Routes, amounts: Numbers, n_channels: int) -> Numbers:
    """Return the sum for each channel of the amounts of those on it."""
    sums = np.bincount(on.ravel(), np.broadcast_to(amounts, on.shape).ravel(), n_channels)
    return sums.astype(np.float64)


def _level(most: Numbers, counts: Numbers, capacity: float) -> float:
    """Return what a channel gives to each of its flows that could take as much."""
    order = np.argsort(most)
    own, flows = most[order], counts[order]
    before = np.concatenate([[0.0], np.cumsum(own * flows)[:-1]])
    behind = np.cumsum(flows[::-1])[::-1]
    # Place k takes the k flows that may send least to be at their limits. None of them gets more than that,
    # so that no place overrates the level; and one place is right.
    return float(((capacity - before) / behind).max())
