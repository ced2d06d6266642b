"""A service that never answers, as somebody else's part."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Literal

from fedsim.timing.llm_service import LlmProvider, Served


class Silent(LlmProvider):
    """Never answers."""

    kind: Literal["silent"] = "silent"

    def open(self, env: Any, *_: Any) -> Any:
        return _Open(env)


class _Open:
    def __init__(self, env: Any) -> None:
        self._env = env

    def serve(self, calls: object) -> Generator[Any, Any, None]:
        yield self._env.event()

    def served(self) -> Served:
        return Served()
