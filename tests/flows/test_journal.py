"""Promise: the journal keeps the items of any graph, each once and in order, through kills at every commit; what is behind
it misses nothing, and what cannot be written is there with its reason.
"""

import dataclasses
import json
import shutil
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hearthwatch.record import Record, journal, now
from hearthwatch.record.feed import Feed
from hearthwatch.record.journal import entry_of, read_items, read_journals, write
from hearthwatch.record.lake.export import Lake
from hearthwatch.schemas import DeadLetter, ItemMessage
from hearthwatch.sinks.jsonl import JsonlWorker
from tests.support.api_record import Home, serve
from tests.support.pipeline import ROOT, Nursery, Pipeline

EXAMPLE = ROOT / "examples" / "doorbell"
ROWS = 40
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture
def record(tmp_path):
    record = Record(tmp_path / "record.db")
    yield record
    record.close()


# -- an item and its row


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_an_item_has_one_key_however_it_was_made(item):
    backwards = dict(reversed(item.items()))
    assert entry_of(item).key == entry_of(backwards).key
    assert entry_of(item).error is None
    assert json.loads(entry_of(item).item) == json.loads(json.dumps(item))
    assert entry_of(item | {"more": 1}).key != entry_of(item | {"more": 2}).key


def test_a_key_of_fields_tells_items_apart_by_them_alone(record):
    items = [
        {"door": "front", "at": 1, "db": 61},
        {"door": "front", "at": 1, "db": 99},
        {"door": "back", "at": 1, "db": 61},
    ]
    write(record, "levels", [entry_of(item, ("door", "at")) for item in items], now())
    assert [row["item"]["db"] for row in read_items(record, 9)] == [61, 61]


@dataclasses.dataclass(frozen=True)
class Sound:
    at: datetime
    raw: object


@pytest.mark.parametrize(
    "item, says",
    [
        (7, "int is no mapping and no dataclass"),
        (Sound(datetime.now(UTC), object()), "Sound, field `raw`: Unable to serialize"),
        ({"text": "x" * 300_000}, "keep large things in files"),
        (DeadLetter("parse", "row 7: no number"), "parse: row 7: no number"),
    ],
)
def test_what_cannot_be_written_is_there_with_its_reason(record, item, says):
    for _ in range(2):
        write(record, "sounds", [entry_of(item)], now())
    (row,) = read_items(record, 9, failed=True)
    assert row["kind"] == "failed" and says in row["error"]
    assert Feed(record).last() == 0, "a failed item is no message"
    assert read_journals(record)["sounds"] | {"last_at": 0} == {"items": 0, "failed": 1, "last_at": 0}


def test_a_key_that_an_item_lacks_is_a_failure_that_names_it():
    assert "no field `door`" in entry_of({"at": 1}, ("door",)).error


def test_each_new_item_is_a_message_and_retention_deletes_both(record):
    write(record, "a", [entry_of({"n": n}) for n in (1, 2, 2, 1, 3)], 1_000_000)
    write(record, "b", [entry_of({"n": 1})], 2_000_000)
    messages = Feed(record).after(0, 99)
    assert [(m.seq, m.type, m.kind, m.item) for m in messages] == [
        (1, "item.a", "dict", {"n": 1}),
        (2, "item.a", "dict", {"n": 2}),
        (3, "item.a", "dict", {"n": 3}),
        (4, "item.b", "dict", {"n": 1}),
    ]
    assert journal.delete_old(record, 2_000_000, limit=2) == 3
    assert [m.seq for m in Feed(record).after(0, 99)] == [4]
    assert {name: found["items"] for name, found in read_journals(record).items()} == {"a": 0, "b": 1}


def test_the_lake_has_the_items(record, tmp_path):
    import pyarrow.parquet as pq

    write(record, "a", [entry_of({"db": 61.5})], 1_000_000)
    lake = Lake(record, tmp_path)
    lake.seed()
    lake.export()
    (row,) = pq.read_table(lake.path("journal", 0)).to_pylist()
    assert (row["journal"], json.loads(row["item"])) == ("a", {"db": 61.5})


# -- a file of lines


def lines(path):
    return [json.loads(line)["seq"] for line in path.read_text().splitlines()]


def test_a_file_of_lines_has_each_message_once_after_a_kill(tmp_path):
    path = tmp_path / "out" / "lines.jsonl"
    messages = [ItemMessage(seq, "a", str(seq), "dict", datetime.now(UTC), {"n": seq}) for seq in range(1, 7)]
    worker = JsonlWorker(path)
    worker.open()
    worker.deliver(messages[:4])
    worker.close()
    with path.open("ab") as file:
        file.write(b'{"schema": "hearth')  # a line that a power cut tore
    worker.open()
    for _ in range(2):
        worker.deliver(messages[2:])  # a kill came before the cursor moved; then its commit failed
    assert lines(path) == [1, 2, 3, 4, 5, 6]
    path.rename(tmp_path / "yesterday.jsonl")
    worker.deliver(messages[:1])
    assert lines(path) == [1], "the file was moved away, and is made again"
    worker.close()


# -- the example, run as people run it


def bell(folder, nursery, rows=ROWS, follow="false", **more):
    """The doorbell's graph with so many rows."""
    p = Pipeline(folder, nursery=nursery, **more)
    shutil.copy(EXAMPLE / "doorbell.py", p.folder)
    (p.folder / "levels").mkdir(exist_ok=True)
    write_rows(p, range(rows))
    flow = (EXAMPLE / "flow.toml").read_text()
    assert 'path = "levels"\n' in flow
    flow = flow.replace('path = "levels"\n', f'path = "levels"\nfollow = {follow}\nrows_max = 7\n')
    (p.folder / "flow.toml").write_text(flow)
    return p


def write_rows(p, numbers):
    path = p.folder / "levels" / "1.csv"
    head = "" if path.exists() and path.stat().st_size else "door,at,db\n"
    with path.open("a") as file:
        for n in numbers:
            file.write(
                f"{head}{'front' if n % 3 else 'back'},2026-11-28T10:{n // 60:02d}:{n % 60:02d}+00:00,{40 + n * 7 % 50}\n"
            )
            head = ""


def items(p):
    return [row["item"] for row in (json.loads(line) for line in (p.folder / "bursts.jsonl").read_text().splitlines())]


@pytest.fixture(scope="module")
def nursery():
    with Nursery() as nursery:
        yield nursery


@pytest.mark.slow
def test_the_doorbell_is_killed_at_every_commit_and_loses_nothing(tmp_path, nursery):
    calm = bell(tmp_path / "calm", nursery)
    assert calm.start(resume=True, snapshot_seconds=0).wait() == 0, calm.said()
    expected = items(calm)
    assert len(expected) > 5
    for where in ("before", "after"):
        p, lives = bell(tmp_path / where, nursery), 1
        while (code := p.start(resume=True, snapshot_seconds=0, DIE_AT=f"{where}:{3 + lives}").wait()) == 9:
            lives += 1
            assert lives < 30
        assert code == 0 and lives > 3, p.said()
        key = lambda item: json.dumps(item, sort_keys=True)  # noqa: E731  (the doors' order depends on where it died)
        assert sorted(map(key, items(p))) == sorted(map(key, expected))
        seqs = lines(p.folder / "bursts.jsonl")
        assert seqs == sorted(set(seqs))


@pytest.mark.slow
def test_new_rows_come_while_it_runs_and_bad_ones_are_in_the_journal(tmp_path, nursery):
    p = bell(tmp_path, nursery, rows=0, follow="true")
    write_rows(p, range(10))
    with (p.folder / "levels" / "1.csv").open("a") as file:
        file.write("front,yesterday,77\nfront\n")
    p.start()
    p.until(lambda: len(p.rows("SELECT 1 FROM journal WHERE error IS NOT NULL")) == 2)
    write_rows(p, [10, 20, 30, 31])
    p.until(lambda: len(p.rows("SELECT 1 FROM journal WHERE error IS NULL")) >= 3)
    p.stop()
    errors = [error for (error,) in p.rows("SELECT error FROM journal WHERE error IS NOT NULL ORDER BY id")]
    assert any("'yesterday'" in error for error in errors), errors
    assert any("1.csv, row 13: has 1 values for 3 columns" in error for error in errors), errors


def test_the_api_shows_a_graph_without_cameras(tmp_path):
    home = Home(tmp_path).open()
    write(
        home.record,
        "bursts",
        [entry_of({"n": n}) for n in range(5)] + [entry_of(DeadLetter("loud", "no number"))],
        now(),
    )
    with serve(home.settings()) as served, served.client() as client:
        page = client.get("/api/journal", params={"limit": 2}).json()
        assert [row["item"].get("n") for row in page["items"]] == [None, 4]
        more = client.get(
            "/api/journal", params={"limit": 9, "cursor": page["next_cursor"], "journal": "bursts"}
        ).json()
        assert [row["item"]["n"] for row in more["items"]] == [3, 2, 1, 0] and more["next_cursor"] is None
        assert client.get("/api/journal", params={"failed": True}).json()["items"][0]["error"] == "loud: no number"
        assert client.get("/api/journal", params={"journal": "none"}).json()["items"] == []
        services = client.get("/api/system/health").json()["services"]
        assert services["journal"]["details"]["bursts"]["failed"] == 1
    home.close()


@pytest.mark.slow
def test_a_second_process_does_not_write_the_same_journals(tmp_path, nursery):
    p = bell(tmp_path, nursery, follow="true")
    p.start().until(lambda: p.rows("SELECT 1 FROM journal"))
    second = bell(tmp_path, nursery, rows=0, follow="true")
    second.errors = tmp_path / "second"
    assert second.start().wait() == 2
    assert f"(pid {p.pid})" in second.said() and "journal.lock" in second.said()
    p.stop()
