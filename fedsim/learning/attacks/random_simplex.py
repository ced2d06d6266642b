"""Random distributions in place of messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from fedsim.learning.attacks.base import MessageAttack

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class RandomSimplex(MessageAttack):
    """Each sends, for each word, a distribution drawn uniformly from all distributions.

    Source: ours; what it sends has the form of an honest message, so no check of the form finds it. A uniform
    point of the simplex is Dirichlet(1, ..., 1): Devroye, "Non-uniform random variate generation", 1986,
    Chapter XI, Theorem 4.1.
    """

    kind: Literal["random_simplex"] = "random_simplex"
    looks: ClassVar[bool] = False
    needs_distributions: ClassVar[bool] = True

    def forge(
        self,
        own: Tensor,
        honest: Tensor,
        previous: Tensor,
        draws: Sequence[np.random.Generator] = (),
        options: int | None = None,
    ) -> Tensor:
        import numpy as np

        from fedsim.learning.forging import drawn, words

        m_words, n_options = words(own.shape[1], options)
        flat = np.ones(n_options)
        return drawn(own, draws, lambda generator: generator.dirichlet(flat, m_words)).to(own.dtype)
