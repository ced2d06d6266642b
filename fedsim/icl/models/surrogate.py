"""An in-context learner in closed form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fedsim.icl.models.base import BlackBox, Scorer
from fedsim.icl.models.reading import DemonstrationReading, FragmentReading

if TYPE_CHECKING:
    from fedsim.icl.tasks.base import TaskData
    from fedsim.icl.tasks.gaussian import Latent


class Surrogate(BlackBox):
    """Linear attention: demonstrations act as one gradient step on a base classifier, words shift it.

    The classifier of a prompt with words j and demonstrations k, n of each class, on features ``[x; 1]``, is
    ``W = W0 + n^-e sum_i G[i, k_i] + sum_w a_w(j) E[w]`` and the label scores are ``softmax(W [x; 1])``. What
    the fragment holds of each word, a_w, is that of `FragmentReading`. The demonstration (x, y) in a slot of
    class u adds ``G = step * (l (onehot(y) - s(x)) [x; 1]^T + t (onehot(c(x)) - s(x)) [x; 1]^T
    + o (onehot(u) - s(m_u)) [m_u; 1]^T)``, plus its label bias in the last column: s is
    ``softmax(W0 [x; 1])``, c(x) the class whose mean is nearest, m_u the mean of class u, and (l, t, o) the
    shares of `DemonstrationReading`, whose `shots_exponent` is e and whose `recency` adds to the bias of the
    label that is shown, by place. With l = 1 it is the gradient step itself, and a mislabelled demonstration
    pushes the wrong way with all its strength.

    Source: von Oswald et al., "Transformers learn in-context by gradient descent", ICML 2023, Proposition 1
    (linear attention is a step of gradient descent), with the softmax loss and a label bias (Zhao et al.,
    "Calibrate before use", ICML 2021, section 3) in place of their squared loss.
    """

    kind: Literal["surrogate"] = "surrogate"

    fragment: FragmentReading = FragmentReading()
    demonstrations: DemonstrationReading = DemonstrationReading()

    @property
    def reads_order(self) -> bool:
        return self.demonstrations.recency > 0

    def attach(self, data: TaskData[Latent]) -> Scorer:
        from fedsim.icl.models.linear_attention import LinearAttention

        return LinearAttention(data, self.fragment, self.demonstrations)
