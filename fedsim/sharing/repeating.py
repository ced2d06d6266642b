"""A packed study run again: what is equal, what differs and by how much, what could not be run."""

from __future__ import annotations

import re
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Any

from fedsim.errors import InputError, ResultsError
from fedsim.part_code import models_in
from fedsim.results import check_folder, read_summary
from fedsim.results.digests import digest
from fedsim.results.folders import RUN_ID, versions
from fedsim.scenario import Scenario, load_scenario
from fedsim.scenario.toml_text import read_toml
from fedsim.sharing.packing import RUNS, read_study
from fedsim.sweep import Outcome, run_all
from fedsim.whole_files import is_folder

MOST_BYTES = 4 << 30
"""What a packed study may unpack to."""

MOST_FILES = 200_000

OF_A_MODEL = re.compile(r"real_|unnamed_share|cautions")
"""Headline numbers of a real model's work, which a replay of its answers does not do again."""


@dataclass
class Repeat:
    """One run of a study, made again."""

    label: str
    """Name, variant, seed and address."""
    differing: list[str] = field(default_factory=list)
    """Names of files that are not byte by byte the same."""
    numbers: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """Headline numbers that differ: before and now."""
    why_not: str = ""
    """A sentence where it could not be run again."""
    replayed: bool = False
    """Whether the answers of a real model were read from its recording."""

    @property
    def equal(self) -> bool:
        """Whether it was run again, and nothing differs."""
        return not (self.differing or self.numbers or self.why_not)


@dataclass
class Repeated:
    """A study made again."""

    runs: list[Repeat]
    versions: dict[str, tuple[str, str]]
    """Versions that differ: with which it was made, and ours."""
    other_code: bool
    """Whether fedsim's own code is another one, whatever its version."""

    @property
    def equal(self) -> bool:
        """Whether all runs are."""
        return all(run.equal for run in self.runs)

    def largest(self) -> dict[str, tuple[float, str, Any, Any]]:
        """Return the largest difference of each number that differs, with the run, before and now."""
        found: dict[str, tuple[float, str, Any, Any]] = {}
        for run in self.runs:
            for key, (before, now) in run.numbers.items():
                apart = _apart(before, now)
                if key not in found or apart > found[key][0]:
                    found[key] = apart, run.label, before, now
        return found


def repeat_study(
    file: Path,
    out: Path,
    jobs: int = 1,
    ask: bool = False,
    data: Path | None = None,
    told: Callable[[int, int], None] | None = None,
) -> Repeated:
    """Unpack a study into a folder, run it again there and compare.

    Args:
        file: what `pack_study` has written, perhaps a stranger's.
        out: a folder that is not there yet, or is empty.
        jobs: processes.
        ask: whether real models are asked again where their answers were not recorded; it may cost money.
        data: a folder with files that the study names and does not hold.
        told: is told the number of runs done and of all runs, after each.

    Raises:
        ResultsError: the file is no study, or damaged.
        InputError: a file in it would lie outside the folder, or is too large; or nothing can be written.
    """
    study = _unpacked(file, out)
    if data is not None:
        _supply(study, data, out / RUNS)
    repeats: dict[str, Repeat] = {}
    scenarios: dict[bool, list[tuple[Scenario, dict[str, Any]]]] = {False: [], True: []}
    for run in study["runs"]:
        words = (run.get("scenario"), run.get("variant"), f"seed {run.get('seed')}", f"({run['run_id']})")
        repeat = repeats[run["run_id"]] = Repeat(" ".join(str(word) for word in words if word))
        try:
            scenario = _scenario(out / RUNS, run, ask, repeat)
        except InputError as error:
            repeat.why_not = str(error)
        else:
            scenarios[bool(run.get("timing_only"))].append((scenario, run))
    done, total = 0, sum(map(len, scenarios.values()))
    for timing_only, each in scenarios.items():
        of = dict(each)
        running = run_all(
            of, out / "results", min(jobs, max(1, len(of))), timing_only, keep_going=True, retry_failed=True
        )
        with closing(running):
            for outcome in running:
                run = of[outcome.scenario]
                _compare(out, run, outcome, repeats[run["run_id"]])
                done += 1
                if told is not None:
                    told(done, total)
    return Repeated(list(repeats.values()), *_other_versions(study, out))


def _supply(study: dict[str, Any], data: Path, folder: Path) -> None:
    """Copy data that a study does not hold beside its scenarios, where they are found by their hash."""
    wanted = {one["sha256"] for one in study.get("data", ()) if one.get("left_out")}
    try:
        for one in sorted(data.iterdir()):
            if one.is_file() and digest(one.read_bytes()) in wanted:
                shutil.copyfile(one, folder / one.name)
    except OSError as error:
        raise InputError(f"--data {data}: cannot be read: {error.strerror or error}") from error


def _scenario(folder: Path, run: dict[str, Any], ask: bool, repeat: Repeat) -> Scenario:
    """Return the scenario of a run as it can be run here.

    Raises:
        InputError: it cannot.
    """
    from fedsim.icl.models.endpoint import Endpoint

    file = folder / f"{run['run_id']}.toml"
    answers = folder / "answers" / f"{run['run_id']}.jsonl"
    if answers.is_file():
        repeat.replayed = True
        _let_replay(file, f"{answers.parent.name}/{answers.name}")
    scenario = load_scenario(file)
    if not ask and any(isinstance(model, Endpoint) for model in models_in(scenario)):
        raise InputError(
            "its model was asked and its answers were not recorded (record.answers = true does); --ask asks "
            "it again, which may cost money"
        )
    return scenario


def _let_replay(file: Path, answers: str) -> None:
    """Let a scenario take its answers from their recording, whose path starts at the scenario's folder."""
    import tomli_w

    from fedsim.icl.models.replay import Replay

    table = read_toml(file.read_text(encoding="utf-8"), str(file))
    model = table.get("problem", {}).get("model", {})
    kept = {key: model[key] for key in model if key in Replay.model_fields}
    own = {"kind": "replay", "file": answers}
    table["problem"]["model"] = {key: kept[key] for key in kept if key not in ("sha256", "cache")} | own
    table.get("record", {}).pop("answers", None)
    file.write_bytes(tomli_w.dumps(table).encode())


def _compare(out: Path, run: dict[str, Any], outcome: Outcome, repeat: Repeat) -> None:
    """Note what differs of a run."""
    if not outcome.summary:
        repeat.why_not = outcome.failure
        return
    before = read_summary(out / "recorded" / run["run_id"])
    now = outcome.summary
    digests = check_folder(outcome.folder).get("digests", {})
    # The paths of data stand in the scenario, and differ from place to place; its address leaves them out.
    skip = {"scenario.toml"} | ({"summary.json", "answers.jsonl"} if repeat.replayed else set())
    names = [name for name in {**run["digests"], **digests} if name not in skip]
    repeat.differing = [name for name in names if run["digests"].get(name) != digests.get(name)]
    if not repeat.replayed and outcome.folder.name != run["run_id"]:
        repeat.differing.append("its address, for its parts have other code, or this fedsim other settings")
    flat = _numbers(before), _numbers(now)
    repeat.numbers = {
        key: (flat[0].get(key), flat[1].get(key))
        for key in {**flat[0], **flat[1]}
        if flat[0].get(key) != flat[1].get(key) and not (repeat.replayed and OF_A_MODEL.match(key))
    }


def _numbers(table: dict[str, Any], inside: str = "") -> dict[str, Any]:
    """Return what a summary says, tables in it by dotted keys."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            found |= _numbers(value, f"{inside}{key}.")
        else:
            found[f"{inside}{key}"] = value
    return found


def _apart(before: Any, now: Any) -> float:
    """Return how far two values are apart; what are no numbers are as far as can be."""
    numbers = all(isinstance(one, int | float) and isfinite(one) for one in (before, now))
    return abs(now - before) if numbers else float("inf")


def _other_versions(study: dict[str, Any], out: Path) -> tuple[dict[str, tuple[str, str]], bool]:
    """Return the versions that differ from ours, and whether fedsim's code does."""
    import platform

    from fedsim.part_code import code_of_fedsim

    ours = versions() | {"python": platform.python_version()}
    found: dict[str, tuple[str, str]] = {}
    for run in study["runs"]:
        for package, version in run.get("versions", {}).items():
            if package in ours and version != ours[package]:
                found[package] = str(version), ours[package]
    codes = {run.get("code") for run in study["runs"] if run.get("code")}
    return found, bool(codes - {code_of_fedsim()})


def _unpacked(file: Path, out: Path) -> dict[str, Any]:
    """Unpack a study into a folder and return what it says of itself."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = list(_checked(archive, file))
            study = read_study(archive, file)
            for run in study["runs"]:
                if RUN_ID.fullmatch(run["run_id"]) is None:
                    raise ResultsError(f"{file}: damaged: {run['run_id'][:40]!r} is no address of a run")
            if is_folder(out) and any(out.iterdir()):
                raise InputError(f"{out}: not empty, expected a new folder to run the study in")
            for name, info in members:
                place = out.joinpath(*PurePosixPath(name).parts)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(archive.read(info))
            return study
    except FileNotFoundError as error:
        if error.filename != str(file):
            raise InputError(f"cannot write {out}: {error.strerror}") from error
        raise ResultsError(f"{file}: no such file") from error
    except IsADirectoryError as error:
        if error.filename != str(file):
            raise InputError(f"cannot write {out}: {error.strerror}") from error
        raise ResultsError(f"{file}: a folder, expected a file that `fedsim pack` has written") from error
    except OSError as error:
        raise InputError(f"cannot unpack {file} into {out}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ResultsError(f"{file}: damaged, or no study that `fedsim pack` has written: {error}") from error


def _checked(archive: zipfile.ZipFile, file: Path) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """Yield what is in an archive, if it may be unpacked.

    Raises:
        InputError: a file would lie outside the folder, is a link, stands there twice, or is too large.
    """
    infos = [info for info in archive.infolist() if not info.is_dir()]
    # A file gives no more bytes than its entry says, and so the sum holds.
    if len(infos) > MOST_FILES or sum(info.file_size for info in infos) > MOST_BYTES:
        raise InputError(
            f"{file}: unpacks to more than {MOST_FILES:,} files or {MOST_BYTES / 2**30:g} GiB: not unpacked"
        )
    seen: set[str] = set()
    for info in infos:
        name, place = info.filename, PurePosixPath(info.filename)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if (
            place.is_absolute()
            or not place.parts
            or ".." in place.parts
            or re.search(r'[\\:\0<>"|?*]', name)
            or kind not in (0, stat.S_IFREG)
            or str(place).lower() in seen
        ):
            raise InputError(
                f"{file}: {name!r} in it is a link, stands there twice, or would lie outside the folder: "
                "nothing was unpacked"
            )
        seen.add(str(place).lower())
        yield name, info
