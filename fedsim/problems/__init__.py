"""The learning problems: what workers learn, seen by an algorithm as gradients and measurements.

A `Problem` is settings: what there is to tune, what a job costs. Its `prepare` draws the data of a run and
returns an `Oracle` (`base`), which answers for many jobs at once. `icl` and `baseline` are made of the tasks
and black boxes of `fedsim.icl`, and so is `questions`, which offers no gradients; `quadratic` is a formula,
and `softmax` a small classifier.
"""

from __future__ import annotations

from typing import Annotated

from fedsim.catalog import Family
from fedsim.problems.base import Problem
from fedsim.problems.baseline import BaselineProblem
from fedsim.problems.icl.problem import IclProblem
from fedsim.problems.injection.problem import InjectionProblem
from fedsim.problems.quadratic import Quadratic
from fedsim.problems.questions.problem import QuestionsProblem
from fedsim.problems.softmax import Softmax

PROBLEMS = Family(
    "problems", Problem, IclProblem, BaselineProblem, Quadratic, QuestionsProblem, InjectionProblem, Softmax
)
AnyProblem = Annotated[Problem, PROBLEMS]

__all__ = ["PROBLEMS", "AnyProblem", "Problem"]
