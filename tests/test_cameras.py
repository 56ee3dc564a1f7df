"""data.cameras: each camera has its own region, in training, prediction, export and service."""

import csv
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import save_photo
from qc_lightning import Inspector, evaluate, fit
from qc_lightning import log as log_command
from qc_lightning import predict as predict_command
from qc_lightning import verify as verify_command
from qc_lightning.config import ExportConfig
from qc_lightning.core.run import Run
from qc_lightning.data.decoding.decode import BadImage, DecodeSettings, decode, decode_bytes
from qc_lightning.data.decoding.decode_settings import Region
from qc_lightning.data.decoding.mask import pack_mask
from qc_lightning.data.decoding.shape import common_shape
from qc_lightning.data.pixels.pixel_store import open_store
from qc_lightning.explanation.explanations import explain_some
from qc_lightning.explanation.heat import Heat
from qc_lightning.explanation.selection import Subject
from qc_lightning.export import export
from qc_lightning.inference.exported import ExportedInspector
from qc_lightning.inference.inspection import CameraPhoto
from qc_lightning.inference.log_file import query
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.prediction.on_ray import InspectionWork
from test_service import Server

HALVES = DecodeSettings(8, 8, cameras=(Region("top", (0.0, 0.0, 0.5, 1.0)), Region("side", (0.5, 0.0, 1.0, 1.0))))
CAMERAS = "data.cameras={top:{roi:[0,0,0.5,1]},side:{roi:[0.5,0,1,1]}}"
SMALL = ("data.image_size=16", "model.hidden=[8]", "trainer.max_epochs=2")
Called = tuple[int, str, str]


def two_halves(path: Path, left: int, right: int) -> Path:
    pixels = np.full((20, 40, 3), left, np.uint8)
    pixels[:, 20:] = right
    Image.fromarray(pixels).save(path)
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_camera_has_its_region_and_no_other_is_guessed(tmp_path: Path) -> None:
    photo = two_halves(tmp_path / "a.png", 10, 200)
    assert [decode(photo, HALVES.at(camera)).mean() for camera in ("top", "side")] == [10, 200]
    for camera in ("front", "", "Top"):
        with pytest.raises(BadImage, match=r"expected one of top, side, .* got (front|none|Top)"):
            HALVES.at(camera)
    with pytest.raises(BadImage, match="got none"):  # code that ignores the camera
        decode_bytes(photo.read_bytes(), HALVES)
    assert DecodeSettings(8, 8).at("whatever") == DecodeSettings(8, 8)


def test_a_mask_is_of_its_camera(tmp_path: Path) -> None:
    upper = np.zeros((8, 8), bool)
    upper[:4] = True
    settings = DecodeSettings(8, 8, cameras=(Region("top", None, pack_mask(upper)), Region("side")))
    photo = two_halves(tmp_path / "a.png", 10, 10)
    assert decode(photo, settings.at("top"))[0, :, 0].tolist() == [10] * 4 + [128] * 4
    assert (decode(photo, settings.at("side")) == 10).all()


def test_settings_survive_a_file_and_say_what_they_said_before_without_cameras() -> None:
    assert DecodeSettings(**json.loads(json.dumps(HALVES.plain()))) == HALVES
    before = {"height", "width", "resize", "bit_depth", "rows", "columns", "max_pixels", "roi", "mask"}
    assert set(DecodeSettings().plain()) == before, "certificates compare these texts"
    assert "cameras" not in repr(DecodeSettings()), "keys of cached features hold this text"


def test_the_shape_is_the_median_of_the_regions(tmp_path: Path) -> None:
    photos = [two_halves(tmp_path / f"{i}.png", 0, 0) for i in range(3)]  # 20 x 40
    quarter, half = (0.0, 0.0, 1.0, 0.5), (0.0, 0.0, 0.5, 1.0)  # 10 x 40 and 20 x 20
    assert common_shape(photos, 300, (1, 1), [quarter, quarter, half])[:2] == (144, 608)
    assert common_shape(photos, 300, (1, 1), [quarter, half, half])[:2] == (300, 300)


@pytest.mark.parametrize("cache", ["disk", "ram", "off"])
def test_the_same_files_from_other_cameras_are_other_pixels(cache: str, tmp_path: Path) -> None:
    paths = [two_halves(tmp_path / f"{i}.png", 10, 200) for i in range(2)]
    for cameras, expected in ((("top", "side"), [10, 200]), (("side", "side"), [200, 200]), (("top", "top"), [10, 10])):
        store = open_store(paths, HALVES, cache, tmp_path / "cache", progress=False, cameras=cameras)
        assert store.pixels([0, 1])[:, 0, 0, 0].tolist() == expected
        assert store.pixels([1, 0])[:, 0, 7, 7].tolist() == expected[::-1]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 photos per class with noise of the same size to the right (camera top) or left (side); none in alone/."""
    root = tmp_path_factory.mktemp("cameras")
    rows = []
    for seed in range(40):
        name, camera = ("Correct", "Incorrect")[seed % 2], ("top", "side")[seed // 2 % 2]
        alone = save_photo(root / "alone" / f"{seed:02}.png", bright=seed % 2 == 1, seed=seed)
        part = np.asarray(Image.open(alone))
        noise = np.random.default_rng(seed).integers(0, 256, part.shape, np.uint8)
        (root / "both").mkdir(exist_ok=True)
        pixels = np.concatenate([part, noise] if camera == "top" else [noise, part], axis=1)
        Image.fromarray(pixels).save(root / "both" / alone.name)
        kind = ("dent", "scratch")[seed % 3 == 0] if seed % 2 else ""
        rows.append((f"both/{alone.name}", name, camera, kind, alone.stem))
    table = [",".join(row) for row in [("path", "label", "camera", "kind", "group"), *rows]]
    (root / "labels.csv").write_text("\n".join(table))
    (root / "alone.csv").write_text("\n".join(table).replace("both/", "alone/"))
    return root


@pytest.fixture(scope="module")
def run(photos: Path) -> Path:
    fit(photos / "labels.csv", CAMERAS, "model=mlp", *SMALL, **{"hydra.run.dir": photos / "run"})
    return photos / "run"


def figures(run: Path) -> list[tuple[str, str, str]]:
    return [(Path(row["path"]).name, row["probability"], row["verdict"]) for row in rows_of(run / "predictions.csv")]


def test_a_run_is_the_one_of_photos_cut_beforehand(
    run: Path, train: Callable[..., tuple[int, Path, str]], photos: Path, tmp_path: Path
) -> None:
    code, alone, said = train("model=mlp", "data=folder", f"data.manifest={photos / 'alone.csv'}", *SMALL)
    assert code == 0, said
    assert figures(run) == figures(alone), "to the last digit: nothing of the noise reaches the network"
    split = rows_of(run / "split.csv")
    assert {row["camera"] for row in split} == {"top", "side"}
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "each camera has its own: <code>data.cameras</code>" in page
    assert page.count("dark outside the region") == min(8, sum(row["subset"] == "test" for row in split)), (
        "four photos of each camera"
    )
    card = (run / "model_card.md").read_text(encoding="utf-8")
    assert "of camera top the region 0% to 50% across" in card
    assert "of camera side the region 50% to 100% across" in card


def test_evaluation_and_prediction_know_the_camera(
    run: Path,
    photos: Path,
    call: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(evaluate.main, f"run={run}", "name=own") == 0
    assert figures(run / "evaluations" / "own") == figures(run), "by the column of split.csv"
    others = tmp_path / "others.csv"
    others.write_text((photos / "labels.csv").read_text().replace("both/", f"{photos}/both/"))
    assert call(evaluate.main, f"run={run}", f"data.manifest={others}", "name=others") == 0
    others.write_text(others.read_text().replace(",top,", ",front,"))
    assert call(evaluate.main, f"run={run}", f"data.manifest={others}") == 2
    said = capsys.readouterr().err
    assert "column camera names top or side" in said
    assert "20 of 40 have another or none" in said
    # predict: by a column, by camera=, and neither
    tests = rows_of(run / "predictions.csv")
    camera_of = {row["path"]: row["camera"] for row in rows_of(run / "split.csv")}
    seen = [(row["path"], camera_of[row["path"]]) for row in tests]
    unknown = [(tests[0]["path"].replace("both", "alone"), ""), (tests[1]["path"].replace("both", "alone"), "front")]
    source = tmp_path / "seen.csv"
    source.write_text("\n".join(f"{path},{camera}" for path, camera in [("path", "camera"), *seen, *unknown]))
    assert call(predict_command.main, f"run={run}", f"source={source}", "output=a.csv") == 3
    rows = rows_of(Path("a.csv"))
    known = [float(one["probability"]) for one in tests]
    assert [float(row["probability"]) for row in rows[:-2]] == pytest.approx(known)
    assert [row["verdict"] for row in rows[-2:]] == ["REVIEW", "REVIEW"]
    assert rows[-2]["error"] == "camera: expected one of top, side, whose regions are known, got none"
    assert rows[-1]["error"].endswith("got front")
    assert [row["camera"] for row in rows] == [camera for _, camera in [*seen, *unknown]]
    work = InspectionWork(Inspector.load(Run(run), "cpu"), "cpu", 8, 1)  # a worker of a cluster
    tasks = [json.dumps([path, camera, None]).encode() for path, camera in [*seen, *unknown]]
    remote = [json.loads(result) for result in work(tasks)]
    assert [one["probability"] for one in remote[:-2]] == pytest.approx(known)
    assert [one["error"] for one in remote[-2:]] == [row["error"] for row in rows[-2:]]
    assert [one["camera"] or "" for one in remote] == [row["camera"] for row in rows]
    folder = f"source={photos / 'both'}"
    capsys.readouterr()
    for camera in ((), ("camera=front",)):
        assert call(predict_command.main, f"run={run}", folder, "output=b.csv", *camera) == 2
        said = capsys.readouterr().err.strip()
        assert "camera: expected one of top, side" in said
        assert "\n" not in said
        assert not Path("b.csv").exists()
    assert call(predict_command.main, f"run={run}", folder, "output=b.csv", "camera=top") == 0
    by_name = {Path(row["path"]).name: row["probability"] for row in rows_of(Path("b.csv"))}
    for row, (path, camera) in zip(rows, seen, strict=False):
        assert (by_name[Path(path).name] == row["probability"]) == (camera == "top")


def test_there_is_no_heat_outside_the_region_of_the_camera(run: Path, photos: Path) -> None:
    inspector = Inspector.load(Run(run), "cpu")
    heat = Heat(inspector.network, "hirescam")
    path = photos / "both" / "01.png"
    subjects = [Subject(path, None, None, camera) for camera in ("top", "side", "")]
    top, side, none = explain_some(inspector, heat, subjects, "incorrect", False)
    assert top.heat is not None
    assert side.heat is not None
    assert (top.heat[:, 40:].sum(), side.heat[:, :40].sum()) == (0, 0)
    assert top.heat.sum() == pytest.approx(1)
    assert "got none" in none.error


@pytest.fixture(scope="module")
def model(run: Path) -> Path:
    export(ExportConfig(run=str(run), output=str(run / "inspector.onnx")))
    return run / "inspector.onnx"


def test_the_export_and_the_service_know_the_camera(
    model: Path, run: Path, photos: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    exported = ExportedInspector.load(model)
    inspector = Inspector.load(Run(run), "cpu")
    path = photos / "both" / "01.png"
    for camera in ("top", "side"):
        seen = [one(CameraPhoto(path, camera)).probability for one in (exported, inspector)]
        assert seen[0] == pytest.approx(seen[1], abs=1e-5)
    assert exported(str(path)).verdict == Verdict.REVIEW
    assert call(verify_command.main, f"model={model}", f"source={run / 'split.csv'}") in (0, 1)
    assert "cannot be inspected" not in capsys.readouterr().out
    log = tmp_path / "line.sqlite"
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    server = Server(f"model={model}", f"log={log}", "keep=all", "force=true", f"source={incoming}", "camera_name=side")
    try:
        for camera in ("top", "side"):
            right = exported(CameraPhoto(path, camera))
            answer = server.client.post("/v1/inspect", params={"camera": camera}, content=path.read_bytes())
            assert (answer.status_code, answer.json()["verdict"]) == (200, right.verdict)
            assert answer.json()["logit"] == pytest.approx(right.logit, abs=1e-5)
        for camera in ("", "front"):
            answer = server.client.post("/v1/inspect", params={"camera": camera}, content=path.read_bytes())
            assert (answer.status_code, answer.json()["verdict"]) == (422, "REVIEW")
            assert answer.json()["error"].startswith("camera: expected one of top, side")
        data = (photos / "both" / "02.png").read_bytes()
        (incoming / "02.png").write_bytes(data)
        wanted = hashlib.sha256(data).hexdigest()
        for _ in range(100):
            if entries := [entry for _, entry, _ in query(log) if entry.sha256 == wanted]:
                break
            server.client.get("/ready")
            time.sleep(0.1)
        assert [(one.source, one.verdict) for one in entries] == [
            ("side", exported(CameraPhoto(photos / "both" / "02.png", "side")).verdict)
        ]
    finally:
        server.stop()
    assert call(log_command.main, str(log), "replay", f"model={model}") == 0
    assert "0 not, 0 without a row" in capsys.readouterr().out
    rows = tmp_path / "rows.csv"
    assert call(predict_command.main, f"run={model}", f"source={photos / 'labels.csv'}", f"output={rows}") == 0
    assert call(verify_command.main, f"model={model}", f"source={rows}") == 0, "rows name the camera"


def test_a_service_with_an_unknown_camera_does_not_start(model: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"camera: expected one of top, side, .*got camera: give camera_name="):
        Server(f"model={model}", "force=true", f"log={tmp_path / 'line.sqlite'}", f"source={tmp_path}")


@pytest.mark.parametrize(
    ("cameras", "said"),
    [
        ("{top:{roi:[0,0,0.5]}}", "data.cameras.top.roi: expected [left, top, right, bottom]"),
        ("{}", "at least one camera"),
        ("top", "data.cameras"),
        ("{top:{rio:[0,0,1,1]}}", "did you mean data.cameras.top.roi"),
        ("{top:{roi:[0,0,1,1]}}", "20 of 40 have another or none"),
        ("{top:{},side:{mask:gone.png}}", "gone.png cannot be read"),
    ],
)
def test_what_is_no_table_of_cameras_is_one_line(
    cameras: str, said: str, train: Callable[..., tuple[int, Path, str]], photos: Path
) -> None:
    code, _, output = train(f"data.manifest={photos / 'labels.csv'}", f"data.cameras={cameras}", *SMALL)
    assert code == 2
    assert said in output
    assert output.strip().count("\n") == 0


def test_photos_without_cameras_are_refused_before_work(
    train: Callable[..., tuple[int, Path, str]], photo_root: Path
) -> None:
    code, _, output = train("data=folder", f"data.root={photo_root}", CAMERAS, *SMALL)
    assert code == 2
    assert "40 of 40 have another or none" in output
