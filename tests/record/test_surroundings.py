"""Promise: an event is judged by the zones that hold when a picture comes, open ones again, whatever was killed in between."""

import json

import pytest

from hearthwatch.record import Record
from hearthwatch.record.batching import Batching
from hearthwatch.record.cameras import edit_camera
from hearthwatch.record.events import Verdict
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.record.surroundings import read_surroundings
from hearthwatch.record.units import SECOND
from hearthwatch.schemas import Detected, Detection, Tick
from hearthwatch.schemas.case import Signature
from hearthwatch.schemas.items import from_microseconds
from hearthwatch.schemas.zones import foot_point, places_of

T0 = 1_700_000_000
WINDOW = {"name": "cellar", "kind": "window", "points": [[0, 0], [1, 0], [1, 1], [0, 1]]}
BOX = Detection("person", 0.9, (100, 100, 40, 120))


class ZoneJudge:
    """High where a person was in a window's zone, more so in a grey picture."""

    def __init__(self, surroundings):
        self.surroundings, self.points = surroundings, 10

    def add(self, at, objects, boxes):
        s = self.surroundings
        for box in boxes():
            if "window" in places_of(s.zones, foot_point(box[4:8], s.width, s.height)):
                self.points = 90 if s.is_grey else 70

    def handover(self):
        return ""

    def score(self):
        return self.points

    def verdict(self, facts):
        return Verdict(self.points, f"{self.points}", f"{len(self.surroundings.zones)} zones", ())

    def signature(self):
        return Signature("c", None, "person", False, 12, True)


class Yard:
    def __init__(self, path, pictures=8):
        self.record = Record(path)
        found = [FoundFile("c", "C", f"{n}.jpg", 0, 1, (T0 + n) * SECOND, (T0 + n) * SECOND) for n in range(pictures)]
        ledger = Ledger(self.record)
        ledger.discover(found, 1 << 60)
        frames = [entry.frame for entry in ledger.todo(0, 100)]
        self.items = [Detected(f, 640, 360, (BOX,), is_grey=n == 0) for n, f in enumerate(frames)]
        self.restart()

    def restart(self):
        self.batching = Batching(self.record, ZoneJudge)

    def kill_while_writing(self, items):
        """The transaction is rolled back, and the process starts again."""
        count, self.record.count = self.record.count, lambda **_: 1 / 0
        with pytest.raises(ZeroDivisionError):
            self.batching.write(items)
        self.record.count = count
        self.restart()

    def draw(self, *zones):
        assert edit_camera(self.record, "c", {"zones": json.dumps(zones) if zones else None})

    def end(self):
        self.batching.write([Tick(from_microseconds((T0 + 1000) * SECOND))])
        return self.record.rows("SELECT type, revision, risk_score, reasoning FROM event_history ORDER BY id")


def test_an_open_event_is_judged_again_when_a_zone_is_drawn_and_closed_ones_stay(tmp_path):
    yard = Yard(tmp_path / "r.db")
    yard.batching.write(yard.items[:3])
    yard.draw(WINDOW)
    yard.batching.write(yard.items[3:4])
    rows = yard.end()
    assert [(type, score) for type, _, score, _ in rows] == [
        ("event.opened", 10),
        ("event.raised", 90),
        ("event.closed", 90),
    ]
    yard.draw()
    assert yard.end() == rows


@pytest.mark.parametrize("killed_at", range(9))
@pytest.mark.parametrize("change", range(1, 8))
def test_killed_anywhere_around_a_change_of_zones_the_verdicts_are_the_same(killed_at, change):
    def run(killed_at):
        yard = Yard(":memory:")
        for n, item in enumerate(yard.items):
            if n == change:
                yard.draw(WINDOW)
            if n == change + 2:
                yard.draw(WINDOW | {"kind": "ignore"}, WINDOW | {"kind": "public"})
            if n == killed_at:
                yard.kill_while_writing([item])
            yard.batching.write([item])
        if killed_at == 8:
            yard.restart()
        return yard.end()

    assert run(killed_at) == run(None)


def test_the_surroundings_are_those_of_the_first_picture_and_without_ignored_zones(tmp_path):
    yard = Yard(tmp_path / "r.db")
    yard.draw(WINDOW, WINDOW | {"kind": "ignore", "points": [[0, 0], [0.01, 0], [0, 0.01]]})
    yard.batching.write(yard.items[1:])
    assert read_surroundings(yard.record, 2).is_grey is False
    yard.batching.write(yard.items[:1])  # out of order: now it is the first
    (event,) = yard.record.one("SELECT id FROM events WHERE status <> 'merged'")
    s = read_surroundings(yard.record, event)
    assert (s.started_at, s.width, s.height, s.is_grey) == (T0 * SECOND, 640, 360, True)
    assert [zone.kind for zone in s.zones] == ["window"]
    yard.record.execute("UPDATE cameras SET zones = 'no JSON'")
    assert read_surroundings(yard.record, event).zones == ()
    yard.record.close()
