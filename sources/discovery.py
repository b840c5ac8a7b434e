"""Find complete files and give them rows in the ledger: at once by inotify, and by a sweep of the whole tree.

Every complete picture gets its row exactly once, whatever was missed, restarted or killed: the ledger knows its key (path,
mtime, size), so finding it twice does no harm. One thread with a separate connection.

Live first: a picture that arrives now gets its row now. A backlog (what lay there at the start or when the tree came back,
what a sweep found late, what a camera sent beyond CAMERA_MAX) waits on disk, oldest first, and is taken in portions of what
is processed in half a second; the inbox likewise.

A picture is complete when it was moved in, or closed after writing with its format's end in place; a closed one without
its end gets `settle_seconds` more, for a sender that continues (a resumed FTP upload). One that only a sweep has seen is
complete when it stood still for `settle_seconds` and ends as its format ends, else for `still_seconds`. Stillness is
measured with our clock, not the file system's; only for what lay there at the start its age counts.
"""

# pathlib has no bytes:
# ruff: noqa: PTH112, PTH118, PTH120

from __future__ import annotations

import errno
import heapq
import json
import logging
import os
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from hearthwatch.record.cameras import mark_silent_cameras
from hearthwatch.record.ledger import Ledger
from hearthwatch.record.paths import escape, is_below
from hearthwatch.record.units import BACKLOG
from hearthwatch.schemas.path_rules import PathRules
from hearthwatch.sources.intake import CaptureClock, Intake, is_complete
from hearthwatch.sources.tree import File, Tree, is_picture_path
from hearthwatch.sources.watch import FolderWatcher, Hint

log = logging.getLogger(__name__)

BACKLOG_MAX = 100_000  # x 350 bytes = 35 MB of pictures that wait, oldest first; a later sweep finds the rest
BACKLOG_SECONDS = 60.0  # a picture that only a sweep has seen, unchanged for so long, is not live
CAMERA_MAX = 64  # undecided rows of one camera; what it sends beyond waits on disk, so that others wait for no more
WAITING_MAX = 10_000  # unfinished files watched one by one; beyond it, the next sweep finds them again
HINTS_MAX = 100_000  # x 200 bytes = 20 MB of unread hints; beyond it they are dropped and the tree is swept
INBOX_SECONDS = 0.5  # how often the inbox is read: one query on an empty table
HELD_SECONDS = 0.02  # … and whether there is room for what waits there or on disk: one query on a small one, 20 us
NOTES_SECONDS = 1.0  # how often what health reports is stored, if it changed
SILENT_SECONDS = 60.0  # how often it is asked which cameras are silent: 0.2 ms each, where half an hour is the least
BASE_SECONDS = 1.0  # how often a missing base is checked
STOP_SECONDS_MAX = 2.0  # a stop has to end within 5 s; what the thread still does is one transaction or nothing
SWEEP_SHARE = 3  # sweeps take at most a quarter of this thread's time, however large the tree


class Intervals(NamedTuple):
    """How often to sweep, and how long to wait before a file counts as complete."""

    sweep_seconds: float = 5.0
    settle_seconds: float = 2.0
    still_seconds: float = 10.0


class _Waiting(NamedTuple):
    """A file that may still grow: as it was last seen, since when, and when to check again (monotonic)."""

    file: File
    since: float
    due: float
    closed: bool


class Backlog:
    """Pictures that wait on disk, the oldest first; beyond 2 × BACKLOG_MAX, the newest are left to a later sweep."""

    def __init__(self) -> None:
        self.cameras: Counter[str] = Counter()
        """How many of each camera wait; none is 0."""
        self.is_cut = False
        self._heap: list[tuple[File, str]] = []
        self._files: set[File] = set()

    def __len__(self) -> int:
        return len(self._heap)

    def __contains__(self, file: File) -> bool:
        return file in self._files

    def oldest(self) -> int | None:
        """Return when the oldest was modified, in microseconds."""
        return self._heap[0][0].mtime_ns // 1000 if self._heap else None

    def add(self, file: File, camera: str) -> None:
        heapq.heappush(self._heap, (file, camera))
        self._files.add(file)
        self.cameras[camera] += 1
        if len(self._heap) > 2 * BACKLOG_MAX:
            self.is_cut = True
            self.cut()

    def cut(self) -> None:
        """Keep the oldest BACKLOG_MAX if anything was cut: what was left out is newer than those."""
        if self.is_cut:
            self._heap = heapq.nsmallest(BACKLOG_MAX, self._heap)
            self._files = {file for file, _ in self._heap}
            self.cameras = Counter(camera for _, camera in self._heap)

    def pop(self, limit: int) -> list[File]:
        out = [heapq.heappop(self._heap) for _ in range(min(limit, len(self._heap)))]
        self.cameras -= Counter(camera for _, camera in out)
        self._files.difference_update(files := [file for file, _ in out])
        return files


class Discovery(threading.Thread):
    """`start()` it, read `new_rows`, `caught_up_at` and `failure`, and `stop()` it. The ledger is closed at its end."""

    def __init__(
        self, base: bytes, ledger: Ledger, intervals: Intervals, clock: CaptureClock, notify: bool = True,
        paths: PathRules | None = None,
    ) -> None:  # fmt: skip
        """`notify` False: no inotify, sweeps alone."""
        super().__init__(name="discovery", daemon=True)
        self.base, self.ledger, self.intervals, self.notify = base, ledger, intervals, notify
        self.intake = Intake(base, ledger, clock, paths)
        self.new_rows = threading.Event()
        """Set when something may be new in the ledger, and on a failure."""
        self.wake = threading.Event()
        """Set together with it, for the thread that reads the ledger."""
        self.portion = 1  # until the source knows how fast pictures are processed
        """Backlog and inbox are taken until there are this many undecided pictures: a live one waits for no more."""
        self.cameras_behind: frozenset[str] = frozenset()
        """Cameras that have a backlog."""
        self.unplaced: frozenset[str] = frozenset()
        """Cameras whose backlog was found, and none of whose rows was written since."""
        self.failure: BaseException | None = None
        self.read_early: Callable[[list[File]], None] = lambda files: None
        """Called with files that get their row now."""
        self.decode_early: Callable[[list[File]], None] = lambda files: None
        """Called with those of them that inotify reported: what ends the process is found by a sweep next time."""
        self.is_mine: Callable[[str], bool] | None = None
        """Whether this cell takes in pictures of a camera's folder, where several share the tree."""
        self.last_seen_elsewhere: Callable[[], Mapping[tuple[str, int | None], int]] = dict
        """When other cells saw cameras, as `mark_silent_cameras` needs it."""
        self._hints: queue.SimpleQueue[Hint | None] = queue.SimpleQueue()
        self._waiting: dict[bytes, _Waiting] = {}
        self._new_folders: deque[bytes] = deque()
        """That inotify reported and that were not swept yet."""
        self._written: dict[bytes, int] = {}
        """When files that are not in the ledger yet were seen being written."""
        self._tree = Tree(base, self._watch_folder, paths)
        self._totals = self._tree.totals()
        self._identity: tuple[int, int] | None = None
        self._watcher: FolderWatcher | None = None
        self._unwatched: set[bytes] = set()
        """Folders for which inotify had no room when they were last listed."""
        self._watch_off = ""
        self._base_missing = False
        self._notes = ""
        self._stopping = threading.Event()
        self._backlog = Backlog()
        self._caught_up_at: int | None = None
        self._looked_at = 0
        self._busy = self._first = self._everything = True
        self._sweep_due = self._inbox_due = self._silent_due = self._notes_due = 0.0

    def caught_up_at(self, now: int) -> int | None:
        """Return since when (microseconds) all that was complete, but for the backlog, is in the ledger; None: never yet."""
        return now if not self._busy and self._hints.empty() else self._caught_up_at

    @property
    def is_busy(self) -> bool:
        """Whether rows are being written."""
        return self._busy

    @property
    def waiting(self) -> bool:
        """Whether pictures wait on disk."""
        return (self._first and self._identity is not None) or self._backlog.is_cut or bool(self._backlog)

    def stop(self) -> None:
        self._stopping.set()
        self._hints.put(None)
        self.join(STOP_SECONDS_MAX)

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._take_hints(self._gather())
                while self._new_folders:
                    self._list(True, self._new_folders.popleft())
                self._take_waiting()
                self._sweep()
                self._take_portion()
                self._busy = self._first and self._identity is not None
                if not self._busy and self._hints.empty():
                    self._caught_up_at = self._looked_at
                if time.monotonic() >= self._notes_due:
                    self._write_notes()
                    self._notes_due = time.monotonic() + NOTES_SECONDS
            self._write_notes()
        except BaseException as error:  # the source raises it on the dataflow's thread, where it ends the flow
            self.failure = error
            self._announce()
        finally:
            self._close_watcher()
            self.ledger.record.close()

    def _take(self, files: list[File], reported: bool = False) -> None:
        """Give live pictures their rows; what is too much of one camera waits behind them."""
        if files:
            undecided, live = Counter(self.ledger.undecided()), []
            for file in sorted(files):
                camera = self.intake.camera_of(file.path)
                undecided[camera] += 1
                if undecided[camera] > max(CAMERA_MAX, 2 * self.portion):
                    self._add_backlog([file])
                else:
                    live.append(file)
            self.read_early(live)
            if reported:
                self.decode_early(live)
            self._write(live, dict.fromkeys(self._backlog.cameras, 1))

    def _write(self, files: list[File], behind: dict[str, int]) -> None:
        """Write rows; those of these cameras get `behind`."""
        if files:
            self.unplaced -= self.intake.take(files, self._written, behind)
            for file in files if self._written else ():
                self._written.pop(file.path, None)
            self._announce()

    def _announce(self) -> None:
        self.new_rows.set()
        self.wake.set()

    def _add_backlog(self, files: Iterable[File]) -> None:
        for file in files:
            if file not in self._backlog:
                camera = self.intake.camera_of(file.path)
                if camera not in self._backlog.cameras:
                    self.unplaced |= {camera}
                    self.cameras_behind |= {camera}
                self._backlog.add(file, camera)

    def _take_portion(self) -> None:
        """Take some of backlog and inbox if most of the last portion is decided: one is detected, one decoded."""
        if time.monotonic() < self._inbox_due:
            return
        room = self.portion - self.ledger.record.counters()["discovered"]
        is_held = 2 * room < self.portion
        if not is_held:
            behind, old = dict.fromkeys(self._backlog.cameras, BACKLOG), self._backlog.pop(room)
            unchanged = [file for file in old if self._tree.has(file)]
            changed = (self._tree.find(file.path) for file in set(old).difference(unchanged))
            self._await_complete(file for file in changed if file)
            self._write(unchanged, behind)
            self.unplaced &= self._backlog.cameras.keys()
            self.cameras_behind &= self._backlog.cameras.keys()
            room -= len(old)
            taken = self.intake.take_inbox(room) if room > 0 else 0
            if taken:
                self._announce()
            is_held = taken == room or bool(self._backlog)
            if self._backlog.is_cut and not self._backlog:
                self._sweep_due = 0.0
        self._inbox_due = time.monotonic() + (HELD_SECONDS if is_held else INBOX_SECONDS)

    # -- hints

    def _on_hint(self, hint: Hint) -> None:
        """Queue a hint; on the watcher's thread."""
        path = os.path.join(hint.folder, hint.name)[len(self.base) + 1 :]
        if not (hint.is_folder or is_picture_path(path)) or self._tree.rules.ignored_by(path):
            return
        if hint.is_folder:  # at once: what is closed in it before it is watched has to be swept and to stand still
            self._watch_folder(os.path.join(hint.folder, hint.name))
        if self._hints.qsize() < HINTS_MAX:
            self._hints.put(hint)
        else:
            self._on_overflow()

    def _on_overflow(self) -> None:
        self._everything, self._sweep_due = True, 0.0

    def _gather(self) -> list[Hint]:
        """Wait for hints, at most until something else is due."""
        due = min(self._sweep_due, self._inbox_due, *(waiting.due for waiting in self._waiting.values()))
        due = 0.0 if self._new_folders else due
        self._looked_at = self.ledger.now()
        try:
            hints = [self._hints.get(timeout=max(0.0, due - time.monotonic()))]
            self._busy = True
            while not self._hints.empty():
                hints.append(self._hints.get())
        except queue.Empty:
            return []
        return [hint for hint in dict.fromkeys(hints) if hint is not None]

    def _take_hints(self, hints: list[Hint]) -> None:
        ready = []
        for folder, name, is_folder, moved in hints:
            path = os.path.join(folder, name)[len(self.base) + 1 :]
            if is_folder:
                self._new_folders.append(path)
            elif (file := self._tree.find(path)) and self._takes(file):
                if not moved and len(self._written) < HINTS_MAX:
                    self._written[path] = time.time_ns()
                if moved or is_complete(self._tree.path(path), file.size):
                    self._waiting.pop(path, None)
                    ready.append(file)
                else:
                    self._wait(file, closed=True)
        self._take(ready, reported=True)

    # -- files that may still grow

    def _await_complete(self, files: Iterable[File]) -> None:
        """Wait until these unknown files, which inotify did not report, stand still."""
        for file in files:
            before = self._waiting.get(file.path)
            if before is None or before.file != file:
                self._wait(file)

    def _wait(self, file: File, closed: bool = False) -> None:
        if len(self._waiting) < WAITING_MAX or file.path in self._waiting:
            now = time.monotonic()
            self._waiting[file.path] = _Waiting(file, now, now + self.intervals.settle_seconds, closed)
        else:
            self._tree.list_again(os.path.dirname(file.path))

    def _take_waiting(self) -> None:
        ready, now = [], time.monotonic()
        for waiting in [waiting for waiting in self._waiting.values() if waiting.due <= now]:
            path, found = waiting.file.path, self._tree.find(waiting.file.path)
            if found is None:
                del self._waiting[path]
                self._written.pop(path, None)
            elif found != waiting.file:
                self._wait(found)
            elif not (waiting.closed or self._is_settled(found, now - waiting.since)):
                self._waiting[path] = waiting._replace(due=waiting.since + self.intervals.still_seconds)
            else:
                del self._waiting[path]
                if not waiting.closed and time.time() - found.mtime_ns / 1e9 > BACKLOG_SECONDS:
                    self._add_backlog([found])
                else:
                    ready.append(found)
        self._take(ready)

    def _is_settled(self, file: File, still: float) -> bool:
        """Whether a file is complete that only a sweep has seen, and that stood still for so many seconds."""
        return still >= self.intervals.still_seconds or (
            still >= self.intervals.settle_seconds and is_complete(self._tree.path(file.path), file.size)
        )

    # -- the sweep

    def _sweep(self) -> None:
        began = time.monotonic()
        if began < self._sweep_due:
            return
        self._busy = True
        self._sweep_due = began + BASE_SECONDS
        if self._check_base():
            if self._backlog.is_cut and not self._backlog:
                self._first, self._backlog.is_cut = True, False
            everything, self._everything = self._everything or self._first, False
            if self._list(everything) and self._first:
                self._backlog.cut()
                self._first = False
            self._unwatched = {folder for folder in tuple(self._unwatched) if os.path.isdir(folder)}
            self._totals = self._tree.totals()
            self._mark_unreadable_cameras()
            if self.intake.take_readable():
                self._announce()
            pause = max(self.intervals.sweep_seconds, SWEEP_SHARE * (time.monotonic() - began))
            self._sweep_due = 0.0 if self._everything else time.monotonic() + pause
        if began >= self._silent_due and not (self._first and self._identity):
            self._silent_due = began + SILENT_SECONDS
            mark_silent_cameras(self.ledger.record, time.time_ns() // 1000, self.last_seen_elsewhere())

    def _list(self, everything: bool, top: bytes = b"") -> bool:
        """Wait for what is new in the tree until it is complete; False: it was stopped.

        What came while nothing ran, which the first sweep finds, goes into the backlog.
        """
        for folder, files in self._tree.sweep(time.monotonic(), everything, top):
            unknown, now = self._find_unknown(folder, files), time.time()
            if self._first or self._backlog.is_cut:  # what was left out waits for the next first sweep
                settled = [file for file in unknown if self._is_settled(file, now - file.mtime_ns / 1e9)]
                self._add_backlog(settled if self._first else ())
                unknown = list(set(unknown).difference(settled))
            self._await_complete(unknown)
            if self._stopping.is_set():
                return False
            if not self._hints.empty():
                self._take_hints(self._gather())
        return True

    def _find_unknown(self, folder: bytes, files: list[File]) -> list[File]:
        """Return those of a folder's files that are not in the ledger."""
        keys = {file: (escape(file.path), file.mtime_ns, file.size) for file in files if file not in self._backlog}
        known = self.ledger.find_known(list(keys.values()))
        unknown = {file for file in keys if keys[file] not in known and self._takes(file)}
        self._tree.mark_known(folder, [file for file in keys if file not in unknown])
        return [file for file in keys if file in unknown]

    def _takes(self, file: File) -> bool:
        return self.is_mine is None or self.is_mine(self.intake.folder_of(file.path))

    def _mark_unreadable_cameras(self) -> None:
        """Mark cameras whose folder cannot be read `error`; once it can, they are `offline` until their next picture."""
        folders = [escape(folder) for folder in self._tree.unreadable]
        unreadable = {
            id
            for id, own in self.ledger.cameras().items()
            if any(is_below(own, f) or is_below(f, own) for f in folders)
        }
        marked = {id for (id,) in self.ledger.record.rows("SELECT id FROM cameras WHERE status = 'error'")}
        for id in marked ^ unreadable:
            self.ledger.set_camera_status(id, "error" if id in unreadable else "offline")

    def _write_notes(self) -> None:
        """Store what health and metrics report as `meta.discovery`, when it changes."""
        intake, waiting = self.intake, dict[str, object]()
        if intake.unreadable:
            first = min(intake.unreadable)
            reason = intake.unreadable[first]
            waiting = {"count": len(intake.unreadable), "example": escape(first), "reason": reason}
        is_blind = self._identity and self.notify and (self._unwatched or not self._watcher)
        notes = {
            "base_missing": self._identity is None,
            "unreadable": sorted(map(escape, self._tree.unreadable)),  # folders that cannot be listed
            "second_folders": sorted(intake.second_folders),  # of another folder's camera id: quarantined
            "ignored": len(self._tree.ignored),  # symlinks out of the tree, FIFOs and devices
            "doubted_clocks": intake.doubted.total(),  # pictures whose camera's clock cannot be right
            "doubted": +intake.doubted,  # the same for each camera that has any
            "no_time": +intake.no_time,  # by camera, pictures that only their modification gave a time
            "ignored_names": self._totals[1],  # files and folders that are there, by the glob that matches
            "not_pictures": self._totals[0],  # files that are there, by suffix; `in progress` are unfinished uploads
            "unreadable_files": waiting,
            "watch_off": self._watch_off if is_blind else None,  # why sweeps alone find pictures, in some folders
            "waiting": len(self._backlog),  # pictures on disk behind live ones, and when the oldest was modified
            "oldest_waiting": self._backlog.oldest(),
        }
        if (text := json.dumps(notes)) != self._notes:
            self._notes, record = text, self.ledger.record
            record.transact(lambda: record.execute("INSERT OR REPLACE INTO meta VALUES ('discovery', ?)", text))

    # -- the base and its watcher

    def _check_base(self) -> bool:
        """Return whether the base is there; if it is another folder than before, start again with it."""
        try:
            identity = self._tree.identity()
        except OSError as error:
            if not self._base_missing:
                words = "%s cannot be read (%s): waiting for it; is FOSCAM_BASE_PATH right?"
                log.warning(words, escape(self.base), error.strerror)
            self._identity, self._base_missing = None, True
            return False
        if identity != self._identity:
            if self._base_missing:
                log.info("%s is there", escape(self.base))
            self._base_missing = False
            self._close_watcher()
            self._tree = Tree(self.base, self._watch_folder, self._tree.rules)
            self._identity, self._first = identity, True
        if self.notify and not (self._watcher and self._watcher.is_alive()):
            self._close_watcher()
            try:
                self._watcher = FolderWatcher(self._on_hint, self._on_overflow)
                self._everything = True  # each folder is watched when it is listed
            except OSError as error:
                self._warn_watch_limit(error)
        return True

    def _watch_folder(self, folder: bytes) -> None:
        """Watch a folder, right before the tree lists it."""
        try:
            if self._watcher:
                self._watcher.add(folder.rstrip(b"/"))
                self._unwatched.discard(folder.rstrip(b"/"))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.ENOMEM):
                self._unwatched.add(folder.rstrip(b"/"))
                self._warn_watch_limit(error)

    def _warn_watch_limit(self, error: OSError) -> None:
        limit = "max_user_instances" if error.errno == errno.EMFILE else "max_user_watches"
        slow = f"new pictures are found by a sweep every {self.intervals.sweep_seconds:g} s instead of at once"
        words = f"inotify's limit is reached: {slow}; raise it with `sysctl fs.inotify.{limit}=…`"
        if words != self._watch_off:
            log.warning("%s", words)
        self._watch_off = words

    def _close_watcher(self) -> None:
        if self._watcher:
            self._watcher.close()
            self._watcher = None
