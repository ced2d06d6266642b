"""The page on one's own data: its files are written as they stand there, and its commands run on them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from loopback_server import Loopback, Reply, chat

from fedsim.results import load_results
from fedsim.scenario import load_scenario

PAGE = (Path(__file__).parents[2] / "docs" / "own-data.md").read_text()
FILE = re.compile(r"`([\w-]+\.\w+)`[^\n`]*:\n\n```\w+\n(.*?)^```$", re.M | re.S)
URL = "http://127.0.0.1:8089/v1"
TOKENS_IN, TOKENS_OUT = 30, 1
"""Of each call, as the server counts them."""


def answer(body: dict[str, Any], number: int) -> Reply:
    """Tell the class by what the text itself says."""
    asked = body["messages"][-1]["content"].rpartition("Text: ")[2]
    said = {"billing": ("invoice", "charged", "refund"), "delivery": ("parcel", "courier", "order")}
    best = next((name for name, words in said.items() if any(word in asked for word in words)), "product")
    return chat(
        {best: 0.8, **{name: 0.1 for name in ("billing", "delivery", "product") if name != best}}, best
    )


def test_the_commands_as_written(command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSIM_CACHE", str(tmp_path / "cache"))
    files = dict(FILE.findall(PAGE))
    assert set(files) == {"tickets.csv", "new.csv", "tickets.toml", "calls.csv", "office.edges"}
    with Loopback(answer) as server:
        assert URL in files["tickets.toml"]
        for name, text in files.items():
            (tmp_path / name).write_text(text.replace(URL, server.base_url))
        said = {}
        for line in re.findall(r"^\$ fedsim (.*)$", PAGE, re.M):
            found = command(*shlex.split(line))
            assert found.code == 0, f"{line}\n{found.err}"
            assert server.requests or line.startswith("check"), "a check asks nothing"
            said[line.split("tickets.toml")[0].strip()] = found.out
        n_requests = len(server.requests)
    (row,) = load_results(tmp_path / "results").to_dict("records")
    # Three texts were asked about afterwards: one, and two of a file.
    assert row["real_calls"] == n_requests - 3
    assert (row["real_tokens_in"], row["real_tokens_out"]) == (30 * row["real_calls"], row["real_calls"])
    assert row["real_cost"] == pytest.approx(row["real_calls"] * (TOKENS_IN * 0.15 + TOKENS_OUT * 0.60) / 1e6)
    most = re.search(r"real model [^\n]*?([\d,]+) calls", said["check"])
    assert most is not None, said["check"]
    assert row["real_calls"] <= int(most[1].replace(",", "")), "the price before is the most there can be"
    assert "Label: billing" in said["prompt results"]
    assert "delivery" in said['ask results "the parcel with my lamp is lost"']
    assert pd.read_csv(tmp_path / "answers.csv").answer.tolist() == ["billing", "delivery"]
    assert "latency = {" in said["fit-latency calls.csv --column latency_ms --unit ms"]


def test_the_network_as_written(tmp_path: Path) -> None:
    (tmp_path / "office.edges").write_text(dict(FILE.findall(PAGE))["office.edges"])
    (stated,) = re.findall(r"`(network = .*?)`", PAGE)[-1:]
    text = f"""
name = "office"
{stated}
algorithm = {{ kind = "asyndbt" }}
problem = {{ kind = "quadratic" }}
workers = [{{ count = 2, compute = {{ kind = "constant", value_s = 1 }} }}]
budget = {{ server_steps = 1 }}
llm = {{ kind = "independent", latency = {{ kind = "constant", value_s = 1 }} }}
"""
    (tmp_path / "office.toml").write_text(text)
    assert load_scenario(tmp_path / "office.toml").network.workers == ("desk", "lab")
