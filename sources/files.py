"""Emit the pictures of an upload tree in the order of the ledger, each decoded ahead of its turn.

Nothing is lost: a file is in the ledger before it is emitted, and what was not decided is emitted again after any end of
the process. With `-r`, frames beyond the snapshot come again too, decided ones with what the record says. One
partition: the ledger's order is one line. Ticks come in between; each says which cameras have frames waiting.

A picture that ends the process (a decoder that crashes) is found by counting the starts that reached it: after a start
that did not decide its first frame, frames are emitted one by one, then in growing groups; at the fifth such start of the
same frame it is quarantined undecoded.
"""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, ClassVar

from bytewax.inputs import StatefulSourcePartition
from pydantic import Field

from hearthwatch.gpu.decode import VANISHED, DecodedPicture
from hearthwatch.record import WORKING_SET_KIB, Lock, Record, RecordError, acquire_lock, now
from hearthwatch.record.cells import Placement, last_seen_elsewhere
from hearthwatch.record.ledger import Ledger, LedgerEntry
from hearthwatch.record.resume_point import find_resume_point
from hearthwatch.record.retention.age_clock import note_last_sign_of_life
from hearthwatch.record.witness import continue_above
from hearthwatch.schemas.components import Source
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.items import SUPERSEDED, DeadLetter, Frame, Tick, Upload
from hearthwatch.schemas.settings import from_settings
from hearthwatch.sources.capture_time import Mode
from hearthwatch.sources.discovery import Discovery, Intervals
from hearthwatch.sources.duplicates import DuplicateFinder, Ready
from hearthwatch.sources.inflight import BatchSizeController, FramesInFlight, is_poison
from hearthwatch.sources.intake import STAGE, CaptureClock
from hearthwatch.sources.one_partition import OnePartitionSource
from hearthwatch.sources.prefetch import Prefetcher
from hearthwatch.sources.tree import File

PREFETCH_BATCHES = 4  # a slow detector needs no more decoded pictures than this; the memory is better left to others
IDLE_SECONDS = 0.01  # what `wake` does not announce: a decision that a repeated picture waits for, room in `detect`
TICK_SECONDS = 0.25  # an event closes this late at most; also how soon a row of another process (a retry) is seen


class Files(Source):
    """Every picture that cameras upload into the folders below FOSCAM_BASE_PATH."""

    accepts: ClassVar[type | tuple[type, ...]] = Upload
    emits: ClassVar[type | None] = Frame

    capture_time: Mode = from_settings("hearthwatch_capture_time")
    """What says when a picture was taken; `auto`: EXIF, else its name, if it lies in the day before the upload."""
    notify: bool = True
    """Find new files by inotify; false for network mounts, where it reports nothing: sweeps alone find them."""
    sweep_seconds: Annotated[float, Field(gt=0)] = 5.0
    """How often the whole tree is swept for what inotify did not report."""
    settle_seconds: Annotated[float, Field(gt=0)] = 2.0
    """A swept file that ends as its format ends is complete after standing still for this long."""
    still_seconds: Annotated[float, Field(gt=0)] = 10.0
    """Any swept file is complete after standing still for this long."""
    batch_max: Annotated[int, Field(ge=1)] = 64
    """Frames emitted together at most; fewer while the detector is slow."""
    decode_threads: Annotated[int, Field(ge=1)] = len(os.sched_getaffinity(0))
    """Pictures decoded at a time; the default is one for each CPU that this process may use."""

    def label(self) -> str:
        return "pictures that cameras upload"

    def build(self, context: Context) -> OnePartitionSource[Frame | Tick]:
        return OnePartitionSource("ledger", partial(FilesPartition, self, context))


class FilesPartition(StatefulSourcePartition[Frame | Tick, tuple[str, int]]):
    """Emits frames. Its snapshot is (store id, last id emitted)."""

    is_woken = True  # by `context.wake`: rows of discovery, pictures that are decoded

    def __init__(self, options: Files, context: Context, resumed: tuple[str, int] | None) -> None:
        """Lock the record and start discovery.

        Raises:
            RecordError: another process holds the record, or the snapshot belongs to another one.
        """
        self.lock: Lock = acquire_lock("see", context.record_path, context.data_dir)
        record = Record(context.record_path, WORKING_SET_KIB)
        if resumed and resumed[0] != record.store_id:
            self.lock.release()
            raise RecordError(
                f"the recovery store belongs to record {resumed[0]}, but {context.record_path} is record "
                f"{record.store_id}: run without `-r`, or with the recovery store that was made with this record"
            )
        continue_above(record, now())
        note_last_sign_of_life(record)
        base = os.path.normpath(os.fsencode(context.base_path.absolute()))
        intervals = Intervals(options.sweep_seconds, options.settle_seconds, options.still_seconds)
        self.timings = context.timings
        self.ledger = Ledger(record)
        theirs = Ledger(Record(context.record_path), self.ledger.clock)
        self.discovery = Discovery(
            base, theirs, intervals, CaptureClock(options.capture_time, context.zone), options.notify, context.paths
        )
        self.prefetcher = Prefetcher(base, options.decode_threads, context.timings, context.wake)
        self.discovery.wake = context.wake
        if context.cell:
            self.discovery.is_mine = Placement(context.cell, context.cells, context.wanted_cells).is_mine
            self.discovery.last_seen_elsewhere = partial(last_seen_elsewhere, context.cell, context.cells)
        self.discovery.read_early = self.prefetcher.read_early
        self.discovery.decode_early = self._decode_early
        self.detector = context.detector
        self.duplicates = DuplicateFinder(record, context.base_path, context.zone)
        self.ready = deque[Ready]()
        """Decoded and not emitted: the first one waits for the decision about a frame with the same content."""
        self.batch_size = BatchSizeController(options.batch_max)
        self.in_flight = FramesInFlight(self.ledger)
        begin, recovers = self.ledger.last_settled, context.has_recovery_store
        self.resumed = find_resume_point(record, "files", resumed[1] if resumed else None, begin, recovers)
        self.fetched, self.emitted = 0, self.resumed or 0
        self.more = True
        self.tick_due = 0.0
        self.awake: datetime | None = None
        self.discovery.start()

    def next_batch(self) -> list[Frame | Tick]:
        if self.discovery.failure:
            raise self.discovery.failure
        self.batch_size.note(self.in_flight.undecided(), self.detector.at_a_time)
        self.discovery.portion = self.batch_size.portion
        room = self.detector.room()
        if room:
            self._prefetch()
            self.prefetcher.polled_at = time.monotonic()
        if self.detector.is_remote:
            self.in_flight.forgive(self.detector.ids)
        if not (self.prefetcher or self.more or self.discovery.is_busy):
            self.prefetcher.forget_early()
        frames = self._take_frames(min(room, self.batch_size.limit)) if room else []
        self.awake = None if frames else datetime.now(UTC) + timedelta(seconds=IDLE_SECONDS)
        return frames + self._tick()

    def next_awake(self) -> datetime | None:
        return self.awake

    def snapshot(self) -> tuple[str, int]:
        """Return the last frame before which all are decided: what was emitted after it comes again, decided or not."""
        return self.ledger.record.store_id, min(self.emitted, self.ledger.last_settled())

    def close(self) -> None:
        self.discovery.stop()
        self.prefetcher.close()
        self.ledger.record.close()
        self.lock.release()

    def _decode_early(self, files: list[File]) -> None:
        """Decode pictures while their rows are written, unless others are in flight, to which a crash would be counted; on discovery's thread."""
        if self.in_flight.is_empty() and not self.ready:
            self.prefetcher.decode_early(files)

    def _prefetch(self) -> None:
        """Start decoding what comes next, as far as there is room."""
        if self.discovery.new_rows.is_set():
            self.discovery.new_rows.clear()
            self.more = True
        if self.more and (room := self._room()):
            entries = self.ledger.todo(self.fetched, room, self.resumed)
            self.more = len(entries) == room
            for entry in entries:
                undecided = entry.frame.recorded is None
                if undecided:
                    self.in_flight.note_start(entry)
                self.prefetcher.put(entry, decode=undecided and not is_poison(entry))
                self.fetched = entry.frame.id

    def _room(self) -> int:
        ahead = len(self.prefetcher) + len(self.ready)
        soon = PREFETCH_BATCHES * self.batch_size.limit + self.prefetcher.threads - ahead
        return max(0, min(soon, self.prefetcher.room(len(self.detector.ids)), self.in_flight.room(ahead)))

    def _take_frames(self, limit: int) -> list[Frame | Tick]:
        if not self.ready:
            self.ready.extend(self.prefetcher.take(limit))
        ready = self.duplicates.take(self.ready, limit)
        frames: list[Frame | Tick] = [self._frame(entry, opened) for entry, opened in ready]
        if ready:
            self.emitted = max(self.emitted, ready[-1][0].frame.id)
            undecided = [entry.frame.id for entry, _ in ready if entry.frame.recorded is None]
            self.in_flight.add(undecided)
            at = time.time() + self.ledger.clock.correction / 1e6
            self.timings.add("wait", [max(0.0, at - e.frame.arrived_at.timestamp()) for e, o in ready if o is not None])
            self.batch_size.add(len(undecided))
        return frames

    def _frame(self, entry: LedgerEntry, opened: DecodedPicture | None) -> Frame:
        f = entry.frame
        if f.recorded is not None:
            return f
        if opened is None:
            opened = DecodedPicture()
            opened.error = DeadLetter(STAGE, f"the process ended {entry.starts} times with this picture in flight")
        elif opened.error and opened.error.reason == VANISHED and self.ledger.has_newer(f):
            opened.error = DeadLetter(SUPERSEDED, "superseded by a newer upload of this path")
        return Frame(f.id, f.uid, f.camera_id, f.path, f.captured_at, f.arrived_at, opened=opened)

    def _tick(self) -> list[Frame | Tick]:
        """Return a tick that is behind every frame that arrived before it, but for cameras that have frames waiting."""
        if time.monotonic() < self.tick_due:
            return []
        now = self.ledger.now()
        self.ledger.reset_clock(now)
        caught_up_at = self.discovery.caught_up_at(now)
        if caught_up_at is None:
            return []
        self.tick_due = time.monotonic() + TICK_SECONDS
        unplaced, backlog = self.discovery.unplaced, self.discovery.cameras_behind
        tick = self.ledger.tick(caught_up_at)  # what gets its row from now on arrives later
        waiting = self.ledger.undecided(self.emitted)
        self.more |= bool(waiting)  # also of another process: a retry
        return [replace(tick, behind=unplaced | waiting.keys(), backlog=backlog)]
