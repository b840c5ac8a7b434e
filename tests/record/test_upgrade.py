"""Promise: what 0.1 stored is continued: record, flow file, plug-in and recovery store. Only the pipeline upgrades a record;
everyone else says that it has to be upgraded, and leaves it as it is."""

import fcntl
import os
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from hearthwatch.record import OlderRecordError, Record
from hearthwatch.record.migrate import SCHEMA_VERSION
from hearthwatch.record.read import verify
from hearthwatch.record.upgrade import upgrade_record
from tests.long.store_01 import STORED, T0
from tests.support.api_record import serve
from tests.support.invariants import check
from tests.support.pipeline import Pipeline, name


class Stored(Pipeline):
    """What 0.1 left when it was killed, made by `tests/long/store_01.py`."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        (folder / "flow.toml").unlink()
        with tarfile.open(STORED) as tar:
            tar.extractall(folder, filter="data")
        self.base, self.data, self.store = folder / "uploads", folder / "data", folder / "store"
        self.path = self.data / "hearthwatch.db"
        self._environment |= {"FOSCAM_BASE_PATH": str(self.base), "HEARTHWATCH_DATA_DIR": str(self.data)}


@pytest.fixture
def stored(tmp_path: Path):
    stored = Stored(tmp_path / "stored")
    yield stored
    stored.kill()


def version(path: Path) -> str:
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return db.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchone()[0]
    finally:
        db.close()


@pytest.mark.slow
@pytest.mark.parametrize("resume", [True, False])
def test_a_run_of_this_version_continues_what_0_1_left(stored: Stored, resume: bool) -> None:
    """Two pictures are a closed event, three an open one; the sixth was being detected when 0.1 was killed."""
    assert stored.states() == {"settled": 5, "discovered": 1}
    before = stored.rows("SELECT id, uid, path, captured_at, arrived_at FROM frames ORDER BY id")
    before_upgrade = stored.rows("SELECT seq, type, payload FROM feed ORDER BY seq")
    stored.start(resume=resume).until(lambda: stored.states() == {"settled": 6})
    stored.upload("front door", name(T0 + 200))
    stored.until_quiet(7).until(lambda: (stored.folder / "delivered").read_text().count("event.closed") == 3).stop()
    assert "upgrading the record from version 4" in stored.said() and "was restored" not in stored.said()
    assert 'from = "feed"' in stored.said()
    assert stored.rows("SELECT id, uid, path, captured_at, arrived_at FROM frames ORDER BY id")[:6] == before
    assert stored.rows("SELECT seq, type, payload FROM feed ORDER BY seq")[: len(before_upgrade)] == before_upgrade
    assert stored.rows("SELECT frame_count, status FROM events ORDER BY id") == [
        (2, "closed"),
        (4, "closed"),
        (1, "closed"),
    ]
    delivered = [int(line.split()[0]) for line in (stored.folder / "delivered").read_text().splitlines()]
    events = [seq for (seq,) in stored.rows("SELECT seq FROM feed WHERE kind = 'event' ORDER BY seq")]
    assert delivered == events, "a consumer missed a message, or got one twice"
    if resume:
        assert set((stored.folder / "written").read_text().split()) == set("1234567")
    record = stored.record
    check(record)
    assert [*verify.counters(record), *verify.rows(record), *verify.database(record)] == []
    record.close()


@pytest.mark.parametrize("command", [["verify"], ["why", "1"], ["prune"], ["sql", "SELECT 1"], ["doctor"]])
def test_a_command_leaves_an_older_record_as_it_is_and_says_so(stored: Stored, command: list[str]) -> None:
    environment = {**os.environ, **stored._environment}
    ended = subprocess.run(
        [sys.executable, "-m", "hearthwatch.cli", *command],
        cwd=stored.folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode != 0
    assert "has to be upgraded" in ended.stdout + ended.stderr, ended.stdout + ended.stderr
    assert version(stored.path) == "4"


def test_the_api_says_upgrading_until_the_pipeline_has_done_it(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    from hearthwatch.schemas.settings import Settings

    settings = Settings(foscam_base_path=stored.base, hearthwatch_data_dir=stored.data)
    with serve(settings) as served, served.client() as client:
        health = client.get("/api/system/health").json()
        assert health["services"]["database"]["status"] == "starting"
        assert "upgrading the record" in health["services"]["database"]["message"]
        answer = client.get("/api/events")
        assert answer.status_code == 503 and "has to be upgraded" in answer.json()["detail"]
        assert client.get("/health").status_code == 200
        assert version(stored.path) == "4"
        upgrade_record(stored.path, stored.data)
        assert [event["id"] for event in client.get("/api/events").json()["events"]] == [3, 1]


def test_a_record_that_the_older_version_still_uses_is_not_upgraded(stored: Stored) -> None:
    with (stored.data / "see.lock").open("w") as lock:  # as 0.1 locks it
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert stored.start().wait() == 2
    assert "another pipeline" in stored.said() and version(stored.path) == "4"


def test_an_upgrade_happens_once_and_only_where_it_is_needed(stored: Stored, tmp_path: Path) -> None:
    upgrade_record(tmp_path / "none.db", tmp_path)
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(OlderRecordError, match=f"version 4 and has to be upgraded to {SCHEMA_VERSION}"):
        Record(stored.path)
    upgrade_record(stored.path, stored.data)
    assert version(stored.path) == str(SCHEMA_VERSION)
    record = Record(stored.path)
    upgrade_record(stored.path, stored.data)  # no lock is taken, nothing is written
    record.close()
