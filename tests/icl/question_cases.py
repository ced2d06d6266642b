"""Questions over a tiny set of texts, and a clockless way to take the rounds of Fed-ICL."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from fake_model import FakeModel, FakeSession
from torch import Tensor

from fedsim.algorithms.base import Bench
from fedsim.algorithms.fedicl.fedicl import Fedicl
from fedsim.algorithms.fedicl.voter import Voter
from fedsim.attack import Assigned
from fedsim.icl.encoders.base import Encoder, unit_rows
from fedsim.icl.models.language import Answer
from fedsim.learning.batching import Job
from fedsim.messages import Snapshot, Ticket
from fedsim.problems.base import Problem
from fedsim.streams import Streams


class Topics(Encoder):
    """How often some words stand in a text.

    Source: no paper; a stand-in for tests.
    """

    kind: Literal["topics"] = "topics"
    words: tuple[str, ...] = ("warm", "dull", "dog", "choir", "moon", "wooden", "wonderful", "home", "film")

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        return unit_rows(np.array([[text.count(word) for word in self.words] for text in texts], dtype=float))


class Parrot(FakeModel):
    """Answers the label that the prompt shows most often, of equally frequent ones the first.

    Source: no paper; a stand-in for tests.
    """

    kind: Literal["parrot"] = "parrot"

    def connect(self) -> FakeSession:
        self._sessions.append(ParrotSession(self))
        return self._sessions[-1]


class ParrotSession(FakeSession):
    """`Parrot`, ready to answer."""

    def ask(
        self, prompts: Sequence[str], labels: tuple[str, ...], done: Callable[[int, Answer], None]
    ) -> None:
        for place, prompt in enumerate(prompts):
            self._count(prompt)
            # Of each demonstration alone: the question names all labels.
            shown = [line.rpartition("Answer: ")[2] for line in prompt.splitlines()[:-1]]
            said = max(labels, key=shown.count)
            done(place, Answer(tuple(math.log(0.9 if x == said else 0.1) for x in labels), 1, 1, 0.0, 0.0))


class Server:
    """Hands out jobs and takes their tickets, as a server does that waits for those it is told."""

    def __init__(
        self,
        settings: Fedicl,
        problem: Problem,
        n_workers: int,
        attacks: Sequence[Assigned] = (),
        seed: int = 0,
    ) -> None:
        self.voter: Voter = settings.open(Bench(problem, n_workers, Streams(seed), attacks))
        self.states = [self.voter.first()]
        self._read = dict.fromkeys(range(n_workers), (0, 0))
        for worker in range(n_workers):
            self._hand_out(worker)

    def step(self, *workers: int, start_s: float = 0.0, skipped: Sequence[int] = ()) -> Any:
        """Take one step with the jobs of these workers, and hand them the next ones, which start then."""
        tickets = []
        for worker in workers:
            version, job = self._read[worker]
            snapshot = Snapshot(version, self.states[version])
            tickets.append(Ticket(worker, job, "any", snapshot, 0.0, 0.0, worker in skipped))
        self.states.append(self.voter.take_step(tickets))
        for worker in workers:
            self._read[worker] = (len(self.states) - 1, self._read[worker][1] + 1)
            self._hand_out(worker, start_s)
        return self.states[-1]

    def rounds(self, count: int, n_workers: int) -> list[Tensor]:
        """Take so many steps with all workers; return the server's answers at the start and after each."""
        for _ in range(count):
            self.step(*range(n_workers))
        return [state.y for state in self.states]

    def _hand_out(self, worker: int, start_s: float = 0.0) -> None:
        version, job = self._read[worker]
        self.voter.hand_out(Job(worker, job, "any", self.states[version], start_s))
