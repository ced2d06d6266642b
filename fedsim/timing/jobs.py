"""Kinds of jobs as a worker does them: what is the same for all jobs of a kind, worked out once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

from fedsim.messages import JobCost
from fedsim.schedule import Schedule
from fedsim.timing.activities import LABELS
from fedsim.timing.groups import OwnModel, WorkerGroup


class JobOfKind(NamedTuple):
    """A kind of job, on a worker of normal speed."""

    cost: JobCost
    activity: int | None
    """The number of the one activity that such a job is booked as; none: by phase."""
    own_s: float
    """Time for what the job asks of the worker's own model (s)."""
    in_interlude: bool


def jobs_of_each(
    schedule: Schedule, groups: Sequence[WorkerGroup], labels: Sequence[str]
) -> list[Mapping[str, JobOfKind]]:
    """Return the kinds of jobs of each worker, by name; workers with the same model have them in common.

    Args:
        schedule: the kinds of jobs.
        groups: what holds for each worker.
        labels: the names of all activities, in order of number.
    """
    of_interlude = schedule.interlude.work if schedule.interlude is not None else None

    @cache
    def jobs(own_model: OwnModel | None) -> Mapping[str, JobOfKind]:
        return {
            kind: JobOfKind(
                work.cost,
                labels.index(work.activity) if work.activity is not None else None,
                own_model.job_s(work.cost) if own_model is not None else 0.0,
                kind == of_interlude,
            )
            for kind, work in schedule.work.items()
        }

    return [jobs(group.own_model) for group in groups]


MOST_A_JOB = 10**12
"""Calls, tokens or bytes: sums over a million jobs are still whole numbers of 64 bits."""


def check_jobs(schedule: Schedule, groups: Sequence[WorkerGroup], answered: bool) -> None:
    """Check that workers and service can do what a schedule asks of them.

    Args:
        schedule: of the algorithm.
        groups: the machines that compute.
        answered: whether there is a service that answers LLM calls.

    Raises:
        ValueError: they cannot, or the schedule contradicts itself.
    """
    schedule.check()
    for name in schedule.activities:
        if name in LABELS:
            raise ValueError(
                f"schedule.work: found the activity {name!r}, expected none of the clock's own names: "
                f"{', '.join(LABELS)}"
            )
    for kind, work in schedule.work.items():
        cost = work.cost
        for count, number in cost._asdict().items():
            if number > MOST_A_JOB:
                raise ValueError(
                    f"schedule.work.{kind}: found {number:,} {count} in a job, expected at most "
                    f"{MOST_A_JOB:,}: their sum over a run would fit no table"
                )
        if cost.calls and not answered:
            raise ValueError(
                f"schedule.work.{kind}: found {cost.calls} LLM calls in a job, expected none: "
                "there is no LLM service"
            )
        for group in groups if cost.own_tokens or cost.own_gradient_tokens else ():
            if not group.has_own_model:
                raise ValueError(
                    f"workers {group.name!r}: found no own_model, expected one: jobs of kind {kind!r} pass "
                    "tokens through it"
                )
