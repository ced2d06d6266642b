"""A copy of a GGUF file with its matrices in another number format.

Formats of four bits are small, but their numbers must be unpacked in each multiplication; the same weights in
a wider format can be faster to compute with. Nothing is gained in accuracy.

Measured for SmolLM2-135M-Instruct with xllamacpp 2026.10 on one thread of an AMD EPYC with AVX-512, in
processor time per prompt token, and on the first 200 test sentences of SST-2 after the same two
demonstrations in the form "Review: ... Sentiment: negative or positive":

======  ====  ============  ========  =========
format    MB  ms per token  accuracy  mean loss
======  ====  ============  ========  =========
Q4_1      98           6.3     0.710      0.539
Q8_0     145           4.2     0.730      0.523
F16      271           6.1     0.725      0.520
======  ====  ============  ========  =========

A standard error of the accuracy is 0.03: the three agree.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from fedsim.errors import InputError, ModelError

if TYPE_CHECKING:
    from gguf import GGUFReader, GGUFWriter

CopyAs = Literal["Q8_0", "F16"]
NumberFormat = Literal["Q8_0", "F16", "F32"]
EXACT: NumberFormat = "F32"
"""The format of a copy for a computation of our own, which no setting `copy_as` asks for."""

WRITTEN_ANEW = {"general.architecture", "general.file_type"}


def weights_folder() -> Path:
    """Return where copies are kept between runs: beside the answers of language models."""
    from fedsim.icl.answers.cache import cache_root

    return cache_root() / "weights"


def copy_of(original: Path, sha256: str, copy_as: NumberFormat) -> Path:
    """Return the copy of a file of weights, which is made where there is none yet.

    A copy is there whole or not at all. Two processes that miss it both make it; the later one replaces the
    earlier by the same bytes.

    Args:
        original: any GGUF file whose formats the package gguf can read.
        sha256: of its content: the copy is found by it.
        copy_as: the format of the matrices; vectors become F32, and so fit any format.

    Raises:
        InputError: the package gguf is missing, or cannot read the file.
        ModelError: the copy cannot be written.
    """
    folder = weights_folder()
    copy = folder / f"{sha256}-{copy_as}.gguf"
    if copy.exists():
        return copy
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # In the same folder: a file is moved in one step only within a file system.
        with TemporaryDirectory(prefix="partial-", dir=folder) as partial:
            write_copy(original, Path(partial) / copy.name, copy_as)
            (Path(partial) / copy.name).replace(copy)
    except OSError as error:
        raise ModelError(
            f"the copy of {original} as {copy_as} cannot be kept in {folder} ({error.strerror}); make room "
            f"or name another folder in FEDSIM_CACHE{_remedy(copy_as, ', or ')}"
        ) from error
    return copy


def _remedy(copy_as: NumberFormat, before: str) -> str:
    """Return what to do without a copy, where that is possible."""
    return "" if copy_as == EXACT else f"{before}say copy_as = 'none'"


def write_copy(original: Path, copy: Path, copy_as: NumberFormat) -> None:
    """Write the copy of a file of weights; all metadata are kept but the name of the format."""
    try:
        from gguf import GGUFReader, GGUFWriter, LlamaFileType
    except ModuleNotFoundError as error:
        raise InputError("a copy of weights needs the extra 'llm': pip install 'fedsim-icl[llm]'") from error
    try:
        reader = GGUFReader(original)
        # Tensors wait in a temporary file: a model may be larger than the memory.
        writer = GGUFWriter(copy, reader.fields["general.architecture"].contents(), use_temp_file=True)
        writer.data_alignment = reader.alignment
        _copy_metadata(reader, writer)
        writer.add_file_type(LlamaFileType["ALL_F32" if copy_as == EXACT else f"MOSTLY_{copy_as}"])
        for tensor in reader.tensors:
            data, kind = _requantised(tensor, copy_as)
            writer.add_tensor(tensor.name, data, raw_dtype=kind)
    # The package lets whatever it stumbles over in a damaged file pass.
    except (ValueError, LookupError, NotImplementedError) as error:
        raise InputError(f"cannot copy {original} as {copy_as} ({error}){_remedy(copy_as, ': ')}") from error
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _copy_metadata(reader: GGUFReader, writer: GGUFWriter) -> None:
    from gguf import GGUFValueType

    for name, field in reader.fields.items():
        # "GGUF." marks what the reader found in the header.
        if name.startswith("GGUF.") or name in WRITTEN_ANEW:
            continue
        is_array = field.types[0] == GGUFValueType.ARRAY
        writer.add_key_value(
            name, field.contents(), field.types[0], sub_type=field.types[-1] if is_array else None
        )


def _requantised(tensor: Any, copy_as: NumberFormat) -> tuple[Any, Any]:
    """Return a tensor's data in the wanted format, and the format that it has."""
    from gguf import GGMLQuantizationType, quants

    wanted = GGMLQuantizationType[copy_as]
    if len(tensor.shape) == 1:
        wanted = GGMLQuantizationType.F32
    elif copy_as == "Q8_0" and tensor.shape[0] % 32:
        # Q8_0 takes blocks of 32 numbers, along the first of GGUF's dimensions.
        wanted = GGMLQuantizationType.F16
    return quants.quantize(quants.dequantize(tensor.data, tensor.tensor_type), wanted), wanted
