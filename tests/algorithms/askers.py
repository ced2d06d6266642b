"""Methods that ask for something else than gradients, end by themselves, or learn nothing."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from incremental import Incremental, IncrementalLearner

from fedsim.algorithms.base import Bench
from fedsim.messages import Ticket
from fedsim.problems.base import Offer


class Asker(Incremental):
    """Asks for what the quadratic does not offer."""

    kind: Literal["asker"] = "asker"
    asks: ClassVar[Offer] = "questions"


class Costs(Incremental):
    """A cost model: nothing is opened."""

    kind: Literal["costs"] = "costs"
    learns: ClassVar[bool] = False

    def open(self, bench: Bench) -> IncrementalLearner:
        raise AssertionError


class Brief(Incremental):
    """Has nothing left to do after two steps."""

    kind: Literal["brief"] = "brief"

    def open(self, bench: Bench) -> BriefLearner:
        return BriefLearner(bench, self)


class BriefLearner(IncrementalLearner):
    """Says so."""

    finished = ""
    _steps = 0

    def take_step(self, tickets: list[Ticket]) -> Any:
        self._steps += 1
        self.finished = "task known" if self._steps == 2 else ""
        return super().take_step(tickets)
