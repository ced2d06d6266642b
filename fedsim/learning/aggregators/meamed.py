"""The mean around the median."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fedsim.learning.aggregators.base import Tolerant

if TYPE_CHECKING:
    from torch import Tensor


class Meamed(Tolerant):
    """The mean of the m - f values of each coordinate that are nearest to its median.

    Of two values as near as each other on either side, the smaller one is taken first. With at most f
    Byzantine rows among 2f + 1 or more, a Byzantine value among those taken is no farther from the median
    than some honest value: the result may leave the range of the honest rows, by less than its width.

    Source: Xie, Koyejo, Gupta, "Generalized Byzantine-tolerant SGD", arXiv 1802.10116, 2018, the rule called
    mean-around-median (MeaMed). ByzFL's takes the same values but leaves ties to its partial sort; where a
    library takes `torch.median`, the lower of two middle values, the values differ for even m.
    """

    kind: Literal["meamed"] = "meamed"

    def _combined(self, rows: Tensor, previous: Tensor) -> Tensor:
        import torch

        from fedsim.learning.ordered import in_order, middle

        values, m = in_order(rows), len(rows)
        taken = m - self.f
        centre = middle(values)
        # The nearest values are neighbours in order. Their window starts at the bottom, and moves on for as
        # long as the value that it leaves is farther from the centre than the one that it reaches.
        start = (centre - values[: self.f] > values[taken:] - centre).sum(0)
        place = torch.arange(m).unsqueeze(1)
        return torch.where((start <= place) & (place < start + taken), values, 0).sum(0) / taken
