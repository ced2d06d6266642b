"""Results packed as one file: scenarios, what they were read from, data, answers, digests and versions."""

from __future__ import annotations

import json
import platform
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import fedsim
from fedsim.errors import ResultsError
from fedsim.results import check_contents, found_runs, found_sources, is_timing_only
from fedsim.results.folders import versions
from fedsim.scenario import load_scenario, resolved
from fedsim.secrets import redacted
from fedsim.sharing.data import NamedData, data_of
from fedsim.whole_files import whole

STUDY = "study.json"
"""What a packed study holds; the first file in it."""

FORMAT = 1
"""The version of packed studies."""

RUNS = "runs"
"""The folder in which scenarios lie, and below which all is that they name."""

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of each file in it, the earliest that there is: the same results give the same bytes."""


class Packed(NamedTuple):
    """What went into a file."""

    n_runs: int
    n_data: int
    """Files of data that are in it."""
    left_out: list[str]
    """A sentence for each file of data that is known by its hash alone."""


def pack_study(results: Path, output: Path, most_bytes: int) -> Packed:
    """Pack results with all that is needed to make them again.

    Data go in if they lie below the folder where one works, or that of the results, are no larger than
    `most_bytes`, and hold nothing that looks like a key; of others the hash goes in.

    Raises:
        ResultsError: there are no results, or they are damaged.
        InputError: the data of a scenario have changed or are gone, or the file cannot be written.
    """
    contents: dict[str, bytes] = {}
    runs, data = [], dict[str, tuple[NamedData, str]]()
    places: dict[Path, None] = {}
    for folder, origin in found_runs(results).items():
        check_contents(folder, origin)
        run_id = origin["run_id"]
        scenario = load_scenario(folder / "scenario.toml")
        table = resolved(scenario)
        for one in data_of(scenario):
            _, why = data.setdefault(one.sha256 or str(one.path), (one, _why_not(one, results, most_bytes)))
            if not why:
                _set(table, one.key, one.place)
        contents[f"{RUNS}/{run_id}.toml"] = _toml(table)
        contents[f"recorded/{run_id}/summary.json"] = (folder / "summary.json").read_bytes()
        contents[f"recorded/{run_id}/provenance.json"] = (folder / "provenance.json").read_bytes()
        if (folder / "answers.jsonl").is_file():
            contents[f"{RUNS}/answers/{run_id}.jsonl"] = (folder / "answers.jsonl").read_bytes()
        runs.append(
            {
                "run_id": run_id,
                "scenario": scenario.name,
                "variant": scenario.variant,
                "seed": scenario.seed,
                "timing_only": is_timing_only(folder, origin, results),
                "digests": origin.get("digests", {}),
                "versions": origin["versions"],
                "code": origin.get("code", ""),
            }
        )
        places[folder.parent] = None
    for place in places:
        for source in found_sources(place):
            files = sorted(one for one in source.rglob("*") if one.is_file())
            for file in files:
                name = f"sources/{place.name}/{source.name}/{file.relative_to(source).as_posix()}"
                contents[name] = file.read_bytes()
    inside = [one for one, why in data.values() if not why]
    for one in inside:
        contents |= {f"{RUNS}/{name}": content for name, content in _files(one)}
    study = {
        "fedsim_study": FORMAT,
        "versions": versions() | {"python": platform.python_version()},
        "commit": _commit(),
        "runs": runs,
        "data": [
            {"key": one.key, "name": one.path.name, "sha256": one.sha256, "left_out": why}
            for one, why in data.values()
        ],
    }
    with whole(output) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in {STUDY: (json.dumps(study, indent=2) + "\n").encode(), **contents}.items():
            packed.writestr(_info(name), content)
    left_out = [f"{one.key} = {one.path}: left out, {why}" for one, why in data.values() if why]
    return Packed(len(runs), len(inside), left_out)


def _info(name: str) -> zipfile.ZipInfo:
    """Return how a file is called in the archive, with nothing that differs from day to day."""
    info = zipfile.ZipInfo(name, EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    info.create_system = 3
    return info


def _why_not(data: NamedData, results: Path, most_bytes: int) -> str:
    """Return why data do not go into the file, in half a sentence; nothing where they do."""
    if not data.path.exists():
        return "it is not there"
    if not data.sha256:
        return "its content is not known to the scenario"
    near = (Path.cwd(), results.resolve(), results.resolve().parent)
    if not any(data.path.resolve().is_relative_to(place) for place in near):
        return "it lies outside the folder where you work"
    files = [data.path] if data.path.is_file() else [one for one in data.path.rglob("*") if one.is_file()]
    if (size := sum(file.stat().st_size for file in files)) > most_bytes:
        return f"it has {size / 1e6:,.3g} MB (--data-mb allows more)"
    for _, content in _files(data):
        text = content.decode("utf-8", "ignore")
        if redacted(text) != text:
            return "it holds what looks like a key or a password"
    return ""


def _files(data: NamedData) -> Iterator[tuple[str, bytes]]:
    """Yield the files of data, by their place among the scenarios."""
    if data.path.is_file():
        yield data.place, data.path.read_bytes()
        return
    for file in sorted(one for one in data.path.rglob("*") if one.is_file()):
        yield f"{data.place}/{file.relative_to(data.path).as_posix()}", file.read_bytes()


def _set(table: Any, key: str, value: str) -> None:
    """Put a value at a dotted key that is there."""
    *steps, last = key.split(".")
    for step in steps:
        table = table[int(step) if isinstance(table, list) else step]
    table[last] = value


def _toml(table: dict[str, Any]) -> bytes:
    import tomli_w

    return tomli_w.dumps(table).encode()


def _commit() -> dict[str, Any] | None:
    """Return the commit of fedsim's own checkout, and whether it has been changed since; none without one."""
    folder = Path(str(fedsim.__file__)).parent

    def git(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()

    try:
        if not git("ls-files", "__init__.py"):  # a folder of somebody else's that fedsim is installed in
            return None
        return {"commit": git("rev-parse", "HEAD"), "changed_since": bool(git("status", "--porcelain", "."))}
    except (OSError, subprocess.SubprocessError):
        return None


def read_study(archive: zipfile.ZipFile, place: Path) -> dict[str, Any]:
    """Return what a packed study says of itself.

    Raises:
        ResultsError: it is none.
    """
    try:
        study = json.loads(archive.read(STUDY))
        if study["fedsim_study"] != FORMAT:
            raise ResultsError(
                f"{place}: a study of format {study['fedsim_study']!r}, expected {FORMAT}; pack it again"
            )
        for run in study["runs"]:
            if not isinstance(run["run_id"], str) or not isinstance(run["digests"], dict):
                raise TypeError
        return dict(study)
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise ResultsError(f"{place}: no study that `fedsim pack` has written: {STUDY}: {error!r}") from error
