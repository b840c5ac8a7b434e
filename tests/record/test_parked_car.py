"""Promise: a car that parks for the night is one event, with the real detector on drawn pictures, noise and all."""

import pytest

from hearthwatch.demo.scenes import story
from hearthwatch.gpu.detector import Detector
from hearthwatch.record.batching import Batching
from hearthwatch.record.ledger import FoundFile, Ledger
from hearthwatch.schemas.items import Detected, Tick, from_microseconds, to_microseconds
from hearthwatch.stages.rules import RulesJudge
from tests.support.memory_record import MemoryRecord

pytestmark = pytest.mark.slow

S = 1_000_000
EVERY = 300  # seconds between the pictures that a camera sends all night, whatever it sees
HOURS = 8


@pytest.fixture(scope="module")
def detector():
    detector = Detector("yard", device="cpu")
    yield detector
    detector.close()


@pytest.mark.parametrize(("camera", "seed"), [("driveway", 0), ("street", 1)])
def test_a_car_that_parks_for_the_night_is_one_event(detector, camera, seed):
    clip = story(camera, seed, plot="car_parks", light="night")
    for actor in clip.cast:
        if actor.kind == "car":  # it stays
            end, *where = actor.keys[-1]
            actor.keys.append((end + 24 * 3600, *where))
            actor.gone.append(actor.gone[-1])
    times = [*range(clip.seconds), *range(clip.seconds + EVERY, HOURS * 3600, EVERY)]
    start = to_microseconds(clip.start.astimezone())

    record = MemoryRecord()
    ledger = Ledger(record)
    ledger.discover([FoundFile("c", "C", f"{t}.jpg", 0, 1, start + t * S, start + t * S) for t in times], 1 << 60)
    batching = Batching(record, RulesJudge)
    seen = 0
    for t, entry in zip(times, ledger.todo(0, len(times)), strict=True):
        boxes = detector.detect([clip.frame(t).image])[0]
        seen += any(box.object_type == "car" for box in boxes)
        batching.write([Detected(entry.frame, 640, 360, tuple(boxes))])
    batching.write([Tick(from_microseconds(start + 24 * 3600 * S))])

    assert seen > 80, "the car has to be seen all night"
    assert record.one("SELECT count(*) FROM suppressed WHERE object_type = 'car'")[0] > 80
    with_car = record.rows("SELECT id FROM events WHERE json_extract(objects, '$.car') IS NOT NULL")
    assert len(with_car) == 1, record.rows("SELECT started_at, summary FROM events")
    record.close()
