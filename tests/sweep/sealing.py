"""Run folders that tests have changed."""

from __future__ import annotations

import json
from pathlib import Path

from fedsim.results.digests import digest, sealed


def seal(folder: Path, **changes: object) -> None:
    """Let the provenance state sizes and digests of what files hold now, and what else is to be changed."""
    file = folder / "provenance.json"
    contents = {one.name: one.read_bytes() for one in folder.iterdir() if one != file}
    origin = json.loads(file.read_text()) | changes
    origin.pop("sha256")
    origin["files"] = {name: len(content) for name, content in contents.items()}
    origin["digests"] = {name: digest(content) for name, content in contents.items()}
    file.write_bytes(sealed(json.dumps(origin, indent=2)))
