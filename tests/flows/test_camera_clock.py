"""Promise: a camera whose clock is slow is notified of like any other, and its clock is reported."""

import time
from datetime import UTC, datetime

import pytest

from tests.support.http_receiver import HttpEar
from tests.support.pipeline import Pipeline

SLOW = 90  # seconds


@pytest.mark.slow
def test_a_camera_with_a_slow_clock_is_notified_of_and_its_clock_is_reported(tmp_path):
    with HttpEar() as ear:
        alerts = f'[alerts]\nuse = "webhook"\nfrom = "batch"\nurl = "{ear.url}/"\nlevel = "low"\npicture = true\n'
        pipeline = Pipeline(tmp_path, options="boxes = 2", more=alerts, HEARTHWATCH_CAPTURE_TIME="auto")
        pipeline.start().until(lambda: pipeline.rows("SELECT 1 FROM heartbeat"))
        try:
            for n in range(4):
                taken = datetime.fromtimestamp(time.time() - SLOW, UTC)
                pipeline.upload("front", f"{taken:%Y%m%d-%H%M%S} {'abcd'[n]}.jpg", how="write")
                pipeline.until(lambda n=n: pipeline.states() == {"settled": n + 1})
            pipeline.until(lambda: ear.taken())
            wanted = "SELECT message FROM conditions WHERE kind = 'camera_clock' AND state = 'on'"
            pipeline.until(lambda: pipeline.rows(wanted))
            assert "slow" in pipeline.rows(wanted)[0][0]
        finally:
            pipeline.kill()
    (message, *_) = ear.taken()
    assert message["type"] == "incident.opened"
    assert message["delay_seconds"] < 10
    assert message["notification"]["loud"] and message["picture"].startswith("/9j/"), (
        "a JPEG, although nothing draws thumbnails"
    )
