"""Networks as graphs: every kind that can be exported, and kinds that cannot."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from exported_runs import run_of
from qc_lightning.core.errors import UserError
from qc_lightning.data.decoding.decode import DecodeSettings, read
from qc_lightning.deployment.export_run import export_inspector
from qc_lightning.deployment.on_demand import on_demand
from qc_lightning.deployment.onnx_model import to_onnx
from qc_lightning.deployment.photos import gate_photos
from qc_lightning.explanation.evidence import evidence
from qc_lightning.inference.export_metadata import EVIDENCE
from qc_lightning.inference.exported import ExportedInspector
from qc_lightning.inference.inspector import Inspector
from settings import model_settings


class OfTwo(nn.Module):
    """A network that accepts only batches of two."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Mean brightness as logit."""
        return torch.stack([image[0].mean(), image[1].mean()])


class Undecided(nn.Module):
    """A network with a branch that depends on its input."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Brightest or darkest pixel as logit."""
        return image.amax((1, 2, 3)) if image.mean() > 0.5 else image.amin((1, 2, 3))


@pytest.mark.parametrize("kind", [OfTwo, Undecided])
def test_a_network_that_cannot_be_translated_is_refused_in_one_line(kind: type[nn.Module]) -> None:
    with pytest.raises(UserError, match=rf"\({kind.__name__}\) cannot be exported") as error:
        to_onnx(kind(), None, (3, 16, 16))
    assert "\n" not in str(error.value)


def test_what_only_one_output_needs_is_computed_when_it_is_wanted() -> None:
    """A branch with an impossible reshape causes no error unless it is taken."""
    nodes = [
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("Add", ["y", "y"], ["double"]),
        helper.make_node("Reshape", ["double", "shape"], ["z"]),
    ]
    x, y, z = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in "xyz")
    data = np.array([[-1, 2, 3], [4, -5, 6]], np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # any exception is enough
    for width, fits in ((3, True), (4, False)):
        shape = numpy_helper.from_array(np.array([-1, width], np.int64), "shape")
        graph = helper.make_graph(nodes, "g", [x], [y, z], [shape])
        model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
        on_demand(model, "z", "with_z")
        session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        first, none = session.run(["y", "z"], {"x": data})
        assert (first.tolist(), none.shape) == ([[0, 2, 3], [4, 0, 6]], (0, 3))
        if fits:
            assert session.run(["z"], {"x": data, "with_z": np.array(True)})[0].tolist() == [[0, 4, 6], [8, 0, 12]]
        else:
            with pytest.raises(Exception, match="Reshape"):
                session.run(["z"], {"x": data, "with_z": np.array(True)})


LITE = model_settings(
    "model=timm name=tf_efficientnet_lite0 mode=frozen stages=3 pool=[avg,max] input_size=32 dropout=0 views=2"
)
TINY = {
    "frozen, three stages, two views, tiles": (
        model_settings(
            "model=timm name=test_efficientnet mode=frozen stages=3 pool=[avg,std,max] input_size=32 dropout=0 views=2"
        ),
        DecodeSettings(32, 32, rows=1, columns=2),
    ),
    "frozen, patches, two views": (
        replace(LITE, patches=True),
        DecodeSettings(64, 96),
    ),
    "hidden head, four views": (
        model_settings("model=timm name=test_resnet mode=frozen stages=2 input_size=32 hidden=[8] dropout=0.5 views=4"),
        DecodeSettings(32, 48),
    ),
    "fine-tuned torchvision": (
        model_settings("model=torchvision name=squeezenet1_1 stages=2 pool=[avg,max] input_size=64 dropout=0"),
        DecodeSettings(64, 64),
    ),
    "torchvision from scratch": (
        model_settings("model=torchvision name=resnet18 weights=none mode=scratch input_size=32 dropout=0.5"),
        DecodeSettings(32, 32),
    ),
    "vision transformer": (
        model_settings("model=timm name=test_vit weights=none mode=scratch input_size=160 dropout=0.0"),
        DecodeSettings(160, 160),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", TINY)
def test_every_kind_of_network_exports(kind: str, tmp_path: Path) -> None:
    model, decode = TINY[kind]
    run = run_of(tmp_path, model, decode)
    inspector = Inspector.load(run, "cpu")
    result = export_inspector(inspector, inspector.decision.to_dict(), gate_photos(run), tmp_path / "inspector.onnx")
    assert (result.photos, result.gap < 1e-3) == (16, True)
    exported = ExportedInspector.load(tmp_path / "inspector.onnx")
    pixels = np.stack([read(photo.path, decode)[0] for photo in gate_photos(run)[:3]])
    logit, features = exported.run(pixels, "logit", "features")
    image = torch.from_numpy(pixels).float() / 255
    expected = inspector.network.tile_features(image).mean(1)[:, : inspector.network.pooled_width].float()
    np.testing.assert_allclose(
        features, expected.numpy(), atol=1e-4 if expected.shape[1] == inspector.network.width else 0.01
    )
    np.testing.assert_allclose(logit, inspector.network(image).numpy(), atol=1e-3)
    if EVIDENCE in exported.outputs:
        found, right = exported.run(pixels, EVIDENCE)[0], evidence(inspector.network, image)[0].numpy()
        assert found.shape == right.shape == (3, *decode.shape[1:])
        np.testing.assert_allclose(found.sum((1, 2)), right.sum((1, 2)), rtol=0.01, atol=0.01)
        assert np.abs(found).max() > 1e-3
    assert (EVIDENCE in exported.outputs) == (
        kind in ("frozen, three stages, two views, tiles", "frozen, patches, two views", "fine-tuned torchvision")
    )
