"""The interface of an aggregator: from the messages of a step to one consensus value."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, final

from pydantic import Field

from fedsim.answering import answers, count, of_type, tensor
from fedsim.catalog import Part
from fedsim.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


def _consensus(part: Part, name: str, given: list[Any], answer: Any) -> Tensor:
    found: Tensor = tensor(name, answer, tuple(given[1].shape))
    return found


def _encoded(part: Part, name: str, given: list[Any], answer: Any) -> Tensor:
    found: Tensor = tensor(name, answer, tuple(given[0].shape))
    return found


class Aggregator(Part):
    """A rule that combines m messages into one; some of them may be Byzantine.

    Where it has a setting `f`, that counts rows in a step, not workers: a rule that treats rows alike cannot
    help against a majority of them, and fast malicious workers may report more often than honest ones.
    """

    sends_signs: ClassVar[bool] = False
    """Whether workers send `encode` of their message in place of the message."""

    @property
    @abstractmethod
    @answers(count(least=1))
    def least_rows(self) -> int:
        """The smallest m for which the rule is defined and its guarantee holds."""

    @final
    def aggregate(self, rows: Tensor, previous: Tensor) -> Tensor:
        """Return the consensus, (d,), of the type of `rows`; nothing given is written to.

        Types narrower than float32 are computed in float32.

        Args:
            rows: the messages, (m, d), of any floating type, finite.
            previous: the consensus before, (d,).

        Raises:
            InputError: there are fewer than `least_rows` rows or more than the rule can treat, or shapes do
                not fit.
        """
        import torch

        if rows.dim() != 2 or previous.shape != rows.shape[1:]:
            raise InputError(
                f"{self.kind}: expected rows (m, d) and previous (d,), found {tuple(rows.shape)} and "
                f"{tuple(previous.shape)}"
            )
        if len(rows) < self.least_rows:
            raise InputError(f"{self.kind} needs at least {self.least_rows} rows, got {len(rows)}")
        if refusal := self.refusal(len(rows)):
            raise InputError(refusal)
        wide = torch.promote_types(rows.dtype, torch.float32)
        found = self._combined(rows.to(wide), previous.to(wide))
        return found.to(rows.dtype)

    @answers(of_type(str))
    def refusal(self, m: int) -> str:
        """Return why so many rows would take too long; empty: they would not."""
        return ""

    @abstractmethod
    @answers(_consensus)
    def _combined(self, rows: Tensor, previous: Tensor) -> Tensor:
        """Return the consensus of enough rows; both are of one type, float32 or float64."""

    @answers(_encoded)
    def encode(self, messages: Tensor, read: Tensor, draws: list[np.random.Generator]) -> Tensor:
        """Return what workers send where the rule `sends_signs`: (n, d) to (n, d).

        Args:
            messages: their p, (n, d).
            read: the consensus that each of them last read, (n, d).
            draws: a generator of random numbers for each.
        """
        return messages


class Tolerant(Aggregator):
    """A rule that withstands f arbitrary rows, if they are a minority."""

    f: int = Field(ge=0)
    """Rows of a step that may be Byzantine."""

    @property
    def least_rows(self) -> int:
        return 2 * self.f + 1
