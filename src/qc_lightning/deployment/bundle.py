"""A folder for a PC without network access: wheels, model, start script. Run by `make bundle` in a checkout.

python -m qc_lightning.deployment.bundle inspector.onnx bundle/ [win_amd64 3.12]
"""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from qc_lightning.core.atomic import unfinished_folder
from qc_lightning.core.claim import place_folder
from qc_lightning.core.errors import UserError
from qc_lightning.inference.exported import ExportedInspector

_NEEDED = ("numpy", "pillow", "onnxruntime")  # with the extra `serve`, all packages that an exported inspector needs
_FILES = Path(__file__).with_name("bundle_files")


def line_packages(pyproject: Path) -> list[str]:
    """Packages needed on the line besides qc-lightning, with the version bounds of pyproject.toml."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    needed = [entry for entry in project["dependencies"] if re.split(r"[<>=!~\[; ]", entry)[0] in _NEEDED]
    return [*needed, *project["optional-dependencies"]["serve"]]


def make_bundle(model: Path, folder: Path, checkout: Path, target: tuple[str, str] | None = None) -> None:
    """Fill a new folder with everything that a line PC needs besides Python.

    Args:
        model: an exported inspector, which is checked first.
        folder: the folder to create.
        checkout: folder of the repository, from which the wheel is built.
        target: platform and Python of the line PC, such as `("win_amd64", "3.12")`; None: those of this machine.

    Raises:
        UserError: the folder exists, the model is invalid, or pip cannot get the wheels.
    """
    if folder.exists():
        raise UserError(f"{folder} already exists: remove it or give another name")
    ExportedInspector.load(model).verify_golden()
    with unfinished_folder(folder.absolute().parent) as unfinished:
        wheels = unfinished / "wheels"
        wheels.mkdir()
        elsewhere = [f"--platform={target[0]}", f"--python-version={target[1]}"] if target else []
        _pip("wheel", "--no-deps", f"--wheel-dir={wheels}", str(checkout))
        packages = line_packages(checkout / "pyproject.toml")
        _pip("download", "--only-binary=:all:", f"--dest={wheels}", *elsewhere, *packages)
        shutil.copyfile(model, unfinished / "inspector.onnx")
        for file in _FILES.iterdir():
            shutil.copy(file, unfinished)
        place_folder(unfinished, folder, named=True, another="name")


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", arguments[0], "--quiet", "--disable-pip-version-check", *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise UserError(f"pip {arguments[0]} failed: {reason}")


def main() -> None:
    """Run the command."""
    try:
        if len(sys.argv) not in (3, 5):
            raise UserError("expected a model and a folder: make bundle MODEL=inspector.onnx")
        model, folder, *target = sys.argv[1:]
        make_bundle(Path(model), Path(folder), Path.cwd(), (target[0], target[1]) if target else None)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    print(f"bundle: {folder}; on the line PC: start.sh or start.cmd")


if __name__ == "__main__":
    main()
