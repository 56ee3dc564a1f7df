"""File format of an exported inspector: an ONNX model and a checksum at its end that detects damage.

The seal is another entry of the model's metadata, appended as protobuf bytes: concatenated messages of one type are
read as their merge, so every ONNX reader accepts the file. The seal detects damage and accidental edits, not forgery:
anyone who rewrites a file can seal it again.
"""

import hashlib
import re
from pathlib import Path

from qc_lightning.core.errors import UserError
from qc_lightning.core.reading import read_bytes

FORMAT = 1
"""Version of the metadata and of the graph's inputs and outputs; a newer version is refused."""

_KEY = b"qc_lightning.seal"
_DIGITS = 4  # of the format
_VALUE = _DIGITS + 1 + 64
# field 14 of ModelProto (metadata_props), its length; in it field 1 (key) and field 2 (value), each with its length
_HEAD = bytes([0x72, 4 + len(_KEY) + _VALUE, 0x0A, len(_KEY)]) + _KEY + bytes([0x12, _VALUE])
_SEAL = re.compile(re.escape(_HEAD) + rb"(\d{4}) ([0-9a-f]{64})")
_LENGTH = len(_HEAD) + _VALUE
_LARGEST = 2**31 - 1  # largest size of a protobuf message in bytes


def seal(model: bytes) -> bytes:
    """Append the seal to a serialised ONNX model.

    Raises:
        UserError: the model is larger than an ONNX file can be.
    """
    if len(model) + _LENGTH > _LARGEST:
        raise UserError(
            f"expected a model below 2 GiB, which is what one .onnx file holds, got {len(model) / 2**30:.1f}"
        )
    return model + _HEAD + f"{FORMAT:0{_DIGITS}d} {hashlib.sha256(model).hexdigest()}".encode()


def read_sealed(path: Path) -> bytes:
    """Read an exported inspector and check its seal.

    Raises:
        UserError: the file cannot be read, is not an exported inspector, is truncated, changed, or of a newer format.
    """
    try:
        data = read_bytes(path, _LARGEST)
    except OSError as error:
        raise UserError(f"expected an exported inspector (.onnx), cannot read {path}: {error.strerror}") from error
    match = _SEAL.fullmatch(data, max(0, len(data) - _LENGTH))
    if match is None:
        if b"qc_lightning" in data:
            raise UserError(f"{path} is torn or was changed after its export: copy it again, or export again")
        raise UserError(
            f"{path} is no inspector that qc-lightning exported: make one with `qc-lightning export run=...`"
        )
    if int(match[1]) > FORMAT:
        raise UserError(
            f"{path} has format {int(match[1])}, this release reads up to {FORMAT}: install the release that wrote it"
        )
    if hashlib.sha256(memoryview(data)[:-_LENGTH]).hexdigest() != match[2].decode():
        raise UserError(f"{path} is torn or was changed after its export: copy it again, or export again")
    return data
