"""Files of a run, broken, truncated or edited by hand."""

import contextlib
import copy
import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bad_files import damaged

_ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2.5, -0.0, 1e308, 10**30, float("nan"), float("inf"), "", "0.5", "x" * 3000, "a\0b",
    "..", "/dev/zero", "${oc.env:HOME}", "=1+1", "\ud800", "é" * 200, "1e5000", "null", [], {}, [[]], [None],
    [1, 2, 3], {"a": 1}, {"value": None},
)  # fmt: skip


def _odd(rng: np.random.Generator) -> Any:
    return copy.deepcopy(_ODD[int(rng.integers(len(_ODD)))])  # edits of edits could make a container contain itself


def _places(node: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every node below this one."""
    keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list | tuple) else ()
    for key in keys:
        yield (*above, key)
        yield from _places(node[key], (*above, key))


def edited(rng: np.random.Generator, content: Any, odd: Callable[[], Any]) -> Any:
    """Plain data with one to three nodes replaced, removed, renamed or duplicated."""
    for _ in range(int(rng.integers(1, 4))):
        places = list(_places(content))
        if not places:
            return odd()
        *above, key = places[int(rng.integers(len(places)))]
        node = content
        for step in above:
            node = node[step]
        if isinstance(node, tuple):
            continue
        how = int(rng.integers(6))
        if how == 0:
            del node[key]
        elif how == 1 and isinstance(node, dict):
            node[f"{key}x"] = node.pop(key)
        elif how == 1:
            node.append(node[key])
        else:
            node[key] = odd()
    return content


def edited_table(rng: np.random.Generator, text: str) -> str:
    """A CSV with cells, rows or columns changed."""
    rows = list(csv.reader(io.StringIO(text))) or [[]]
    for _ in range(int(rng.integers(1, 4))):
        row = rows[int(rng.integers(len(rows)))]
        column = int(rng.integers(max(1, len(rows[0]))))
        how = int(rng.integers(7))
        if how == 0:
            rows = [[cell for at, cell in enumerate(one) if at != column] for one in rows]
        elif how == 1:
            row.append(str(_odd(rng)))
        elif how == 2 and len(rows) > 1:
            rows.remove(row)
        elif how == 3:
            rows.append(list(row))
        elif how == 4 and rows:
            rng.shuffle(rows[0])
        elif column < len(row):
            row[column] = str(_odd(rng))
    out = io.StringIO()
    with contextlib.suppress(csv.Error):
        csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _checkpoint(rng: np.random.Generator, data: bytes) -> bytes:
    """A checkpoint with other values, and tensors of other shapes and types."""
    import torch

    def odd() -> Any:
        kinds = [
            torch.zeros(0),
            torch.full((3,), torch.nan),
            torch.zeros(2, 2, dtype=torch.int64),
            torch.ones(1).expand(10**6),
        ]
        return kinds[int(rng.integers(4))] if rng.random() < 0.4 else _odd(rng)

    content = edited(rng, torch.load(io.BytesIO(data), weights_only=True), odd)
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()


def _inspector(rng: np.random.Generator, data: bytes) -> bytes:
    """An exported inspector with another graph or other metadata, sealed again."""
    import onnx

    from qc_lightning.inference.sealed_file import _LENGTH, seal

    body = data[:-_LENGTH]
    if rng.random() < 0.4:
        return seal(damaged(rng, body)[1])
    model = onnx.load_from_string(body)
    entry = model.metadata_props[int(rng.integers(len(model.metadata_props)))]
    with contextlib.suppress(ValueError):
        entry.value = json.dumps(edited(rng, json.loads(entry.value), lambda: _odd(rng)))
    if rng.random() < 0.2:
        del model.metadata_props[int(rng.integers(len(model.metadata_props)))]
    return seal(model.SerializeToString())


def broken(rng: np.random.Generator, name: str, data: bytes) -> tuple[str, bytes]:
    """The kind of damage to a run's file, and the damaged bytes."""
    if rng.random() < 0.35:
        how = int(rng.integers(5))
        if how == 0:
            return "other bytes", (b"", b"\n", b"\xff\xfe\0\0", b"[" * 5000, b'{"a":' * 3000, rng.bytes(50))[
                int(rng.integers(6))
            ]
        return damaged(rng, data)
    suffix = Path(name).suffix
    try:
        if suffix == ".ckpt":
            return "edited", _checkpoint(rng, data)
        if suffix == ".onnx":
            return "edited", _inspector(rng, data)
        if suffix == ".csv":
            return "edited", edited_table(rng, data.decode()).encode(errors="surrogatepass")
        if suffix == ".yaml":
            text = yaml.safe_dump(edited(rng, yaml.safe_load(data), lambda: _odd(rng)))
        else:
            text = json.dumps(edited(rng, json.loads(data), lambda: _odd(rng)))
        return "edited", text.encode(errors="surrogatepass")
    except (yaml.YAMLError, ValueError):
        return damaged(rng, data)
