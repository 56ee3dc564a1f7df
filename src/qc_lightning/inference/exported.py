"""An exported inspector, run by onnxruntime; needs only numpy, Pillow and onnxruntime."""

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from qc_lightning.core.errors import UserError, reading
from qc_lightning.core.system import cores
from qc_lightning.inference.drift import Reference
from qc_lightning.inference.export_metadata import (
    DRIFT,
    EVIDENCE,
    FEATURES,
    GOLDEN,
    LOGIT,
    METADATA,
    NOVELTY,
    PIXELS,
    WITH_EVIDENCE,
    ExportMetadata,
)
from qc_lightning.inference.golden import TOLERANCE, Golden
from qc_lightning.inference.inspection import (
    CameraPhoto,
    Decoded,
    Inspection,
    PhotoLike,
    check_decoded,
    check_unreadable,
    conclude,
    decode_photo,
)
from qc_lightning.inference.sealed_file import read_sealed
from qc_lightning.metrics.decision import Decision, sigmoid
from qc_lightning.metrics.verdict import Verdict

if TYPE_CHECKING:
    import onnxruntime


class ExportedInspector:
    """An inspector in one .onnx file, run by onnxruntime on the CPU: the interface of `Inspector`, without torch.

    On one machine a photo's result does not depend on the rest of its batch, to the last bit. Thread-safe.

    Attributes:
        path: the file.
        decode: settings that turn a photo into the graph's input, uint8 [3, H, W].
        decision: rule that turns a probability into a verdict.
        class_names: the user's names for Correct and Incorrect.
        model_id: id of the model, as in the run.
        unreadable: the verdict on a photo that cannot be read, REVIEW or REJECT.
        metadata: all metadata of the file.
        golden: photos and their logits at the export, see `verify_golden`.
        outputs: names of the graph's outputs.
        drift: JSON text of the drift reference; None if the file has none.
        reference: the parsed drift reference.
    """

    def __init__(
        self, path: Path, unreadable: Verdict = Verdict.REVIEW, threads: int = 0, content: bytes | None = None
    ) -> None:
        check_unreadable(unreadable)
        self.path, self.unreadable, self._threads = path, unreadable, threads
        self._session = _session(path, threads, read_sealed(path) if content is None else content)
        with reading(path, "export it again"):
            stored = self._session.get_modelmeta().custom_metadata_map
            self.metadata = ExportMetadata.from_json(stored[METADATA])
            self.golden = Golden.from_dict(json.loads(stored[GOLDEN]))
            self.decode, self.class_names = self.metadata.decode, self.metadata.class_names
            self.decision, self.model_id = Decision.from_dict(self.metadata.decision), self.metadata.model_id
            check_decoded(self.golden.pixels, self.decode)
        self.drift = stored.get(DRIFT)
        with reading(f"{path}: its reference for drift", "export it again"):
            self.reference = None if self.drift is None else Reference.from_json(self.drift)
        self.outputs = [output.name for output in self._session.get_outputs()]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the file's content, so that another machine does not need the file."""
        return ExportedInspector, (self.path, self.unreadable, self._threads, read_sealed(self.path))

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], unreadable: Verdict = Verdict.REVIEW, threads: int = 0
    ) -> "ExportedInspector":
        """Load an exported inspector.

        Args:
            path: path of the .onnx file.
            unreadable: the verdict on a photo that cannot be read, REVIEW or REJECT.
            threads: CPU threads per call; 0: one per core.

        Raises:
            UserError: the file is missing, damaged, of another program or of a newer format, or onnxruntime cannot run
                it.
        """
        return cls(Path(path).expanduser(), unreadable, threads)

    @overload
    def __call__(self, photo: list[PhotoLike] | tuple[PhotoLike, ...]) -> list[Inspection]: ...

    @overload
    def __call__(self, photo: PhotoLike) -> Inspection: ...

    def __call__(self, photo: PhotoLike | list[PhotoLike] | tuple[PhotoLike, ...]) -> Inspection | list[Inspection]:
        """Inspect a photo or a list of photos; arguments, result and errors as for `Inspector`."""
        if isinstance(photo, list | tuple):
            return [result for one in photo for result in self.inspect_decoded([decode_photo(one, self.decode)])]
        return self.inspect_decoded([decode_photo(photo, self.decode)])[0]

    def inspect_decoded(self, photos: Sequence[Decoded]) -> list[Inspection]:
        """Inspect photos decoded with `decode`, as one batch."""
        pixels = [photo.pixels for photo in photos if photo.pixels is not None]
        begun = time.perf_counter()
        logit, novelty, features = np.empty(0, np.float32), None, None
        if pixels:
            names = [LOGIT, *(name for name in (NOVELTY, FEATURES) if name in self.outputs)]
            outputs = dict(zip(names, self.run(np.stack(pixels), *names), strict=True))
            logit, features = outputs[LOGIT], outputs.get(FEATURES)
            novelty = outputs[NOVELTY].tolist() if NOVELTY in outputs else None
        seconds = (time.perf_counter() - begun) / max(1, len(pixels))
        measured = logit.tolist(), sigmoid(logit).tolist(), novelty
        results = conclude(photos, *measured, self.decision, self.model_id, self.unreadable, seconds)
        return results if self.reference is None else self._measured(results, photos, self.reference, features)

    def _measured(
        self,
        results: list[Inspection],
        photos: Sequence[Decoded],
        reference: Reference,
        features: npt.NDArray[np.float32] | None,
    ) -> list[Inspection]:
        """Add the drift statistics to the results that have a probability."""
        place, measured = -1, []
        for result, photo in zip(results, photos, strict=True):
            place += photo.pixels is not None
            if photo.pixels is None or result.logit is None or result.error:
                measured.append(result)
                continue
            own = features[place] if features is not None and reference.features else None
            measures = reference.measure(photo.pixels, result.logit, result.novelty, own)
            measured.append(replace(result, measures=measures))
        return measured

    @property
    def certificate(self) -> Mapping[str, Any] | None:
        """The certificate of the decision, as exported; None if there is none."""
        certificate: Mapping[str, Any] | None = self.metadata.decision.get("certificate")
        return certificate

    @property
    def backend(self) -> dict[str, str]:
        """Name and versions of the backend, as recorded in a certificate."""
        return {"backend": "onnxruntime", "precision": "float32", "device": "cpu"}

    def inspect_files(self, photos: Iterable[Path | CameraPhoto]) -> Iterator[Inspection]:
        """Inspect files on all cores, one file per core; the results are in the order of the files."""

        def inspect(photo: Path | CameraPhoto) -> Inspection:
            return self(photo)

        pool = ThreadPoolExecutor(cores())
        try:
            yield from pool.map(inspect, photos)
        finally:  # also on Ctrl-C: cancel files that are not started
            pool.shutdown(cancel_futures=True)

    def logits(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Logits of P(Incorrect), float32 [B], for decoded photos uint8 [B, 3, H, W]; errors as for `run`."""
        return self.run(pixels, LOGIT)[0]

    def run(self, pixels: npt.NDArray[np.uint8], *names: str) -> list[npt.NDArray[Any]]:
        """Run the graph for some of its outputs.

        Args:
            pixels: decoded photos, uint8 [B, 3, H, W] of `decode.shape`.
            names: names from `outputs`.

        Returns:
            The outputs in that order: probability float64 [B], logit float32 [B], features float32 [B, F], novelty
            float32 [B], evidence float32 [B, H, W].

        Raises:
            TypeError, ValueError: the pixels are not decoded photos.
            UserError: onnxruntime cannot compute it.
        """
        check_decoded(pixels, self.decode)
        inputs: dict[str, npt.NDArray[Any]] = {PIXELS: pixels}
        if EVIDENCE in names:
            inputs[WITH_EVIDENCE] = np.array(True)
        try:
            results: list[npt.NDArray[Any]] = self._session.run(list(names), inputs)
        except Exception as error:  # onnxruntime raises its own error types
            raise _cannot_run(self.path, error, "export it again") from error
        return results

    def verify_golden(self) -> float:
        """Replay the golden inputs: this machine and onnxruntime must reproduce the logits of the run's network.

        Returns:
            The largest difference of a logit.

        Raises:
            UserError: it is above the tolerance.
        """
        logit = np.concatenate([self.logits(photo[None]) for photo in self.golden.pixels])
        gap = self.golden.gap(logit)
        if gap > TOLERANCE:
            raise UserError(
                f"{self.path}: expected the golden inputs' logits within {TOLERANCE:g}, got {gap:.2g} off: onnxruntime "
                "computes differently on this machine; install another version of it"
            )
        return gap


def _session(path: Path, threads: int, content: bytes) -> "onnxruntime.InferenceSession":
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise UserError("an exported inspector needs onnxruntime: pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only
    # waiting threads must not spin: that cost 20 ms of a core per photo in the service
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises its own error types
        raise _cannot_run(path, error, "install a newer one") from error


def _cannot_run(path: Path, error: Exception, advice: str) -> UserError:
    import onnxruntime

    reason = str(error).splitlines()[0][:200]
    return UserError(f"{path}: onnxruntime {onnxruntime.__version__} cannot run it ({reason}); {advice}")
