"""What has to be so when everything is over. Each check is a name, what was found in a few words, and what is amiss."""

import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import accumulate, zip_longest
from typing import NamedTuple

import psutil
import redis

from hearthwatch.cli.verify import uploads
from hearthwatch.record.feed import Feed
from hearthwatch.record.lake.export import Lake
from hearthwatch.record.read import verify as checks
from hearthwatch.schemas.testing import temporary_context
from hearthwatch.sinks.notifier import NotifierWorker
from hearthwatch.sinks.webhook import Webhook, _key
from tests.support.invariants import check_feed
from tests.support.pipeline import ROOT
from tests.torture.pictures import plan
from tests.torture.processes import LISTENERS, RULES, STREAM

KEPT, NODE = 10_000, 200  # entries that the stream keeps, and what it may keep more


class Check(NamedTuple):
    name: str
    found: str
    amiss: list


def some(things, most=5):
    shown = [str(thing) for thing in list(things)[:most]]
    return shown + ([f"… and {len(things) - most} more"] if len(things) > most else [])


class Files:
    """The upload tree against the ledger. `early`: rows of files that were taken in before they were whole."""

    def __init__(self, house, record):
        self.house = house
        self.disk = Counter((file.path, file.mtime_ns, file.size) for file in uploads(house.base))
        rows = record.rows("SELECT path, mtime_ns, size, id, state, attempt FROM frames ORDER BY id")
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


def ledger(record):
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


def judged(record):
    sql = "SELECT status || ' ' || analysis_status || ' by ' || analyzer, count(*) FROM events WHERE status <> 'merged' GROUP BY 1"
    by = {what: f"{n} {what}" for what, n in record.rows(sql)}
    amiss = [found for what, found in by.items() if what != "closed done by nemotron"]
    return Check("every closed event is judged", ", ".join(by.values()) or "none", amiss)


# -- whoever reads it


def told(house, record):
    """Redis's stream is the end of the feed."""
    feed = record.rows("SELECT seq, payload FROM feed ORDER BY seq")
    with redis.Redis.from_url(house.environment["REDIS_URL"], decode_responses=True, socket_timeout=60) as client:
        stream = [(int(id.removesuffix("-0")), fields["data"]) for id, fields in client.xrange(STREAM)]
    amiss = []
    if stream != feed[-len(stream) :]:
        amiss.append(f"the stream is not the end of the feed: {some(set(stream) ^ set(feed[-len(stream) :]), 2)}")
    if not min(KEPT, len(feed)) <= len(stream) <= KEPT + NODE:
        amiss.append(f"the stream holds {len(stream)} of {len(feed)} messages")
    return Check("Redis's stream is the feed", f"the last {len(stream)} of {len(feed)} messages, in order", amiss)


class KeyCollector(NotifierWorker):
    """Keeps the key of what it should send."""

    def notify(self, message):
        self.keys.append(_key(message))


def allowed(record):
    """What the policy of a notifier lets through, by Idempotency-Key, in order."""
    with temporary_context() as here:
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


def notified(house, record):
    """The receiver of webhooks has what the policy allows, in order; what comes again comes by another connection."""
    expected = allowed(record)
    notes = house.notes / "webhook"
    lines = [line.split() for line in notes.read_text().splitlines()] if notes.exists() else []
    keys = list(dict.fromkeys(key for _, key in lines))
    amiss = (
        []
        if keys == expected
        else [f"{len(keys)} of {len(expected)} messages, the first gap: {differ(keys, expected)}"]
    )
    twice = [f"twice by one connection: {line}" for line, n in Counter(map(tuple, lines)).items() if n > 1]
    found = f"{len(expected)} messages, {len(lines) - len(keys)} again after an end"
    return Check("the webhook got what the policy allows", found, amiss + some(twice))


def differ(some_keys, others):
    return next((pair for pair in zip_longest(some_keys, others) if pair[0] != pair[1]), None)


def heard(house, record):
    """Each client heard each message, in order."""
    (last,), amiss, again = record.one("SELECT max(seq) FROM feed"), [], 0
    for n in range(LISTENERS):
        seqs = [int(line) for line in (house.notes / str(n)).read_text().split()]
        first = [seq for seq, before in zip(seqs, accumulate([0, *seqs], max), strict=False) if seq > before]
        again += len(seqs) - len(first)
        if first != list(range(1, last + 1)):
            amiss.append(f"client {n} heard {len(first)} of {last} messages, the first gap after {gap(first)}")
    return Check("each live client heard the feed", f"{LISTENERS} clients, {last} messages each, {again} twice", amiss)


def gap(seqs):
    return next((n for n, seq in enumerate(seqs, 1) if n != seq), len(seqs))


def retried(house, record):
    """Each retry that the API has confirmed has its row."""
    asked, (rows,) = house.notes / "retries", record.one("SELECT count(*) FROM frames WHERE attempt > 1")
    frames = [int(line) for line in asked.read_text().split()] if asked.exists() else []
    missing = [id for id in frames if record.one("SELECT 1 FROM frames WHERE id = ? AND attempt > 1", id) is None]
    return Check("pictures retried", f"{rows} times", [f"no frame {id}" for id in some(missing)])


def noted(house, record):
    """What the API has said is done is in the record; what it said nothing about may be."""
    notes, tried, done, amiss = house.notes / "reviews", {}, {}, []
    for what, event, n in map(str.split, notes.read_text().splitlines() if notes.exists() else []):
        (tried if what == "try" else done)[int(event)] = int(n)
    kept = dict(record.rows("SELECT id, notes FROM events WHERE status <> 'merged'"))
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


def lake(house, record):
    """After a last export, as `hearthwatch sql` makes it."""
    counts = [f"(SELECT count(*) FROM {table})" for table in ("frames", "detections", "events")]
    done = hearthwatch(house, "sql", "--csv", f"SELECT {', '.join(counts)}")
    rows = record.one(f"SELECT {', '.join(counts)}")
    said = done.stdout.strip().splitlines()[-1:]
    amiss = [
        *checks.lake(record, Lake(record, house.data)),
        *(f"not exported: {hour}" for hour in Lake(record, house.data).dirty_hours()),
    ]
    if said != [",".join(map(str, rows))]:
        amiss.append(f"SQL counts {said}, the record {rows}: {done.stderr[-300:]}")
    return Check("the lake is the record", "{} frames, {} detections, {} events".format(*rows), some(amiss))


def verified(house):
    done = hearthwatch(house, "verify")
    amiss = [done.stdout[-1500:] + done.stderr[-500:]] if done.returncode else []
    return Check("hearthwatch verify", "amiss" if amiss else "in order", amiss)


def hearthwatch(house, *arguments):
    command = [sys.executable, "-m", "hearthwatch.cli", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **house.environment}, capture_output=True, text=True, timeout=300
    )


# -- what is left


def missing_thumbnails(house, record):
    return list(checks.thumbnails(record, house.data))


def thumbnails(house, record):
    (wanted,) = record.one("SELECT count(*) FROM frames WHERE thumbnail_path IS NOT NULL")
    return Check(
        "each frame with boxes has its thumbnail", f"{wanted} thumbnails", some(missing_thumbnails(house, record))
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
