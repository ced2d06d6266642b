"""Demonstrations chosen to raise the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from fedsim.errors import InputError
from fedsim.icl.attacks.base import Access, DemonstrationAttack, PoisonPlan
from fedsim.icl.attacks.poison import with_copies
from fedsim.icl.models.base import Prompts
from fedsim.icl.tasks.base import Longs, TaskData

if TYPE_CHECKING:
    from fedsim.icl.models.base import Scorer


class Adversarial(DemonstrationAttack):
    """Poisoned demonstrations are copies of those that the black box answers worst with.

    Before the run, each malicious worker ranks its own candidates of each class by the loss on its own
    training queries under a prompt that shows the candidate in its slot, the worker's first candidate in the
    other slots, and no fragment: one demonstration of each class, however many the run's prompts show. Each
    poisoned candidate becomes a copy, with label, of one of the `n_worst` worst of its class. A tie goes to
    the lower number.

    That takes one prompt for each candidate and a call for each training query: U * V * B calls, of which a
    model answers those of equal text once. With a real model they are in its own books of what was asked;
    the simulated clock and the counted calls do not know them.

    Source: single demonstrations ranked by the accuracy with them, Chang, Jia, "Data curation alone can
    stabilize in-context learning", ACL 2023, section 3 (CondAcc), here by the loss and used the wrong way
    round; poisoned demonstrations that raise a model's errors, He et al., "Data poisoning for in-context
    learning", 2024, which rewrites texts instead.
    """

    kind: Literal["adversarial"] = "adversarial"
    asks_model: ClassVar[bool] = True

    n_worst: int = Field(default=3, ge=1)
    """How many of the worst candidates of a class are copied, all with equal chances."""

    def _poisoned(self, data: TaskData[Any], plan: PoisonPlan) -> TaskData[Any]:
        if not plan.chosen.any():
            return data
        if plan.access is None:
            raise InputError(f"attack {self.kind!r} must be able to ask the black box")
        scorer = plan.access.attach(data)
        _, n_classes, n_candidates = plan.chosen.shape
        copied = np.zeros(plan.chosen.shape, dtype=np.int64)
        try:
            for client in plan.clients:
                worker, mine = plan.own(client)
                if not plan.chosen[worker, :, mine].any():
                    continue
                own = np.arange(n_candidates)[mine]
                worst = own[_ranked(scorer, plan.access, data, client, plan.pooled, own)[:, : self.n_worst]]
                picks = plan.numbers[worker, :, mine] % worst.shape[1]
                copied[worker, :, mine] = np.take_along_axis(worst, picks, 1)
        except BaseException:
            # Nobody else closes a model before the run has begun.
            if scorer.questions is not None:
                scorer.questions.close()
            raise
        slots = np.arange(n_classes)[:, None]
        return data._replace(demonstrations=with_copies(data.demonstrations, plan.chosen, slots, copied))


def _ranked(
    scorer: Scorer, access: Access, data: TaskData[Any], client: int, pooled: int, own: Longs
) -> Longs:
    """Return the places among a client's own candidates of each class, highest loss first, (U, len(own))."""
    import torch

    from fedsim.icl.loss import cross_entropy
    from fedsim.learning.device import from_numpy, to_numpy

    worker, place = divmod(client, pooled)
    n_classes, n_queries = data.demonstrations.y.shape[1], data.train.y.shape[1] // pooled
    # Prompt (u, i) shows candidate i in slot u and the first one elsewhere.
    shown = np.full((n_classes, n_classes, len(own)), own[0])
    shown[np.arange(n_classes), np.arange(n_classes)] = own
    queries = torch.arange(n_queries)[None] + place * n_queries
    demonstrations = from_numpy(shown).transpose(0, 1).flatten(1)[None]
    scores = scorer.scores(Prompts(torch.tensor([worker]), None, demonstrations, "train", queries))
    labels = from_numpy(data.train.y)[worker, queries]
    losses = cross_entropy(scores, labels, access.loss_floor).view(n_classes, -1)
    return np.argsort(-to_numpy(losses), axis=-1, kind="stable")
