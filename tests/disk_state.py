"""What is on disk, as far as it does not vary: two kills that leave the same need only one of them continued."""

import contextlib
import csv
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

VARIES = {"seconds", "timing_s", "time", "when", "digest", "previous", "latency", "duration"}
"""Keys and columns of times and of what follows from them."""


def pruned(content: Any) -> Any:
    """The content of a JSON file without what varies."""
    if isinstance(content, dict):
        return {key: pruned(value) for key, value in content.items() if key not in VARIES}
    if isinstance(content, list):
        return [pruned(value) for value in content]
    return content


def state(folder: Path) -> str:
    """Digest of what a folder holds: bytes without times, names without the random ones of unfinished files."""
    paths = [(str(path.relative_to(folder)), path) for path in folder.rglob("*")]
    listed = sorted(f"{re.sub(r'(?<=.unfinished-)[^./]+', '', name)} {_without_times(path)}" for name, path in paths)
    return hashlib.sha256("\n".join(listed).encode(errors="surrogateescape")).hexdigest()


def _without_times(path: Path) -> str:
    """What a path holds: the bytes of a file, or the values of a complete table or JSON file that do not vary."""
    if path.is_symlink() or not path.is_file():
        return str(path.readlink()) if path.is_symlink() else "folder"
    data = path.read_bytes()
    if path.suffix == ".json":
        with contextlib.suppress(ValueError):
            return repr(pruned(json.loads(data)))
    if path.suffix == ".csv" and data.endswith(b"\n"):
        rows = csv.DictReader(io.StringIO(data.decode()))
        return repr([[(k, v) for k, v in row.items() if k not in VARIES] for row in rows])
    return hashlib.sha256(data).hexdigest()
