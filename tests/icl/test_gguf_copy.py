"""Copies of GGUF files in another number format."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType, quants

from fedsim.errors import InputError, ModelError
from fedsim.icl.models.local import gguf_copy
from fedsim.icl.models.local.gguf_copy import copy_of, weights_folder, write_copy

COUNTING = np.tile(np.arange(16, dtype=np.float32), (2, 2))
"""Two rows of 0 to 15 twice: in Q4_1 a block of 32 numbers has step 1 and least number 0, so it is exact."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSIM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def original(tmp_path: Path) -> Path:
    file = tmp_path / "original.gguf"
    writer = GGUFWriter(file, "llama")
    writer.add_custom_alignment(64)
    writer.add_file_type(LlamaFileType.MOSTLY_Q4_1)
    writer.add_name("Ein Modell, süß")
    writer.add_rope_freq_base(1e5)
    writer.add_add_bos_token(False)
    writer.add_token_list(["Ġa", "b"])
    writer.add_key_value("small", [1, 3], GGUFValueType.ARRAY, sub_type=GGUFValueType.UINT16)
    q4_1 = GGMLQuantizationType.Q4_1
    writer.add_tensor("matrix", quants.quantize(COUNTING, q4_1), raw_dtype=q4_1)
    writer.add_tensor("narrow", np.full((2, 3), 0.1, np.float32))
    writer.add_tensor("vector", np.full(4, 0.1, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def tensors(file: Path) -> dict[str, tuple[str, np.ndarray]]:
    """Return the format and the numbers of each tensor."""
    return {
        tensor.name: (tensor.tensor_type.name, quants.dequantize(tensor.data, tensor.tensor_type))
        for tensor in GGUFReader(file).tensors
    }


def metadata(file: Path) -> dict[str, object]:
    fields = GGUFReader(file).fields
    return {name: (field.types, field.contents()) for name, field in fields.items()}


def test_a_block_in_eight_bits_by_hand(original, tmp_path):
    write_copy(original, tmp_path / "copy.gguf", "Q8_0")
    kind, numbers = tensors(tmp_path / "copy.gguf")["matrix"]
    assert kind == "Q8_0"
    # The largest number, 15, becomes 127 steps of 15/127, kept in 16 bits; 4 becomes 33.87, so 34 steps.
    step = np.float32(np.float16(15 / 127))
    assert numbers[1, 15] == 127 * step
    assert numbers[1, 4] == 34 * step
    assert numbers.shape == (2, 32)


def test_sixteen_bits_keep_what_four_bits_hold(original, tmp_path):
    write_copy(original, tmp_path / "copy.gguf", "F16")
    kind, numbers = tensors(tmp_path / "copy.gguf")["matrix"]
    assert kind == "F16"
    np.testing.assert_array_equal(numbers, COUNTING)


def test_vectors_and_rows_of_no_whole_blocks(original, tmp_path):
    write_copy(original, tmp_path / "copy.gguf", "Q8_0")
    found = tensors(tmp_path / "copy.gguf")
    assert found["vector"][0] == "F32"
    np.testing.assert_array_equal(found["vector"][1], np.full(4, 0.1, np.float32))
    assert found["narrow"][0] == "F16"
    np.testing.assert_array_equal(found["narrow"][1], np.full((2, 3), np.float16(0.1)))


def test_what_has_the_format_already_is_not_changed(original, tmp_path):
    once, twice = tmp_path / "once.gguf", tmp_path / "twice.gguf"
    write_copy(original, once, "Q8_0")
    write_copy(once, twice, "Q8_0")
    assert twice.read_bytes() == once.read_bytes()


def test_metadata_are_kept_but_the_format(original, tmp_path, caplog):
    write_copy(original, tmp_path / "copy.gguf", "Q8_0")
    before, after = metadata(original), metadata(tmp_path / "copy.gguf")
    assert before.pop("general.file_type")[1] == LlamaFileType.MOSTLY_Q4_1
    assert after.pop("general.file_type")[1] == LlamaFileType.MOSTLY_Q8_0
    assert after == before
    assert after["tokenizer.ggml.tokens"][1] == ["Ġa", "b"]
    assert caplog.messages == []
    assert all(tensor.data_offset % 64 == 0 for tensor in GGUFReader(tmp_path / "copy.gguf").tensors)


def test_a_copy_is_made_once(original, tmp_path, monkeypatch):
    copy = copy_of(original, "abc", "Q8_0")
    assert copy == tmp_path / "cache" / "weights" / "abc-Q8_0.gguf"
    monkeypatch.setattr(gguf_copy, "write_copy", None)
    assert copy_of(original, "abc", "Q8_0") == copy
    assert list(weights_folder().iterdir()) == [copy]


def test_another_process_may_make_it_too(original, monkeypatch):
    def late(*arguments):
        write_copy(*arguments)
        (weights_folder() / "abc-F16.gguf").write_bytes(arguments[1].read_bytes())

    monkeypatch.setattr(gguf_copy, "write_copy", late)
    copy = copy_of(original, "abc", "F16")
    assert list(weights_folder().iterdir()) == [copy]
    assert tensors(copy)["matrix"][0] == "F16"


def test_half_a_copy_is_no_copy(original, monkeypatch):
    def full(original, copy, copy_as):
        copy.write_bytes(b"GGUF")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(gguf_copy, "write_copy", full)
    with pytest.raises(ModelError, match=r"as Q8_0 cannot be kept in .*No space left.*make room"):
        copy_of(original, "abc", "Q8_0")
    assert list(weights_folder().iterdir()) == []


def test_an_interruption_leaves_nothing(original, monkeypatch):
    def interrupted(original, copy, copy_as):
        copy.write_bytes(b"GGUF")
        raise KeyboardInterrupt

    monkeypatch.setattr(gguf_copy, "write_copy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        copy_of(original, "abc", "Q8_0")
    assert list(weights_folder().iterdir()) == []


@pytest.mark.parametrize("n_bytes", [0, 4, 30, 300, 640])
def test_a_damaged_file_is_a_sentence(original, n_bytes):
    original.write_bytes(original.read_bytes()[:n_bytes])
    with pytest.raises(InputError, match=r"^cannot copy .*original\.gguf as F16"):
        copy_of(original, "abc", "F16")
    assert list(weights_folder().iterdir()) == []


def test_numbers_that_cannot_be_read_are_a_sentence(tmp_path):
    writer = GGUFWriter(tmp_path / "whole.gguf", "llama")
    writer.add_tensor("matrix", np.ones((2, 32), np.int8))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(InputError, match=r"cannot copy .*whole\.gguf as Q8_0"):
        write_copy(tmp_path / "whole.gguf", tmp_path / "copy.gguf", "Q8_0")


def test_a_missing_package_is_a_sentence(original, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(InputError, match=r"pip install 'fedsim-icl\[llm\]'"):
        copy_of(original, "abc", "Q8_0")
