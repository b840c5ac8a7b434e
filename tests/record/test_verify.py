"""Promises: `hearthwatch verify` finds nothing in a record that is whole, and each thing that is planted in one."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hearthwatch.record.read.verify as checks
from hearthwatch.record.gpu_samples import GpuSample, write_samples
from hearthwatch.record.journal import entry_of
from hearthwatch.record.journal import write as write_items
from hearthwatch.record.lake.export import Lake
from hearthwatch.record.lake.views import problems
from hearthwatch.record.pictures import keep_event
from hearthwatch.record.units import HOUR
from hearthwatch.schemas import DeadLetter
from tests.support.data_dir import START, House, S, in_memory
from tests.support.invariants import check
from tests.support.pipeline import Pipeline, name

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def template():
    with in_memory() as folder:
        house = House(folder + "/house")
        house.see("front_door", 0, 5, 4000).see("garden", 7, boxes=()).spoil("garden", 90).close_events()
        write_samples(house.record, [GpuSample(START, 1, 1, 1, 1, 1)])
        house.record.execute("INSERT INTO heartbeat VALUES ('see', 1, ?, '{}')", 4_000_000_000 * S)
        write_items(house.record, "levels", [entry_of({"n": 1}), entry_of(DeadLetter("loud", "no number"))], START)
        house.export().close()
        yield house


@pytest.fixture
def house(template, monkeypatch):
    """A copy at the same place, whole."""
    monkeypatch.setattr(tempfile, "tempdir", str(template.folder.parent))
    monkeypatch.setattr(checks, "REPEAT_SECONDS", 0.0)
    whole = template.folder.with_name("whole")
    shutil.copytree(template.folder, whole)
    house = template.open()
    yield house
    house.close()
    shutil.rmtree(template.folder)
    whole.rename(template.folder)


def amiss(house):
    from hearthwatch.cli.verify import uploads

    return [
        *checks.find_in_snapshot(house.record, checks.database),
        *checks.find_in_snapshot(house.record, checks.counters),
        *checks.find_in_snapshot(house.record, checks.rows),
        *checks.find_persistent(lambda: checks.uploads(house.record, uploads(house.base))),
        *checks.find_persistent(lambda: checks.thumbnails(house.record, house.data)),
        *checks.find_persistent(lambda: checks.lake(house.record, Lake(house.record, house.data))),
        *problems(house.data),
    ]


def test_nothing_is_amiss_in_a_record_that_is_whole(house):
    assert amiss(house) == []


DAMAGE = {
    "UPDATE counters SET n = n + 1 WHERE name = 'settled'": "the counter `settled` says 5, but there are 4",
    "UPDATE counters SET n = 0 WHERE name = 'events'": "the counter `events` says 0, but there are 2",
    "UPDATE frames SET state = 'discovered' WHERE id = 3": "was skipped: it waits, but frame 4 behind it is decided",
    "UPDATE frames SET state = 'quarantined' WHERE id = 1": "frame 1 is quarantined but belongs to event 1",
    "UPDATE frames SET event_id = 9 WHERE id = 3": "frame 3 belongs to event 9, which does not exist",
    "UPDATE frames SET event_id = NULL WHERE id = 2": "event 1 has frame_count 2, but 1 frames belong to it",
    "DELETE FROM frames WHERE id = 3": "detection 1536 belongs to frame 3 and event 3, which do not match",
    "DELETE FROM frames WHERE id = 4": "garden/{7}.jpg was uploaded while the pipeline ran, but is not in the ledger",
    "UPDATE frames SET error_stage = 'duplicate', error = 'duplicate of 5' WHERE id = 4": "frame 4 is settled as a duplicate of frame 5, which is quarantined",
    "DELETE FROM detections WHERE frame_id = 3": "frame 3 belongs to event 3 but has no detections",
    "UPDATE detections SET event_id = 3 WHERE id = 512": "detection 512 belongs to frame 1 and event 3",
    "UPDATE detections SET detected_at = 0 WHERE id = 512": "detection 512 has another time than its frame 1",
    "DELETE FROM events WHERE id = 3": "frame 3 belongs to event 3, which does not exist",
    "UPDATE events SET id = 2 WHERE id = 1": "event 2",
    "UPDATE events SET started_at = started_at + 1 WHERE id = 1": "event 1 does not span its frames",
    "UPDATE events SET risk_level = 'critical' WHERE id = 1": "but level critical",
    "UPDATE events SET evidence = '[512, 99999]' WHERE id = 1": "event 1 cites detection 99999, which is not one of its detections",
    "DELETE FROM event_history WHERE event_id = 1 AND revision = 1": "event 1 is at revision 2, but 1 of them are in its history",
    "DELETE FROM feed WHERE event_id = 1 AND revision = 2": "event 1 is at revision 2, but the feed has 1 messages of it",
    "INSERT INTO event_history(event_id, revision, type, at) VALUES (77, 1, 'event.opened', 0)": "the history has event 77",
    "DELETE FROM feed WHERE kind = 'item'": "item 1 of journal levels has no message",
    "INSERT INTO feed VALUES (0, 'item', 2, 1, 'item.levels', '{}', 0)": "item 2 of journal levels has no message, or one although it failed",
    "DELETE FROM journal WHERE id = 1": "is about item 1, which does not exist",
    "UPDATE journals SET failed = 7": "journal levels says that it holds 1 items and 7 that failed",
    "INSERT INTO feed VALUES (0, 'event', 77, 1, 'event.opened', '{}', 0)": "message 0 is about event 77",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_rows_that_do_not_fit_together_are_found(house, damage):
    house.record.execute(damage)
    says = DAMAGE[damage].replace("{7}", str(START + 7 * S))
    assert any(says in line for line in amiss(house)), amiss(house)


def hour(house, table="detections"):
    return house.lake.path(table, START // HOUR)


def change(path, how):
    rows = pq.read_table(path, partitioning=None)
    path.unlink()
    pq.write_table(how(rows), path)


FILES = {
    "a missing thumbnail": (lambda h: (h.data / "thumbnails/2026-11-22/2_thumb.jpg").unlink(), "frame 2 has no thumbnail"),
    "a torn thumbnail": (lambda h: (h.data / "thumbnails/2026-11-22/2_thumb.jpg").write_bytes(b"\xff\xd8"), "2_thumb.jpg is torn"),
    "an orphan thumbnail": (lambda h: (h.data / "thumbnails/2026-11-22/4_thumb.jpg").write_bytes(b"x"), "4_thumb.jpg belongs to no frame"),
    "an orphan file": (lambda h: (h.data / "thumbnails/2026-11-22/x").write_bytes(b"x"), "x belongs to no frame"),
    "a doubled lake row": (lambda h: change(hour(h), lambda t: pa.concat_tables([t, t.slice(0, 1)])), "has rows twice: 512"),
    "a missing lake row": (lambda h: change(hour(h), lambda t: t.slice(1)), "lacks rows: 512"),
    "a lake row of nobody": (lambda h: shutil.copy(hour(h, "events"), h.lake.path("events", 9)), "has rows that the record does not have: 1"),
    "a changed lake row": (lambda h: change(hour(h, "frames"), lambda t: t.set_column(7, "content_hash", pa.array(["x"] * len(t)))), "has other values than the record"),
    "a missing lake file": (lambda h: hour(h, "gpu_stats").unlink(), "lacks rows: 1"),
    "a broken lake file": (lambda h: hour(h).write_bytes(b"PAR1"), "cannot be read"),
    "a copy in the lake": (lambda h: shutil.copy(hour(h), hour(h).with_name("08 copy.parquet")), "08 copy.parquet is no file of the lake"),
    "a file that was not taken in": (lambda h: (h.base / "garden/new.jpg").write_bytes(b"x"), "garden/new.jpg was uploaded while the pipeline ran"),
    "a broken catalogue": (lambda h: (h.data / "analytics.duckdb").write_bytes(b"x" * 9999), "analytics.duckdb"),
}  # fmt: skip


@pytest.mark.parametrize("damage", FILES)
def test_files_that_do_not_fit_the_record_are_found(house, damage):
    do, says = FILES[damage]
    do(house)
    found = amiss(house)
    assert any(says in line for line in found), found


def test_what_a_pipeline_is_busy_with_is_no_fault(house):
    """An hour that waits for its export, a thumbnail whose frame is not decided, a file that has just come."""
    house.set([1], notes="seen")
    house.record.execute("UPDATE heartbeat SET at = 0")
    (house.base / "garden/new.jpg").write_bytes(b"x")
    (house.data / "thumbnails/2026-11-22/.7_thumb.jpg.1.1").write_bytes(b"x")
    assert amiss(house) == []


def verify(house):
    environment = {**os.environ, "HEARTHWATCH_DATA_DIR": str(house.data), "FOSCAM_BASE_PATH": str(house.base)}
    command = [sys.executable, "-m", "hearthwatch.cli", "verify"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
def test_the_command_says_so_and_ends_with_1(house):
    keep_event(house.record, house.base, house.data, 1, "all", lambda _: None)
    kept = sum(path.stat().st_size for path in (house.data / "pictures").rglob("*.jpg"))
    done = verify(house)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(maxsplit=1)[1] for line in done.stdout.splitlines()[:-2]] == ["ok"] * 8
    assert "5 pictures = 4 settled + 0 waiting + 1 quarantined; 6 detections in 2 events\n" in done.stdout
    assert done.stdout.endswith(f"\n2 kept originals, {kept / 1e6:.1f} MB\n") and kept
    house.record.execute("UPDATE counters SET n = n + 1 WHERE name = 'settled'")
    done = verify(house)
    assert done.returncode == 1
    assert "counters    1 wrong\n  the counter `settled` says 5, but there are 4\n" in done.stdout


@pytest.mark.slow
def test_a_copy_of_a_live_record_is_put_back_as_the_docs_say(tmp_path):
    """What came after the copy is taken in again, and nothing is amiss."""
    text = (ROOT / "docs/record.md").read_text().partition("## Copying it")[2]
    copy, back = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    house = Pipeline(tmp_path)

    def sh(words):
        subprocess.run(
            ["sh", "-ec", words.replace("python ", f"{sys.executable} ")], cwd=house.world, check=True, timeout=60
        )

    house.start()
    for second in range(40):
        house.upload("gate", name(1_760_000_000 + second))
    house.until(lambda: house.states().get("settled", 0) > 5)
    sh(copy)
    house.until(lambda: house.states() == {"settled": 40})
    house.upload("gate", name(1_760_000_100))
    house.until(lambda: house.states() == {"settled": 41})
    house.kill()
    sh(back)
    house.start().until(lambda: house.states() == {"settled": 41})
    house.stop()
    check(house.record)
    done = subprocess.run(
        [sys.executable, "-m", "hearthwatch.cli", "verify"], cwd=tmp_path, env={**os.environ, **house._environment},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
