"""Keep the originals of the pictures that events rest on, on a thread behind a durable cursor; the dataflow never waits for it.

At least once: a picture is kept again, or deleted again, after a kill. A disk that refuses delays it and loses nothing that
is still uploaded. Every graph that makes events has it, unless HEARTHWATCH_KEEP_PICTURES is `none`.
"""

from __future__ import annotations

from collections.abc import Sequence

from hearthwatch.record import Record
from hearthwatch.record.pictures import FOLDER, keep_event
from hearthwatch.record.retention.sweep import stray_pictures
from hearthwatch.record.thread_priority import lower_priority
from hearthwatch.schemas import ConsumerWorker, Message
from hearthwatch.schemas.context import Context

CURSOR = "kept pictures"  # no node can be called that


class PictureKeeper(ConsumerWorker):
    """Keeps what the setting says, event by event."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def open(self) -> None:
        lower_priority()
        self.record = Record(self.context.record_path)
        # of a record that was put back from a copy: what was kept since then is of pictures with other numbers now
        for folder in (self.context.data_dir / FOLDER).glob("????-??-??"):
            for path in stray_pictures(self.record, folder):
                path.unlink(missing_ok=True)

    def deliver(self, messages: Sequence[Message]) -> None:
        c = self.context
        assert c.keep_pictures != "none"
        for event in dict.fromkeys(message.event.id for message in messages):
            keep_event(self.record, c.base_path, c.data_dir, event, c.keep_pictures, c.recent.get)

    def close(self) -> None:
        self.record.close()
