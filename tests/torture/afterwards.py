"""What comes after everything: cameras are deleted and merged over the API while pictures wait, then an old backup comes back.

Neither can be compared with a run without faults: events and messages are gone. What has to be so is that no picture
is lost, that record, lake and thumbnails agree, and that no number is given twice.
"""

import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from urllib.parse import quote

import httpx

from hearthwatch.record import Record
from hearthwatch.record.witness import given_numbers
from tests.support.pipeline import NOT_LINKED
from tests.torture import checks
from tests.torture.processes import LOCAL, paths
from tests.torture.schedule import at_work, killed, killed_and_started, leave_old

CATCH_UP_SECONDS_MAX = 600.0
OLD_TIMES = 4  # so often, one camera gets old pictures: enough that some wait while the API is asked
WAITING = (
    "SELECT (SELECT count(*) FROM frames WHERE state = 'discovered') + (SELECT count(*) FROM events "
    "WHERE status = 'open' OR status = 'closed' AND analysis_status = 'pending')"
)
ANYTHING = "SELECT id FROM frames WHERE camera_id = ?1 UNION ALL SELECT id FROM events WHERE camera_id = ?1 UNION ALL SELECT id FROM detections WHERE camera_id = ?1"


def cameras(house, until):
    """One camera is deleted and one merged, again and again until the API says so, while API and pipeline are killed."""
    rnd, api = random.Random(f"{house.seed} cameras"), house.parts["api"]
    for _ in range(OLD_TIMES):
        leave_old(house, rnd)
    house.pipeline, api.retired = house.live(detector=LOCAL), False
    api.start()
    at_work(house)
    with ExitStack() as stack:
        records = [stack.enter_context(closing(Record(path))) for path in paths(house.data)]
        pool, record = stack.enter_context(ThreadPoolExecutor(2)), records[-1]
        deleted, merged, into = rnd.sample(record.rows("SELECT id, folder_path FROM cameras ORDER BY id"), 3)
        body = {"json": {"into": into[0]}}
        asked = [
            pool.submit(
                until, house, lambda: ask(house, "DELETE", deleted[0], "") in (204, 404), "a camera is deleted"
            ),
            pool.submit(until, house, lambda: ask(house, "POST", merged[0], "/merge", **body) == 200, "one is merged"),
        ]
        for fault in (lambda: killed(house, "api"), lambda: killed_and_started(house)) * 2:
            time.sleep(rnd.uniform(0.05, 0.5))
            with fault():
                time.sleep(rnd.uniform(0.05, 0.5))
        for each in asked:
            each.result()
        amiss = caught_up(house, records, until, lambda: not checks.missing_thumbnails(house, records))
        api.retire()
        amiss += [f"{merged[0]} was merged and has {row}" for row in checks.some(record.rows(ANYTHING, merged[0]))]
        (waited,) = record.one("SELECT count(*) FROM frames WHERE error_stage = 'camera'")
        found = f"{deleted[0]} with {waited} pictures that waited; {merged[0]} into {into[0]}"
    return checks.Check("cameras are deleted and merged over the API", found, amiss)


def ask(house, method, camera, what, **body):
    url = f"http://127.0.0.1:{house.ports['api']}/api/cameras/{quote(camera, safe='')}{what}"
    with suppress(httpx.HTTPError):
        return httpx.request(method, url, timeout=60, **body).status_code


def restored(house, until):
    """The record is replaced by a backup from the middle of the run: every picture has to be in it once again."""
    path = house.data / "hearthwatch.db"
    with closing(Record(path)) as record:
        before = given_numbers(record.db)
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    path.write_bytes(house.backup.read_bytes())
    with ExitStack() as stack:
        record, *_ = records = [stack.enter_context(closing(Record(path))) for path in paths(house.data)]
        kept = given_numbers(record.db)
        house.pipeline = house.live(detector=LOCAL)
        amiss = caught_up(house, records, until) + checks.Files(house, records[:1]).doubled().amiss
        again = "SELECT 'frame', id FROM frames WHERE id > ? AND id <= ? UNION ALL SELECT 'message', seq FROM feed WHERE seq > ? AND seq <= ?"
        twice = record.rows(again, kept.frame, before.frame, kept.seq, before.seq)
        (new,) = record.one("SELECT count(*) FROM frames WHERE id > ?", before.frame)
    found = f"to frame {kept.frame} of {before.frame}; {new} pictures taken in again"
    return checks.Check(
        "a restored record catches up", found, amiss + [f"given twice: {row}" for row in checks.some(twice)]
    )


def caught_up(house, records, until, too=lambda: True):
    """Wait until the pipeline has nothing left to do, stop it, and return what is wrong."""

    def is_over():
        waiting = [record.one(WAITING)[0] for record in records]
        linked = not any(record.one(NOT_LINKED) for record in records)
        return linked and not any(waiting) and not checks.Files(house, records).lost().amiss and too()

    until(house, is_over, "everything is caught up with", CATCH_UP_SECONDS_MAX)
    house.put_down(signal.SIGTERM)
    amiss = [*checks.Files(house, records).lost().amiss, *checks.lake(house, records).amiss]
    amiss += checks.incidents(records).amiss
    for record in records:
        amiss += [
            *checks.judged(0, record).amiss, *checks.checks.database(record), *checks.checks.counters(record),
            *checks.checks.rows(record),
        ]  # fmt: skip
    return amiss
