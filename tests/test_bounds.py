"""Limits on the memory and time that a file can use; endless input is not read."""

import os
import resource
import shutil
import sys
import time
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

import forked
from bad_files import KINDS, good_file
from conftest import save_photo
from qc_lightning.config.record import RunRecord
from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run
from qc_lightning.data.decoding import bands
from qc_lightning.data.decoding.decode import BadImage, DecodeSettings, decode_bytes, read
from qc_lightning.inference.checkpoint import read_checkpoint
from qc_lightning.inference.inspector import Inspector

posix = pytest.mark.skipif(os.name != "posix", reason="needs pipes and fork")


class Larger:
    """A tensor with a larger shape than its data."""

    def __init__(self, numbers: int) -> None:
        self.numbers = numbers

    def __reduce__(self) -> tuple[object, ...]:
        storage = torch.storage.TypedStorage(wrap_storage=torch.zeros(8).untyped_storage(), dtype=torch.float32)
        return torch._utils._rebuild_tensor_v2, (storage, 0, (self.numbers,), (1,), False, OrderedDict())


def packed(path: Path) -> None:
    """The same checkpoint as a compressed zip."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")  # the only way to write such a file
@pytest.mark.parametrize("how", ["larger", "expanded", "packed", "no zip", "no dict"])
def test_a_checkpoint_takes_no_more_memory_than_its_file_is_large(tmp_path: Path, how: str) -> None:
    path = tmp_path / "best.ckpt"
    content: dict[str, object] = {
        "larger": {"state_dict": {"network.a": Larger(10**8)}},
        "expanded": {"state_dict": {"network.a": torch.ones(1).expand(10**8)}},
        "packed": {"state_dict": {"network.a": torch.zeros(10**6)}},
        "no dict": [1, 2],
    }.get(how, {"a": 1})  # type: ignore[assignment]
    torch.save(content, path, _use_new_zipfile_serialization=how != "no zip")
    if how == "packed":
        packed(path)
        assert path.stat().st_size < 20_000, "of four megabytes"
    with pytest.raises(UserError, match=r"best.ckpt is damaged or no checkpoint: ") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_is_no_other_model(run_folder: Path, tmp_path: Path) -> None:
    """Torch does not check weights; the file has a checksum for each tensor."""
    data = bytearray((run_folder / "checkpoints" / "best.ckpt").read_bytes())
    path = tmp_path / "best.ckpt"
    for place in range(len(data) // 20, len(data), len(data) // 20):
        path.write_bytes(bytes(data[:place]) + bytes([data[place] ^ 1]) + bytes(data[place + 1 :]))
        try:
            found = Inspector.load(path, "cpu")
        except UserError:
            continue
        weights = zip(found.network.parameters(), Inspector.load(run_folder, "cpu").network.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in weights), "what is not checked is padding"


@pytest.mark.parametrize("edit", ["hidden", "decode"])
def test_a_network_is_not_built_larger_than_its_weights(run_folder: Path, tmp_path: Path, edit: str) -> None:
    checkpoint = torch.load(run_folder / "checkpoints" / "best.ckpt", weights_only=True)
    if edit == "hidden":
        checkpoint["hyper_parameters"]["model"]["hidden"] = [10**6, 10**6]
    else:
        checkpoint["inspector"]["decode"] |= {"height": 8192, "width": 8192}
    torch.save(checkpoint, tmp_path / "best.ckpt")
    with pytest.raises(UserError, match="its weights"):
        Inspector.load(tmp_path / "best.ckpt", "cpu")


def test_a_record_cannot_expand_or_take_long(tmp_path: Path) -> None:
    laughs = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) or 1}]" for i in range(1, 30))
    for text in (f"a0: &a0 [x]\n{laughs}\n", "[" * 200_000, "a: 1\n" * 200_000, "{? " * 40_000):
        (tmp_path / "config.yaml").write_text(text)
        begun = time.monotonic()
        with pytest.raises(UserError, match=r"config.yaml is damaged \(") as caught:
            RunRecord.read(Run(tmp_path))
        assert time.monotonic() - begun < 10
        assert "\n" not in str(caught.value)


def photo_of(kind: str, path: Path, side: int) -> Path:
    """A large photo whose conversion needs the most memory of its kind."""
    wide = np.full((side, side), 4000, np.uint16)
    wide[::7] = 90
    if kind == "16-bit gray":
        Image.fromarray(wide).save(path, "PNG", compress_level=1)
    elif kind == "alpha":
        Image.new("RGBA", (side, side), (9, 99, 200, 7)).save(path, "PNG", compress_level=1)
    elif kind == "palette":
        image = Image.new("P", (side, side), 3)
        image.putpalette(bytes(range(256)) * 3)
        image.save(path, "PNG", transparency=bytes(range(256)), compress_level=1)
    elif kind == "zeros":
        image = Image.new("RGB", (side, side))
        image.paste((9, 99, 200), (0, side // 2, side, side))
        image.save(path, "BMP")
    else:
        Image.new("CMYK", (side, side), (9, 99, 200, 7)).save(path, "TIFF", compression="tiff_lzw")
    return path


@posix
@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "most"), [("16-bit gray", 6), ("alpha", 7), ("palette", 4), ("zeros", 9), ("cmyk", 8)]
)
def test_a_large_photo_takes_a_few_bytes_a_pixel(
    tmp_path: Path, kind: str, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A photo of the largest size, 178 million pixels, stays below 2 GB at 10 bytes per pixel."""
    side = 5000
    monkeypatch.setattr(bands, "_BAND", 4_000_000)
    path = photo_of(kind, tmp_path / "photo.png", side)
    seen = [forked.run(act, tmp_path) for act in (lambda: None, lambda: read(path, DecodeSettings(64, 64)))]
    assert [end.code for end in seen] == [0, 0], seen[1].output
    assert (seen[1].peak - seen[0].peak) / side**2 < most


@pytest.mark.filterwarnings("ignore:::PIL")
def test_bands_change_a_pixel_by_one_level_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(files: list[bytes], rows: int) -> list[npt.NDArray[np.uint8] | str]:
        monkeypatch.setattr(bands, "_BAND", rows)
        found: list[npt.NDArray[np.uint8] | str] = []
        for data in files:
            for settings in (DecodeSettings(40, 24), DecodeSettings(200, 16, "letterbox")):
                try:
                    found.append(decode_bytes(data, settings))
                except BadImage as error:
                    found.append(str(error))
        return found

    rng = np.random.default_rng(5)
    files = [good_file(rng, kind) for kind in KINDS for _ in range(3)]
    whole, cut = decoded(files, 10**9), decoded(files, 500)
    assert sum(isinstance(one, str) for one in whole) <= 6, "of the kinds with several pages"
    for a, b in zip(whole, cut, strict=True):
        if isinstance(a, str) or isinstance(b, str):
            assert a == b
        else:
            assert np.abs(a.astype(int) - b).max() <= 1


ENDLESS: dict[str, list[str]] = {
    "evaluate config.yaml": ["run=run", "subset=test"],
    "evaluate split.csv": ["run=run", "subset=test"],
    "predict decision.json": ["run=run", "source=in", "output=v.csv"],
    "evaluate checkpoints/best.ckpt": ["run=run", "subset=test"],
    "predict in/a.png": ["run=run", "source=in", "output=v.csv"],
    "predict v.csv": ["run=run", "source=in", "output=v.csv", "resume=true"],
    "predict v.jsonl": ["run=run", "source=in", "output=v.jsonl"],
    "predict list.txt": ["run=run", "source=list.txt", "output=v.csv"],
    "predict model.onnx": ["run=model.onnx", "source=in", "output=v.csv"],
    "verify model.onnx": ["model=model.onnx"],
    "train m.csv": ["data=folder", "data.manifest=m.csv", "trainer=cpu"],
    "train corrections.csv": ["data=parts", "data.count=24", "data.corrections=corrections.csv", "trainer=cpu"],
    "gauge study.csv": ["source=study.csv"],
    "log line.sqlite": ["line.sqlite", "verify"],
    "releases press.json": [],
    "sweep_report sweep.json": ["run=sweep"],
    "decide validation.csv": ["run=run", "rule=balanced", "reason=x"],
}


@posix
@pytest.mark.slow
@pytest.mark.parametrize("endless", ["pipe", "device"])
def test_what_has_no_end_is_not_waited_for(run_folder: Path, tmp_path: Path, endless: str) -> None:
    """Each input in turn is a pipe without a writer, or a link to /dev/zero."""
    forked.import_all()
    for name, arguments in ENDLESS.items():
        command, file = name.split()
        work = tmp_path / name.replace("/", "-").replace(" ", "-")
        shutil.copytree(run_folder, work / "run")
        save_photo(work / "in" / "b.png", bright=True, seed=1)
        place = {
            "m.csv": work / file,
            "press.json": work / "outputs/releases" / file,
            "sweep.json": work / "sweep" / file,
        }
        inside = {"config.yaml", "split.csv", "decision.json", "checkpoints/best.ckpt", "validation.csv"}
        path = work / "run" / file if file in inside else place.get(file, work / file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        os.mkfifo(path) if endless == "pipe" else path.symlink_to("/dev/zero")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        end = forked.run(forked.command(command, *arguments), work, seconds=30)
        said = f"{name}: {end.code}, {end.output}"
        if file == "in/a.png":
            assert end.code == 3, said
            assert "not a file" in (work / "v.csv").read_text()
        else:
            assert end.refused, said
        assert end.peak < before + 10**9, said


def test_reading_has_a_limit(tmp_path: Path) -> None:
    from qc_lightning.core.reading import read_text

    (tmp_path / "a").write_text("x" * 3000)
    with pytest.raises(OSError, match="larger than"):
        read_text(tmp_path / "a", 2000)
    assert read_text(tmp_path / "a", 3000) == "x" * 3000
    if sys.platform == "linux":
        assert read_text(Path("/proc/self/status")) == "", "a file that says it is empty"
