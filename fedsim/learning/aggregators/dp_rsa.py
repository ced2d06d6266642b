"""Aggregation by signs that may be noised for privacy."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from fedsim.learning.aggregators.base import Aggregator

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class DpRsa(Aggregator):
    """Workers send the signs of their differences from the consensus; the server adds them up.

    ``previous + step sum_v sign(row_v - previous)``: one row moves a coordinate by at most the step. What is
    sent is ``read + 2 s``, with s the signs of ``message - read``, perhaps noised. On the simplex no
    coordinate of the consensus moves by more than 1 between read and use, so the server finds each s
    unchanged, however old. What would change the rows on the way (a projection, clipping, bucketing) destroys
    the signs.

    Without noise a difference of 0, but for rounding, is sent as 0: the server then finds the sign of
    ``read - previous``, which is that of ``message - previous``. With noise, where a 0 would betray the
    message, it becomes one of the two signs by a fair draw.

    Source: Zhu, Ling, "Bridging differential privacy and Byzantine-robustness via model aggregation", IJCAI
    2022, arXiv 2205.00107: the signs of the differences are sent, and two mechanisms perturb them (abstract);
    the mechanisms here are those of the paper's released code, read in place of its text. The code's flips
    leave a sign of 0 at 0, and its normal draws widen with positive differences alone, ours with their size.
    """

    sends_signs: ClassVar[bool] = True

    kind: Literal["dp_rsa"] = "dp_rsa"
    step: float = Field(gt=0)
    """The paper's learning rate times its penalty lambda."""
    noise: Literal["none", "flip", "gaussian"] = "none"
    """flip: each sign is turned round with `flip_probability`. gaussian: the sign is taken of the difference
    plus a normal draw."""
    flip_probability: float | None = Field(default=None, ge=0, lt=0.5)
    """1 - gamma in the released code; each sign is then epsilon-differentially private by itself, with
    ``epsilon = log((1 - flip_probability) / flip_probability)`` (randomised response)."""
    noise_std: float | None = Field(default=None, gt=0)
    """The least standard deviation of the normal draw. It is two thirds of the difference where that is more,
    so that no difference is large enough to be sure of its sign."""

    @model_validator(mode="after")
    def _check_noise(self) -> DpRsa:
        for noise, setting in (("flip", "flip_probability"), ("gaussian", "noise_std")):
            given = getattr(self, setting) is not None
            if given != (self.noise == noise):
                raise ValueError(f"noise: found {self.noise!r} {'with' if given else 'without'} {setting}")
        return self

    @property
    def least_rows(self) -> int:
        return 1

    def _combined(self, rows: Tensor, previous: Tensor) -> Tensor:
        from fedsim.learning.ties import sign

        return previous + self.step * sign(rows - previous).sum(0)

    def encode(self, messages: Tensor, read: Tensor, draws: list[np.random.Generator]) -> Tensor:
        from fedsim.learning.signs import flipped, noised
        from fedsim.learning.ties import sign

        difference = messages - read
        if self.flip_probability is not None:
            signs = flipped(difference, self.flip_probability, draws)
        elif self.noise_std is not None:
            signs = noised(difference, self.noise_std, draws)
        else:
            signs = sign(difference)
        return read + 2 * signs
