"""List the upload tree: which pictures are there, by stat alone.

A picture is a regular file `*.jpg`, `*.jpeg` or `*.png` in any case, at any depth, with no hidden part in its path; a
symlink counts if it leads to one inside the tree. Links to folders are not followed: what they lead to is either in the
tree anyway or outside. Paths are bytes, so no name is too odd; nothing here opens a file.
"""

# pathlib has no bytes:
# ruff: noqa: PTH116, PTH118

from __future__ import annotations

import logging
import os
import stat
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from hearthwatch.record.paths import escape
from hearthwatch.schemas.picture_formats import PICTURE_FORMATS

log = logging.getLogger(__name__)

SUFFIXES = tuple(suffix for known in PICTURE_FORMATS for suffix in known.suffixes)
MTIME_NS_MAX = 2**63 - 1  # SQLite's integers; a file from after the year 2262 has a broken clock
QUICK_FILES_MAX = 20_000  # this many are listed at every sweep: 50 ms; beyond it, quiet folders wait for their turn
QUIET_SHARE = 10  # … and a folder unchanged for an hour is listed every six minutes
SEEN_MAX = 200_000  # x 70 bytes = 14 MB of files known to be in the ledger; beyond it the ledger is asked again
IGNORED_MAX = 10_000  # paths remembered so that each is counted once


class File(NamedTuple):
    """A picture's key in the ledger; sorts by order of arrival. `path` is relative to the base."""

    mtime_ns: int
    path: bytes
    size: int


@dataclass(slots=True)
class _Folder:
    """What the last listing found; `changed` and `listed` on the monotonic clock.

    `changed` is what the file system's clock says, right or wrong: it only decides how often a folder is listed.
    """

    mtime_ns: int
    changed: float
    listed: float
    folders: list[bytes] = field(default_factory=list)
    files: int = 0


class Tree:
    """The tree below `base`. `watch` is called with each folder's path right before it is listed."""

    def __init__(self, base: bytes, watch: Callable[[bytes], None]) -> None:
        self.base, self.watch = base, watch
        self.ignored = 0
        """Symlinks that lead nowhere or out of the tree, FIFOs, devices."""
        self.unreadable: set[bytes] = set()
        """Folders that could not be listed when it was last tried."""
        self._folders: dict[bytes, _Folder] = {}
        self._seen: OrderedDict[bytes, set[int]] = OrderedDict()
        self._seen_count = 0
        self._ignored_paths: set[bytes] = set()

    def identity(self) -> tuple[int, int]:
        """Return device and inode of `base`: which folder it is now.

        Raises:
            OSError: there is none, or it cannot be read.
        """
        found = os.stat(self.base)
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(20, "not a folder", self.base)
        if not os.access(self.base, os.R_OK | os.X_OK):
            raise PermissionError(13, "permission denied", self.base)
        return found.st_dev, found.st_ino

    def path(self, relative: bytes) -> bytes:
        return os.path.join(self.base, relative)

    def find(self, relative: bytes) -> File | None:
        """Return the picture at this path, if it is one."""
        if not is_picture_path(relative):
            return None
        try:
            found = os.lstat(self.path(relative))
        except OSError:
            return None  # gone again, or its folder cannot be read: the sweep reports it
        return self._file(relative, found)

    def sweep(self, now: float, everything: bool, top: bytes = b"") -> Iterator[tuple[bytes, list[File]]]:
        """List each folder that is due, and yield it with those of its pictures that are not known to be in the ledger."""
        quick = everything or sum(folder.files for folder in self._folders.values()) <= QUICK_FILES_MAX
        waiting = [top]
        while waiting:
            relative = waiting.pop()
            try:
                mtime_ns = os.stat(self.path(relative), follow_symlinks=not relative).st_mtime_ns
                folder = self._folders.get(relative)
                if folder is None or folder.mtime_ns != mtime_ns:
                    folder = _Folder(mtime_ns, now - max(0.0, time.time() - mtime_ns / 1e9), now)
                elif not quick and now - folder.listed < (now - folder.changed) / QUIET_SHARE:
                    waiting += folder.folders
                    continue
                self.watch(self.path(relative))
                files = self._list(relative, folder)
            except OSError as error:
                self._report_unlisted(relative, error)
                continue
            folder.listed = now
            self._folders[relative] = folder
            self.unreadable.discard(relative)
            waiting += folder.folders
            yield relative, files

    def _list(self, relative: bytes, folder: _Folder) -> list[File]:
        seen, still, unseen = self._seen.get(relative, set()), set(), []
        folder.folders, folder.files = [], 0
        for entry in self._entries(relative):
            path = relative + b"/" + entry.name if relative else entry.name
            if entry.is_dir(follow_symlinks=False):
                folder.folders.append(path)
            elif entry.name.lower().endswith(SUFFIXES):
                found = self._stat(path, entry)
                folder.files += found is not None
                if found is not None and hash(found) in seen:
                    still.add(hash(found))
                elif found is not None:
                    unseen.append(found)
        self._remember(relative, still)
        return unseen

    def _entries(self, relative: bytes) -> Iterator[os.DirEntry[bytes]]:
        with os.scandir(self.path(relative)) as entries:
            yield from (entry for entry in entries if not entry.name.startswith(b"."))

    def _stat(self, path: bytes, entry: os.DirEntry[bytes]) -> File | None:
        try:
            return self._file(path, entry.stat(follow_symlinks=False))
        except OSError:
            return None  # gone since

    def _file(self, relative: bytes, found: os.stat_result) -> File | None:
        if stat.S_ISLNK(found.st_mode):
            target = self._stat_target(relative)
            if target is None:
                self._ignore(relative, "a symlink out of the tree")
                return None
            found = target
        if not stat.S_ISREG(found.st_mode):
            if not stat.S_ISDIR(found.st_mode):
                self._ignore(relative, "not a regular file")
            return None
        return File(min(max(found.st_mtime_ns, 0), MTIME_NS_MAX), relative, found.st_size)

    def _stat_target(self, relative: bytes) -> os.stat_result | None:
        """Stat what a symlink leads to, if that is inside the tree."""
        target, root = os.path.realpath(self.path(relative)), os.path.realpath(self.base)
        try:
            return os.stat(target) if os.path.commonpath((target, root)) == root else None
        except OSError:
            return None

    def _ignore(self, relative: bytes, why: str) -> None:
        if relative not in self._ignored_paths and len(self._ignored_paths) < IGNORED_MAX:
            self._ignored_paths.add(relative)
            self.ignored += 1
            log.debug("%s is ignored: %s", escape(relative), why)

    def _report_unlisted(self, relative: bytes, error: OSError) -> None:
        self._folders.pop(relative, None)
        self._remember(relative, set())
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            self.unreadable.discard(relative)
        elif relative not in self.unreadable:
            self.unreadable.add(relative)
            log.warning(
                "%s cannot be listed (%s): its pictures wait until it can", escape(self.path(relative)), error.strerror
            )

    # -- what is in the ledger already

    def mark_known(self, relative: bytes, files: Iterable[File]) -> None:
        """Do not report these pictures of the folder again: they are in the ledger."""
        self._remember(relative, self._seen.get(relative, set()) | {hash(file) for file in files})

    def list_again(self, relative: bytes) -> None:
        """List this folder at the next sweep, whether it changes or not: some of its pictures were left for later."""
        if relative in self._folders:
            self._folders[relative].mtime_ns = -1

    def _remember(self, relative: bytes, seen: set[int]) -> None:
        self._seen_count += len(seen) - len(self._seen.pop(relative, ()))
        if seen:
            self._seen[relative] = seen
        while self._seen_count > SEEN_MAX:
            self._seen_count -= len(self._seen.popitem(last=False)[1])


def is_picture_path(relative: bytes) -> bool:
    """Whether a path names a picture: by its suffix, and with nothing hidden in it."""
    return relative.lower().endswith(SUFFIXES) and not relative.startswith(b".") and b"/." not in relative
