"""A source: for a camera that uploads nothing, but shows its picture at a URL.

A picture is on disk, under its final name, before it is emitted. A camera that is unavailable is logged once and asked again;
its pictures of that time are lost. Requests run on a separate thread, because nothing may block the flow.
"""

from __future__ import annotations

import logging
import queue
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import httpx
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from pydantic import Field

from hearthwatch.schemas import Context, Source, Upload

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5.0
WAITING_MAX = 100  # pictures that the flow has not processed yet; further ones are dropped
POLL_SECONDS = 0.1


class Snapshots(Source):
    """Fetch a camera's picture every few seconds."""

    emits = Upload

    url: Annotated[str, Field(repr=False)]
    """Where the picture is, such as `http://user:password@192.168.1.20/snap.jpg`."""
    camera: str
    """The camera's name."""
    folder: Path = Path("snapshots")
    """Where the pictures are kept."""
    every_seconds: Annotated[float, Field(gt=0)] = 5
    """How often to ask."""

    def build(self, context: Context) -> SnapshotsSource:
        return SnapshotsSource(self)


class SnapshotsSource(FixedPartitionedSource):
    """One camera, one partition."""

    def __init__(self, options: Snapshots) -> None:
        self.options = options

    def list_parts(self) -> list[str]:
        return [self.options.camera]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> SnapshotsPart:
        return SnapshotsPart(self.options)


class SnapshotsPart(StatefulSourcePartition):
    def __init__(self, options: Snapshots) -> None:
        self.options = options
        self.waiting: queue.Queue[Upload] = queue.Queue(WAITING_MAX)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run, name=f"snapshots {options.camera}", daemon=True)
        self.thread.start()

    def run(self) -> None:
        unavailable = False
        with httpx.Client(timeout=TIMEOUT_SECONDS) as client:
            while not self.stop.is_set():
                try:
                    self.fetch(client)
                    unavailable = False
                except (httpx.HTTPError, OSError) as error:
                    if not unavailable:
                        log.warning("%s: no picture (%s); trying again", self.options.camera, error)
                    unavailable = True
                self.stop.wait(self.options.every_seconds)

    def fetch(self, client: httpx.Client) -> None:
        picture = client.get(self.options.url).raise_for_status().content
        at = datetime.now(UTC)
        if not self.waiting.full():
            self.waiting.put(Upload(self.options.camera, str(self.write(picture, at)), at))

    def write(self, picture: bytes, at: datetime) -> Path:
        """Write the picture under a temporary name first, so that a file with its final name is complete."""
        path = self.options.folder.absolute() / self.options.camera / f"{at:%Y%m%d/%H%M%S_%f}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_bytes(picture)
        return part.replace(path)

    def next_batch(self) -> list[Upload]:
        return [self.waiting.get_nowait() for _ in range(self.waiting.qsize())]

    def next_awake(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=POLL_SECONDS)

    def snapshot(self) -> None:
        return None  # nothing to repeat: a picture is in the ledger as soon as it was handed out

    def close(self) -> None:
        self.stop.set()
        self.thread.join(1)
