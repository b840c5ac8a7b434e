"""What holds in a record at every commit."""

import json
from collections import Counter

from hearthwatch.record.batching import Cut

RULES = Cut()


def check(record, rules=RULES):
    """Every invariant of the record, at any commit."""
    assert record.one("PRAGMA integrity_check") == ("ok",)
    check_record(record, rules)
    check_feed(record)


def check_feed(record):
    """No gap and no double: `seq` has none, each event's revisions count from 1, history and feed agree."""
    seqs = [seq for (seq,) in record.rows("SELECT seq FROM feed ORDER BY seq")]
    restored = record.one(
        "SELECT 1 FROM meta WHERE key = 'record_restored'"
    )  # then numbers continue above the lost ones
    assert restored or seqs == list(range(1, len(seqs) + 1)), "the feed has gaps"
    last = {}
    for event, revision in record.rows("SELECT event_id, revision FROM feed WHERE kind = 'event' ORDER BY seq"):
        follows = revision > last.get(event, 0) if restored else revision == last.get(event, 0) + 1
        assert follows, f"event {event}: revision {revision} after {last.get(event, 0)}"
        last[event] = revision
    assert last == dict(record.rows("SELECT id, revision FROM events"))
    history = "SELECT event_id, revision, type FROM event_history WHERE NOT shadow ORDER BY id"
    assert record.rows(history) == record.rows(
        "SELECT event_id, revision, type FROM feed WHERE kind = 'event' ORDER BY seq"
    )


def check_conservation(record):
    states = dict(record.rows("SELECT state, count(*) FROM frames GROUP BY state"))
    counters = record.counters()
    assert all(states.get(s, 0) == counters[s] for s in ("discovered", "settled", "quarantined")), (states, counters)
    assert counters["detections"] == record.one("SELECT count(*) FROM detections")[0]
    gone = "SELECT id, merged_into FROM events e WHERE merged_into IS NOT NULL AND NOT EXISTS (SELECT 1 FROM events WHERE id = e.merged_into)"
    assert not record.rows(gone), "merged into an event that does not exist"
    assert counters["events"] == record.one("SELECT count(*) FROM events WHERE status <> 'merged'")[0]
    wrong = "SELECT count(*) FROM frames f WHERE (event_id IS NOT NULL) <> EXISTS (SELECT 1 FROM detections d WHERE d.frame_id = f.id)"
    assert record.one(wrong)[0] == 0
    assert record.one("SELECT count(*) FROM frames WHERE event_id IS NOT NULL AND state <> 'settled'")[0] == 0
    assert (
        record.one(
            "SELECT count(*) FROM detections d JOIN frames f ON f.id = d.frame_id WHERE d.event_id IS NOT f.event_id"
        )[0]
        == 0
    )

    check_search(record)


def check_search(record):
    """The index of the search, and the events by quarter of an hour, are what a scan of the events makes of them."""
    record.execute(
        "CREATE VIRTUAL TABLE IF NOT EXISTS temp.plain USING fts5(words, detail=none, tokenize='porter unicode61 remove_diacritics 2')"
    )
    record.execute("DELETE FROM temp.plain")
    for id, camera, at, objects, *texts in record.rows(
        "SELECT id, camera_id, started_at, coalesce(objects, '{}'), coalesce(summary, ''), coalesce(reasoning, ''), coalesce(notes, '') "
        "FROM events WHERE status <> 'merged' AND risk_level IS NOT NULL"
    ):
        words = " ".join([*texts, *json.loads(objects), f"c{camera.encode().hex()}z", "allz"])
        record.execute("INSERT INTO temp.plain(rowid, words) VALUES (?, ?)", at // 10**6 * 2**31 + id % 2**31, words)
    for name, where in (("plain", "temp"), ("search", "main")):
        record.execute(
            f"CREATE VIRTUAL TABLE IF NOT EXISTS temp.{name}_terms USING fts5vocab({where}, {name}, instance)"
        )
    terms = "SELECT term, doc FROM {}_terms ORDER BY 1, 2"
    assert record.rows(terms.format("search")) == record.rows(terms.format("plain"))
    assert record.rows("SELECT * FROM event_quarters ORDER BY 1, 2, 3, 4") == record.rows(
        "SELECT started_at / 900000000, camera_id, risk_score, reviewed, count(*) FROM events "
        "WHERE status <> 'merged' AND risk_level IS NOT NULL GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
    )
    for table, scan in {
        "heat": "SELECT quarter, camera_id, sum(n), max(risk_score) FROM event_quarters GROUP BY 1, 2",
        "event_totals": "SELECT object_type, camera_id, risk_level, reviewed, count(*) FROM facets GROUP BY 1, 2, 3, 4",
    }.items():
        assert sorted(record.rows(f"SELECT * FROM {table}")) == sorted(record.rows(scan))
    boxes = Counter(
        (camera, kind, next(n for n in range(100, -1, -1) if confidence >= n / 100))
        for camera, kind, confidence in record.rows("SELECT camera_id, object_type, confidence FROM detections")
    )
    assert {tuple(key): n for *key, n in record.rows("SELECT * FROM confidence_counts")} == boxes


def check_record(record, rules=RULES):
    check_conservation(record)
    events = {}
    for frame, event in record.rows("SELECT id, event_id FROM frames WHERE event_id IS NOT NULL"):
        events.setdefault(event, set()).add(frame)
    live = {
        r[0]: r[1:]
        for r in record.rows("SELECT id, frame_count, started_at, last_at FROM events WHERE status <> 'merged'")
    }
    assert set(live) == set(events)
    for event, (n, first, last) in live.items():
        assert min(events[event]) == event and len(events[event]) == n
        assert (first, last) == record.one(
            "SELECT min(captured_at), max(captured_at) FROM frames WHERE event_id = ?", event
        )
        assert last - first < rules.window
    restored = record.one(
        "SELECT 1 FROM meta WHERE key = 'record_restored'"
    )  # then revisions continue above the lost ones
    for event, revision, status, ended in record.rows("SELECT id, revision, status, ended_at FROM events"):
        feed = record.rows("SELECT revision, type FROM feed WHERE event_id = ? ORDER BY seq", event)
        revisions = [r for r, _ in feed]
        assert revisions == sorted(set(revisions)) and revisions[-1] == revision
        assert restored or revisions == list(range(1, revision + 1))
        assert feed[0][1] == "event.opened"
        assert status == "open" or feed[-1][1] == f"event.{status}"
        assert (ended is None) == (status == "open") or status == "merged"
    return {e: frozenset(f) for e, f in events.items()}
