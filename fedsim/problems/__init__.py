"""The learning problems: what an algorithm may ask of one (`base`), and the members of the family."""

from __future__ import annotations

from typing import Annotated

from fedsim.catalog import Family
from fedsim.problems.base import Problem
from fedsim.problems.baseline import BaselineProblem
from fedsim.problems.icl.problem import IclProblem
from fedsim.problems.quadratic import Quadratic

PROBLEMS = Family("problems", Problem, IclProblem, BaselineProblem, Quadratic)
AnyProblem = Annotated[Problem, PROBLEMS]

__all__ = ["PROBLEMS", "AnyProblem", "Problem"]
