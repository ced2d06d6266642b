"""Real results to report on, made in a second or two, and a reader of the page that comes of them."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd

from fedsim import sweep
from fedsim.scenario import load_variants

HOSTILE = (
    "</script><script>window.stolen = 1</script><img src=x onerror='window.stolen = 1'>{{ 7 * 7 }}<b>bold</b>"
)
"""What somebody may write into a description or the name of a group."""

SCENARIO = f'''
name = "bench"
description = "{HOSTILE}"

[algorithm]
kind = "asyndbt"
wait_for = 2
tau = 3

[problem]
kind = "quadratic"
dimension = 3

[[workers]]
name = "normal"
count = 2
compute = {{ kind = "exponential", mean_s = 1.0 }}

[[workers]]
name = "other"
count = 1
compute = {{ kind = "exponential", mean_s = 1.0 }}

[llm]
kind = "independent"
latency = {{ kind = "constant", value_s = 0.5 }}

[algorithm.cuts]
every = 4
rounds = 2

[budget]
server_steps = 12

[target]
metric = "loss"
value = 2.9
window = 1

[evaluation]
every_steps = 3

[record]
spans = true

[variants.asyndbt.algorithm]
kind = "asyndbt"

[variants.sdbt.algorithm]
kind = "sdbt"
'''
SLOW_DOWNS = (1, 4)
SEEDS = (0, 1, 2)


def results(folder: Path) -> Path:
    """Run two methods, each with two stragglers and three seeds, and return where the results are."""
    file = folder / "bench.toml"
    file.write_text(SCENARIO, encoding="utf-8")
    for slow_down in SLOW_DOWNS:
        name = HOSTILE if slow_down > 1 else "other"
        overrides = [f"workers.1.slow_down={slow_down}", f'workers.1.name="{name}"']
        for scenario in sweep.replicates(load_variants(file, overrides), len(SEEDS)):
            sweep.run_one(scenario, folder / "results")
    return folder / "results"


def runs(*rows: dict[str, Any]) -> pd.DataFrame:
    """Return a table of runs as a report has it, from what matters in a test; the rest is alike."""
    alike = {"scenario": "task", "method": "asyndbt", "seed": 0, "ended": "budget", "has_target": True}
    numbers = {"simulated_time_s": 20.0, "time_to_target_s": 5.0, "loss": 0.5, "place": 0}
    return pd.DataFrame(
        [{**alike, **numbers, "run_id": f"r{place}", **row} for place, row in enumerate(rows)]
    )


class Page(HTMLParser):
    """A page in pieces: its elements, the text of each kind, and the tables' rows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.tables: list[list[list[str]]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "input", "br", "link", "img"):
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))
        if {"td", "th"} & set(self._open):
            self.tables[-1][-1][-1] += ("|" if self._open[-1] == "small" else "") + data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, tag: str) -> list[str]:
        """Return what stands directly in the elements of a kind."""
        return [text for name, text in self.texts if name == tag]
