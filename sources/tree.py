"""List the upload tree: which pictures are there, by stat alone.

A picture is a regular file `*.jpg`, `*.jpeg` or `*.png` (`*.jpg.1`, too) in any case, at any depth, unless the path rules
ignore it; a symlink counts if it leads to one inside the tree. What is no picture is counted. Links to folders are not
followed: what they lead to is either in the tree anyway or outside. Paths are bytes, so no name is too odd; nothing here
opens a file.
"""

# pathlib has no bytes:
# ruff: noqa: PTH116

from __future__ import annotations

import heapq
import logging
import os
import re
import stat
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from hearthwatch.record.paths import escape
from hearthwatch.schemas.path_rules import PathRules
from hearthwatch.schemas.picture_formats import PICTURE_FORMATS, PICTURE_SUFFIX

log = logging.getLogger(__name__)

_SUFFIXES = tuple(suffix for known in PICTURE_FORMATS for suffix in known.suffixes)
_PICTURE = re.compile(PICTURE_SUFFIX.pattern.encode(), re.IGNORECASE)
MTIME_NS_MAX = 2**63 - 1  # SQLite's integers; a file from after the year 2262 has a broken clock
LISTING_SHARE = 12  # unchanged folders are listed again after so many times what listing the tree takes: 8 % of a CPU
QUIET_SECONDS_MAX = (
    7.5  # … but not later than this, if it is at most a quarter of a CPU: found 15 s after it was written
)
PORTION_ENTRIES = 1000  # … of a folder between which the caller can do other things: 3 ms
KNOWN_MAX = 2_000_000  # x 8 bytes = 16 MB of files known to be in the ledger; beyond it the ledger is asked again
KINDS_MAX = 50  # of suffixes that are counted one by one
UPLOADING = (".part", ".partial", ".filepart", ".tmp", ".temp", ".upload", ".crdownload", ".swp")
IGNORED_MAX = 10_000  # paths remembered so that each is counted once


class File(NamedTuple):
    """A picture's key in the ledger; sorts by order of arrival. `path` is relative to the base."""

    mtime_ns: int
    path: bytes
    size: int


@dataclass(slots=True)
class _Folder:
    """What the last listing found; `listed` on the monotonic clock, `seconds` of CPU are what it took.

    `known`: hashes of files that are in the ledger.
    """

    mtime_ns: int = -1
    listed: float = 0.0
    seconds: float = 0.0
    known: array[int] = field(default_factory=lambda: array("q"))
    folders: list[bytes] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)


class Tree:
    """The tree below `base`. `watch` is called with each folder's path right before it is listed."""

    def __init__(self, base: bytes, watch: Callable[[bytes], None], rules: PathRules | None = None) -> None:
        self.base, self.watch, self.rules = base, watch, rules or PathRules()
        self._prefix = base.rstrip(b"/") + b"/"
        self.ignored: set[bytes] = set()
        """Symlinks that lead nowhere or out of the tree, FIFOs, devices; the first `IGNORED_MAX`."""
        self.unreadable: set[bytes] = set()
        """Folders that could not be listed when it was last tried."""
        self._folders: dict[bytes, _Folder] = {}
        self._known_count = 0

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
        return self._prefix + relative

    def find(self, relative: bytes) -> File | None:
        """Return the picture at this path, if it is one."""
        if not is_picture_path(relative) or self.rules.ignored_by(relative):
            return None
        try:
            return self._file(relative, os.lstat(self.path(relative)))
        except OSError:
            return None  # gone again, or its folder cannot be read: the sweep reports it

    def has(self, file: File) -> bool:
        """Whether this picture, which was found before, is still there and unchanged."""
        try:
            found = os.stat(self.path(file.path))
        except OSError:
            return False
        return found.st_size == file.size and _mtime_ns(found) == file.mtime_ns

    def totals(self) -> tuple[Counter[str], Counter[str]]:
        """Count files that are no pictures, by suffix, and files and folders that the path rules ignore, by glob."""
        others, ignored = Counter[str](), Counter[str]()
        for folder in self._folders.values():
            others.update(folder.others)
            ignored.update(folder.ignored)
        return others, ignored

    def sweep(self, now: float, everything: bool, top: bytes = b"") -> Iterator[tuple[bytes, list[File]]]:
        """List each folder that is due, and yield its pictures that are not known to be in the ledger, in portions.

        What changed last comes first. A folder is due when it changed, and again after a time in which a file that was
        overwritten in place shows. Yields every `PORTION_ENTRIES`, with nothing perhaps, so that the caller can do other things.
        """
        waiting = [] if top and self.rules.ignored_by(top) else [top]
        due: list[tuple[int, bytes]] = []
        quiet_seconds, looked = self._quiet_seconds(), 0
        self._known_count = sum(len(folder.known) for folder in self._folders.values())
        while waiting or due:
            if waiting:
                relative = waiting.pop()
                looked += 1
                try:
                    mtime_ns = os.stat(self.path(relative), follow_symlinks=not relative).st_mtime_ns
                except OSError as error:
                    self._report_unlisted(relative, error)
                    continue
                before = self._folders.get(relative, _Folder())
                if everything or before.mtime_ns != mtime_ns or now - before.listed >= quiet_seconds:
                    heapq.heappush(due, (-mtime_ns, relative))
                waiting += before.folders
                if looked % PORTION_ENTRIES == 0:
                    yield relative, []
                continue
            mtime_ns, relative = heapq.heappop(due)
            before = self._folders.get(relative, _Folder())
            folder = self._folders[relative] = _Folder(-mtime_ns, now)
            try:
                self.watch(self.path(relative))
                for files in self._list(relative, folder, set(before.known)):
                    yield relative, files
            except OSError as error:
                self._folders[relative] = before
                self._report_unlisted(relative, error)
                continue
            self.unreadable.discard(relative)
            for gone in set(before.folders).difference(folder.folders):
                self._remove(gone)
            waiting += set(folder.folders).difference(before.folders)

    def _quiet_seconds(self) -> float:
        seconds = sum(folder.seconds for folder in self._folders.values())
        return min(LISTING_SHARE * seconds, max(QUIET_SECONDS_MAX, 4 * seconds))

    def _list(self, relative: bytes, folder: _Folder, known: set[int]) -> Iterator[list[File]]:
        """Yield the unknown pictures of a folder in portions, and fill in what was found."""
        unknown = list[File]()
        prefix, began = relative + b"/" if relative else b"", time.thread_time()
        with os.scandir(self.path(relative)) as entries:
            for count, entry in enumerate(entries, 1):
                if file := self._find_in(folder, prefix + entry.name, entry):
                    if (key := hash(file)) in known:
                        folder.known.append(key)
                    else:
                        unknown.append(file)
                if count % PORTION_ENTRIES == 0:
                    folder.seconds += time.thread_time() - began
                    yield unknown
                    unknown, began = [], time.thread_time()
        folder.seconds += time.thread_time() - began
        yield unknown

    def _find_in(self, folder: _Folder, path: bytes, entry: os.DirEntry[bytes]) -> File | None:
        """Return the picture that this entry of a folder is; note there what else it is."""
        if why := self.rules.ignored_by(path):
            folder.ignored[why] += 1
        elif entry.is_dir(follow_symlinks=False):
            folder.folders.append(path)
        elif not is_picture_path(path):
            folder.others[_kind(entry.name, folder.others)] += 1
        else:
            try:
                return self._file(path, entry.stat(follow_symlinks=False))
            except OSError:
                pass  # gone since
        return None

    def _file(self, relative: bytes, found: os.stat_result | None) -> File | None:
        if found and stat.S_ISLNK(found.st_mode):
            found = self._stat_target(relative)
        if found and stat.S_ISREG(found.st_mode):
            return File(_mtime_ns(found), relative, found.st_size)
        is_new = relative not in self.ignored and not (found and stat.S_ISDIR(found.st_mode))
        if is_new and len(self.ignored) < IGNORED_MAX:
            self.ignored.add(relative)
            log.debug("%s is ignored: not a regular file in the tree", escape(relative))
        return None

    def _stat_target(self, relative: bytes) -> os.stat_result | None:
        """Stat what a symlink leads to, if that is inside the tree."""
        target, root = os.path.realpath(self.path(relative)), os.path.realpath(self.base)
        try:
            return os.stat(target) if os.path.commonpath((target, root)) == root else None
        except OSError:
            return None

    def _remove(self, relative: bytes) -> None:
        """Remove a folder and those below it."""
        folder = self._folders.pop(relative, None)
        for below in folder.folders if folder else ():
            self._remove(below)

    def _report_unlisted(self, relative: bytes, error: OSError) -> None:
        self._remove(relative)
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
        if relative in self._folders and self._known_count < KNOWN_MAX:
            known = array("q", map(hash, files))
            self._folders[relative].known.extend(known)
            self._known_count += len(known)

    def list_again(self, relative: bytes) -> None:
        """List this folder at the next sweep, whether it changes or not: some of its pictures were left for later."""
        if relative in self._folders:
            self._folders[relative].mtime_ns = -1


def _kind(name: bytes, known: Counter[str]) -> str:
    """Return what to count a file as that is no picture: its suffix, or `in progress` for an upload."""
    _, dot, suffix = name.lower().rpartition(b".")
    text = f".{suffix.decode('ascii', 'replace')}" if dot else "no suffix"
    if text in UPLOADING:
        return "in progress"
    is_odd = dot and (len(suffix) > 8 or not suffix.isalnum() or suffix.isdigit())
    return "other" if is_odd or (text not in known and len(known) >= KINDS_MAX) else text


def is_picture_path(path: bytes) -> bool:
    """Whether a path names a picture: by its suffix, and with nothing hidden in it."""
    is_picture = path.lower().endswith(_SUFFIXES) or _PICTURE.search(path) is not None
    return is_picture and not path.startswith(b".") and b"/." not in path


def _mtime_ns(found: os.stat_result) -> int:
    return min(max(found.st_mtime_ns, 0), MTIME_NS_MAX)
