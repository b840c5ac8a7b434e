"""Locks of chains: one process per record and per data dir, whatever path leads to them, with the holder's pid in words."""

import errno
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hearthwatch.record import RecordError, acquire_lock
from hearthwatch.record.lock import wait_for_lock
from tests.support.pipeline import Pipeline, name

HOLD = """
import sys
from pathlib import Path
from hearthwatch.record import acquire_lock
acquire_lock(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
print("held", flush=True)
input()
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that holds `see` of the record a.db with the data dir `data`."""
    command = [sys.executable, "-c", HOLD, "see", tmp_path / "a.db", tmp_path / "data"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_neither_the_record_nor_the_data_dir_may_be_shared(tmp_path: Path, holder: subprocess.Popen) -> None:
    with pytest.raises(RecordError, match=rf"pid {holder.pid}\).*a\.db\.see\.lock"):
        acquire_lock("see", tmp_path / "a.db", tmp_path / "other")
    with pytest.raises(RecordError, match=rf"pid {holder.pid}\).*data/see\.lock"):
        acquire_lock("see", tmp_path / "b.db", tmp_path / "data")
    acquire_lock("see", tmp_path / "b.db", tmp_path / "other").release()  # what a refusal took is free again
    acquire_lock("judge", tmp_path / "a.db", tmp_path / "data").release()  # another chain


def test_symlinks_lead_to_the_same_locks(tmp_path: Path, holder: subprocess.Popen) -> None:
    (tmp_path / "a.db").touch()
    (tmp_path / "link.db").symlink_to(tmp_path / "a.db")
    (tmp_path / "linked").symlink_to(tmp_path / "data")
    with pytest.raises(RecordError, match=str(holder.pid)):
        acquire_lock("see", tmp_path / "link.db", tmp_path / "other")
    with pytest.raises(RecordError, match=str(holder.pid)):
        acquire_lock("see", tmp_path / "b.db", tmp_path / "linked")


def test_a_kill_frees_both(tmp_path: Path, holder: subprocess.Popen) -> None:
    holder.kill()
    holder.wait()
    acquire_lock("see", tmp_path / "a.db", tmp_path / "data").release()


def test_a_folder_that_cannot_hold_a_lock_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match="the lock cannot be made"):
        acquire_lock("see", tmp_path / "a.db", tmp_path / "file")
    (tmp_path / "data" / "see.lock").mkdir(parents=True)
    with pytest.raises(RecordError, match=r"see\.lock: the lock cannot be made: .*; is .*data writable"):
        acquire_lock("see", tmp_path / "a.db", tmp_path / "data")
    acquire_lock("see", tmp_path / "a.db", tmp_path / "other").release()


def test_a_file_system_without_locks_is_no_other_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    began = time.monotonic()
    with (
        pytest.raises(RecordError, match=r"cannot lock files \(No locks available\): on NFS"),
        wait_for_lock("keep", tmp_path / "a.db", tmp_path, 60),
    ):
        pass
    assert time.monotonic() - began < 30, "waited for a lock that no one holds"


def test_two_pipelines_on_one_record_with_other_data_dirs(tmp_path: Path) -> None:
    """Case 20: the second one refuses and says which pid holds which lock; each picture is detected once."""
    record = tmp_path / "one.db"
    first = Pipeline(tmp_path / "first", DATABASE_URL=f"sqlite:///{record}")
    first.path = record
    second = Pipeline(tmp_path / "second", base=first.base, DATABASE_URL=f"sqlite:///{record}")
    first.upload("porch", name(1_795_000_000)).start()
    first.until(lambda: record.exists() and first.states() == {"settled": 1})
    assert second.start().wait() == 2
    assert f"(pid {first.pid})" in second.said() and "one.db.see.lock" in second.said()
    first.stop()
