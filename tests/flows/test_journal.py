"""Promise: the journal keeps the items of any graph, each once and in order, through kills at every commit; what is behind
it misses nothing, and what cannot be written is there with its reason.
"""

import dataclasses
import json
import re
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
from tests.long import doorbell
from tests.support.api_record import Home, serve
from tests.support.http_receiver import HttpEar
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
def test_an_item_has_one_hash_however_it_was_made(item):
    backwards = dict(reversed(item.items()))
    assert entry_of(item).content_hash == entry_of(backwards).content_hash
    assert entry_of(item).error is None
    assert json.loads(entry_of(item).payload) == json.loads(json.dumps(item))
    assert entry_of(item | {"more": 1}).content_hash != entry_of(item | {"more": 2}).content_hash


def test_a_key_of_fields_tells_items_apart_by_them_alone(record):
    items = [
        {"door": "front", "at": 1, "db": 61},
        {"door": "front", "at": 1, "db": 99},
        {"door": "back", "at": 1, "db": 61},
    ]
    write(record, "levels", [entry_of(item, ("door", "at")) for item in items], now())
    assert [row["payload"]["db"] for row in read_items(record, 9)] == [61, 61]


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
    assert [(m.seq, m.type, m.kind, m.payload) for m in messages] == [
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
    assert (row["node"], json.loads(row["payload"])) == ("a", {"db": 61.5})


# -- a file of lines


def lines(path):
    return [json.loads(line)["seq"] for line in path.read_text().splitlines()]


def test_a_file_of_lines_has_each_message_once_after_a_kill(tmp_path):
    path = tmp_path / "out" / "lines.jsonl"
    messages = [ItemMessage(seq, "a", seq, str(seq), "dict", datetime.now(UTC), {"n": seq}) for seq in range(1, 7)]
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
    return [
        row["payload"] for row in (json.loads(line) for line in (p.folder / "bursts.jsonl").read_text().splitlines())
    ]


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


@pytest.mark.slow
def test_the_guides_graph_rings_for_each_level(tmp_path, nursery):
    """Rows of CSV and JSON Lines → journal → a file and a webhook that fails at first: each loud level once in the file, in order."""
    (flow,) = re.findall(r"```toml\n(\[rows\].*?)```", (ROOT / "docs" / "plugins.md").read_text(), re.DOTALL)

    with HttpEar(503, 503) as server:
        keys = lambda: [headers["Idempotency-Key"] for _, headers, _, _ in server.heard]  # noqa: E731
        p = bell(tmp_path, nursery)
        (p.folder / "flow.toml").write_text(flow.replace("http://127.0.0.1:8123/ring", server.url))
        levels = [{"door": "side", "at": f"2026-11-28T11:00:0{n}+00:00", "db": str(70 + n)} for n in range(3)]
        (p.folder / "levels" / "2.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in levels))
        loud = sum(40 + n * 7 % 50 >= 60 for n in range(ROWS)) + 3
        p.start().until(lambda: len(set(keys())) == loud).stop()
    written = [json.loads(line)["payload"]["db"] for line in (p.folder / "levels.jsonl").read_text().splitlines()]
    assert written[-3:] == [70, 71, 72] and len(written) == loud
    assert list(dict.fromkeys(keys())) == [
        f"item.levels-{hash}" for (hash,) in p.rows("SELECT content_hash FROM journal ORDER BY id")
    ]


COUNTING = """
from datetime import UTC, datetime, timedelta

import bytewax.operators as op
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from hearthwatch.schemas import Source, Stage


class Count(Source):
    emits = dict

    def build(self, context):
        return Numbers()


class Numbers(FixedPartitionedSource):
    def list_parts(self):
        return ["all"]

    def build_part(self, step_id, for_part, resume_state):
        return Part(resume_state or 0)


class Part(StatefulSourcePartition):
    def __init__(self, n):
        self.n = self.start = n

    def next_batch(self):
        self.n += 1
        return [{"n": self.n, "start": self.start}]

    def next_awake(self):
        return datetime.now(UTC) + timedelta(milliseconds=5)

    def snapshot(self):
        return self.n


class Total(Stage):
    accepts = dict
    emits = dict

    def attach(self, step_id, up):
        keyed = op.key_on(f"{step_id}_key", up, lambda row: "all")
        totals = op.stateful_map(f"{step_id}_sum", keyed, lambda total, row: ((total or 0) + row["n"],) * 2)
        rows = op.map(f"{step_id}_out", totals, lambda pair: {"total": pair[1]})
        return op.merge(f"{step_id}_all", rows, op.filter(f"{step_id}_first", up, lambda row: row["n"] == row["start"] + 1))
"""


@pytest.mark.slow
def test_own_state_outlives_a_bare_restart_and_goes_with_its_record(tmp_path, nursery):
    """`python -m bytewax.run flow` without `-r`: a source continues where it was, a stage with what it had."""
    p = Pipeline(tmp_path, nursery=nursery, TUNE="hearthwatch.flows.runtime.SNAPSHOT_SECONDS=0")
    (p.folder / "counting.py").write_text(COUNTING)
    nodes = {"count": "counting:Count", "total": "counting:Total", "kept": "journal"}
    before = ["", *(f'from = "{name}"' for name in nodes)]
    (p.folder / "flow.toml").write_text(
        "\n".join(
            f'[{name}]\nuse = "{use}"\n{after}' for (name, use), after in zip(nodes.items(), before, strict=False)
        )
    )

    def found(field):
        return [n for (n,) in p.rows(f"SELECT payload ->> '{field}' FROM journal ORDER BY id") if n is not None]

    for more in (20, 40):
        p.start().until(lambda: len(found("total")) >= more).kill()  # noqa: B023  (called at once)
    totals, starts = found("total"), found("start")
    assert totals == [n * (n + 1) // 2 for n in range(1, len(totals) + 1)], "nothing lost, nothing doubled"
    assert starts[0] == 0 and starts[1] >= 20 - 1 and len(starts) == 2, "it read nothing from the start again"
    p.path.unlink()
    p.start().until(lambda: len(found("total")) >= 3).kill()
    assert found("start") == [0], "a new record has all of it again"


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
        assert [row["payload"].get("n") for row in page["items"]] == [None, 4]
        more = client.get("/api/journal", params={"limit": 9, "cursor": page["next_cursor"], "node": "bursts"}).json()
        assert [row["payload"]["n"] for row in more["items"]] == [3, 2, 1, 0] and more["next_cursor"] is None
        assert client.get("/api/journal", params={"failed": True}).json()["items"][0]["error"] == "loud: no number"
        assert client.get("/api/journal", params={"node": "none"}).json()["items"] == []
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


@pytest.mark.slow
def test_a_graph_without_cameras_that_has_nothing_to_do_is_alive(tmp_path, nursery):
    quick = "hearthwatch.flows.monitor.CHECK_SECONDS=0.05,hearthwatch.flows.monitor.STORE_SECONDS=0.05"
    p = bell(tmp_path, nursery, follow="true", TUNE=quick)
    seen = lambda: [json.loads(value)["at"] for (value,) in p.rows("SELECT value FROM meta WHERE key = 'services'")]  # noqa: E731
    p.start().until(lambda: p.rows("SELECT 1 FROM journal") and seen())
    first = seen()
    p.until(lambda: seen() > first).stop()


@pytest.mark.slow
def test_run_is_killed_on_the_doorbell_and_each_burst_is_there_once(tmp_path):
    """Pipeline alone, all processes, pipeline alone; twenty times: `python tests/long/doorbell.py`."""
    assert doorbell.run(tmp_path, 3) > 5
