"""Encoders: unit rows, nothing fetched, nothing left behind."""

from __future__ import annotations

import logging
import subprocess
import sys
import types
from importlib.util import find_spec

import numpy as np
import pytest
from waiting import LIMIT_S

from fedsim.errors import InputError
from fedsim.icl.encoders import ENCODERS, SentenceTransformers, WordLlama, sentence_transformers, wordllama
from fedsim.icl.encoders.base import unit_rows

TEXTS = ["a wonderful film", "a great movie", "the router drops packets", "films", ""]

needs_wordllama = pytest.mark.skipif(find_spec("wordllama") is None, reason="wordllama is not installed")


def test_unit_rows_by_hand() -> None:
    rows = unit_rows(np.array([[3.0, 4.0], [0.0, 0.0], [0.0, -2.0]]))
    assert rows.tolist() == [[0.6, 0.8], [0.0, 0.0], [0.0, -1.0]]


@needs_wordllama
def test_static_vectors_are_unit_rows_and_near_where_meanings_are() -> None:
    vectors = WordLlama().encode(TEXTS)
    assert vectors.shape == (5, 256)
    assert vectors.dtype == np.float64
    assert np.linalg.norm(vectors, axis=1).tolist() == pytest.approx([1, 1, 1, 1, 0])
    cosine = vectors @ vectors.T
    assert cosine[0, 1] > 0.5 > 0.2 > abs(cosine[0, 2])


@needs_wordllama
def test_a_static_vector_is_the_mean_of_its_tokens() -> None:
    model = wordllama._loaded()
    ids = model.tokenizer.encode("a great movie", add_special_tokens=False).ids
    mean = model.embedding[ids].astype(np.float64).mean(0)
    assert WordLlama().encode(["a great movie"])[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)


@needs_wordllama
def test_nothing_is_fetched_or_written_and_other_packages_stay_quiet(tmp_path) -> None:
    code = """
import logging, socket, sys
def refuse(*_, **__): raise SystemExit("the network was used")
socket.socket.connect = socket.getaddrinfo = refuse
from fedsim.icl.encoders import WordLlama
vectors = WordLlama().encode(["a film"])
logging.getLogger("httpx").info("a request with private things")
print(vectors.shape, len(logging.getLogger().handlers), logging.getLogger().level)
"""
    environment = {"HOME": str(tmp_path), "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert (done.stdout, done.stderr) == (f"(1, 256) 0 {logging.WARNING}\n", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("encoder", "module", "message"),
    [
        (WordLlama(), wordllama, r"'wordllama' needs the extra 'llm': pip install 'fedsim-icl\[llm\]'"),
        (SentenceTransformers(model="m"), sentence_transformers, "pip install sentence-transformers"),
    ],
)
def test_a_missing_package_is_one_sentence(encoder, module, message, monkeypatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    module._loaded.cache_clear()
    with pytest.raises(InputError, match=message):
        encoder.encode(["text"])


@pytest.fixture
def package(monkeypatch):
    """A stand-in for sentence-transformers: the vector of a text is (its length, 0, 1)."""

    class SentenceTransformer:
        def __init__(self, model: str) -> None:
            if model != "good":
                raise OSError("a private path is in this message")

        def encode(self, text: str, show_progress_bar: bool) -> np.ndarray:
            assert not show_progress_bar
            return np.array([len(text), 0, 1], dtype=np.float32)

    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = SentenceTransformer
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    monkeypatch.setattr(sentence_transformers, "find_spec", lambda name: object())
    sentence_transformers._loaded.cache_clear()
    yield
    sentence_transformers._loaded.cache_clear()


@pytest.mark.usefixtures("package")
def test_any_sentence_encoder_gives_unit_rows() -> None:
    vectors = SentenceTransformers(model="good").encode(["", "x"])
    assert vectors.tolist() == pytest.approx(np.array([[0, 0, 1], [0.5**0.5, 0, 0.5**0.5]]))
    assert vectors.dtype == np.float64


@pytest.mark.usefixtures("package")
def test_an_encoder_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(
        InputError, match=r"^no sentence encoder 'bad' could be loaded: give a folder or a name$"
    ):
        SentenceTransformers(model="bad").encode(["x"])


@pytest.mark.skipif(
    find_spec("sentence_transformers") is None, reason="sentence-transformers is not installed"
)
def test_the_real_package_has_what_is_called() -> None:
    from sentence_transformers import SentenceTransformer

    assert callable(SentenceTransformer.encode)


# What every kind keeps to. A new kind needs settings here, and a stand-in where it is not installed.
CASES = {"wordllama": {}, "sentence_transformers": {"model": "good"}}
every_kind = pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=needs_wordllama if kind == "wordllama" else ()) for kind in ENCODERS.builtin],
)
LONG = "a much longer text " * 50


@pytest.fixture
def encode(kind, package):
    assert kind in CASES, f"give settings of {kind!r} in CASES"
    return ENCODERS[kind].model_validate(CASES[kind]).encode


@every_kind
def test_a_row_of_length_one_for_each_text(encode) -> None:
    vectors = encode([*TEXTS, LONG])
    assert vectors.dtype == np.float64
    assert vectors.ndim == 2
    assert len(vectors) == len(TEXTS) + 1
    lengths = np.linalg.norm(vectors, axis=1)
    assert lengths[np.arange(len(lengths)) != TEXTS.index("")] == pytest.approx(1)
    assert lengths[TEXTS.index("")] == pytest.approx(1) or lengths[TEXTS.index("")] == 0
    assert len(encode([])) == 0
    assert encode([]).ndim == 2


@every_kind
def test_a_vector_depends_on_its_text_alone(encode) -> None:
    together = encode([*TEXTS, LONG, TEXTS[0]])
    assert np.array_equal(together[: len(TEXTS)], [encode([text])[0] for text in TEXTS])
    assert np.array_equal(together[0], together[-1])
    assert np.array_equal(together, encode([*TEXTS, LONG, TEXTS[0]]))
    assert not np.array_equal(together[0], together[1])
    assert np.array_equal(encode(tuple(TEXTS)), together[: len(TEXTS)])


def test_every_kind_has_a_case() -> None:
    assert list(ENCODERS.builtin) == list(CASES)
