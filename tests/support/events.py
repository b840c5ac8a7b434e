"""Events to be judged: `facts` made up, and `closed` in a real record, through the ledger and the real batching."""

import os
from datetime import UTC, datetime

from hearthwatch.record import Record
from hearthwatch.record.batching import Batching
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.schemas.case import Facts, Sighting
from hearthwatch.schemas.items import Detected, Detection, Tick, Verdict, from_microseconds, to_microseconds
from tests.support.judges import whole

S = 1_000_000
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NIGHT = datetime(2026, 11, 22, 2, 13, tzinfo=UTC)
FAR_AWAY = Tick(from_microseconds(4_000_000_000 * S))


def facts(start=NOON, *frames, every=1.0, camera="Front Door"):
    """Each frame is a list of labels, the first pictures in the corner; frame n is `every` seconds after frame n-1."""
    first = to_microseconds(start)
    frames = frames or (["person"],)
    seen = [
        Sighting((i + 1) * 512 + n, first + round(i * every * S), label, 0.5 + 0.01 * (i % 40), 10, 10, 60, 90)
        for i, labels in enumerate(frames)
        for n, label in enumerate(labels)
    ]
    last = first + round((len(frames) - 1) * every * S)
    return Facts(1, "front_door", camera, first, last, len(frames), 640, 360, tuple(seen))


def by_rules(facts):
    """Stands for the rules, whose numbers are tuned: always 25, low."""
    return Verdict(25, "somebody", "25, by the rules", tuple(s.id for s in facts.sightings[:3]))


class Cameras:
    """A record, and pictures into it: `see` one at each of these seconds since 1970, `close` what is open."""

    def __init__(self, path):
        self.record = Record(path)
        self.ledger = Ledger(self.record)
        self.batching = Batching(self.record, whole(by_rules), analysis=True)
        self.seen = 0

    def see(self, *seconds, camera="Front Door", labels=("person",), boxes=None, picture=None):
        """`boxes` instead of `labels`: detections; `picture`: the bytes of the upload, which is written, too."""
        for second in seconds:
            at = round(second * S)
            folder = camera.lower().replace(" ", "_")
            file = self.record.path.parent / "uploads" / camera / f"{self.seen}.jpg"
            if picture:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(picture)
                os.utime(file, ns=(0, at * 1000))
            size = len(picture or "1")
            self.ledger.discover(
                [FoundFile(folder, camera, f"{camera}/{self.seen}.jpg", at * 1000, size, at, at)], 1 << 60
            )
            (entry,) = self.ledger.todo(self.seen, 1)
            found = boxes or [Detection(label, 0.9, (10 * n, 10, 20, 30)) for n, label in enumerate(labels)]
            self.batching.write([Detected(entry.frame, 640, 360, tuple(found))])
            self.seen = entry.frame.id
        return self

    def close(self):
        self.batching.write([FAR_AWAY])
        return self

    def events(self, columns="status, analysis_status, analyzer, risk_score, attempts, revision"):
        return self.record.rows(f"SELECT {columns} FROM events ORDER BY id")

    def feed(self):
        return self.record.rows("SELECT event_id, revision, type FROM feed WHERE kind = 'event' ORDER BY seq")
