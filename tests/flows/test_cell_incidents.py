"""Promise: pipelines of several cells make the incidents of one pipeline, whatever is killed, in one place."""

import json
import time

import pytest

from tests.flows.test_cells import BATCH, T, cluster
from tests.flows.test_cells import nursery as nursery
from tests.support.pipeline import NOT_LINKED, SLOW, Pipeline, name, picture

VISITS = (
    (0, "door"), (20, "a"), (75, "gate"), (130, "b"), (131, "c"), (600, "c"), (640, "yard"), (700, "door"),
    (1500, "barn"), (1530, "d"), (1900, "a"),
)  # fmt: skip


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
