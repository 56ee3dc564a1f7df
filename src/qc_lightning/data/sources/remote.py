"""Photos in object storage by address: s3://, gs://, az:// and others that fsspec reads."""

import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from qc_lightning.core.errors import UserError
from qc_lightning.data.decoding.image_file import IMAGE_SUFFIXES, MAX_BYTES, BadImage
from qc_lightning.data.sources.walk import may_be_photo

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_PROBES = 1000  # folders of which one photo is tried before work starts
_THREADS = 16  # requests at a time


def is_address(text: str) -> bool:
    """Whether a text is an address such as s3://bucket/photo.jpg rather than a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def file_system(address: str) -> tuple["AbstractFileSystem", str]:
    """The file system of an address, and the path in it.

    Raises:
        UserError: its package is missing, or there are no credentials for it.
    """
    import fsspec

    try:
        system, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        package = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
        name = package.get(address.partition("://")[0], "")
        install = f": pip install {name}" if name else ""
        raise UserError(f"{address} needs a package that is not installed ({error}){install}") from error
    except ValueError as error:
        raise UserError(f"{address}: expected s3://, gs://, az:// or another that fsspec knows: {error}") from error
    return system, str(path)


@dataclass(frozen=True)
class RemotePhoto:
    """A photo in object storage.

    Attributes:
        address: such as s3://bucket/photo.jpg.
    """

    address: str

    @property
    def name(self) -> PurePosixPath:
        """Its name, whose extension tells the kind of file."""
        return PurePosixPath(self.address.rpartition("/")[2])

    def read(self) -> bytes:
        """Its bytes; raises BadImage."""
        try:
            system, path = file_system(self.address)
            data: bytes = system.cat_file(path)
        except UserError as error:
            raise BadImage(str(error)) from error
        except Exception as error:  # each file system raises kinds of its own
            raise BadImage(reason_of(error)) from error
        if len(data) > MAX_BYTES:
            raise BadImage(f"file of {len(data) / 2**30:.1f} GiB, the limit is {MAX_BYTES >> 30} GiB")
        return data


def find_remote(source: str) -> list[str]:
    """Addresses of the photos of a source, each once: a photo, all below a folder, or a .txt or .csv list.

    Raises:
        UserError: it cannot be listed, or there is no photo.
    """
    system, path = file_system(source)
    scheme = source.partition("://")[0]
    if PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES:
        return [source]
    try:
        names = sorted(system.find(path))
    except Exception as error:
        raise UserError(f"source: cannot list {source}: {reason_of(error)}") from error
    hidden = re.compile(r"(^|/)\.")
    below = [name for name in names if not hidden.search(name.removeprefix(path)) and may_be_photo(PurePosixPath(name))]
    if not below:
        raise UserError(f"source: expected photos in {source}, found none ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return [_address(scheme, name) for name in below]


def versions(source: str) -> dict[str, str]:
    """The version of each object below an address, by its address: ETag or time, and size.

    Raises:
        UserError: it cannot be listed.
    """
    system, path = file_system(source)
    try:
        objects = system.find(path, detail=True)
    except Exception as error:
        raise UserError(f"source: cannot list {source}: {reason_of(error)}") from error
    marks = ("ETag", "etag", "generation", "md5Hash", "content_md5", "LastModified", "last_modified", "mtime", "size")
    scheme = source.partition("://")[0]
    return {
        _address(scheme, name): " ".join(str(info[mark]) for mark in marks if info.get(mark) is not None)
        for name, info in objects.items()
    }


def _address(scheme: str, name: str) -> str:
    return f"{scheme}://{name if scheme == 'file' else name.lstrip('/')}"


def check_rights(addresses: Sequence[str]) -> None:
    """Check, before work starts, that a photo of each folder can be read.

    Raises:
        UserError: those of some folders cannot be read.
    """
    counts = Counter(address.rpartition("/")[0] for address in addresses)
    first: dict[str, str] = {}
    for address in addresses:
        first.setdefault(address.rpartition("/")[0], address)
    folders = list(first)[:_PROBES]
    with ThreadPoolExecutor(_THREADS) as pool:
        reasons = dict(zip(folders, pool.map(_why_unreadable, (first[folder] for folder in folders)), strict=True))
    if refused := {folder: reason for folder, reason in reasons.items() if reason}:
        named = ", ".join(f"{folder} ({reason})" for folder, reason in list(refused.items())[:3])
        photos = sum(counts[folder] for folder in refused)
        raise UserError(
            f"source: {photos} of {len(addresses)} photos cannot be read, they are in {named}: get the right to read "
            "there, or leave them out"
        )


def reason_of(error: BaseException) -> str:
    """An error of a file system as one short phrase."""
    if isinstance(error, FileNotFoundError):
        return "no such file or directory"
    if isinstance(error, PermissionError):
        return "no right to read it"
    return next(iter(str(error).splitlines()), "")[:200] or type(error).__name__


def _why_unreadable(address: str) -> str:
    try:
        system, path = file_system(address)
        system.cat_file(path, start=0, end=1)
    except FileNotFoundError:  # one photo: its row says so
        return ""
    except UserError as error:
        return str(error)
    except Exception as error:
        return reason_of(error)
    return ""
