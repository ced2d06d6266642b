"""`fedsim check` tells the bill of a real endpoint before anything is asked."""

from __future__ import annotations

import json

import pytest
from endpoint_text import ROWS, endpoint_text

ENDPOINT = """
kind = "endpoint"
model = "m"
base_url = "http://127.0.0.1:9/v1"
api_key_env = ""
max_cost = 0.0000001
price_per_million_tokens_in = 2.0
price_per_million_tokens_out = 4.0
"""


def test_the_bill_of_a_real_endpoint_before_anything_is_asked(command, tmp_path):
    rows = ROWS + "".join(f"{n},train,t{n},{n % 2}\n" for n in range(3, 23))
    (tmp_path / "rows.csv").write_text(rows)
    (tmp_path / "own.toml").write_text(_endpoint())
    answer = command("check", "own.toml", "--json")
    assert answer.code == 0, answer.err
    real = json.loads(answer.out)["real_model"]
    # A call: a word, 5 and 5 tokens, thrice, as there are 2 demonstrations. A job: 2 prompts with 2 queries.
    # SDBT, 2 workers, 2 steps; measured at the start and at the end: 2 workers, 2 test queries with p and
    # with z, and 2 validation queries.
    assert (real["jobs"], real["evaluation"]) == (2 * 2 * 4, 2 * 2 * (2 + 2 + 2))
    calls = real["jobs"] + real["evaluation"]
    assert (real["tokens_in"], real["tokens_out"]) == (33 * calls, 3 * calls)
    assert real["price"] == pytest.approx((2.0 * 33 + 4.0 * 3) * calls / 1e6)
    assert real["stops"] == ["max_cost = 1e-07"]
    said = " ".join(command("check", "own.toml").out.split())
    assert (
        "to pay: 40 calls, as equal or kept answers are not asked again (16 by jobs, 24 by measuring" in said
    )
    assert "stopped before by max_cost = 1e-07" in said


def _endpoint():
    text = endpoint_text(ENDPOINT)
    tokens = "tokens = { tokens_per_word = 1.0, template_tokens = 5, text_tokens = 5, tokens_out = 3 }"
    text = text.replace('"asyndbt", wait_for = 1, tau = 3', '"sdbt", cuts = false')
    text = text.replace('kind = "icl"\n', f'kind = "icl"\nn_samples = 2\n{tokens}\n')
    sizes = "train_per_class = 1\nvalidation_per_class = 1\nn_demonstrations = 1\n"
    return text.replace("n_words = 1\n", f"n_words = 1\n{sizes}")
