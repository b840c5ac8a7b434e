"""Promise: pipelines of several cells make the incidents of one pipeline, whatever is killed, in one place."""

import json
import os
import signal
import time

import pytest

from hearthwatch.record.units import CELL_BITS
from hearthwatch.sinks.ntfy import SILENT
from tests.flows.test_cells import BATCH, Cluster, T, cluster
from tests.flows.test_cells import nursery as nursery
from tests.support.ntfy_server import NtfyServer
from tests.support.pipeline import NOT_LINKED, SLOW, Pipeline, name, picture

VISITS = (
    (0, "door"), (20, "a"), (75, "gate"), (130, "b"), (131, "c"), (600, "c"), (640, "yard"), (700, "door"),
    (1500, "barn"), (1530, "d"), (1900, "a"),
)  # fmt: skip
UNDELIVERED = "SELECT 1 FROM cursors WHERE name = 'ntfy' AND seq < (SELECT max(seq) FROM feed)"


def upload(p, visits):
    for at, camera in visits:
        file = name(T + at, camera)
        p.upload(camera, file, picture(file), mtime=T + at)
    return p


def incidents(p):
    """What incidents are, with what ids stand for instead of the ids: events by their `batch_id`."""
    events = p.rows("SELECT id, batch_id, incident_id FROM events WHERE status <> 'merged'")
    batch = {id: batch_id for id, batch_id, _ in events}
    found = {}
    for id, gravest, cameras, objects, *rest in p.rows(
        "SELECT id, gravest_event_id, cameras, objects, event_count, frame_count, risk_score, summary, started_at, last_at "
        "FROM incidents WHERE status <> 'merged'"
    ):
        members = frozenset(batch_id for _, batch_id, of in events if of == id)
        found[members] = batch[gravest], json.loads(cameras), json.loads(objects), *rest
    return found


def linked(p):
    """Wait until all is linked, and written into the records of all cells."""
    p.until_quiet()
    deadline = time.monotonic() + SLOW
    while p.rows(NOT_LINKED):
        assert time.monotonic() < deadline, p.said()
        time.sleep(0.01)
    return p


@pytest.mark.slow
def test_incidents_of_three_cells_are_those_of_one_pipeline_whatever_is_killed(tmp_path, nursery):
    one = upload(Pipeline(tmp_path / "one", batch=BATCH, nursery=nursery), VISITS).start()
    linked(one).stop()
    expected = incidents(one)
    assert 1 < len(expected) < len(VISITS)
    p = cluster(tmp_path / "many", nursery, 3)
    upload(p, VISITS[::2]).start_workers("-w", "2", DIE_AT="after:21").wait()
    upload(p, VISITS[1::2]).start_workers("-w", "3", DIE_AT="before:17").wait()
    linked(p.start_workers("-w", "2"))
    p.stop()
    assert incidents(p) == expected
    for path in p.records()[1:]:
        p.path = path
        assert super(type(p), p).rows("SELECT count(*) FROM incidents") == [(0,)], "the first cell has them"


def night():
    """Let it be two at night, whatever the time is: then people near the house are at medium."""
    west = (time.gmtime().tm_hour - 2 + 11) % 24 - 11
    return {"HEARTHWATCH_TIMEZONE": f"Etc/GMT{west:+d}", "HEARTHWATCH_CAPTURE_TIME": "mtime"}


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 1])
def test_one_visit_across_two_cells_rings_once(tmp_path, nursery, first):
    from tests.long.cells import CAMERAS, add_cameras

    with NtfyServer() as server:
        phone = f'\n[ntfy]\nuse = "ntfy"\nfrom = "batch"\nserver = "{server.url}"\ntopic = "mine"\nlevel = "medium"\n'
        people = 'kind = "person"\nboxes = 4\n'
        p = Cluster(
            tmp_path, batch=BATCH, options=people, more=phone, nursery=nursery, HEARTHWATCH_CELLS="2", **night()
        )
        add_cameras(p, 2)
        p.start_workers("-w", "2")
        for n, cell in enumerate((first, 1 - first)):
            upload(p, [(time.time() - T - 1, CAMERAS[cell])])
            p.until(lambda n=n: len(server.log) > n)
        p.until(lambda: not p.rows(NOT_LINKED) and not p.rows(UNDELIVERED)).stop()
    ((incident,),) = p.rows("SELECT id FROM incidents WHERE status <> 'merged'")
    assert server.log == [(f"incident-{incident}", 3), (f"incident-{incident}", SILENT)], (
        "rings, then is brought up to date"
    )
    assert incident >> CELL_BITS == first and {len(cameras) for _, cameras, *_ in incidents(p).values()} == {2}


@pytest.mark.slow
def test_where_the_process_of_a_cell_hangs_no_cell_decides_and_none_closes_incidents_until_it_continues(
    tmp_path, nursery
):
    from tests.long.cells import CAMERAS, add_cameras

    p = cluster(tmp_path / "two", nursery, 2)
    add_cameras(p, 2)
    p.start_processes(2, BYTEWAX_SNAPSHOT_INTERVAL="1")  # an epoch is ten seconds otherwise
    visits = [(0, CAMERAS[0]), (20, CAMERAS[1])]
    linked(upload(p, visits))
    (hung,) = p.rows("SELECT pid FROM heartbeat WHERE chain = 'see'")[1]
    os.kill(hung, signal.SIGSTOP)
    late = [(40, CAMERAS[1]), (130, CAMERAS[0]), (150, CAMERAS[1])]
    upload(p, late)
    waiting = "SELECT 1 FROM frames WHERE state = 'discovered' AND discovered_at < ?"
    while not p.rows(waiting, (time.time() - 2) * 1_000_000):
        late.append((160 + len(late), CAMERAS[0]))
        upload(p, late[-1:])
        time.sleep(0.1)
        assert len(late) < 300, f"the other cell decides for half a minute: {p.said()}"
    assert {status for (status,) in p.rows("SELECT status FROM incidents WHERE status <> 'merged'")} == {"open"}
    os.kill(hung, signal.SIGCONT)
    linked(p)
    assert p.end_processes() == [0, 0], p.said()
    one = Pipeline(tmp_path / "one", batch=BATCH, nursery=nursery)
    add_cameras(one)
    linked(upload(one, visits + late).start()).stop()
    assert incidents(p) == incidents(one)
