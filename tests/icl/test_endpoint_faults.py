"""Everything a server can do wrong, over real HTTP: what is tried again, what is kept, what is said."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from loopback_server import Loopback, Reply, Script, chat, error
from waiting import LIMIT_S, started, until

from fedsim.errors import ModelError
from fedsim.icl.models.endpoint import Endpoint
from fedsim.icl.models.endpoint.errors import REMEDIES
from fedsim.icl.models.endpoint.window import Window
from fedsim.icl.models.language import Answer

LABELS = ("No", "Yes")
KEY = "sk-very-secret"
PROMPT = "a private prompt"
GOES_ON = ". Answers are kept: the same command goes on from there"


def failure(model: Endpoint, n_prompts: int = 1) -> tuple[str, dict[int, Answer]]:
    """Return the sentence of the failure, and the answers that came before it."""
    answers: dict[int, Answer] = {}
    session = model.connect()
    try:
        with pytest.raises(ModelError) as caught:
            session.ask([f"{PROMPT} {place}" for place in range(n_prompts)], LABELS, answers.__setitem__)
    finally:
        session.close()
    told = caught.value
    # A stack trace shows causes too, and the client's errors hold what the server said.
    assert told.__cause__ is told.__context__ is None
    assert "\n" not in str(told)
    return str(told), answers


def sentence(script: Script | Reply, **settings: Any) -> str:
    with Loopback(script) as server:
        return failure(server.endpoint(**settings))[0]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("FEDSIM_TEST_KEY", KEY)


SHOW_LESS = "reduce n_words, or show fewer or shorter demonstrations"
TOO_LONG = f"a prompt is longer than the model's context (400): {SHOW_LESS}"
LOOK_AT = "look at top_logprobs, seed, temperature, length_field and extra_body"
ONE_TRY = "in the only try (retries = 0)"
QUOTING = f"you said {PROMPT!r} with the key {KEY}"


@pytest.mark.parametrize(
    ("reply", "what"),
    [
        (error(401, QUOTING), "the server refuses the key in the environment variable FEDSIM_TEST_KEY (401)"),
        (
            error(403, QUOTING),
            "the server forbids the use of this model (403) with the key in FEDSIM_TEST_KEY",
        ),
        (
            error(404, QUOTING, code="model_not_found"),
            "the server does not know this model or route (404): look at model, base_url and layout",
        ),
        (
            error(400, QUOTING, code="context_length_exceeded"),
            TOO_LONG,
        ),
        (
            error(400, QUOTING, code=400, type="exceed_context_size_error"),
            TOO_LONG,
        ),
        (
            error(400, f"This model's maximum context length is 9 tokens. {QUOTING}"),
            TOO_LONG,
        ),
        (
            error(400, QUOTING, param="top_logprobs"),
            (
                "the server rejects the request because of the field 'top_logprobs' (400): "
                f"{REMEDIES['top_logprobs']}"
            ),
        ),
        (
            error(422, QUOTING, param=PROMPT),
            f"the server rejects the request (422): {LOOK_AT}",
        ),
        (
            Reply(QUOTING.encode(), 418),
            f"the server rejects the request (418): {LOOK_AT}",
        ),
        (
            error(429, QUOTING, code="insufficient_quota"),
            "the account has no quota left (429)",
        ),
        (
            error(429, QUOTING),
            f"the server refused for the rate of requests (429) {ONE_TRY}: lower concurrency, or wait",
        ),
        (error(500, QUOTING), f"the server failed with status 500 {ONE_TRY}"),
        (
            Reply(QUOTING.encode()),
            "the server sent an answer that is no JSON: is base_url the root of an API, as /v1?",
        ),
        (Reply(b""), "the server sent an empty answer"),
        (Reply({"choices": [], "prompt": QUOTING}), "the server sent an answer without usable 'choices'"),
        (
            chat(None, text=QUOTING),
            'the server lists no log-probabilities: say when_unlisted = "text" to read its answers as texts',
        ),
    ],
)
def test_a_failure_is_one_sentence_that_repeats_nothing(reply, what):
    with Loopback(reply) as server:
        said, answers = failure(server.endpoint(api_key_env="FEDSIM_TEST_KEY"))
    assert said == f"model 'm' stopped after 0 of 1 answers of a batch: {what}{GOES_ON}"
    assert answers == {}
    assert len(server.requests) == 1


NOT_PERMITTED = {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}
MAX_TOKENS = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
TEXT = {"when_unlisted": "text"}


@pytest.mark.parametrize(
    ("reply", "settings", "what"),
    [
        (error(400, param="seed"), {}, "'seed' (400): leave seed out with unset = [\"seed\"]"),
        (Reply(NOT_PERMITTED, 422), {}, "'seed' (422): leave seed out"),
        (Reply({"message": NOT_PERMITTED, "param": None}, 422), {}, "'seed' (422): leave seed out"),
        (error(400, param="temperature"), {}, 'leave temperature out with unset = ["temperature"]'),
        (error(400, MAX_TOKENS), {}, "'max_tokens' (400): say length_field = \"max_completion_tokens\""),
        (
            error(400, param="max_completion_tokens"),
            {"length_field": "max_completion_tokens"},
            'say length_field = "max_tokens"',
        ),
        (
            error(400, "max_tokens or model output limit was reached", param="max_tokens"),
            {"length_field": "max_completion_tokens"} | TEXT,
            "'max_tokens' (400): raise text_tokens",
        ),
        (error(400, param="max_tokens", code="integer_below_min_value"), TEXT, "raise text_tokens"),
        (error(400, "'top_k' is not allowed"), {"extra_body": {"top_k": 1}}, "look at extra_body.top_k"),
        (Reply({"detail": [[[[[[[[[[["seed"]]]]]]]]]]]}, 422), {}, f"the request (422): {LOOK_AT}"),
        (Reply(b"null", 400), {}, f"the request (400): {LOOK_AT}"),
    ],
)
def test_a_field_that_is_disliked_is_named_with_what_helps(reply, settings, what):
    assert what in sentence(reply, **settings)


def test_a_server_that_wants_a_key_where_none_is_named():
    assert "name the environment variable that holds it in api_key_env" in sentence(error(401))
    assert "(403). Answers are kept" in sentence(error(403))


def test_without_a_cache_nothing_goes_on():
    assert sentence(error(401), cache=False).endswith(
        "With cache = false the same command starts from the beginning"
    )


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_what_may_pass_is_tried_again(status):
    with Loopback(lambda _, number: chat() if number > 2 else error(status)) as server:
        session = server.endpoint(retries=2).connect()
        answers: dict[int, Answer] = {}
        session.ask(["p"], LABELS, answers.__setitem__)
        session.close()
    assert len(answers) == 1
    assert len(server.requests) == 3


def test_a_server_that_says_when_is_asked_then():
    with Loopback(
        lambda _, number: chat() if number > 1 else Reply(b"", 429, {"Retry-After": "1"})
    ) as server:
        session = server.endpoint(retries=1).connect()
        session.ask(["p"], LABELS, lambda *_: None)
        session.close()
    # Half a second is what is waited for without a word from the server.
    assert server.arrived_s[1] - server.arrived_s[0] >= 1.0


def test_what_does_not_pass_is_said_with_the_number_of_tries():
    with Loopback(error(429)) as server:
        said, _ = failure(server.endpoint(retries=3))
    assert "(429) in 4 tries: lower concurrency" in said
    assert len(server.requests) == 4
    assert "status 500 in 2 tries" in sentence(error(500), retries=1)


def test_a_wait_of_more_than_two_minutes_is_left_to_the_person():
    reply = Reply(b"", 429, {"Retry-After": "3600"})
    assert "asking for a wait of 3600 s" in sentence(reply)


def test_a_server_that_hangs():
    said = sentence(Reply(act="hang"), timeout_s=0.2)
    assert "no answer within timeout_s = 0.2 s in the only try" in said


def test_a_server_that_hangs_once():
    with Loopback(lambda _, number: chat() if number > 1 else Reply(act="hang")) as server:
        # On a slow machine further tries may time out as well.
        session = server.endpoint(timeout_s=0.5, retries=1000).connect()
        answers: dict[int, Answer] = {}
        begun = time.monotonic()
        session.ask(["p"], LABELS, answers.__setitem__)
        spent_s = time.monotonic() - begun
        session.close()
    # The time of the try that was answered, and not of those before it.
    assert answers[0].end_to_end_s <= spent_s - 0.5


def test_a_server_that_hangs_up():
    with Loopback(Reply(act="hang_up")) as server:
        said, _ = failure(server.endpoint(retries=1))
    assert "the server at base_url could not be reached, or hung up, in 2 tries (is it running?)" in said
    assert len(server.requests) == 2


def test_nobody_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        said, _ = failure(Endpoint(model="m", base_url=f"http://127.0.0.1:{port}", api_key_env="", retries=0))
    assert "could not be reached" in said
    assert str(port) not in said


def test_answers_on_their_way_are_kept_and_nothing_new_is_asked(monkeypatch):
    fourth_came, failed = threading.Event(), threading.Event()
    collect = Window.collect
    monkeypatch.setattr(Window, "collect", lambda *words: (failed.set(), collect(*words)))

    def third_fails(_: dict[str, Any], number: int) -> Reply:
        if number == 3:
            return error(401)._replace(after=fourth_came)
        if number == 4:
            fourth_came.set()
            return chat()._replace(after=failed)
        return chat()

    with Loopback(third_fails) as server:
        said, answers = failure(server.endpoint(concurrency=2), n_prompts=10)
    assert "stopped after 3 of 10 answers" in said
    assert len(answers) == 3
    assert len(server.requests) == 4


def test_what_is_on_its_way_after_a_failure_is_waited_for_only_so_long():
    with Loopback(lambda _, number: error(401) if number > 1 else Reply(act="hang")) as server:
        said, answers = failure(server.endpoint(concurrency=2, timeout_s=0.6, retries=50), n_prompts=3)
    assert "(401)" in said
    assert answers == {}
    assert len(server.requests) < 10  # what hangs is not tried fifty times


def test_an_answer_that_cannot_be_kept_ends_the_batch():
    class FullDiskError(Exception):
        pass

    def done(place: int, _: Answer) -> None:
        if place == 2:
            raise FullDiskError

    with Loopback(chat()) as server:
        session = server.endpoint(concurrency=1).connect()
        with pytest.raises(FullDiskError):
            session.ask(["p"] * 50, LABELS, done)
        assert len(server.requests) <= 4
        # The session is still good.
        answers: dict[int, Answer] = {}
        session.ask(["p"], LABELS, answers.__setitem__)
        session.close()
    assert len(answers) == 1


def test_what_is_given_up_is_not_tried_again():
    def done(*_: object) -> None:
        server.wait_for(5)
        raise KeyError

    with Loopback(lambda _, number: chat() if number == 1 else error(429)) as server:
        session = server.endpoint(concurrency=2, retries=1000).connect()
        with pytest.raises(KeyError):
            session.ask(["p"] * 2, LABELS, done)
        n_requests = len(server.requests)
        time.sleep(0.3)
        # Of each of the two, one may have been on its way; every 20 ms another one would come.
        assert len(server.requests) <= n_requests + 2
        session.close()


def test_an_interrupted_handing_over_is_repeated():
    kept: list[int] = []

    def done(place: int, _: Answer) -> None:
        kept.append(place)
        if len(kept) == 1:
            raise KeyboardInterrupt

    with Loopback(chat()) as server:
        session = server.endpoint(concurrency=1).connect()
        with pytest.raises(KeyboardInterrupt):
            session.ask(["p"] * 3, LABELS, done)
        session.close()
    assert kept == [0, 0]


PROGRAM = """
import json, signal, sys
from pathlib import Path
from fedsim.icl.models.endpoint import Endpoint, session

base_url, file, session.INTERRUPT_PATIENCE_S = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
kept = json.loads(file.read_text()) if file.exists() else []
missing = [prompt for prompt in map(str, range(10)) if prompt not in kept]

def done(place, answer):
    kept.append(missing[place])
    file.write_text(json.dumps(kept))

def interrupt(number, frame):
    print("heard", flush=True)
    signal.default_int_handler(number, frame)

signal.signal(signal.SIGINT, interrupt)
model = Endpoint(model="m", base_url=base_url, api_key_env="", concurrency=2, timeout_s=600)
model.connect().ask(missing, ("No", "Yes"), done)
"""
"""Asks for what is missing and keeps each answer: what the cache does."""


def start(server: Loopback, file: Path, patience_s: float) -> AbstractContextManager[subprocess.Popen[str]]:
    return started([sys.executable, "-c", PROGRAM, server.base_url, file, patience_s], file.parent)


def test_ctrl_c_keeps_what_arrived_and_a_second_start_asks_for_the_rest(tmp_path):
    fifth, sixth = threading.Event(), threading.Event()

    def slow_after_four(_: dict[str, Any], number: int) -> Reply:
        if number <= 4:
            return chat()
        return chat()._replace(after=fifth) if number == 5 else error(401)._replace(after=sixth)

    def n_kept() -> int:
        try:
            return len(json.loads(kept.read_text()))
        except (OSError, ValueError):  # it is being written
            return 0

    kept = tmp_path / "kept.json"
    with Loopback(slow_after_four) as server:
        with start(server, kept, LIMIT_S) as program:
            server.wait_for(6)
            program.send_signal(signal.SIGINT)
            assert program.stdout.readline() == "heard\n"
            # Two calls are open when Ctrl-C comes: one is answered a little later, the other one fails.
            fifth.set()
            until(lambda: n_kept() == 5, program)
            sixth.set()
            _, said = program.communicate(timeout=LIMIT_S)
        assert program.returncode == -signal.SIGINT
        assert said.rstrip().endswith("KeyboardInterrupt")
        assert len(server.requests) == 6
        first = json.loads(kept.read_text())

        server.script = lambda _, __: chat()
        with start(server, kept, LIMIT_S) as program:
            assert program.communicate(timeout=LIMIT_S)[1] == ""
        assert program.returncode == 0
    asked = [body["messages"][0]["content"] for body in server.requests[6:]]
    assert sorted(asked) == sorted(set(map(str, range(10))) - set(first))
    assert sorted(json.loads(kept.read_text())) == [str(place) for place in range(10)]


def test_after_ctrl_c_a_call_that_hangs_is_not_waited_for(tmp_path):
    with Loopback(Reply(act="hang")) as server, start(server, tmp_path / "kept.json", 0.1) as program:
        server.wait_for(2)
        program.send_signal(signal.SIGINT)
        assert program.communicate(timeout=LIMIT_S)[0] == "heard\n"
    assert program.returncode == -signal.SIGINT
    assert len(server.requests) == 2
