"""The table: what each simulator needed for the same work, best of its turns, and what is not the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# What is stated of several turns: the best, but for memory, where the most counts.
BEST = {"wall_s": min, "cpu_s": min, "setup_s": min, "peak_mib": max}
HEAD = (
    "work",
    "clients",
    "simulator",
    "updates/CPU s",
    "updates/wall s",
    "fedsim is",
    "set-up s",
    "peak MiB",
    "notes",
)
WORK = {"sync": "synchronous", "async": "asynchronous"}


def best(turns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One row of the turns of one simulator in one cell."""
    return {**turns[0], **{name: choose(turn[name] for turn in turns) for name, choose in BEST.items()}}


def rate(row: Mapping[str, Any], seconds: str = "cpu_s") -> float:
    """Updates per second of processors, or of the wall with `wall_s`."""
    return row["measured_updates"] / row[seconds]


def markdown(rows: Sequence[Mapping[str, Any]], left_out: Sequence[str]) -> str:
    """All rows as one table that is easy to read as text and as Markdown, with notes and who was left out.

    `rows` have what a runner prints; `left_out` are sentences.
    """
    notes: list[str] = []
    fedsim = {(row["mode"], row["clients"]): rate(row) for row in rows if row["simulator"] == "fedsim"}
    lines = []
    for row in rows:
        notes += [note for note in _notes(row) if note not in notes]
        ours = fedsim.get((row["mode"], row["clients"]))
        faster = (
            "" if ours is None or row["simulator"] == "fedsim" else f"{ours / rate(row):.3g} times faster"
        )
        lines.append(
            (
                WORK[row["mode"]],
                f"{row['clients']:,}",
                f"{row['simulator']} {row['version']}",
                f"{rate(row):,.0f}",
                f"{rate(row, 'wall_s'):,.0f}",
                faster,
                f"{row['setup_s']:.2f}",
                f"{row['peak_mib']:,.0f}",
                ", ".join(str(notes.index(note) + 1) for note in _notes(row)),
            )
        )
    numbered = [f"{number}. {note}." for number, note in enumerate(notes, 1)]
    parts = [_aligned([HEAD, *lines]), "\n".join(numbered), "\n".join(f"- {line}" for line in left_out)]
    return "\n\n".join(part for part in parts if part)


def _notes(row: Mapping[str, Any]) -> list[str]:
    return [f"{row['simulator']}: {difference}" for difference in row["differs"]]


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns are as wide as their widest cell; numbers stand at the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = {HEAD.index(name) for name in ("work", "simulator", "notes")}

    def joined(line: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if column in text else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        return "| " + " | ".join(cells) + " |"

    rule = ["-" * width if column in text else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    return "\n".join(
        [joined(lines[0]), "|" + "|".join(f" {dashes} " for dashes in rule) + "|", *map(joined, lines[1:])]
    )
