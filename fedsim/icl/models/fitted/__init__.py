"""A closed form that was fitted to a real model's answers, and the fit."""

from __future__ import annotations

from fedsim.icl.models.fitted.part import Fitted

__all__ = ["Fitted"]
