"""Malicious workers that answer every question wrongly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from fedsim.learning.attacks.base import MessageAttack

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class WrongAnswers(MessageAttack):
    """Each sends, for every question, the class after the one that it holds for right.

    After the last class comes the first; of two classes it is the other one. What it sends is as sure as its
    honest message would have been, and has the form of one. An attacker does not know the truth: where its
    own answer is wrong, of two classes what it sends is right. That all agree on one class for everything is
    `worst_word` with `word`.

    Source: ours, on the answers of Wang et al., "Federated in-context learning", ICML 2025 (arXiv
    2506.07440): clients relabel their own data by the answers of all, so wrong ones may spread; the next
    class as in label flipping, Biggio, Nelson, Laskov, ACML 2011.
    """

    kind: Literal["wrong_answers"] = "wrong_answers"
    needs_distributions: ClassVar[bool] = True
    looks: ClassVar[bool] = False

    def forge(
        self,
        own: Tensor,
        honest: Tensor,
        previous: Tensor,
        draws: Sequence[np.random.Generator] = (),
        options: int | None = None,
    ) -> Tensor:
        from fedsim.learning.forging import words

        return own.view(len(own), *words(own.shape[1], options)).roll(1, -1).flatten(1)
