"""The server's door: where messages come in, forged ones among them, and senseless ones stay out."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedsim.attack import Assigned, malicious
from fedsim.learning.aggregators.base import Aggregator
from fedsim.learning.attacks.base import MessageAttack
from fedsim.learning.simplex import is_distribution, project
from fedsim.messages import Ticket
from fedsim.streams import Stream, Streams

ATTACKS_AT_MOST = 256
"""Attacks in one scenario that can draw at addresses of their own."""
LARGEST = 1e30
"""Numbers beyond this are taken as this. A cut of squared distances squares a message, the multiplier grows
with that, pulls with the product, and Adam squares the pull: (1e30)^6 is still a float64, 1e300 squared is
not. Only a forged message is so large, and no bound on what one message does depends on its size."""


def consensus_of(content: Any) -> Tensor:
    """Return the consensus in the content of a snapshot, where it is called z, (M, N)."""
    z: Tensor = content.z
    return z


def senseless(workers: Sequence[int], messages: Tensor) -> set[int]:
    """Return the workers whose messages, (n, M, N), are not finite."""
    if math.isfinite(float(messages.sum())):  # the cheapest look; huge numbers get a second one
        return set()
    finite = messages.flatten(1).isfinite().all(1).tolist()
    return {worker for worker, fine in zip(workers, finite, strict=True) if not fine}


class Door:
    """Lets malicious workers replace what they send, and returns messages that the server can reckon with.

    Only finite messages of the right shape come in. They are made distributions, or at least not huge. A
    message that is turned away is as if it had not been sent: the server goes on with the last one that it
    holds of that worker. The clock has counted it all the same.

    Args:
        attacks: all attacks of the run; those on messages act here.
        streams: the randomness of the run; needed where somebody attacks or encodes.
        encoder: the rule by which workers encode their messages; none: they send p itself.
        projects: whether messages are projected on the simplex: a legitimate one is a distribution.
    """

    def __init__(
        self,
        attacks: Sequence[Assigned] = (),
        streams: Streams | None = None,
        encoder: Aggregator | None = None,
        projects: bool = False,
    ) -> None:
        self.rejected = 0
        """Messages turned away so far."""
        self._projects = projects
        self.encoder = encoder if encoder is not None and encoder.sends_signs else None
        self._streams = streams
        self._forgeries = [
            (number, attack, workers)
            for number, (attack, workers) in enumerate(attacks)
            if isinstance(attack, MessageAttack) and attack.deviates
        ]
        self._malicious = malicious(attacks)

    @property
    def forges(self) -> bool:
        """Whether somebody replaces messages: then those of a step must come in together."""
        return bool(self._forgeries)

    def honest(self, workers: Sequence[int]) -> list[int]:
        """Return the honest among the workers."""
        return [worker for worker in workers if worker not in self._malicious]

    @property
    def may_be_huge(self) -> bool:
        """Whether a message that came in may be of any size up to `LARGEST`."""
        return self.forges and not self._projects

    def without(self, senseless: Collection[int], tickets: Sequence[Ticket]) -> list[Ticket]:
        """Turn away the messages of workers that are known to send no numbers; return the other tickets."""
        finite = [ticket for ticket in tickets if ticket.worker not in senseless]
        self.rejected += len(tickets) - len(finite)
        return finite

    def take(
        self,
        tickets: Sequence[Ticket],
        messages: Tensor,
        others: Callable[[], Tensor],
        read: Callable[[Any], Tensor] = consensus_of,
    ) -> tuple[Tensor, list[int] | None]:
        """Return the messages that may be used, and their places among the tickets (none: all of them).

        Where all are honest these are the very messages given.

        Args:
            tickets: whose messages they are.
            messages: what honest workers would send in their place, (n, M, N).
            others: gives the honest messages of workers not among the tickets that are combined with these,
                (k, M, N); asked only if somebody who attacks now knows them.
            read: from the content of a snapshot to what a worker that read it sends a new value of, (M, N).
        """
        if self.encoder is not None:
            messages = self._encoded(self.encoder, tickets, messages, read)
        if self._forgeries:
            messages = self._forged(tickets, messages, others, read)
        usable = None
        if not math.isfinite(float(messages.sum())):  # the cheapest look; huge numbers get a second one
            finite = messages.flatten(1).isfinite().all(1)
            if not bool(finite.all()):
                self.rejected += int((~finite).sum())
                usable = finite.nonzero().flatten().tolist()
                messages = messages[usable]
        if self._projects:
            return (messages if bool(is_distribution(messages).all()) else project(messages)), usable
        return (messages.clamp(-LARGEST, LARGEST) if self.may_be_huge else messages), usable

    def _encoded(
        self,
        encoder: Aggregator,
        tickets: Sequence[Ticket],
        messages: Tensor,
        read: Callable[[Any], Tensor],
    ) -> Tensor:
        assert self._streams is not None
        known = torch.stack([read(ticket.snapshot.content) for ticket in tickets])
        draws = [self._streams.generator(Stream.ENCODING, ticket.worker, ticket.job) for ticket in tickets]
        return encoder.encode(messages.flatten(1), known.flatten(1), draws).view_as(messages)

    def _forged(
        self,
        tickets: Sequence[Ticket],
        messages: Tensor,
        others: Callable[[], Tensor],
        read: Callable[[Any], Tensor],
    ) -> Tensor:
        honest = messages[
            [place for place, ticket in enumerate(tickets) if ticket.worker not in self._malicious]
        ]

        @cache
        def everyone() -> Tensor:
            return torch.cat((honest, others()))

        sent = messages.clone()
        for number, attack, workers in self._forgeries:
            places = [
                place
                for place, ticket in enumerate(tickets)
                if ticket.worker in workers and attack.on(ticket.start_s)
            ]
            if not places:
                continue
            own = sent[places]
            forged = attack.forge(
                own.flatten(1),
                (everyone() if attack.knowledge == "all" else honest).flatten(1),
                _newest(tickets, places, read),
                self._draws(number, [tickets[place] for place in places]),
                own.shape[-1],
            )
            sent[places] = _as_messages(forged, own)
        return sent

    def _draws(self, number: int, tickets: Sequence[Ticket]) -> list[np.random.Generator]:
        """Return a generator for each ticket, at addresses that no other attack of the run has."""
        assert self._streams is not None
        return [
            self._streams.generator(Stream.ATTACK, ticket.worker, ticket.job * ATTACKS_AT_MOST + number)
            for ticket in tickets
        ]


def _as_messages(forged: object, own: Tensor) -> Tensor:
    """Return what was forged in the shape and type of the messages that it replaces.

    A stranger's attack may return anything. What has not even the form of real messages becomes NaN, so that
    it is turned away and counted.
    """
    if not isinstance(forged, Tensor) or forged.shape != own.flatten(1).shape or forged.is_complex():
        return torch.full_like(own, torch.nan)
    return forged.detach().to(own).reshape(own.shape)


def _newest(tickets: Sequence[Ticket], places: list[int], read: Callable[[Any], Tensor]) -> Tensor:
    """Return the newest consensus that one of these workers has read, (d,)."""
    newest: Any = max((tickets[place].snapshot for place in places), key=lambda snapshot: snapshot.version)
    return (
        read(newest.content).flatten().clone()
    )  # a stranger's attack must not be able to write to the server's z
