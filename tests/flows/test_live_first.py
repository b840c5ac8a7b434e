"""Promise: live pictures beside a backlog make the events of the sorted run. How soon they come: bench/backlog.py."""

import time
from datetime import UTC, datetime

import pytest

from tests.support.live_first import differing_cameras, old_pictures
from tests.support.pipeline import Pipeline, rules_and_options


@pytest.mark.slow
@pytest.mark.parametrize("kill", [False, True], ids=["", "killed"])
def test_live_pictures_beside_a_backlog_make_the_events_of_the_sorted_run(tmp_path, kill):
    rules, batch = rules_and_options(window=9, idle=3, lateness=0.5)
    pipeline = Pipeline(tmp_path, options="slow_seconds = 0.08\nboxes = 1", batch=batch)
    old_pictures(pipeline.base, 240, 3, time.time() - 2)  # motion goes on across the seam
    for file in pipeline.base.rglob("*.jpg"):
        file.rename(file.with_name(f"{file.stem}-slow.jpg"))
    (pipeline.base / "live").mkdir()  # watched from the start
    pipeline.start().until(lambda: pipeline.states().get("settled", 0) > 20)
    for camera in ("cam0", "live", "cam0"):
        name = f"{datetime.now(UTC):%Y%m%d_%H%M%S_%f}.jpg"
        pipeline.upload(camera, name, how="write").until(
            lambda path=f"{camera}/{name}": pipeline.rows(
                "SELECT 1 FROM frames WHERE path = ? AND state = 'settled'", path
            )
        )
    if kill:
        pipeline.kill().start()
    pipeline.until(lambda: pipeline.states() == {"settled": 243}, 90).until_quiet(timeout=60).stop()
    record = pipeline.record
    assert differing_cameras(record, rules) == []
    record.close()
