"""A language model behind any server that speaks OpenAI's API."""

from __future__ import annotations

from fedsim.icl.models.endpoint.part import Endpoint

__all__ = ["Endpoint"]
