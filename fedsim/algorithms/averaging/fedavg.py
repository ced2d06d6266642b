"""Federated averaging as it was first proposed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fedsim.algorithms.averaging.base import Averaging
from fedsim.algorithms.base import Bench

if TYPE_CHECKING:
    from fedsim.algorithms.averaging.averager import Averager


class Fedavg(Averaging):
    """In a round, sampled workers make local steps from the server's model; it takes the mean of these.

    The paper weighs a client by its number of samples; all workers of a problem hold equally many, so that
    the weighted mean is the mean. The paper's local steps are those of SGD, E passes over batches; here
    `local_steps` counts single steps, each on what the problem takes for one gradient. On the words of a
    prompt it is Fed-BDPL without that method's asynchronous extension.

    Source: McMahan et al., "Communication-efficient learning of deep networks from decentralized data",
    AISTATS 2017, Algorithm 1.
    """

    kind: Literal["fedavg"] = "fedavg"

    def open(self, bench: Bench) -> Averager:
        from fedsim.algorithms.averaging.averager import Averager

        return Averager(bench, self.optimizer, self.local_steps, self.aggregation)
