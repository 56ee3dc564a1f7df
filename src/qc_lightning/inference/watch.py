"""Photos that arrive in a folder while we look, some of them still being written."""

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from qc_lightning.core.shutdown import StopRequest
from qc_lightning.inference.sources import photos_below

_POLL_SECONDS = 0.5


@dataclass
class _Waiting:
    """A file that is not done: its size and time of change, since when it has them, when to look into it next."""

    stamp: tuple[int, int]
    since: float
    look: float


class FolderWatcher:
    """The photos of a folder that have come and stand still.

    A file is looked into once its size and time of change have stayed the same for a moment. If it cannot be read then,
    it may still be on its way: it is tried again, and only after a while without a change called unreadable. The
    folder is polled, since its file system may be another machine's and tell nothing.

    Args:
        root: the folder.
        skip: folders below it to leave out.
        wanted: whether the photo of a name below the root needs a verdict.
        settle: seconds without a change before a file is looked into.
        patience: seconds without a change after which a file that cannot be read will never be.
    """

    def __init__(
        self,
        root: Path,
        skip: Collection[Path],
        wanted: Callable[[str], bool],
        settle: float = 1.0,
        patience: float = 30.0,
    ) -> None:
        self._root, self._skip, self._wanted = root, skip, wanted
        self._settle, self._patience = settle, patience
        self._done: set[str] = set()
        self._waiting: dict[str, _Waiting] = {}

    def rounds(self, stop: StopRequest) -> Iterator[list[Path]]:
        """The files to look into, again and again until `stop`."""
        while not stop.signal:
            yield [self._root / name for name in self.ready()]
            time.sleep(_POLL_SECONDS)

    @property
    def unsettled(self) -> int:
        """Files that have come, but not to an end: they have no row."""
        return len(self._waiting.keys() - self._done)

    def ready(self) -> list[str]:
        """Names of the files to look into now, sorted."""
        now = time.monotonic()
        before, self._waiting = self._waiting, {}
        for name in photos_below(self._root, self._skip):
            if name in self._done or not self._wanted(name):
                continue
            try:
                info = (self._root / name).stat()
            except OSError:  # gone again, or a link to nothing
                continue
            stamp = (info.st_size, info.st_mtime_ns)
            known = before.get(name)
            if known is None or known.stamp != stamp:
                known = _Waiting(stamp, now, now + self._settle)
            self._waiting[name] = known
        return sorted(name for name, file in self._waiting.items() if now >= file.look)

    def settled(self, path: Path, readable: bool) -> bool:
        """Whether what was found out about a file is final; else it will be `ready` again later."""
        name = path.relative_to(self._root).as_posix()
        file, now = self._waiting[name], time.monotonic()
        if readable or now - file.since >= self._patience:
            self._done.add(name)
            return True
        file.look = now + self._settle
        return False
