"""A small scenario that asks an endpoint, as a file, for tests that go through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from loopback_server import Loopback
from text_cases import rows, write_jsonl

SCENARIO = """
name = "asked"
[algorithm]
kind = "sdbt"
[problem]
kind = "icl"
n_samples = 2
batch = 2
also_measured = []
use_fragment = false
[problem.task]
kind = "text"
file = "reviews.jsonl"
n_demonstrations = 3
train_per_class = 2
validation_per_class = 1
test_counts = [4, 3]
[problem.task.prompt]
question = "Review: {{ text_a }}"
demonstration = "{{ question }} Answer: {{ label }}"
query = "{{ question }} Answer:"
separator = "\\n"
labels = ["No", "Yes"]
[[workers]]
count = 2
[llm]
kind = "independent"
latency = { kind = "constant", value_s = 1.0 }
[budget]
server_steps = 1
"""


def endpoint_scenario(folder: Path, server: Loopback, **settings: Any) -> Path:
    """Write a scenario of two workers that asks a server some dozens of prompts, and return its file."""
    write_jsonl(folder, rows())
    plain = {"kind": "endpoint", "model": "m", "base_url": server.base_url, "api_key_env": ""}
    table = plain | {"retries": 0, "cache": False} | settings
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    file = folder / "asked.toml"
    file.write_text("\n".join([SCENARIO, "[problem.model]", *lines, ""]))
    return file


def prompt_of(body: dict[str, Any]) -> str:
    """Return the prompt of a request in chat layout."""
    text: str = body["messages"][0]["content"]
    return text
