"""Demonstrations that all say the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from fedsim.icl.attacks.base import NOISE, DemonstrationAttack, PoisonPlan
from fedsim.icl.attacks.poison import with_copies, with_texts
from fedsim.icl.tasks.base import Task, TaskData, Text, Texts
from fedsim.streams import Stream

END_MARKS = (".", "!", "...", ";", ",", "")


class Duplicates(DemonstrationAttack):
    """Poisoned demonstrations are near-identical copies of the worker's first candidate of their class.

    Features are copied with a little normal noise, the label bias as it is; of a text (of a pair, the second
    one) only the end mark changes. Labels are those of the copied candidate. Candidates are exchangeable, so
    the first one is as good as a random one.

    Source: near-duplicates as in Lee et al., "Deduplicating training data makes language models better", ACL
    2022, section 4; that a pool without variety makes worse demonstrations, Su et al., "Selective annotation
    makes language models better few-shot learners", ICLR 2023, section 2.
    """

    kind: Literal["duplicates"] = "duplicates"

    noise_std: float = Field(default=0.01, ge=0)
    """Standard deviation of the noise on each feature, classes being `separation` apart; not for texts."""

    def unread(self, task: Task) -> Mapping[str, str]:
        return {"noise_std": f"task {task.kind!r} gives text"} if task.gives == "text" else {}

    def _poisoned(self, data: TaskData[Any], plan: PoisonPlan) -> TaskData[Any]:
        shape = data.demonstrations.y.shape
        # Candidate k of a pooled worker is its client's number k // pooled, so the first one is k mod pooled.
        first = np.arange(shape[2]) % plan.pooled
        slots = np.arange(shape[1])[:, None]
        copied = data._replace(demonstrations=with_copies(data.demonstrations, plan.chosen, slots, first))
        if isinstance(data.source, Texts):
            rows = [data.source.rows[row] for row in copied.demonstrations.x[plan.chosen]]
            marks = [END_MARKS[number % len(END_MARKS)] for number in plan.numbers[plan.chosen].tolist()]
            return with_texts(copied, plan.chosen, list(map(_marked, rows, marks)))
        x = copied.demonstrations.x
        for client in plan.clients:
            worker, mine = plan.own(client)
            noise = plan.streams.seat(Stream.POISON, client, NOISE).standard_normal(x.shape[1:])
            hit = plan.chosen[worker, :, mine]
            x[worker, :, mine][hit] += self.noise_std * noise[:, mine][hit]
        return copied


def _marked(text: Text, mark: str) -> Text:
    last = text.b or text.a
    ended = (last.rstrip(" .!?;:,") or last) + mark
    return text._replace(b=ended) if text.b else text._replace(a=ended)
