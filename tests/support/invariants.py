"""What holds in a record at every commit."""

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
