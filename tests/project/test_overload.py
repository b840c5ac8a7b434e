"""Promise: more pictures than the detector can look at wait and are told of; none is lost, no camera waits for another.

`bench/overload.py` does the same for ten minutes at three times the sustainable rate.
"""

import pytest

from tests.support.api_record import Home as Told
from tests.support.api_record import serve
from tests.support.invariants import check
from tests.support.uploads import Home, upload

pytestmark = pytest.mark.slow

CAMERAS = "flood", "rare"
FLOOD, RARE = 240, 12  # pictures of each that come at once
ALL = len(CAMERAS) + 2 * (FLOOD + RARE)
SLOW_DETECTOR = "boxes = 1\nslow_seconds = 0.02"


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path, SLOW_DETECTOR)
    yield home
    home.close()


def arrive(home, start):
    """A camera floods; another uploads a picture now and then."""
    for n in range(start, start + FLOOD):
        upload(home.base, "flood", f"{n:04}-slow.jpg")
        if n % (FLOOD // RARE) == 0:
            upload(home.base, "rare", f"{n:04}-slow.jpg")


def pipeline_health(home):
    return home.ask("/api/system/health")["services"]["pipeline"]


def test_a_flood_is_shown_worked_off_and_starves_nobody(home):
    for camera in CAMERAS:
        (home.base / camera).mkdir()
        upload(home.base, camera, "known.jpg")
    home.start().serve().until_decided(len(CAMERAS))
    arrive(home, 0)
    home.until(lambda: pipeline_health(home)["details"]["backlog"] > FLOOD / 4)
    home.until(lambda: "pictures wait" in pipeline_health(home)["message"])
    assert pipeline_health(home)["details"]["oldest_unprocessed_seconds"] > 0
    status = home.ask("/api/status")
    assert status["backlog"] > 0 and status["behind_seconds"] > 0, status
    home.kill()  # in the middle of it
    arrive(home, FLOOD)  # what comes while nothing runs
    home.start().until_decided(ALL)
    assert home.lost() == (set(), []) and home.states() == {"settled": ALL}
    home.until(lambda: pipeline_health(home)["message"] == "has caught up")
    status = home.ask("/api/status")
    assert (status["backlog"], status["behind_seconds"]) == (0, None)
    home.kill()
    check(home.crashed())
    overtaken = home.rows(OVERTAKEN, f"rare/{FLOOD:04}")
    assert len(overtaken) == RARE and max(n for (n,) in overtaken) < FLOOD / 4, overtaken


OVERTAKEN = """SELECT (SELECT count(*) FROM frames f WHERE f.camera_id = 'flood' AND f.id < r.id AND f.mtime_ns > r.mtime_ns)
FROM frames r WHERE r.camera_id = 'rare' AND r.path < ?"""
"""For each picture of the calm camera's first: how many that came after it were decided before it."""


@pytest.mark.parametrize(("ago", "status"), [(1, "healthy"), (400, "degraded")])
def test_who_is_behind_by_more_than_20_seconds_is_not_healthy(tmp_path, ago, status):
    told = Told(tmp_path).open()
    told.picture("front", 500, "person")
    told.waiting("front", ago)
    told.beat()
    with serve(told.settings()) as served, served.client() as client:
        health = client.get("/api/system/health").json()
        pipeline, line = health["services"]["pipeline"], client.get("/api/status").json()
    told.close()
    assert (health["status"], pipeline["status"]) == (status, status), pipeline
    assert pipeline["details"]["oldest_unprocessed_seconds"] >= ago and line["behind_seconds"] >= ago
