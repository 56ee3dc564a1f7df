"""Watch a folder for new and changed photos, some of them still being written."""

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from qc_lightning.core.fingerprint import Stamp, sha256_of, stamp_of
from qc_lightning.core.shutdown import StopRequest
from qc_lightning.data.sources.walk import Walk
from qc_lightning.inference.sources import photos_below

_POLL_SECONDS = 0.1
_POLL_SHARE = 3  # pause as a multiple of the last scan: a folder of 100,000 files takes seconds to scan


@dataclass
class _Waiting:
    """A pending file: its stamp, when that was first seen, when to check next."""

    stamp: Stamp
    since: float
    look: float


class FolderWatcher:
    """Finds the photos of a folder that are new or changed and no longer being written.

    A file is read once its stamp has not changed for `settle` seconds. If it cannot be read then, it may be incomplete:
    it is tried again, and counts as unreadable after `patience` seconds without a change. A result counts only if the
    file has not changed meanwhile. A file that changes later is a new photo, unless its bytes are the same. The folder
    is polled, since network file systems send no notifications.

    Args:
        root: the folder.
        skip: folders below it to leave out.
        wanted: whether to inspect the photo of a name below the root.
        judged: SHA-256 in a photo's earlier row, None without a row.
        settle: seconds without a change before a file is read.
        patience: seconds without a change after which a file counts as unreadable.
    """

    def __init__(
        self,
        root: Path,
        skip: Collection[Path],
        wanted: Callable[[str], bool],
        judged: Callable[[str], str | None],
        settle: float = 0.4,
        patience: float = 30.0,
    ) -> None:
        self._root, self._skip, self._wanted, self._judged = root, skip, wanted, judged
        self._settle, self._patience = settle, patience
        self._done: dict[str, tuple[Stamp, str]] = {}
        self._waiting: dict[str, _Waiting] = {}

    def rounds(self, stop: StopRequest) -> Iterator[Iterator[Path]]:
        """Yield the files to inspect, round by round, until `stop`."""
        while not stop.signal:
            begun = time.monotonic()
            names = self.ready()
            seconds = time.monotonic() - begun
            yield (self._root / name for name in names if not self._is_same(name))
            time.sleep(max(_POLL_SECONDS, _POLL_SHARE * seconds))

    @property
    def unsettled(self) -> int:
        """New or changed files that are not finished and have no row."""
        return len(self._waiting)

    def ready(self) -> list[str]:
        """Sorted names of the files to inspect now, those without a row first."""
        now = time.monotonic()
        before, self._waiting = self._waiting, {}
        for name in photos_below(Walk(self._root, self._skip)):
            if not self._wanted(name) or (stamp := stamp_of(self._root / name)) is None:  # removed, or a broken link
                continue
            if name in self._done and self._done[name][0] == stamp:
                continue
            waiting = before.get(name)
            if waiting is None or waiting.stamp != stamp:
                waiting = _Waiting(stamp, now, now + self._settle)
            self._waiting[name] = waiting
        names = [name for name, file in self._waiting.items() if now >= file.look]
        return sorted(names, key=lambda name: (self._sha256(name) is not None, name))

    def settled(self, path: Path, sha256: str, readable: bool) -> bool:
        """Whether the result of a file is final; otherwise it will be `ready` again later.

        Args:
            path: path below the root.
            sha256: digest of the inspected bytes, hex.
            readable: whether they could be decoded.
        """
        name = path.relative_to(self._root).as_posix()
        file, now = self._waiting[name], time.monotonic()
        still = stamp_of(path) == file.stamp
        if still and (readable or now - file.since >= self._patience):
            self._finish(name, sha256)
            return True
        file.look = now + self._settle
        return False

    def _is_same(self, name: str) -> bool:
        """Whether a file that seems new has the same bytes as its row."""
        sha256, file = self._sha256(name), self._waiting[name]
        if sha256 is None or sha256_of(self._root / name) != sha256 or stamp_of(self._root / name) != file.stamp:
            return False
        self._finish(name, sha256)
        return True

    def _finish(self, name: str, sha256: str) -> None:
        self._done[name] = (self._waiting.pop(name).stamp, sha256)

    def _sha256(self, name: str) -> str | None:
        """SHA-256 in the newest row of a photo, None without a row."""
        return self._done[name][1] if name in self._done else self._judged(name)
