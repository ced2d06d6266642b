"""Federated averaging of black-box prompt learning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from fedsim.algorithms.averaging.base import Averaging
from fedsim.algorithms.base import Bench
from fedsim.schedule import Rounds, Steps

if TYPE_CHECKING:
    from fedsim.algorithms.averaging.averager import Averager


class Fedbdpl(Averaging):
    """Fed-BDPL: sampled workers step the server's prompt distributions, and the server averages them.

    In a round each of K* workers starts at the server's theta, makes E steps of black-box prompt learning and
    sends its p; the server waits for all of them and takes the mean. With `wait_for` it does not wait: an
    extension, after FedBuff, in which every worker works all the time and the server steps when S of them
    have reported, adding to theta the mean of what each did to the theta it had read.

    Source: Wang et al., "FedOne: query-efficient federated learning for black-box discrete prompt learning",
    ICML 2025 (Fed-BDPL); Diao et al., "Black-box prompt learning for pre-trained language models", TMLR 2023,
    for the local steps; McMahan et al., "Communication-efficient learning of deep networks from decentralized
    data", AISTATS 2017, Algorithm 1, for the rounds; the extension after Nguyen et al., "Federated learning
    with buffered asynchronous aggregation", AISTATS 2022, Algorithm 1, without its weights for staleness.
    """

    kind: Literal["fedbdpl"] = "fedbdpl"
    wait_for: int | None = Field(default=None, ge=1)
    """S, how many workers must have reported (the asynchronous extension); none: all of the round."""
    tau: int | None = Field(default=None, ge=1)
    """With `wait_for`: a message is at most tau - 1 steps old when used."""

    @model_validator(mode="after")
    def _check_rounds(self) -> Fedbdpl:
        if (self.wait_for is None) != (self.tau is None):
            raise ValueError("expected both wait_for and tau (the asynchronous extension) or none of them")
        if self.wait_for is not None and self.participants is not None:
            raise ValueError("found participants and wait_for, expected one: without rounds nobody is drawn")
        return self

    def rule(self, n_workers: int) -> Steps | Rounds:
        if self.wait_for is None or self.tau is None:
            return super().rule(n_workers)
        return Steps(self.wait_for, self.tau)

    def open(self, bench: Bench) -> Averager:
        from fedsim.algorithms.averaging.averager import Averager

        return Averager(bench, self.optimizer, self.local_steps, self.aggregation)
