"""Tasks, one per file: where queries, demonstrations and candidate words come from."""

from __future__ import annotations

from typing import Annotated

from fedsim.catalog import Family
from fedsim.icl.tasks.base import Task, TaskData
from fedsim.icl.tasks.calibrated import Calibrated
from fedsim.icl.tasks.synthetic import Synthetic
from fedsim.icl.tasks.text import TextTask

TASKS = Family("tasks", Task, Calibrated, Synthetic, TextTask)
AnyTask = Annotated[Task, TASKS]

__all__ = ["TASKS", "AnyTask", "Task", "TaskData"]
