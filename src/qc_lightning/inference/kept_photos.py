"""Storage of the line's photos with a policy and a size limit; the oldest are evicted."""

import io
import threading
from collections import deque
from pathlib import Path

from PIL import Image

from qc_lightning.core.atomic import replacing
from qc_lightning.core.errors import UserError
from qc_lightning.data.decoding.decode import BadImage, decode_whole
from qc_lightning.data.decoding.decode_settings import DecodeSettings
from qc_lightning.data.decoding.image_file import open_header
from qc_lightning.inference.inspection import Inspection
from qc_lightning.metrics.verdict import Verdict

_OTHERS = {"JPEG": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2"}  # formats with another file extension than their name


def find_kept(folder: Path, sha256: str) -> Path | None:
    """The kept photo with this digest; None if there is none."""
    return next((folder / sha256[:2]).glob(f"{sha256}.*"), None) if sha256 else None


class KeptPhotos:
    """A folder of photos named by the SHA-256 of their bytes, so that each photo is stored once.

    Args:
        folder: created if missing.
        everything: keep all; otherwise rejected and reviewed photos, and those of spot checks.
        most_bytes: limit of the total size, 1 or more.

    Attributes:
        trouble: why the last photo could not be kept; empty if it was.

    Raises:
        UserError: the folder cannot be made.
    """

    def __init__(self, folder: Path, everything: bool, most_bytes: int) -> None:
        self.folder, self.trouble = folder, ""
        self._everything, self._most = everything, most_bytes
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"photos: cannot use {folder} ({error.strerror}): give another folder") from error
        files = [(file.stat(), file) for file in folder.glob("??/*") if file.is_file()]
        files.sort(key=lambda item: (item[0].st_mtime_ns, item[1]))
        self._files = deque((file, info.st_size) for info, file in files)
        self._bytes = sum(size for _, size in self._files)

    def keep(self, data: bytes, inspection: Inspection) -> None:
        """Keep a photo if the policy says so; unreadable photos are not kept.

        Args:
            data: bytes of the photo's file.
            inspection: its result.
        """
        if (
            inspection.error
            or not inspection.sha256
            or (inspection.verdict == Verdict.PASS and not inspection.reason and not self._everything)
        ):
            return
        try:
            path = self.folder / inspection.sha256[:2] / f"{inspection.sha256}{_suffix(data)}"
            if path.exists():
                return
            with replacing(path, durable=False) as temporary:
                temporary.write_bytes(data)
            self._make_room(path, len(data))
            self.trouble = ""
        except OSError as error:
            self.trouble = f"photos cannot be kept in {self.folder} ({error.strerror or error})"

    def _make_room(self, path: Path, size: int) -> None:
        with self._lock:
            self._files.append((path, size))
            self._bytes += size
            while self._bytes > self._most and len(self._files) > 1:
                oldest, freed = self._files.popleft()
                self._bytes -= freed
                oldest.unlink(missing_ok=True)


def thumbnail(path: Path, longest: int) -> bytes | None:
    """A kept photo as a JPEG of at most `longest` pixels along its longer side; None if it was removed."""
    try:
        pixels = decode_whole(path, DecodeSettings(longest, longest), longest)
    except BadImage:
        return None
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return file.getvalue()


def _suffix(data: bytes) -> str:
    try:
        name = str(open_header(io.BytesIO(data)).format)
    except BadImage:
        return ""
    return _OTHERS.get(name, f".{name.lower()}")
