"""The interface of an attack on messages: what malicious workers send in place of their p."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from fedsim.attack import Attack

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class MessageAttack(Attack):
    """Malicious workers that report in one step write their messages together, as one mind.

    They cannot forge who they are, and send one message each. A message is a table of d / N distributions
    over N options, read row by row; nothing forces what they send to be one.
    """

    needs_distributions: ClassVar[bool] = False
    """Whether what it sends means something only where messages are distributions."""
    looks: ClassVar[bool] = True
    """Whether what it sends depends on honest messages beyond a worker's own: on `known`."""

    knowledge: Literal["own", "all"] = "own"
    """What they know of honest messages: what they themselves would honestly have sent, or also all honest
    messages that the server combines with theirs in this step."""

    def idle(self) -> Mapping[str, str]:
        return {} if self.looks else {"knowledge": f"{self.kind!r} looks at nobody's messages"}

    @abstractmethod
    def forge(
        self,
        own: Tensor,
        honest: Tensor,
        previous: Tensor,
        draws: Sequence[np.random.Generator] = (),
        options: int | None = None,
    ) -> Tensor:
        """Return what the k malicious workers of this step send, (k, d), the type of `own`.

        Nothing given is written to. Statistics are over `known(own, honest)`.

        Args:
            own: what they would honestly have sent, (k, d).
            honest: the honest messages that the server combines with theirs, (n, d); n may be 0.
            previous: the consensus that they last read, (d,).
            draws: a generator of random numbers for each of them; attacks without chance need none.
            options: N; None: d.
        """

    def known(self, own: Tensor, honest: Tensor) -> Tensor:
        """Return the honest messages that they can look at: with knowledge of all and n > 0 those of the
        others, otherwise their own."""
        return honest if self.knowledge == "all" and len(honest) else own
