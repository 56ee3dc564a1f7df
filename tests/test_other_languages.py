"""The snippets of docs/export.md in C++ and C#: compiled, run on a photo, and compared with the inspector.

C++ needs g++ and onnxruntime's headers (in ONNXRUNTIME_INCLUDE or where Debian has them), C# needs Mono's
compiler and Microsoft.ML.OnnxRuntime.dll (in ONNXRUNTIME_DLL); the library itself is that of the Python package.
Without them the tests skip.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from qc_lightning.inference.exported import ExportedInspector
from test_camera import frames, model  # noqa: F401  # a fixture

DOCS = Path(__file__).parents[1] / "docs" / "export.md"
PLACES = (
    os.environ.get("ONNXRUNTIME_INCLUDE", "/nowhere"),
    "/usr/include/onnxruntime",
    "/usr/local/include/onnxruntime",
)
HEADERS = next((place for place in PLACES if (Path(place) / "onnxruntime_cxx_api.h").is_file()), None)
DLL = os.environ.get("ONNXRUNTIME_DLL")
CPP = """
#include <onnxruntime_cxx_api.h>
#include <array>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <vector>
int main(int, char** argv) {
    std::ifstream file(argv[1], std::ios::binary);
    std::vector<uint8_t> rgb{std::istreambuf_iterator<char>(file), {}};
    const int64_t width = std::stoi(argv[2]), height = std::stoi(argv[3]);
    const double threshold = std::stod(argv[4]);
SNIPPET
    std::printf("%.17g %s", probability, verdict);
}
"""
CSHARP = """
using System; using System.IO; using System.Linq;
using Microsoft.ML.OnnxRuntime; using Microsoft.ML.OnnxRuntime.Tensors;
class Program { static void Main(string[] argv) {
    byte[] rgb = File.ReadAllBytes(argv[0]);
    int width = int.Parse(argv[1]), height = int.Parse(argv[2]);
    double threshold = double.Parse(argv[3]);
SNIPPET
    Console.Write(probability.ToString("R") + " " + verdict);
} }
"""


def snippet(start: str) -> str:
    """The indented lines after the line with that beginning."""
    _, text = re.split(rf"^{re.escape(start)}.*\n", DOCS.read_text(encoding="utf-8"), maxsplit=1, flags=re.MULTILINE)
    lines = text.lstrip("\n").split("\n\n")[0]
    assert lines.startswith("    ")
    return lines


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder with onnxruntime's library, under the names that programs load."""
    folder = tmp_path / "lib"
    folder.mkdir()
    found = list((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*"))
    if not found:
        pytest.skip("onnxruntime's package brings no shared library here")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / name).symlink_to(found[0])
    return folder


def check(command: list[str], library: Path, model: Path, folder: Path) -> None:  # noqa: F811
    """Run a program on two photos next to the model, as documented."""
    shutil.copy(model, folder / "inspector.onnx")
    inspector = ExportedInspector.load(model)
    for photo in frames(folder / "photos", 2):
        pixels = np.asarray(Image.open(photo).convert("RGB").resize((16, 16), Image.Resampling.BILINEAR))
        (folder / "planes").write_bytes(pixels.transpose(2, 0, 1).tobytes())
        arguments = ["planes", "16", "16", repr(inspector.decision.threshold)]
        done = subprocess.run(
            [*command, *arguments], cwd=folder, env=os.environ | {"LD_LIBRARY_PATH": str(library)},
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        probability, verdict = done.stdout.split()
        wanted = inspector(pixels)
        assert float(probability) == pytest.approx(wanted.probability, abs=1e-6)
        assert verdict == wanted.verdict


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") and HEADERS), reason="no g++, or no headers in ONNXRUNTIME_INCLUDE")
def test_the_snippet_in_cpp(model: Path, tmp_path: Path, library: Path) -> None:  # noqa: F811
    source = tmp_path / "snippet.cpp"
    source.write_text(CPP.replace("SNIPPET", snippet("C++,")))
    link = [str(library / "libonnxruntime.so"), "-o", str(tmp_path / "snippet")]
    subprocess.run(["g++", "-std=c++17", f"-I{HEADERS}", source, *link], check=True)
    check([str(tmp_path / "snippet")], library, model, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("mcs") and shutil.which("mono") and DLL), reason="no Mono, or no ONNXRUNTIME_DLL")
def test_the_snippet_in_csharp(model: Path, tmp_path: Path, library: Path) -> None:  # noqa: F811
    source = tmp_path / "snippet.cs"
    lines = [line for line in snippet("C#,").splitlines() if "meta" not in line]  # Mono brings no System.Text.Json
    source.write_text(CSHARP.replace("SNIPPET", "\n".join(lines)))
    shutil.copy(str(DLL), tmp_path)
    subprocess.run(["mcs", f"-r:{DLL}", f"-out:{tmp_path / 'snippet.exe'}", source], check=True)
    check(["mono", str(tmp_path / "snippet.exe")], library, model, tmp_path)
