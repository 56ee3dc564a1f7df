"""The modules that a training imports; modules left out can still be imported."""

import subprocess
import sys
from pathlib import Path

from conftest import save_photo

HEAVY = (
    "torchvision",
    "scipy.signal",
    "matplotlib",
    "pytorch_grad_cam",
    "cv2",
    "sklearn",
    "timm",
    "onnx",
    "onnxruntime",
)


def test_a_training_loads_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    for seed in range(24):
        save_photo(tmp_path / ("Correct", "Incorrect")[seed % 2] / f"{seed}.png", bright=seed % 2 == 1, seed=seed)
    settings = ["trainer=cpu", "trainer.max_epochs=1", "data.image_size=16", "report=false"]
    program = (
        "import sys\n"
        f"sys.argv = ['train', {f'data.root={tmp_path}'!r}, 'hydra.run.dir={tmp_path / 'run'}', *{settings!r}]\n"
        "from qc_lightning.train import main\n"
        "main()\n"
        f"print('loaded:', [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "loaded: []" in done.stdout


def test_what_was_left_out_can_be_loaded_later() -> None:
    program = (
        "from qc_lightning.cli.light_imports import import_torchmetrics\n"
        "import_torchmetrics()\n"
        "import torch\n"
        "from torchmetrics.classification import BinaryAUROC\n"
        "import scipy.signal, torchvision, matplotlib.pyplot\n"
        "assert len(scipy.signal.windows.hamming(5)) == 5\n"
        "print(float(BinaryAUROC()(torch.tensor([0.1, 0.4, 0.35, 0.8]), torch.tensor([0, 0, 1, 1]))))\n"
    )
    # scikit-learn's own example of roc_auc_score
    assert subprocess.check_output([sys.executable, "-c", program], text=True, timeout=120).strip() == "0.75"
