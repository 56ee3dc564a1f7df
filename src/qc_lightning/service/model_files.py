"""Find, load and check the model files of a service before it starts."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from qc_lightning.core.errors import UserError
from qc_lightning.core.reading import read_text
from qc_lightning.inference.exported import ExportedInspector
from qc_lightning.inference.validity import certificate_line
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.service.models import Key

_COLUMNS = ("product", "camera", "model")


def load_inspectors(files: Mapping[Key, Path], unreadable: Verdict) -> dict[Key, ExportedInspector]:
    """Load each file once.

    Args:
        files: by product and camera, the result of `read_table`.
        unreadable: the verdict on a photo that cannot be read.

    Raises:
        UserError: a file is missing, damaged, of another program or of a newer release.
    """
    loaded: dict[Path, ExportedInspector] = {}
    for file in files.values():
        if file not in loaded:
            loaded[file] = ExportedInspector.load(file, unreadable)
    return {key: loaded[file] for key, file in files.items()}


def check_models(inspectors: Mapping[Key, ExportedInspector], force: bool) -> list[str]:
    """Replay the golden inputs of each model; returns lines on the models and their decisions.

    Args:
        inspectors: by product and camera.
        force: also serve a model that, by its own metrics, cannot tell the classes apart.

    Raises:
        UserError: a model cannot tell the classes apart, or this machine computes differently from the export.
    """
    for one in inspectors.values():
        if one.metadata.doubt and not force:
            raise UserError(f"{one.path} is not served: {one.metadata.doubt}; force=true serves it anyway")
    gaps = {one.path: one.verify_golden() for one in inspectors.values()}
    lines = []
    for (product, camera), one in inspectors.items():
        place = "".join(f"{word} {name}, " for word, name in (("product", product), ("camera", camera)) if name)
        lines.append(f"{one.path}: {place}model {one.model_id}, threshold {one.decision.threshold:g}")
        lines += [words] if (words := certificate_line(one)) else []
        inputs = f"{len(one.golden.logit)} golden inputs as exported"
        lines.append(f"{inputs}, logits differ by at most {gaps[one.path]:.2g}")
    return lines


def read_table(path: Path) -> dict[Key, Path]:
    """Read a table `product,camera,model`; paths are relative to its folder.

    Raises:
        UserError: it cannot be read, lacks columns or models, or repeats a product and camera.
    """
    try:
        reader = csv.DictReader(io.StringIO(read_text(path, encoding="utf-8-sig"), newline=""))
        records, columns = list(reader), list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"models: expected a .csv with product,camera,model, cannot read {path} ({reason})") from error
    if other := sorted({*columns} - {*_COLUMNS}) or (["no model"] if "model" not in columns else []):
        raise UserError(f"models: expected columns product,camera,model in {path}, got {', '.join(other)}")
    files: dict[Key, Path] = {}
    for number, row in enumerate(records, start=2):
        product, camera, model = ((row.get(name) or "").strip() for name in ("product", "camera", "model"))
        if not model or None in row:
            wrong = "more fields than columns" if model else "no model"
            raise UserError(f"models: expected product,camera,model in {path}, line {number} has {wrong}")
        if (product, camera) in files:
            raise UserError(f"models: {path} line {number} has product '{product}' and camera '{camera}' again")
        files[product, camera] = (path.parent / Path(model).expanduser()).absolute()
    if not files:
        raise UserError(f"models: expected rows product,camera,model in {path}, it has none")
    return files
