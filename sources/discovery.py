"""Find complete files and give them rows in the ledger: at once by inotify, and by a sweep of the whole tree.

Every complete picture gets its row exactly once, in order of arrival, whatever was missed, restarted or killed: the
ledger knows its key (path, mtime, size), so finding it twice does no harm. One thread with a separate connection.

A picture is complete when it was moved in, or closed after writing with its format's end in place; a closed one without
its end gets `settle_seconds` more, for a sender that continues (a resumed FTP upload). One that only a sweep has seen is
complete when it stood still for `settle_seconds` and ends as its format ends, else for `still_seconds`. Stillness is
measured with our clock, not the file system's; only for what lay there at the start its age counts.
"""

# pathlib has no bytes:
# ruff: noqa: PTH118, PTH120

from __future__ import annotations

import errno
import heapq
import json
import logging
import os
import queue
import threading
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from hearthwatch.record.cameras import mark_silent_cameras
from hearthwatch.record.ledger import Ledger
from hearthwatch.record.paths import escape, is_below
from hearthwatch.schemas.path_rules import PathRules
from hearthwatch.sources.intake import TAKE_AT_ONCE, CaptureClock, Intake, is_complete
from hearthwatch.sources.tree import File, Tree, is_picture_path
from hearthwatch.sources.watch import FolderWatcher, Hint

log = logging.getLogger(__name__)

BACKLOG_MAX = 100_000  # x 250 bytes = 25 MB of pictures to be sorted by arrival; the next sweep takes the rest
WAITING_MAX = 10_000  # unfinished files watched one by one; beyond it, the next sweep finds them again
HINTS_MAX = 100_000  # x 200 bytes = 20 MB of unread hints; beyond it they are dropped and the tree is swept
GATHER_SECONDS = 0.003  # some senders set a file's times right after closing it, and a burst shares its transaction
INBOX_SECONDS = 0.5  # how often the inbox is read: one query on an empty table
HELD_SECONDS = 0.01  # … and whether there is room for what waits in it: one query on a small one, 20 us
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


class Notes(NamedTuple):
    """`meta.discovery` of the record: a JSON object with these keys."""

    base_missing: bool = False
    unreadable: tuple[str, ...] = ()
    """Folders that cannot be listed."""
    second_folders: tuple[str, ...] = ()
    """Folders whose pictures are quarantined, because another one has the same camera id."""
    ignored: int = 0
    """Symlinks out of the tree, FIFOs and devices that were left alone."""
    doubted_clocks: int = 0
    """Pictures whose camera's clock cannot be right; they count as taken when they were modified."""
    doubted: Mapping[str, int] = {}
    """The same for each camera that has any."""
    no_time: Mapping[str, int] = {}
    """For each camera, pictures that only their modification gave a time."""
    ignored_names: Mapping[str, int] = {}
    """Files and folders that are there and ignored, by the glob that says so."""
    not_pictures: Mapping[str, int] = {}
    """Other files that are there, by suffix; `in progress` are uploads that are not finished."""
    unreadable_files: Mapping[str, object] = {}
    """Files that wait because they cannot be read: `count`, one of them as `example`, its `reason`."""


class Discovery(threading.Thread):
    """`start()` it, read `new_rows`, `is_caught_up` and `failure`, and `stop()` it. The ledger is closed at its end."""

    def __init__(
        self,
        base: bytes,
        ledger: Ledger,
        intervals: Intervals,
        clock: CaptureClock,
        notify: bool = True,
        paths: PathRules | None = None,
    ) -> None:
        """`notify` False: no inotify, sweeps alone."""
        super().__init__(name="discovery", daemon=True)
        self.base, self.ledger, self.intervals, self.notify = base, ledger, intervals, notify
        self.intake = Intake(base, ledger, clock, paths)
        self.new_rows = threading.Event()
        """Set when something may be new in the ledger, and on a failure."""
        self.inbox_limit = TAKE_AT_ONCE
        """The inbox is read until there are this many undecided pictures: a live one waits for no more."""
        self.failure: BaseException | None = None
        self._hints: queue.SimpleQueue[Hint | None] = queue.SimpleQueue()
        self._waiting: dict[bytes, _Waiting] = {}
        self._written: dict[bytes, int] = {}
        """When files that are not in the ledger yet were seen being written."""
        self._tree = Tree(base, self._watch_folder, paths)
        self._identity: tuple[int, int] | None = None
        self._watcher: FolderWatcher | None = None
        self._warned: set[str] = set()
        self._notes: str | None = None
        self._stopping = threading.Event()
        self._busy = self._first = self._everything = True
        self._sweep_due = self._inbox_due = self._silent_due = 0.0

    @property
    def is_caught_up(self) -> bool:
        """Whether all that is known to be complete is in the ledger."""
        return not self._busy and self._hints.empty()

    def stop(self) -> None:
        self._stopping.set()
        self._hints.put(None)
        self.join(STOP_SECONDS_MAX)

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._take_hints(self._gather())
                self._take_waiting()
                self._sweep()
                self._take_inbox()
                self._busy = self._first and self._identity is not None
        except BaseException as error:  # the source raises it on the dataflow's thread, where it ends the flow
            self.failure = error
            self.new_rows.set()
        finally:
            self._close_watcher()
            self.ledger.record.close()

    def _take(self, files: list[File]) -> None:
        if files:
            self.intake.take(files, self._written)
            for file in files:
                self._written.pop(file.path, None)
            self.new_rows.set()

    def _take_inbox(self) -> None:
        if time.monotonic() >= self._inbox_due:
            before = self.intake.new
            room = self.inbox_limit - self.ledger.record.counters()["discovered"]
            held = 2 * room < self.inbox_limit or self.intake.take_inbox(
                room
            )  # by halves: one is detected, one decoded
            self._inbox_due = time.monotonic() + (HELD_SECONDS if held else INBOX_SECONDS)
            if self.intake.new != before:
                self.new_rows.set()

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
        try:
            hints = [self._hints.get(timeout=max(0.0, due - time.monotonic()))]
            self._busy = True
            self._stopping.wait(GATHER_SECONDS)
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
                for below, files in self._tree.sweep(time.monotonic(), True, path):
                    self._await_complete(self._find_unknown(below, files))
            elif file := self._tree.find(path):
                if not moved:
                    self._written[path] = time.time_ns()
                if moved or is_complete(self._tree.path(path), file.size):
                    self._waiting.pop(path, None)
                    ready.append(file)
                else:
                    self._wait(file, closed=True)
        self._take(ready)

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
            file = waiting.file
            found = self._tree.find(file.path)
            if found is not None and found != file:
                self._wait(found)
            elif found is None or self._is_complete(waiting, now):
                del self._waiting[file.path]
                ready += [] if found is None else [found]
            else:
                self._waiting[file.path] = waiting._replace(due=waiting.since + self.intervals.still_seconds)
        self._take(ready)

    def _is_complete(self, waiting: _Waiting, now: float) -> bool:
        file, since, _, closed = waiting
        return (
            closed or now - since >= self.intervals.still_seconds or is_complete(self._tree.path(file.path), file.size)
        )

    # -- the sweep

    def _sweep(self) -> None:
        began = time.monotonic()
        if began < self._sweep_due:
            return
        self._busy = True
        self._sweep_due = began + BASE_SECONDS
        if self._check_base():
            everything, self._everything = self._everything, False
            pause = self.intervals.sweep_seconds
            if self._first:
                self._sweep_first()
            else:
                self._sweep_again(everything)
                pause = max(pause, SWEEP_SHARE * (time.monotonic() - began))
            self._mark_unreadable_cameras()
            if self.intake.take_readable():
                self.new_rows.set()
            self._sweep_due = 0.0 if self._everything else time.monotonic() + pause
        self._write_notes()
        self._mark_silent_cameras(began)

    def _sweep_first(self) -> None:
        """Take what came while nothing ran, in order of arrival; hints wait until it is in the ledger."""
        backlog: list[File] = []
        for folder, files in self._tree.sweep(time.monotonic(), True):
            unknown = self._find_unknown(folder, files)
            old = [file for file in unknown if self._is_settled(file, time.time())]
            self._await_complete(set(unknown).difference(old))
            backlog += old
            if len(backlog) > 2 * BACKLOG_MAX:
                backlog, self._everything = heapq.nsmallest(BACKLOG_MAX, backlog), True
            if self._stopping.is_set():
                return
        # What was left out arrived after the first BACKLOG_MAX: only those are surely next.
        self._take(heapq.nsmallest(BACKLOG_MAX, backlog) if self._everything else backlog)
        self._first = self._everything

    def _sweep_again(self, everything: bool) -> None:
        for folder, files in self._tree.sweep(time.monotonic(), everything):
            self._await_complete(self._find_unknown(folder, files))
            if self._stopping.is_set():
                return
            if not self._hints.empty():
                self._take_hints(self._gather())

    def _is_settled(self, file: File, now: float) -> bool:
        age = now - file.mtime_ns / 1e9
        ended = age >= self.intervals.settle_seconds and is_complete(self._tree.path(file.path), file.size)
        return ended or age >= self.intervals.still_seconds

    def _find_unknown(self, folder: bytes, files: list[File]) -> list[File]:
        """Return those of a folder's files that are not in the ledger."""
        keys = {file: (escape(file.path), file.mtime_ns, file.size) for file in files}
        known = self.ledger.find_known(list(keys.values()))
        self._tree.mark_known(folder, [file for file in files if keys[file] in known])
        return [file for file in files if keys[file] not in known]

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

    def _mark_silent_cameras(self, now: float) -> None:
        """Mark cameras that sent nothing for too long `offline`, but not before the first sweep."""
        if now >= self._silent_due and not (self._first and self._identity):
            self._silent_due = now + SILENT_SECONDS
            mark_silent_cameras(self.ledger.record, time.time_ns() // 1000)

    def _write_notes(self) -> None:
        """Store what health and metrics report, when it changes."""
        intake, tree, waiting = self.intake, self._tree, self.intake.unreadable
        notes = Notes(
            self._identity is None,
            tuple(sorted(map(escape, tree.unreadable))),
            tuple(sorted(intake.second_folders)),
            tree.ignored,
            intake.doubted.total(),
            doubted=+intake.doubted,
            no_time=+intake.no_time,
            ignored_names=+tree.ignored_names,
            not_pictures=+tree.others,
            unreadable_files={"count": len(waiting), "example": escape(min(waiting)), "reason": waiting[min(waiting)]}
            if waiting
            else {},
        )
        record, text = self.ledger.record, json.dumps(notes._asdict())
        if self._notes is None:  # what an earlier run stored; empty notes after empty ones are not written
            before = record.one("SELECT value FROM meta WHERE key = 'discovery'")
            self._notes = before[0] if before else json.dumps(Notes()._asdict())
        if text != self._notes:
            self._notes = text
            record.transact(lambda: record.execute("INSERT OR REPLACE INTO meta VALUES ('discovery', ?)", text))

    # -- the base and its watcher

    def _check_base(self) -> bool:
        """Return whether the base is there; if it is another folder than before, start again with it."""
        try:
            identity = self._tree.identity()
        except OSError as error:
            where, why = escape(self.base), error.strerror
            self._warn("base", f"{where} cannot be read ({why}): waiting for it; is FOSCAM_BASE_PATH right?")
            self._identity = None
            return False
        if identity != self._identity:
            if "base" in self._warned:
                self._warned.discard("base")
                log.info("%s is there", escape(self.base))
            self._close_watcher()
            self._tree, self._identity, self._everything = (
                Tree(self.base, self._watch_folder, self._tree.rules),
                identity,
                True,
            )
            self._watcher = self._open_watcher() if self.notify else None
        return True

    def _open_watcher(self) -> FolderWatcher | None:
        try:
            return FolderWatcher(self._on_hint, self._on_overflow)
        except OSError as error:
            self._warn_watch_limit(error)
            return None

    def _watch_folder(self, folder: bytes) -> None:
        """Watch a folder, right before the tree lists it."""
        try:
            if self._watcher:
                self._watcher.add(folder.rstrip(b"/"))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.ENOMEM):
                self._warn_watch_limit(error)

    def _warn_watch_limit(self, error: OSError) -> None:
        limit = "max_user_instances" if error.errno == errno.EMFILE else "max_user_watches"
        slow = f"new pictures are found by a sweep every {self.intervals.sweep_seconds:g} s instead of at once"
        self._warn(limit, f"inotify's limit is reached: {slow}; raise it with `sysctl fs.inotify.{limit}=…`")

    def _close_watcher(self) -> None:
        if self._watcher:
            self._watcher.close()
            self._watcher = None

    def _warn(self, what: str, message: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            log.warning("%s", message)
