"""Promise: a blind pipeline is reported within 30 seconds: in health, on the page, in the metrics, in the feed; and when it sees again.

The built-in graph runs as a separate process, the API reads its record.
"""

import os
import time

import pytest

from hearthwatch.schemas.settings import load
from tests.support.api_record import serve, wait_for
from tests.support.uploads import Home, small_picture, upload

pytestmark = pytest.mark.slow
SAID_SECONDS = 30.0


class Seen:
    """What the API says of a kind of condition, everywhere."""

    def __init__(self, client):
        self.client = client

    def get(self, path):
        return self.client.get(path).raise_for_status().json()

    def conditions(self, kind):
        """Those that are on, by subject."""
        return {c["subject"]: c for c in self.get("/api/system/health")["conditions"] if c["kind"] == kind}

    def until_said(self, kind, subject=""):
        """The condition, once it is said everywhere."""
        wait_for(lambda: self.metric(kind, subject) == "1.0", SAID_SECONDS)
        condition = wait_for(lambda: self.conditions(kind).get(subject), SAID_SECONDS)
        assert self.get("/api/system/health")["status"] == "degraded"
        assert self.get("/api/status")["problem"]["since"] and self.get("/api/status")["problems"] >= 1
        assert self.last_state(kind, subject) == "on"
        return condition

    def until_over(self, kind, subject=""):
        wait_for(lambda: subject not in self.conditions(kind), SAID_SECONDS)
        assert self.metric(kind, subject) == "0.0" and self.last_state(kind, subject) == "off"

    def metric(self, kind, subject):
        lines = self.client.get("/metrics").text.splitlines()
        start, end = f'hearthwatch_condition{{kind="{kind}",', f'subject="{subject}"}} '
        return next((line.rpartition(" ")[2] for line in lines if line.startswith(start) and end in line), None)

    def last_state(self, kind, subject):
        messages = self.get("/api/system/messages")["messages"]
        return next(m["state"] for m in messages if (m["type"], m["subject"]) == (f"system.{kind}", subject))


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path)
    yield home
    home.close()


@pytest.fixture
def seen(home):
    folders = {"FOSCAM_BASE_PATH": str(home.base), "HEARTHWATCH_DATA_DIR": str(home.data)}
    with serve(load(None, folders)) as served, served.client() as client:
        yield Seen(client)


def test_a_tree_that_is_moved_away_while_it_runs_is_said_and_so_is_its_return(home, seen):
    (home.base / "front_yard").mkdir()
    upload(home.base, "front_yard", "1.jpg")
    home.start().until_decided(1)
    wait_for(lambda: seen.get("/api/system/health")["status"] == "healthy")
    assert seen.get("/api/status")["problem"] is None
    away = home.base.with_name("away")
    home.base.rename(away)
    assert str(home.base) in seen.until_said("uploads_missing")["message"]
    uploads = seen.get("/api/system/health")["services"]["uploads"]
    assert uploads["status"] == "unhealthy" and str(home.base) in uploads["message"]
    away.rename(home.base)
    upload(home.base, "front_yard", "2.jpg")
    seen.until_over("uploads_missing")
    home.until_decided(2)
    wait_for(lambda: seen.get("/api/system/health")["status"] == "healthy")
    assert seen.get("/api/status")["problem"] is None


def test_pictures_that_cannot_be_used_are_counted_with_their_reason(home, seen):
    for folder in ("front_yard", "Front Yard"):
        (home.base / folder).mkdir()
    upload(home.base, "front_yard", "good.jpg")
    for n in range(10):
        whole = small_picture(f"cut {n}")
        (home.base / "front_yard" / f"cut{n}.jpg").write_bytes(whole[: len(whole) // 3])
        (home.base / f"{n}.jpg").write_bytes(small_picture(f"base {n}"))
    for n in range(8):
        upload(home.base, "Front Yard", f"{n}.jpg")
    for file in home.base.rglob("*.jpg"):
        first = file.parent.name == "front_yard"  # the other folder is the second one
        os.utime(file, (time.time() - (90 if first else 60),) * 2)  # before the start: nothing has to stand still
    home.start().until(lambda: home.states() == {"settled": 1, "quarantined": 28})
    unusable = seen.until_said("quarantine", "front_yard")["message"]
    assert unusable.startswith("18 of 19 pictures of front_yard could not be used"), unusable
    assert "10 pictures that are in no camera folder" in seen.until_said("quarantine")["message"]
    assert "another folder has the same camera id" in seen.until_said("quarantine", "Front Yard")["message"]
    cameras = seen.get("/api/system/health")["services"]["cameras"]
    assert cameras["status"] in ("degraded", "unhealthy"), "a camera all of whose pictures are unusable is not fine"
    details = cameras["details"]["front_yard"]
    assert (details["pictures"], details["quarantined"]) == (19, 18)
    for n in range(20):
        upload(home.base, "front_yard", f"now{n}.jpg")
    seen.until_over("quarantine", "front_yard")


def test_a_pipeline_that_loads_its_model_is_starting_and_not_missing(tmp_path):
    gate = tmp_path / "gate"
    home = Home(tmp_path / "world", f'gate = "{gate}"')
    try:
        home.start().until(gate.with_suffix(".reached").exists)
        folders = {"FOSCAM_BASE_PATH": str(home.base), "HEARTHWATCH_DATA_DIR": str(home.data)}
        with serve(load(None, folders)) as served, served.client() as client:
            seen = Seen(client)
            wait_for(lambda: seen.get("/api/status")["starting"])
            health, line = seen.get("/api/system/health"), seen.get("/api/status")
            assert (health["status"], health["conditions"], line["problem"]) == ("healthy", [], None)
            assert health["services"]["pipeline"]["status"] == health["services"]["detector"]["status"] == "starting"
            assert line["at"] is not None and line["detector"] == "starting"
            gate.touch()
            wait_for(lambda: not seen.get("/api/status")["starting"])
            wait_for(lambda: seen.get("/api/system/health")["services"]["pipeline"]["status"] == "healthy")
    finally:
        home.close()
