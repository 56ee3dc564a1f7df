"""Several models in one service, chosen by product and camera; a change-over needs no restart and survives one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import save_photo
from exported_runs import exported
from qc_lightning.core.errors import UserError
from qc_lightning.inference.exported import ExportedInspector
from qc_lightning.inference.log_file import query
from qc_lightning.service.model_files import read_table
from qc_lightning.service.models import Models
from settings import model_settings
from test_service import Server
from test_sinks import until


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two inspectors whose networks and photo sizes differ."""
    folder = tmp_path_factory.mktemp("models")
    exported(folder / "lid.onnx")
    exported(folder / "box.onnx", model_settings("model=mlp input_size=24 hidden=[4]"), size=24)
    return folder


def written(folder: Path, text: str) -> Path:
    path = folder / "models.csv"
    path.write_text(text, encoding="utf-8")
    return path


def table(folder: Path, *rows: str) -> Path:
    return written(folder, "\n".join(("product,camera,model", *rows)) + "\n")


def test_each_product_gets_its_model_without_a_restart(exports: Path, tmp_path: Path) -> None:
    models = table(exports, "lid,,lid.onnx", "box,top,box.onnx", "box,,lid.onnx")
    inspectors = {name: ExportedInspector.load(exports / f"{name}.onnx") for name in ("lid", "box")}
    (tmp_path / "in").mkdir()
    settings = (f"models={models}", f"log={tmp_path / 'line.sqlite'}", f"source={tmp_path / 'in'}", "rest=0.1")
    server = Server(*settings)
    photo = save_photo(tmp_path / "a.png", bright=True, seed=3).read_bytes()
    expected = {name: inspector(photo).logit for name, inspector in inspectors.items()}
    assert expected["lid"] != expected["box"]

    def ask(**params: str) -> dict:
        answer = server.client.post("/v1/inspect", params=params, content=photo)
        assert answer.status_code == 200, answer.text
        return answer.json()

    for params, name in (
        ({"product": "lid"}, "lid"),
        ({"product": "box", "camera": "top"}, "box"),
        ({"product": "box", "camera": "side"}, "lid"),
    ):
        answer = ask(**params)
        assert (answer["model_id"], answer["logit"]) == (inspectors[name].model_id, pytest.approx(expected[name]))
    # no product is in force
    refused = server.client.post("/v1/inspect", content=photo)
    assert (refused.status_code, refused.json()["detail"]) == (400, "product: expected one of lid, box, got ''")
    unknown = server.client.post("/v1/inspect", params={"product": "cap"}, content=photo)
    assert (unknown.status_code, unknown.json()["detail"]) == (400, "product: expected one of lid, box, got 'cap'")
    assert server.client.post("/v1/product", json={"product": "cap"}).status_code == 400
    # photos of the folder wait until a product is in force
    (tmp_path / "in" / "a.png").write_bytes(photo)
    until(lambda: "product" in server.client.get("/v1/state").json()["alarms"].get("source", ""))
    assert server.client.post("/v1/product", json={"product": "box"}).json() == {"product": "box"}
    assert ask(camera="top")["model_id"] == inspectors["box"].model_id
    until(lambda: any(entry.part == "a.png" for _, entry, _ in query(tmp_path / "line.sqlite")))
    assert server.client.get("/v1/state").json()["alarms"] == {}
    assert server.stop() == 0
    server = Server(*settings)
    assert ask(camera="top")["model_id"] == inspectors["box"].model_id, "in force after a restart"
    listed = server.client.get("/v1/model").json()
    assert (listed["product"], [(row["product"], row["camera"]) for row in listed["models"]]) == (
        "box",
        [("lid", ""), ("box", "top"), ("box", "")],
    )
    assert [row["model_id"] for row in listed["models"]] == [inspectors[n].model_id for n in ("lid", "box", "lid")]
    assert server.client.get("/metrics").text.count("\nqc_model{") == 2
    assert server.stop() == 0


def test_a_row_that_names_more_goes_first(exports: Path) -> None:
    lid, box = (ExportedInspector.load(exports / f"{name}.onnx") for name in ("lid", "box"))
    models = Models({("", ""): lid, ("", "top"): box, ("a", ""): box, ("a", "top"): lid}, None)
    chosen = [models.choose(*key).inspector for key in (("", ""), ("b", ""), ("b", "top"), ("a", "x"), ("a", "top"))]
    assert chosen == [lid, lid, box, box, lid]
    only = Models({("a", "top"): lid}, None)
    with pytest.raises(UserError, match="camera: expected one of top for product a, got 'side'"):
        only.choose("a", "side")


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda folder: folder / "none.csv", "cannot read"),
        (lambda folder: table(folder), "it has none"),
        (lambda folder: written(folder, "prodct,model\na,x.onnx\n"), "got prodct"),
        (lambda folder: written(folder, "product;camera;model\na;;x.onnx\n"), "got product;camera;model"),
        (lambda folder: written(folder, "product,camera\na,top\n"), "got no model"),
        (lambda folder: table(folder, "a,,x.onnx,y.onnx"), "line 2 has more fields than columns"),
        (lambda folder: table(folder, "a,,"), "line 2 has no model"),
        (lambda folder: table(folder, "a,,x.onnx", "a,,y.onnx"), "line 3 has product 'a' and camera '' again"),
    ],
)
def test_a_wrong_table_is_one_line(tmp_path: Path, write: Callable[[Path], Path], words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        read_table(write(tmp_path))
    assert "\n" not in str(error.value)
