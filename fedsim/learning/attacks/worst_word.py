"""Malicious workers that agree on a bad word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from fedsim.learning.attacks.base import MessageAttack

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class WorstWord(MessageAttack):
    """All are sure of a bad option, for each word: the same for all, or that which looks worst.

    Without `word` it is, for each word by itself, the option that known messages hold least likely on
    average, of several such the one of the lowest number. That says little while messages are still close to
    uniform; an attacker who has tried the options on the model knows better, and can name one.

    Source: ours, after the threat model of Ma et al., AsynDBT, Scientific Reports 16:9381 (2026): malicious
    workers collude and send arbitrary messages. Every message is a table of distributions, so no check of the
    form finds it, and it is as far from the mean as a table of distributions can be.
    """

    kind: Literal["worst_word"] = "worst_word"
    needs_distributions: ClassVar[bool] = True

    word: int | None = Field(default=None, ge=0)
    """The number of the option that they agree on for every word; none: see above."""

    def idle(self) -> Mapping[str, str]:
        return {} if self.word is None else {"knowledge": "with `word` it looks at nobody's messages"}

    def check(self, options: int) -> None:
        """Say that there is no such word.

        Raises:
            ValueError: `word` is none of the N options.
        """
        if self.word is not None and self.word >= options:
            raise ValueError(f"{self.kind}: found word {self.word}, expected 0 to {options - 1}")

    def forge(
        self,
        own: Tensor,
        honest: Tensor,
        previous: Tensor,
        draws: Sequence[np.random.Generator] = (),
        options: int | None = None,
    ) -> Tensor:
        import torch

        from fedsim.learning.forging import colluding, words
        from fedsim.learning.ties import argmin

        mean = self.known(own, honest).double().mean(0).view(words(own.shape[1], options))
        worst = argmin(mean)  # of equal minima the first
        if self.word is not None:
            self.check(mean.shape[1])
            worst = torch.full_like(worst, self.word)
        return colluding(torch.nn.functional.one_hot(worst, mean.shape[1]).flatten(), own)
