"""Results: run folders written whole or not at all, and loaded as tidy tables."""

from __future__ import annotations

from fedsim.results.addresses import TIMING_ONLY, folder_of, run_id, settings_of
from fedsim.results.cautions import cautions
from fedsim.results.failures import find_failures, forget_failure, read_failure, record_of, write_failure
from fedsim.results.folders import (
    FILES,
    FORMAT,
    KEYS,
    check_contents,
    check_folder,
    find_runs,
    found_runs,
    is_finished,
    is_timing_only,
    read_summary,
    read_table,
    why_not_finished,
)
from fedsim.results.loading import load_results
from fedsim.results.partial import clear_left_overs, partial_of
from fedsim.results.sources import found_sources, source_texts, write_sources
from fedsim.results.tables import ALWAYS, KEPT_WITH_SPANS, NOT_ALWAYS, TABLES
from fedsim.results.writing import (
    Files,
    UnwritableError,
    check_writable,
    command_line,
    pack,
    provenance,
    write,
    write_files,
)

__all__ = [
    "ALWAYS",
    "FILES",
    "FORMAT",
    "KEPT_WITH_SPANS",
    "KEYS",
    "NOT_ALWAYS",
    "TABLES",
    "TIMING_ONLY",
    "Files",
    "UnwritableError",
    "cautions",
    "check_contents",
    "check_folder",
    "check_writable",
    "clear_left_overs",
    "command_line",
    "find_failures",
    "find_runs",
    "folder_of",
    "forget_failure",
    "found_runs",
    "found_sources",
    "is_finished",
    "is_timing_only",
    "load_results",
    "pack",
    "partial_of",
    "provenance",
    "read_failure",
    "read_summary",
    "read_table",
    "record_of",
    "run_id",
    "settings_of",
    "source_texts",
    "why_not_finished",
    "write",
    "write_failure",
    "write_files",
    "write_sources",
]
