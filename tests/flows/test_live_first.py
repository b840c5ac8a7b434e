"""Promise: a picture that arrives now is processed before any backlog, and the events are those of the sorted run."""

import time
from datetime import UTC, datetime

import pytest

from tests.support.live_first import differing_cameras, old_pictures
from tests.support.pipeline import Pipeline, rules_and_options


@pytest.mark.slow
@pytest.mark.parametrize("kill", [False, True], ids=["", "killed"])
def test_live_pictures_go_before_a_backlog_of_their_own_camera_and_of_others(tmp_path, kill):
    rules, batch = rules_and_options(window=9, idle=3, lateness=0.5)
    pipeline = Pipeline(tmp_path, options="slow_seconds = 0.08\nboxes = 1", batch=batch)
    old_pictures(pipeline.base, 240, 3, time.time() - 2)  # motion continues across the seam
    for file in pipeline.base.rglob("*.jpg"):
        file.rename(file.with_name(f"{file.stem}-slow.jpg"))
    (pipeline.base / "live").mkdir()  # watched from the start
    pipeline.start().until(lambda: pipeline.states().get("settled", 0) > 20)
    live = []
    for camera in ("cam0", "live", "cam0"):
        name = f"{datetime.now(UTC):%Y%m%d_%H%M%S_%f}.jpg"
        pipeline.upload(camera, name, how="write").until(
            lambda path=f"{camera}/{name}": pipeline.rows(
                "SELECT 1 FROM frames WHERE path = ? AND state = 'settled'", path
            )
        )
        live.append(f"{camera}/{name}")
    waiting = 243 - pipeline.states()["settled"]
    if kill:
        pipeline.kill().start()
    pipeline.until(lambda: pipeline.states() == {"settled": 243}, 90).until_quiet(timeout=60).stop()
    assert waiting > 30, "the live ones did not wait for the backlog"
    record = pipeline.record
    order = [path for (path,) in record.rows("SELECT path FROM frames ORDER BY id")]
    assert all(order.index(path) < 200 for path in live)
    assert [b for (b,) in record.rows("SELECT behind FROM frames WHERE path IN (?,?,?) ORDER BY id", *live)] == [
        1,
        0,
        1,
    ]
    assert differing_cameras(record, rules) == []
    record.close()
