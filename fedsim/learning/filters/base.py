"""The interface of a filter: an asynchronous server's judgement of each message as it arrives."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from fedsim.answering import answers, count, opens, tensor
from fedsim.catalog import Part

if TYPE_CHECKING:
    from torch import Tensor


class Arrival(NamedTuple):
    """A message as the server sees it."""

    worker: int
    message: Tensor
    """(d,)"""
    read: Tensor
    """The consensus that the worker had read, (d,)."""
    staleness: int
    """Server steps between that and this one."""

    @property
    def update(self) -> Tensor:
        """The message less the consensus that its worker had read, (d,).

        The papers' workers send gradients, ours send models. Where workers start at what they read, as in
        Fed-BDPL, a plain gradient step of rate a makes this -a times the gradient. In AsynDBT workers go on
        from their own p, and the update also contains the distance of that p from the consensus.
        """
        return self.message - self.read


class Filtering(Protocol):
    """A filter at work in one run, with what it remembers."""

    refused: int
    """Messages thrown away so far."""
    calls: int
    """LLM calls that the filter itself has made so far."""

    @property
    def expelled(self) -> Collection[int]:
        """The workers that are to be out for good, all so far."""
        ...

    def passed(self, arrivals: list[Arrival], previous: Tensor) -> Tensor:
        """Return the rows to combine in this step, (m', d), in the place of the messages; maybe none.

        Args:
            arrivals: in order of arrival.
            previous: the consensus before the step, (d,).
        """
        ...


def _passed(part: Part, name: str, given: list[Any], answer: Any) -> Tensor:
    found: Tensor = tensor(name, answer, (None, len(given[1])))
    return found


class Filter(Part):
    """The settings of a filter.

    Messages are models. A filter works on their updates (`Arrival.update`) and passes on rows
    ``previous + update``, as a server does that adds gradients to its newest model: an update that was made
    on an older consensus moves the present one by as much, and does not drag it back.
    """

    needs_trusted: ClassVar[bool] = False
    """Whether the server needs data of its own."""

    def check(self, n_workers: int) -> None:
        """Say, before anything runs, that the filter is impossible with R workers.

        Raises:
            ValueError: it is.
        """

    @answers(count(or_none=True))
    def rows_made(self, m: int) -> int | None:
        """Return how many rows m messages become whenever there are rows at all; none: nobody can know."""
        return None

    @abstractmethod
    @answers(opens({"passed": _passed}))
    def open(
        self,
        n_workers: int,
        trusted: Callable[[Tensor, int], Tensor] | None = None,
        calls_each: int = 0,
    ) -> Filtering:
        """Return the filter at work.

        Args:
            n_workers: R.
            trusted: gives the gradient of the loss by p on the server's own data, (d,), at a consensus (d,)
                in a step. On the simplex it should be along it, each distribution's mean taken away: its
                length counts, and the rest of it moves nothing. None where the filter does not need it.
            calls_each: LLM calls that one use of `trusted` costs.
        """
