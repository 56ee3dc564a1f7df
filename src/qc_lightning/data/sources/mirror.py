"""Copy photos from object storage to this machine once, so that every epoch and every process reads from disk."""

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from qc_lightning.core.atomic import read_json, replacing, write_json
from qc_lightning.core.bars import Progress
from qc_lightning.core.errors import UserError
from qc_lightning.core.lock import in_turn
from qc_lightning.data.decoding.image_file import BadImage
from qc_lightning.data.sources.remote import RemotePhoto, find_remote, reason_of, versions

_VERSIONS = ".versions.json"
_THREADS = 16  # requests at a time


def mirror(address: str, cache: Path) -> Path:
    """Copy the photos below an address into a folder of the cache, except those that it already has.

    A photo is copied again when the store gives it another version (ETag, generation or time, and size); one that has
    gone from the store is removed.

    Args:
        address: such as s3://bucket/photos, with one folder per class.
        cache: holds a folder for each address; made when missing.

    Returns:
        The folder.

    Raises:
        UserError: the photos cannot be listed or read, or the disk is full.
    """
    base = address.rstrip("/")
    folder = cache / hashlib.sha256(base.encode()).hexdigest()[:16]
    wanted = {photo.removeprefix(f"{base}/"): photo for photo in find_remote(base)}
    current = versions(base)
    now = {name: current.get(photo, "") for name, photo in wanted.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with in_turn(folder / ".lock"):  # other processes of a training wait: another copy would have another stamp
            _bring_up_to_date(folder, base, wanted, now)
    except BadImage as error:
        raise UserError(f"data.root: cannot copy {base}: {error}") from error
    except OSError as error:
        raise UserError(f"data.root: cannot copy {base} to {folder}: {error.strerror or reason_of(error)}") from error
    return folder


def _bring_up_to_date(folder: Path, base: str, wanted: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Copy what the folder lacks or has in another version, and remove what the store no longer has.

    Args:
        folder: the copy.
        base: address of the store's folder.
        wanted: address by name in the folder.
        now: version by name.
    """
    before = _recorded(folder)
    todo = [name for name in wanted if now[name] != before.get(name) or not (folder / name).is_file()]
    kept = {name: before[name] for name in before.keys() & now.keys() if name not in set(todo)}

    def copy(name: str) -> None:
        target = folder / name
        if folder not in target.parents or ".." in Path(name).parts:
            raise UserError(f"data.root: {wanted[name]} has a name that leads out of its folder: rename it")
        with replacing(target, durable=False) as temporary:
            temporary.write_bytes(RemotePhoto(wanted[name]).read())

    try:
        with (
            Progress(total=len(todo), desc=f"copying {base}", unit="photo", delay=1.5) as bar,
            ThreadPoolExecutor(_THREADS) as pool,
        ):
            for _, name in zip(pool.map(copy, todo), todo, strict=True):
                kept[name] = now[name]
                bar.update()
        for name in before.keys() - now.keys():
            (folder / name).unlink(missing_ok=True)
    finally:
        if os.access(folder, os.W_OK):
            write_json(folder / _VERSIONS, kept)


def _recorded(folder: Path) -> Mapping[str, str]:
    try:
        return {name: str(version) for name, version in read_json(folder / _VERSIONS).items()}
    except UserError:  # none yet, or damaged: everything is copied
        return {}
