"""Heat maps and their checks, compared with the grad-cam package, arithmetic and constructed networks."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from torch import nn

from qc_lightning.core.errors import UserError
from qc_lightning.data.decoding.decode import DecodeSettings, decode, decode_whole
from qc_lightning.explanation import checks
from qc_lightning.explanation import explanations as explained
from qc_lightning.explanation.evidence import evidence, has_evidence
from qc_lightning.explanation.heat import Heat, methods_for, smooth
from qc_lightning.explanation.selection import Subject
from qc_lightning.inference.inspector import Inspector
from qc_lightning.metrics.decision import Decision
from qc_lightning.models.backbones import StageBackbone
from qc_lightning.models.heads.fitted import FittedHead
from qc_lightning.models.mlp import MLP
from qc_lightning.models.network import Network

PLAIN = ([0.0] * 3, [1.0] * 3)


def convolutional(views: int = 1, tiles: tuple[int, int] = (1, 1)) -> Network:
    torch.manual_seed(0)
    stages = [nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU()), nn.Sequential(nn.Conv2d(8, 6, 3, 2, 1), nn.ReLU())]
    network = Network(
        StageBackbone(stages, nn.Flatten(), 1, False, PLAIN), ["avg"], [], 0.0, (64, 64), views, tiles=tiles
    )
    return network.eval().requires_grad_(False)


def linear(weight: torch.Tensor) -> MLP:
    """A perceptron without hidden layers: logit = sum of weight * photo."""
    network = MLP(weight.shape[-2:], [], 0.0).eval().requires_grad_(False)
    last = network.layers[-1]
    assert isinstance(last, nn.Linear)
    last.weight.copy_(weight.reshape(1, -1))
    return network


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "gradcam++", "layercam"])
def test_one_stage_gives_the_packages_own_map(method: str) -> None:
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import BinaryClassifierOutputTarget

    from qc_lightning.explanation.heat import METHODS

    network, image = convolutional(), torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    trained = convolutional().requires_grad_(True)
    target = [BinaryClassifierOutputTarget(1)] * 2
    cam = getattr(pytorch_grad_cam, METHODS[method])(trained, [trained.backbone.cam_layers[0]])
    cam(image, target)
    activations, gradients = cam.activations_and_grads.activations[0], cam.activations_and_grads.gradients[0]
    coarse = torch.from_numpy(cam.get_cam_image(image, None, target, activations.numpy(), gradients.numpy(), False))
    fine = nn.functional.interpolate(coarse[:, None], (64, 64), mode="bilinear")[:, 0]
    expected = smooth(fine, renormalise=False).relu()
    expected /= expected.sum((1, 2), keepdim=True).clamp_min(1e-30)
    found, logit = Heat(network, method)(image, [True, True])
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-3 * float(expected.max()))
    torch.testing.assert_close(logit, network(image))


def test_evidence_for_correct_is_where_evidence_for_incorrect_is_not() -> None:
    weight = torch.zeros(3, 40, 40)
    weight[:, 10, 10], weight[:, 30, 30] = 1, -1
    heat = Heat(linear(weight), "hirescam")
    for wanted, place in ((True, (10, 10)), (False, (30, 30))):
        (found,), _ = heat(torch.ones(1, 3, 40, 40), [wanted])
        assert np.unravel_index(found.argmax(), found.shape) == place
        assert found.sum() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_the_map_is_of_what_speaks_for_the_verdict(threshold: float, tmp_path: Path) -> None:
    """A passed photo is hot at evidence for Correct, a rejected one at evidence for Incorrect."""
    weight = torch.zeros(3, 16, 16)
    weight[:, 2:5, 2:5], weight[:, 11:14, 11:14] = 1.0, -1.0
    Image.new("RGB", (16, 16), (200, 200, 200)).save(tmp_path / "a.png")
    decision, where = Decision(threshold, ""), torch.device("cpu")
    inspector = Inspector(linear(weight), DecodeSettings(16, 16), decision, ("Correct", "Incorrect"), "", where)
    subject = Subject(tmp_path / "a.png", None, None)
    (one,) = explained.explain_some(inspector, Heat(inspector.network, "auto"), [subject], "verdict", False)
    assert one.heat is not None
    y, x = np.unravel_index(one.heat.argmax(), one.heat.shape)
    assert (y < 8, x < 8) == ((True, True) if threshold == 0.0 else (False, False))


def test_grad_cam_at_the_input_cannot_tell_what_a_network_reads() -> None:
    """Two perceptrons that read opposite corners: the mean gradient of each channel, so Grad-CAM, is the same."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import BinaryClassifierOutputTarget

    weight = torch.zeros(3, 40, 40)
    weight[:, :5, :5] = 1
    image = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0)).requires_grad_()
    networks = [linear(weight), linear(weight.flip(1, 2))]
    cams = [GradCAM(net, net.cam_layers)(image, [BinaryClassifierOutputTarget(1)]) for net in networks]
    np.testing.assert_allclose(*cams, rtol=1e-5)
    maps = [Heat(net, "hirescam")(image.detach(), [True])[0][0] for net in networks]
    assert maps[0][:10, :10].sum() > 0.99
    assert maps[1][-10:, -10:].sum() > 0.99
    with pytest.raises(UserError, match="method: expected hirescam for this network, got 'gradcam'"):
        Heat(networks[0], "gradcam")


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "layercam", "eigencam", "scorecam"])
def test_a_mirrored_photo_gets_the_mirrored_map(method: str) -> None:
    """Holds for a network with two mirrored views if each view's map is mirrored back."""
    network, image = convolutional(views=2), torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    heat = Heat(network, method)
    if method in ("eigencam", "scorecam"):  # the principal direction of each view has its own sign
        assert heat(image, [True])[0].shape == (1, 64, 64)
        return
    np.testing.assert_allclose(heat(image, [True])[0], heat(image.flip(-1), [True])[0][..., ::-1], rtol=0, atol=1e-6)


def test_of_tiles_only_the_worst_one_is_hot() -> None:
    network, image = convolutional(tiles=(1, 2)), torch.rand(1, 3, 64, 128, generator=torch.Generator().manual_seed(3))
    (found,), logit = Heat(network, "hirescam")(image, [False])
    halves = convolutional()(torch.cat([image[..., :64], image[..., 64:]]))
    worst = int(halves.argmax())
    assert logit.item() == pytest.approx(halves.max().item(), abs=1e-5)
    shares = [found[:, :56].sum(), found[:, 72:].sum()]
    assert shares[worst] > 0.8
    assert shares[1 - worst] < 0.01


@pytest.mark.parametrize("views", [1, 2])
def test_evidence_adds_up_to_what_sets_the_logit_apart(views: int) -> None:
    """A linear head on standardised features: the sum over pixels is the logit less that of the average photo."""
    torch.manual_seed(0)
    stages = [nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU()), nn.Sequential(nn.Conv2d(8, 6, 2, 2), nn.ReLU())]
    backbone = StageBackbone(stages, nn.Flatten(), 2, False, PLAIN)
    network = (
        Network(backbone, ["avg", "std", "max"], [], 0.0, (64, 64), views, fitted=True, frozen=True)
        .eval()
        .requires_grad_(False)
    )
    assert has_evidence(network)
    network.head.get_buffer("pooled.mean").uniform_(0, 1)
    image = torch.rand(2, 3, 64, 64)
    found, logit = evidence(network, image)
    torch.testing.assert_close(logit, network(image))
    head = network.head
    assert isinstance(head, FittedHead)
    expected = logit - head.pooled.linear.bias
    # maps are resized, which keeps the sum except at the edge
    torch.testing.assert_close(found.sum((1, 2)), expected, rtol=0.05, atol=0.02)
    assert methods_for(network)[0] == "evidence"
    assert not has_evidence(convolutional())


def test_photos_that_another_thread_inspects_meanwhile_leave_the_map_alone() -> None:
    network = linear(torch.linspace(-1, 1, 3 * 64 * 64).view(3, 64, 64))
    photo, others = torch.rand(1, 3, 64, 64), torch.rand(4, 3, 64, 64)
    heat, own = Heat(network, "hirescam"), threading.get_ident()
    expected, _ = heat(photo, [True])

    def inspect_others() -> None:
        with torch.inference_mode():
            network(others)

    def meanwhile(*_: object) -> None:
        if threading.get_ident() == own:
            other.submit(inspect_others).result()

    before = network.cam_layers[0].register_forward_pre_hook(meanwhile)
    with ThreadPoolExecutor(1) as other:
        disturbed, _ = heat(photo, [True])
    before.remove()
    np.testing.assert_array_equal(disturbed, expected)


def test_it_works_inside_inference_mode() -> None:
    network = convolutional()
    with torch.inference_mode():
        found, _ = Heat(network, "gradcam")(torch.rand(1, 3, 64, 64), [True])
    assert np.isfinite(found).all()


@given(arrays(np.float32, (12, 9), elements=st.floats(0, 1, width=32)), arrays(np.bool_, (12, 9)))
def test_heat_inside_and_outside_a_mask_is_all_heat(heat: np.ndarray, mask: np.ndarray) -> None:
    inside = checks.share_inside(heat, mask)
    assert 0 <= inside <= 1 + 1e-6
    if heat.sum() > 0:
        assert inside + checks.share_inside(heat, ~mask) == pytest.approx(1, abs=1e-5)
    if mask.any():
        assert mask.mean() <= checks.chance(mask) <= 1


def test_blurring_what_counts_lowers_the_score_by_hand() -> None:
    """A pixel of 1 on black under weight 1: its blur leaves next to nothing, so the score falls by just under 1."""
    weight, image = torch.zeros(3, 40, 40), torch.zeros(1, 3, 40, 40)
    weight[0, 20, 20], image[0, 0, 20, 20] = 1, 1
    heat = np.zeros((40, 40), np.float32)
    heat[20, 20] = 1
    network = linear(weight)
    assert checks.fall(network, image, heat, incorrect=True) == pytest.approx(1, abs=0.02)
    assert checks.fall(network, image, heat, incorrect=False) == pytest.approx(-1, abs=0.02)
    elsewhere = np.zeros((40, 40), np.float32)
    elsewhere[30:, 30:] = 1
    assert checks.fall(network, image, elsewhere, incorrect=True) == pytest.approx(0, abs=0.02)


def test_shuffled_weights_change_the_map_and_leave_the_network_alone() -> None:
    network, image = convolutional(), torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    steps = checks.randomised(network, "layercam", image, [True] * 4)
    assert [name for name, _ in steps] == ["head", "and stage 2", "and stage 1"]
    assert all(-1 <= value < 0.95 for _, value in steps)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_map_lies_on_the_photo_as_the_decoder_placed_it(tmp_path: Path) -> None:
    """A bright spot in a wide photo: found where it is, in the square that the network sees and back on the photo."""
    pixels = np.zeros((60, 120, 3), np.uint8)
    pixels[40:44, 100:104] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    for resize in ("squash", "letterbox"):
        settings = DecodeSettings(48, 48, resize)
        seen = decode(tmp_path / "wide.png", settings).mean(0)
        seen[seen == 128] = 0  # padding
        heat = explained.on_photo(seen.astype(np.float32), (60, 120), settings)
        y, x = np.unravel_index(heat.argmax(), heat.shape)
        assert abs(y - 41.5) <= 2
        assert abs(x - 101.5) <= 2
        assert heat.sum() == pytest.approx(1, rel=1e-4)


def test_the_photo_itself_is_upright_at_its_own_size(tmp_path: Path) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (30, 50, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(pixels)).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(decode_whole(tmp_path / "turned.png", DecodeSettings(64, 64), 100), pixels)
    assert decode_whole(tmp_path / "turned.png", DecodeSettings(64, 64), 25).shape == (15, 25, 3)
