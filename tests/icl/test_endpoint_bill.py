"""The two bills of a run with an endpoint: what was really sent stands beside what was simulated."""

from __future__ import annotations

from typing import Any

import pytest
from endpoint_runs import endpoint_scenario
from loopback_server import Loopback, Reply, chat, error

from fedsim.errors import ModelError
from fedsim.icl.answers.answer import Spent
from fedsim.results import load_results

LISTED = chat({"Yes": 0.5, "No": 0.5})
PRICES = {"price_per_million_tokens_in": 1000.0, "price_per_million_tokens_out": 2000.0}


def biased(body: dict[str, Any], number: int) -> Reply:
    """List the labels only after a bias, and refuse every fifth try at first."""
    if number % 5 == 0:
        return error(500)
    return LISTED if "logit_bias" in body else chat({" the": 0.9})


def test_what_was_sent_is_counted_call_by_call_and_has_names_of_its_own(command, tmp_path):
    with Loopback(biased) as server:
        file = endpoint_scenario(tmp_path, server, cache=True, retries=1, concurrency=1, **PRICES)
        rule = 'when_unlisted = "logit_bias"\nlabel_token_ids = { Yes = 7, No = 9 }\n'
        file.write_text(file.read_text() + rule)
        ran = command("run", file, "--out", "o")
        n_calls = sum(number % 5 != 0 for number in range(1, len(server.requests) + 1))
    assert ran.code == 0
    (row,) = load_results("o").to_dict("records")
    assert row["real_calls"] == n_calls != row["llm_calls"]
    assert (row["real_tokens_in"], row["real_tokens_out"]) == (30 * n_calls, n_calls)
    assert row["real_cost"] == pytest.approx(n_calls * (30 * 1000 + 2000) / 1e6)
    assert row["cost"] == 0
    said = (
        f"real model: {n_calls} calls sent, {30 * n_calls:,} tokens in and {n_calls} out, "
        f"cost {row['real_cost']:.6g} in the currency of its prices"
    )
    assert said in ran.out
    shown = command("results", "o").out
    assert "real_calls" in shown
    assert "real_cost" in shown
    assert f"{30 * n_calls}" in shown, "the tokens in"
    assert command("report", "o", "-o", "page.html").code == 0
    page = (tmp_path / "page.html").read_text()
    assert "Calls really sent" in page
    assert "LLM calls (simulated)" in page
    assert "Answers kept from before" in page


def test_tokens_that_the_server_does_not_report_are_unknown(command, tmp_path):
    no_usage = chat({"Yes": 0.5, "No": 0.5}, usage=None)
    with Loopback(lambda _, number: no_usage if number == 3 else LISTED) as server:
        ran = command("run", endpoint_scenario(tmp_path, server, **PRICES), "--out", "o")
        n_calls = len(server.requests)
    assert ran.code == 0
    assert f"real model: {n_calls} calls sent, tokens not reported (" in ran.out
    runs = load_results("o")
    assert list(runs.real_calls) == [n_calls]
    assert runs[["real_tokens_in", "real_tokens_out", "real_cost"]].isna().all(axis=None)


def test_an_answer_of_no_use_was_sent_all_the_same():
    with Loopback(chat(None)) as server:
        session = server.endpoint(**PRICES).connect()
        with pytest.raises(ModelError, match="lists no log-probabilities"):
            session.ask(["p"], ("No", "Yes"), lambda *_: None)
        assert session.spent() == Spent(1, 30, 1, 0, pytest.approx(0.032))
        session.close()
