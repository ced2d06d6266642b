"""An in-context learner in closed form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fedsim.icl.models.base import BlackBox, Scorer

if TYPE_CHECKING:
    from fedsim.icl.tasks.base import TaskData
    from fedsim.icl.tasks.gaussian import Latent


class Surrogate(BlackBox):
    """Linear attention: demonstrations act as one gradient step on a base classifier, words shift it.

    The classifier of a prompt with words j and demonstrations k, on features ``[x; 1]``, is
    ``W = W0 + sum_u G[u, k_u] + mean_i E[j_i]`` and the label scores are ``softmax(W [x; 1])``, with
    ``G[u, k] = step * (onehot(y) - softmax(W0 [x; 1])) [x; 1]^T`` for the demonstration (x, y), plus its
    label bias in the last column. A mislabelled demonstration pushes the wrong way.

    Source: von Oswald et al., "Transformers learn in-context by gradient descent", ICML 2023, Proposition 1
    (linear attention is a step of gradient descent), with the softmax loss and a label bias (Zhao et al.,
    "Calibrate before use", ICML 2021, section 3) in place of their squared loss.
    """

    kind: Literal["surrogate"] = "surrogate"

    def attach(self, data: TaskData[Latent]) -> Scorer:
        from fedsim.icl.models.linear_attention import LinearAttention

        return LinearAttention(data)
