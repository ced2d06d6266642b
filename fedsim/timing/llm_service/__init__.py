"""LLM services, one per file: how long calls take, and how they disturb each other."""

from __future__ import annotations

from fedsim.timing.llm_service.base import (
    LLM_SERVICES,
    AnyLlmService,
    Calls,
    LlmProvider,
    LlmService,
    QueueLevel,
    Served,
)
from fedsim.timing.llm_service.independent import Independent
from fedsim.timing.llm_service.shared import Shared

LLM_SERVICES.add(Independent, Shared)

__all__ = [
    "LLM_SERVICES",
    "AnyLlmService",
    "Calls",
    "LlmProvider",
    "LlmService",
    "QueueLevel",
    "Served",
]
