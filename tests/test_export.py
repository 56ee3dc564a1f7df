"""The exported file: its results equal those of the run's network, and an invalid file is refused in one line."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from conftest import save_photo
from exported_runs import PAPER, run_of
from qc_lightning import verify as verify_command
from qc_lightning.core.atomic import write_text
from qc_lightning.core.csv_files import csv_text
from qc_lightning.core.errors import UserError
from qc_lightning.core.run import Run
from qc_lightning.data.decoding.decode import DecodeSettings, read
from qc_lightning.deployment.export_run import decision_record, export_inspector
from qc_lightning.deployment.gate import pass_gate
from qc_lightning.deployment.photos import gate_photos, golden_places
from qc_lightning.inference.exported import ExportedInspector
from qc_lightning.inference.inspection import Inspection
from qc_lightning.inference.inspector import Inspector
from qc_lightning.inference.sealed_file import FORMAT, seal
from qc_lightning.metrics.decision import Decision
from qc_lightning.metrics.record import DecisionFile
from qc_lightning.metrics.verdict import Verdict

NOT_ON_THE_LINE = ("torch", "scipy", "hydra", "omegaconf", "yaml", "tqdm", "jinja2", "onnx", "matplotlib", "lightning")


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A run of the paper's network on photos in two tiles, and its export."""
    run = run_of(tmp_path_factory.mktemp("paper"), PAPER, DecodeSettings(16, 16, rows=1, columns=2))
    output = run.folder / "export" / "inspector.onnx"
    export_inspector(Inspector.load(run, "cpu"), Decision(0.5, "test").to_dict(), gate_photos(run), output)
    return run, output


def test_the_export_judges_photos_as_the_run_does(paper: tuple[Run, Path], tmp_path: Path) -> None:
    run, output = paper
    inspector, exported = Inspector.load(run, "cpu"), ExportedInspector.load(output)
    assert (exported.decode, exported.decision, exported.class_names, exported.model_id) == (
        inspector.decode,
        inspector.decision,
        inspector.class_names,
        inspector.model_id,
    )
    photos = [save_photo(tmp_path / f"{seed}.png", bright=seed % 2 == 0, seed=1000 + seed) for seed in range(6)]
    for before, after in zip(inspector([*map(str, photos)]), exported([*map(str, photos)]), strict=True):
        assert after.logit == pytest.approx(before.logit, abs=1e-5)
        assert after.probability == pytest.approx(before.probability, abs=1e-6)
        assert (after.verdict, after.sha256, after.path) == (before.verdict, before.sha256, before.path)
    alone = [exported(photo) for photo in photos]
    pixels = np.stack([read(photo, exported.decode)[0] for photo in photos])
    probability, logit = exported.run(pixels, "probability", "logit")
    assert [found.logit for found in alone] == logit.tolist(), "a photo's logit depends on what comes with it"
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-logit.astype(np.float64))), rtol=1e-12)


def test_an_exported_inspector_is_loaded_by_its_name(paper: tuple[Run, Path]) -> None:
    assert isinstance(Inspector.load(paper[1]), ExportedInspector)
    with pytest.raises(UserError, match="an exported inspector runs on the CPU"):
        Inspector.load(paper[1], "cuda")


def test_what_is_no_photo_is_for_a_person(paper: tuple[Run, Path]) -> None:
    found = ExportedInspector.load(paper[1])(b"no photo")
    assert (found.verdict, found.probability) == (Verdict.REVIEW, None)
    assert found.error


def test_the_file_is_plain_onnx_that_says_what_it_is(paper: tuple[Run, Path]) -> None:
    model = onnx.load(paper[1])
    onnx.checker.check_model(model, full_check=True)
    entries = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(entries["qc_lightning"])["class_names"] == ["Correct", "Incorrect"]
    assert entries["qc_lightning.seal"].startswith(f"{FORMAT:04d} ")
    (pixels,) = model.graph.input
    dims = [dim.dim_param or dim.dim_value for dim in pixels.type.tensor_type.shape.dim]
    assert (pixels.type.tensor_type.elem_type, dims[1:]) == (TensorProto.UINT8, [3, 16, 32])
    assert isinstance(dims[0], str)
    assert str(Path.cwd()).encode() not in paper[1].read_bytes(), "the file names folders of this machine"


def test_the_same_bytes_again(paper: tuple[Run, Path], tmp_path: Path) -> None:
    run, output = paper
    export_inspector(
        Inspector.load(run, "cpu"), Decision(0.5, "test").to_dict(), gate_photos(run), tmp_path / "again.onnx"
    )
    assert (tmp_path / "again.onnx").read_bytes() == output.read_bytes()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:-1000], "torn or was changed"),
        (lambda data: data[: len(data) // 2] + b"\x00" + data[len(data) // 2 + 1 :], "torn or was changed"),
        (lambda data: data.replace(b'"threshold": 0.5', b'"threshold": 0.9'), "torn or was changed"),
        (lambda data: b"", "no inspector that qc-lightning exported"),
        (lambda data: helper.make_model(helper.make_graph([], "g", [], [])).SerializeToString(), "no inspector"),
        (lambda data: seal(data[:-92]).replace(b"0001 ", b"0002 "), "has format 2, this release reads up to 1"),
        (lambda data: seal(helper.make_model(helper.make_graph([], "g", [], [])).SerializeToString()), "onnxruntime"),
        (lambda data: seal(data[:-92].replace(b'"class_names"', b'"cl\xffss_names"')), "is damaged"),
        (lambda data: seal(data[:-92].replace(b'"logit": [', b'"logit": [1,')), "is damaged|onnxruntime"),
    ],
    ids=["torn", "a byte", "the threshold", "empty", "foreign", "newer", "no graph", "no text", "too long"],
)
def test_a_wrong_file_is_refused_in_one_line(
    paper: tuple[Run, Path], tmp_path: Path, damage: Callable[[bytes], bytes], words: str
) -> None:
    data = paper[1].read_bytes()
    changed = damage(data)
    assert changed != data
    (tmp_path / "inspector.onnx").write_bytes(changed)
    with pytest.raises(UserError, match=words) as error:
        ExportedInspector.load(tmp_path / "inspector.onnx")
    assert "\n" not in str(error.value)


def test_a_machine_that_computes_otherwise_is_refused(paper: tuple[Run, Path], tmp_path: Path) -> None:
    """Weights in bfloat16, OpenVINO's default on some processors."""
    model = onnx.load(paper[1])
    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.FLOAT:
            rounded = torch.from_numpy(numpy_helper.to_array(weight).copy()).bfloat16().float().numpy()
            weight.CopyFrom(numpy_helper.from_array(rounded, weight.name))
    kept = [entry for entry in model.metadata_props if entry.key != "qc_lightning.seal"]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    (tmp_path / "coarse.onnx").write_bytes(seal(model.SerializeToString()))
    with pytest.raises(UserError, match="golden inputs"):
        ExportedInspector.load(tmp_path / "coarse.onnx").verify_golden()
    assert ExportedInspector.load(paper[1]).verify_golden() < 1e-5


def test_a_graph_that_was_edited_and_sealed_again_is_one_line(paper: tuple[Run, Path], tmp_path: Path) -> None:
    """A seal detects damage to a file, not forgery."""
    model = onnx.load_from_string(paper[1].read_bytes()[:-92])
    for constant in model.graph.initializer:
        if constant.data_type == TensorProto.INT64:
            constant.CopyFrom(numpy_helper.from_array(np.full(list(constant.dims), 10**6), constant.name))
    (tmp_path / "edited.onnx").write_bytes(seal(model.SerializeToString()))
    with pytest.raises(UserError, match=r"edited.onnx: onnxruntime .* cannot run it") as error:
        ExportedInspector.load(tmp_path / "edited.onnx").verify_golden()
    assert "\n" not in str(error.value)


def inspection(logit: float, verdict: Verdict) -> Inspection:
    p = 1 / (1 + math.exp(-logit))
    return Inspection(Path("a.png"), "", verdict, p, logit, 0.5, None, "", "m", 0.0, "")


def test_the_gate_by_hand() -> None:
    decision = Decision(0.5, "test", review=(0.5, 0.75))  # logits 0 and log 3
    before = [inspection(-2.0, Verdict.PASS), inspection(0.1, Verdict.REVIEW), inspection(1.0, Verdict.REVIEW)]
    after = [inspection(-2.0005, Verdict.PASS), inspection(0.1, Verdict.REVIEW), inspection(1.0, Verdict.REVIEW)]
    passed = pass_gate(before, after, decision)
    assert (passed.photos, passed.gap) == (3, pytest.approx(0.0005))
    assert passed.margin == pytest.approx(math.log(3) - 1.0)
    with pytest.raises(UserError, match=r"0.0011 on a\.png"):
        pass_gate(before, [inspection(-2.0011, Verdict.PASS), *after[1:]], decision)
    with pytest.raises(UserError, match=r"got 1 of 3 others"):
        pass_gate(before, [inspection(-2.0, Verdict.REJECT), *after[1:]], decision)


class Otherwise(nn.Module):
    """A network that computes differently when it is exported."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Mean brightness as logit."""
        logit = image.mean((1, 2, 3))
        return logit + 0.01 if torch.compiler.is_exporting() else logit


def test_an_export_that_differs_leaves_no_file(paper: tuple[Run, Path], tmp_path: Path) -> None:
    inspector = replace(Inspector.load(paper[0], "cpu"), network=Otherwise().eval())
    with pytest.raises(UserError, match="golden inputs"):
        export_inspector(inspector, inspector.decision.to_dict(), gate_photos(paper[0]), tmp_path / "inspector.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_decision_in_force_travels_with_the_model(tmp_path: Path) -> None:
    run = run_of(tmp_path, PAPER, DecodeSettings(16, 16))
    own, lower = Inspector.load(run, "cpu"), Decision(0.25, "more escapes than a customer took")
    DecisionFile.append(run, (own.model_id, own.decision), lower, "fixed", "none")
    inspector = Inspector.load(run, "cpu")
    export_inspector(inspector, decision_record(run, inspector), gate_photos(run), tmp_path / "x.onnx")
    exported = ExportedInspector.load(tmp_path / "x.onnx")
    assert exported.decision == Decision(0.25, "more escapes than a customer took") == inspector.decision
    stored = json.loads(run.decisions.read_text())["decisions"][-1]
    assert stored.items() <= exported.metadata.decision.items()


def test_a_limit_of_novelty_is_not_dropped(paper: tuple[Run, Path], tmp_path: Path) -> None:
    decision = Decision(0.5, "test", novelty=1.0)
    with pytest.raises(UserError, match="limits novelty"):
        export_inspector(
            replace(Inspector.load(paper[0], "cpu"), decision=decision),
            decision.to_dict(),
            gate_photos(paper[0]),
            tmp_path / "x.onnx",
        )


def test_golden_inputs_are_spread_over_the_logits() -> None:
    logit = np.random.RandomState(0).normal(size=500).astype(np.float32)
    places = golden_places(logit, (3, 64, 64))
    assert len(places) == len(set(places.tolist())) == 32
    assert {logit[places].min(), logit[places].max()} == {logit.min(), logit.max()}
    assert len(golden_places(logit, (3, 600, 900))) == 9  # at most 16 million values
    assert golden_places(logit[:3], (3, 64, 64)).tolist() == np.argsort(logit[:3]).tolist()


def test_the_line_needs_neither_torch_nor_hydra(paper: tuple[Run, Path]) -> None:
    photo = next((paper[0].folder.parent / "photos").rglob("*.png"))
    script = f"""
import sys
from qc_lightning.inference.inspector import Inspector
from qc_lightning.verify import verify
from qc_lightning.config import VerifyConfig
verify(VerifyConfig(model={str(paper[1])!r}))
print(Inspector.load({str(paper[1])!r})({str(photo)!r}).verdict)
print([name for name in {NOT_ON_THE_LINE!r} if name in sys.modules])
"""
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    *_, verdict, imported = out.splitlines()
    assert imported == "[]"
    assert verdict == Inspector.load(paper[0], "cpu")(photo).verdict


@pytest.fixture
def verify(call: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Call `qc-lightning verify ARGS`: exit code, stdout, stderr."""
    return lambda *arguments: (call(verify_command.main, *arguments), *capsys.readouterr())


def test_verify_finds_the_one_verdict_that_differs(paper: tuple[Run, Path], tmp_path: Path, verify: Any) -> None:
    run, output = paper
    photos = [photo.path for photo in gate_photos(run)]
    rows = [(found.path, found.verdict) for found in Inspector.load(run, "cpu")(photos)]
    write_text(tmp_path / "rows.csv", csv_text(("path", "verdict"), rows))
    assert verify(f"model={output}", f"source={tmp_path / 'rows.csv'}")[:2] == (
        0,
        verify(f"model={output}")[1] + "16 photos: 16 as expected, 0 not\n",
    )
    other = Verdict.PASS if rows[3][1] == Verdict.REJECT else Verdict.REJECT
    rows[3] = (rows[3][0], other)
    write_text(tmp_path / "rows.csv", csv_text(("path", "verdict"), rows))
    code, out, _ = verify(f"model={output}", str(tmp_path / "rows.csv"))
    assert (code, out.splitlines()[-1]) == (1, "16 photos: 15 as expected, 1 not")
    assert f"{rows[3][0]} was {other}, now" in out


def test_verify_against_labels_counts_escapes_and_overkills(paper: tuple[Run, Path], verify: Any) -> None:
    run, output = paper
    root = run.folder.parent / "photos"
    found = {path: Inspector.load(run, "cpu")(path).verdict for path in root.rglob("*.png")}
    wrong = sum(
        verdict == (Verdict.PASS if path.parent.name == "Incorrect" else Verdict.REJECT)
        for path, verdict in found.items()
    )
    code, out, _ = verify(f"model={output}", f"source={root}")
    assert out.splitlines()[-1] == f"16 photos: {16 - wrong} as expected, {wrong} not"
    assert code == (1 if wrong else 0)


def test_verify_says_mistakes_in_one_line(paper: tuple[Run, Path], tmp_path: Path, verify: Any) -> None:
    save_photo(tmp_path / "loose" / "a.png", bright=True, seed=1)
    for arguments, words in (
        ((f"model={tmp_path / 'none.onnx'}",), "No such file"),
        (
            (f"model={paper[1]}", f"source={tmp_path / 'loose'}"),
            "expected every photo in a folder Correct or Incorrect",
        ),
        ((f"model={paper[1]}", "sorce=x"), "there is no setting 'sorce' (did you mean source?)"),
        ((), "model: expected a value"),
    ):
        code, _, err = verify(*arguments)
        assert (code, err.count("\n")) == (2, 1), err
        assert words in err
