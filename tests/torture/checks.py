"""What has to be so when everything is over. Each check is a name, what was found in a few words, and what is amiss."""

import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import accumulate, zip_longest
from typing import NamedTuple

import psutil
import redis

from hearthwatch.cli.verify import uploads
from hearthwatch.record.feed import Feed
from hearthwatch.record.incidents import Activity, connect, number_of
from hearthwatch.record.lake.export import Lake
from hearthwatch.record.read import verify as checks
from hearthwatch.record.units import CELL_BITS
from hearthwatch.schemas.context import Cell
from hearthwatch.schemas.testing import temporary_context
from hearthwatch.sinks.notifier import NotifierWorker
from hearthwatch.sinks.webhook import Webhook, _key
from tests.support.invariants import check_feed
from tests.support.pipeline import ROOT
from tests.torture.pictures import plan
from tests.torture.processes import LISTENERS, REACH, RULES, STREAMS, numbers, paths

KEPT, NODE = 10_000, 200  # entries that the stream keeps, and what it may keep more


class Check(NamedTuple):
    name: str
    found: str
    amiss: list


def some(things, most=5):
    shown = [str(thing) for thing in list(things)[:most]]
    return shown + ([f"… and {len(things) - most} more"] if len(things) > most else [])


class Files:
    """The upload tree against the ledgers of all cells. `early`: rows of files that were taken in before they were whole."""

    def __init__(self, house, records):
        self.house = house
        self.disk = Counter((file.path, file.mtime_ns, file.size) for file in uploads(house.base))
        sql = "SELECT path, mtime_ns, size, id, state, attempt FROM frames ORDER BY id"
        rows = [row for record in records for row in record.rows(sql)]
        self.ledger = defaultdict(list)  # file → the states of its rows: what is not the last was retried
        for row in rows:
            self.ledger[row[:3]].append(row[4])
        whole = {path for path, _, _ in self.disk}
        gone = [row for row in rows if row[:3] not in self.disk]
        self.early = [row[3] for row in gone if row[0] in whole and (row[4] == "quarantined" or row[5] > 1)]
        self.strange = [row for row in gone if row[3] not in self.early]

    def lost(self):
        missing = list(self.disk.keys() - self.ledger.keys())
        planned = self.house.put_in + sum(1 for _ in plan(self.house.seed, self.house.began, self.house.seconds))
        amiss = [f"on disk but not in the ledger: {path}" for path in some(missing)]
        if sum(self.disk.values()) != planned:
            amiss.append(f"{planned} pictures were planned, {sum(self.disk.values())} are on disk")
        return Check("lost", str(len(missing)), amiss)

    def doubled(self):
        twice = [key for key, states in self.ledger.items() if {*states[:-1]} - {"quarantined"}]
        strange = [f"in the ledger but not on disk: {row}" for row in some(self.strange)]
        return Check("doubled", str(len(twice) + len(self.strange)), [f"twice: {key}" for key in some(twice)] + strange)


def of_each(check, records):
    """One check of what it finds in each cell's record; it is called with the number of the cell, too."""
    found = [check(n, record) for n, record in enumerate(records)]
    return Check(found[0].name, "; ".join(one.found for one in found), [line for one in found for line in one.amiss])


def ledger(_, record):
    n = record.counters()
    amiss = [*checks.database(record), *checks.counters(record), *checks.rows(record)]
    try:
        check_feed(record)
    except AssertionError as error:
        amiss.append(str(error))
    long = record.rows("SELECT id FROM events WHERE status <> 'merged' AND last_at - started_at >= ?", RULES.window)
    amiss += [f"event {event} is longer than its window" for event in some(long)]
    by = dict(
        record.rows("SELECT coalesce(error_stage, 'files'), count(*) FROM frames WHERE error IS NOT NULL GROUP BY 1")
    )
    aside = ", ".join(f"{stage} {count}" for stage, count in sorted(by.items()))
    if deaths := record.rows("SELECT path FROM frames WHERE error LIKE 'the process ended%'"):
        amiss.append(f"set aside after five ends of the process: {some(deaths)}")
    total = n["settled"] + n["discovered"] + n["quarantined"]
    found = f"{total} = {n['settled']} settled + {n['discovered']} waiting + {n['quarantined']} quarantined ({aside})"
    return Check("the ledger adds up", found, amiss + (["pictures wait"] if n["discovered"] else []))


def judged(_, record):
    sql = "SELECT status || ' ' || analysis_status || ' by ' || analyzer, count(*) FROM events WHERE status <> 'merged' GROUP BY 1"
    by = {what: f"{n} {what}" for what, n in record.rows(sql)}
    amiss = [found for what, found in by.items() if what != "closed done by nemotron"]
    return Check("every closed event is judged", ", ".join(by.values()) or "none", amiss)


def incidents(records, reach=REACH):
    """The events of all cells are grouped as the definition has it for what their records hold; the first one has the incidents."""
    first, *others = records
    kept = {id for (id,) in first.rows("SELECT id FROM incidents WHERE kept")}
    sql = (
        "SELECT id, camera_id, started_at + coalesce(clock_offset_ms, 0) * 1000, last_at + coalesce(clock_offset_ms, 0) * 1000, "
        "carries, incident_id, risk_score FROM events WHERE status <> 'merged'"
    )
    linked, scores, events = defaultdict(set), {}, []
    for *times, incident, score in (row for record in records for row in record.rows(sql)):
        events.append(Activity(*times, kept=incident if incident in kept else None))
        scores[events[-1].id] = score
        linked[incident].add(events[-1].id)
    groups = {number_of(group): group for group in connect(events, reach)}
    amiss = [
        f"incident {id} is of {sorted(linked[id])}, not of {sorted(e.id for e in groups.get(id, ()))}"
        for id in linked.keys() | groups.keys()
        if linked[id] != {e.id for e in groups.get(id, ())}
    ]
    rows = "SELECT id, event_count, risk_score, cameras FROM incidents WHERE status <> 'merged'"
    found = {id: (count, score, {*json.loads(cameras)}) for id, count, score, cameras in first.rows(rows)}
    wanted = {id: (len(g), max(scores[e.id] for e in g), {e.camera for e in g}) for id, g in groups.items()}
    amiss += [
        f"incident {id} has {found.get(id)}, not {wanted.get(id)}"
        for id in found.keys() | wanted.keys()
        if found.get(id) != wanted.get(id)
    ]
    amiss += [f"{other.path} has incidents" for other in others if other.one("SELECT 1 FROM incidents")]
    spanning = sum(len({e.id >> CELL_BITS for e in group}) > 1 for group in groups.values())
    words = f"{len(groups)} of {len(events)} events, {spanning} across cells"
    return Check("incidents are those of the definition", words, some(amiss))


# -- whoever reads it


def delivered(house, n, record):
    """Redis's stream is the end of the feed."""
    feed = record.rows("SELECT seq, payload FROM feed ORDER BY seq")
    with redis.Redis.from_url(house.environment["REDIS_URL"], decode_responses=True, socket_timeout=60) as client:
        stream = [(int(id.removesuffix("-0")), fields["data"]) for id, fields in client.xrange(STREAMS[n])]
    amiss = []
    if stream != feed[-len(stream) :]:
        amiss.append(f"the stream is not the end of the feed: {some(set(stream) ^ set(feed[-len(stream) :]), 2)}")
    if not min(KEPT, len(feed)) <= len(stream) <= KEPT + NODE:
        amiss.append(f"the stream holds {len(stream)} of {len(feed)} messages")
    return Check("Redis's stream is the feed", f"the last {len(stream)} of {len(feed)} messages, in order", amiss)


class KeyCollector(NotifierWorker):
    """Keeps the key of what it should send."""

    def notify(self, message):
        self.keys.append(_key(message, self.context.cell))


def allowed(record, n=0):
    """What the policy of a notifier lets through, by Idempotency-Key, in order."""
    with temporary_context() as here:
        here = replace(here, cell=Cell(n, str(n), here.record_path, here.data_dir, here.base_path))
        worker, feed, seq = (
            KeyCollector(Webhook(url="http://there", messages="event", pause_seconds=0), here),
            Feed(record),
            0,
        )
    worker.keys = []
    while messages := feed.after(seq, 1000):
        seq = messages[-1].seq
        worker.deliver(messages)
    return worker.keys


def notified(house, records):
    """The receiver of webhooks has what the policy allows, of each cell in order; what comes again comes by another connection."""
    cells = [allowed(record, n) for n, record in enumerate(records)]
    expected = [key for keys in cells for key in keys]
    notes = house.notes / "webhook"
    lines = [line.split() for line in notes.read_text().splitlines()] if notes.exists() else []
    keys = list(dict.fromkeys(key for _, key in lines))
    amiss = [f"of no cell: {key}" for key in some(set(keys) - set(expected))]
    for wanted in cells:
        mine = [key for key in keys if key in set(wanted)]
        if mine != wanted:
            amiss.append(f"{len(mine)} of {len(wanted)} messages, the first gap: {differ(mine, wanted)}")
    twice = [f"twice by one connection: {line}" for line, n in Counter(map(tuple, lines)).items() if n > 1]
    found = f"{len(expected)} messages, {len(lines) - len(keys)} again after an end"
    return Check("the webhook got what the policy allows", found, amiss + some(twice))


def differ(some_keys, others):
    return next((pair for pair in zip_longest(some_keys, others) if pair[0] != pair[1]), None)


def heard(house, records):
    """Each client heard each message of each cell, in order."""
    lasts, amiss, again = [record.one("SELECT max(seq) FROM feed")[0] for record in records], [], 0
    for n in range(LISTENERS):
        positions = [numbers(line) for line in (house.notes / str(n)).read_text().split()]
        again += len(positions)
        for cell, last in enumerate(lasts):
            seqs = [position[cell] for position in positions]
            first = [seq for seq, before in zip(seqs, accumulate([0, *seqs], max), strict=False) if seq > before]
            again -= len(first)
            if first != list(range(1, last + 1)):
                amiss.append(f"client {n} heard {len(first)} of {last} messages, the first gap after {gap(first)}")
    found = f"{LISTENERS} clients, {' + '.join(map(str, lasts))} messages each, {again} twice"
    return Check("each live client heard the feed", found, amiss)


def gap(seqs):
    return next((n for n, seq in enumerate(seqs, 1) if n != seq), len(seqs))


def retried(house, records):
    """Each retry that the API has confirmed has its row."""
    asked, sql = house.notes / "retries", "SELECT id FROM frames WHERE attempt > 1"
    there = {id for record in records for (id,) in record.rows(sql)}
    frames = [int(line) for line in asked.read_text().split()] if asked.exists() else []
    missing = [id for id in frames if id not in there]
    return Check("pictures retried", f"{len(there)} times", [f"no frame {id}" for id in some(missing)])


def noted(house, records):
    """What the API has said is done is in the record; what it said nothing about may be."""
    notes, tried, done, amiss = house.notes / "reviews", {}, {}, []
    for what, event, n in map(str.split, notes.read_text().splitlines() if notes.exists() else []):
        (tried if what == "try" else done)[int(event)] = int(n)
    sql = "SELECT id, notes FROM events WHERE status <> 'merged'"
    kept = {id: note for record in records for id, note in record.rows(sql)}
    for event in done.keys() & kept.keys():
        if not done[event] <= int(kept[event] or 0) <= tried[event]:
            amiss.append(f"event {event}: note {kept[event]} instead of {done[event]}")
    return Check("notes on events are kept", f"{len(done.keys() & kept.keys())} events", some(amiss))


def answered(house):
    lines = (house.notes / "answers").read_text().splitlines()
    wrong = [line for line in lines if not re.fullmatch(r"ok \d+", line)]
    return Check(
        "the analyst got right answers", f"{len(lines)} answers", some(wrong) + ([] if lines else ["no answer at all"])
    )


def lake(house, records):
    """After a last export, as `hearthwatch sql` makes it; it reads the lakes of all cells."""
    counts = [f"(SELECT count(*) FROM {table})" for table in ("frames", "detections", "events")]
    done = hearthwatch(house, "sql", "--csv", f"SELECT {', '.join(counts)}")
    rows = [sum(counted) for counted in zip(*(r.one(f"SELECT {', '.join(counts)}") for r in records), strict=True)]
    said = done.stdout.strip().splitlines()[-1:]
    lakes = [Lake(record, path.parent) for record, path in zip(records, paths(house.data), strict=True)]
    amiss = [line for record, lake in zip(records, lakes, strict=True) for line in checks.lake(record, lake)]
    amiss += [f"not exported: {hour}" for lake in lakes for hour in lake.dirty_hours()]
    if said != [",".join(map(str, rows))]:
        amiss.append(f"SQL counts {said}, the record {rows}: {done.stderr[-300:]}")
    return Check("the lake is the record", "{} frames, {} detections, {} events".format(*rows), some(amiss))


def verified(house):
    """Each cell without the upload tree, which they share: `Files` compares it with all of them."""
    (empty := house.folder / "empty").mkdir(exist_ok=True)
    here, amiss = {"HEARTHWATCH_CELLS": "1", "FOSCAM_BASE_PATH": str(empty)}, []
    for path in paths(house.data):
        done = hearthwatch(house, "verify", **here, HEARTHWATCH_DATA_DIR=str(path.parent))
        amiss += [done.stdout[-1500:] + done.stderr[-500:]] if done.returncode else []
    return Check("hearthwatch verify", "amiss" if amiss else "in order", amiss)


def hearthwatch(house, *arguments, **environment):
    command = [sys.executable, "-m", "hearthwatch.cli", *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **house.environment, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


# -- what is left


def missing_thumbnails(house, records):
    return [
        one
        for record, path in zip(records, paths(house.data), strict=True)
        for one in checks.thumbnails(record, path.parent)
    ]


def thumbnails(house, records):
    sql = "SELECT count(*) FROM frames WHERE thumbnail_path IS NOT NULL"
    wanted = sum(record.one(sql)[0] for record in records)
    return Check(
        "each frame with boxes has its thumbnail", f"{wanted} thumbnails", some(missing_thumbnails(house, records))
    )


def temporary(house):
    """Files that somebody had begun to write."""
    hidden = [path for path in house.data.rglob(".*") if path.is_file() and path.name not in (".round", ".views")]
    return hidden + [path for path in house.temporary.rglob("*") if path.is_file()]


def no_temporary_files(house):
    return Check("temporary files left", str(len(temporary(house))), some(temporary(house)))


def nobody_left():
    left = psutil.Process().children(recursive=True)
    return Check("processes left", str(len(left)), some([" ".join([p.status(), *p.cmdline()[:5]]) for p in left]))


def nobody_failed(house):
    what = "nobody ended by itself, ignored a stop or left a traceback"
    return Check(what, f"{len(house.amiss)} times", some(house.amiss, 20))


def planned_ways(house):
    return Counter(one.how for one in plan(house.seed, house.began, house.seconds))
