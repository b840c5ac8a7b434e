"""Promise: what is normal for a camera is learned from the days on which it was watched, and a verdict that stands never changes by it."""

from datetime import UTC, datetime, timedelta

import pytest

from hearthwatch.record.baselines import read_baseline
from hearthwatch.record.retention.visits import build_baselines
from hearthwatch.schemas.items import to_microseconds
from tests.support.events import Cameras

S = 1_000_000
FIRST = datetime(2026, 9, 7, tzinfo=UTC)  # a Monday


class Yard:
    """A camera that takes a picture of nothing each quarter of an hour, and visits to it."""

    def __init__(self, path, zone=UTC):
        self.cameras, self.zone = Cameras(path), zone
        self.record = self.cameras.record
        self.cameras.see(FIRST.timestamp()).close()
        self.empty()
        self.frame = 0

    def empty(self):
        self.record.execute("DELETE FROM events")
        self.record.execute("DELETE FROM pictures")

    def watch(self, days, first=0, hours=range(24)):
        for day in days:
            for hour in hours:
                at = (FIRST.replace(tzinfo=self.zone) + timedelta(days=first + day, hours=hour)).astimezone(UTC)
                quarter = to_microseconds(at) // (900 * S)
                rows = [("front_door", quarter + n, 1) for n in range(4)]
                self.record.db.executemany("INSERT OR IGNORE INTO pictures VALUES (?, ?, ?)", rows)
        return self

    def visit(self, day, hour, minutes=5.0, kind="person", event_minutes=1.5, incident=None):
        """One incident of as many events as fit."""
        begin = (FIRST.replace(tzinfo=self.zone) + timedelta(days=day, hours=hour)).timestamp()
        first = None
        for n in range(max(1, round(minutes / event_minutes))):
            self.frame += 1
            first = first or self.frame
            start, end = (round((begin + 60 * event_minutes * m) * S) for m in (n, n + 1))
            self.record.execute(
                "INSERT INTO events(id, batch_id, camera_id, started_at, last_at, frame_count, status, objects, close_at, incident_id) "
                "VALUES (?, ?, 'front_door', ?, ?, 1, 'closed', json_object(?, 1), 0, ?)",
                1000 + self.frame, str(self.frame), start, end, kind, 1000 + first,
            )  # fmt: skip
        return self

    def at(self, day, hour=12.0):
        return to_microseconds((FIRST.replace(tzinfo=self.zone) + timedelta(days=day, hours=hour)).astimezone(UTC))

    def learn(self, day):
        assert build_baselines(self.record, self.at(day), self.zone) > 0
        return read_baseline(self.record, "front_door", self.at(day))


@pytest.fixture
def yard(tmp_path):
    yard = Yard(tmp_path / "r.db")
    yield yard
    yard.record.close()


def test_a_visit_every_night_is_very_usual_and_counts_once_a_night(yard):
    yard.watch(range(28))
    for day in range(28):
        yard.visit(day, 2.25, minutes=30)
    usual = yard.learn(28).usual("", "person", 2, True)
    assert usual == (28, 28, "a person is here at this hour on 28 of 28 watched nights", -18)
