"""The round rule of federated averaging: a sample of the workers, and the server waits for all of it."""

from __future__ import annotations

from collections.abc import Sequence

from fedsim.streams import Stream, Streams


class RoundRule:
    """Ask some workers, drawn anew for each round, and step when all of them have reported.

    Draws are uniform and without replacement from the workers that still take part; where no more than
    `participants` are left, all of them are asked. With `participants` = R it is the step rule with S = R.

    Source: McMahan et al., "Communication-efficient learning of deep networks from decentralized data",
    AISTATS 2017, Algorithm 1: S_t, the random set of m clients.

    Args:
        workers: the worker numbers that take part.
        participants: how many are asked in a round, at least 1.
        streams: the randomness of the run; round r is drawn at (`PARTICIPANTS`, 0, r).

    Raises:
        ValueError: `participants` is less than 1.
    """

    tau = 1
    """Everybody who is asked is waited for: no ticket is stale."""

    def __init__(self, workers: range, participants: int, streams: Streams) -> None:
        if participants < 1:
            raise ValueError(f"participants must be at least 1, got {participants}")
        self.step = 0
        self.wait_for = participants
        self._members = set(workers)
        self._in_order: list[int] | None = None  # none: to be sorted anew
        self._participants = participants
        self._streams = streams
        self._rounds = 0
        self._awaited: dict[int, None] = {}

    def ask(self, waiting: Sequence[int]) -> list[int]:
        """Begin a round: return whom to ask, first those who are `waiting`, in their order."""
        asked = self.members
        if len(asked) > self._participants:
            generator = self._streams.seat(Stream.PARTICIPANTS, 0, self._rounds)
            places = generator.choice(len(asked), self._participants, replace=False)
            asked = [asked[place] for place in sorted(places)]
        self._rounds += 1
        everybody = dict.fromkeys(asked)
        self._awaited = {worker: None for worker in waiting if worker in everybody} | everybody
        return list(self._awaited)

    def report(self, worker: int) -> None:
        """A message of this worker has arrived."""
        del self._awaited[worker]

    @property
    def missing(self) -> int:
        """How many reports the server still waits for."""
        return len(self._awaited)

    def may_step(self) -> bool:
        """Whether the round is over; nobody has reported if all who were asked have been given up."""
        return self.alive and not self._awaited

    def stepped(self) -> None:
        """The server has stepped."""
        self.step += 1

    def reset_ages(self) -> None:
        """Nobody has an age here."""

    def evict(self, worker: int) -> None:
        """Ask this worker never again."""
        self._members.remove(worker)
        self._in_order = None
        self._awaited.pop(worker, None)

    def admit(self, worker: int) -> bool:
        """Take a worker in, from the next round on.

        Returns:
            Whether it gets a job at once: it waits until a round asks it.
        """
        self._members.add(worker)
        self._in_order = None
        return False

    def __contains__(self, worker: object) -> bool:
        return worker in self._members

    def __len__(self) -> int:
        return len(self._members)

    @property
    def alive(self) -> bool:
        """Whether anybody still takes part."""
        return bool(self._members)

    @property
    def members(self) -> list[int]:
        """The workers that still take part, in order of number."""
        if self._in_order is None:
            self._in_order = sorted(self._members)
        return self._in_order.copy()
