"""A slow, failing, missing language model while pictures keep coming and the pipeline is killed -9.

    python tests/long/verdicts.py kill [KILLS=30] [SEED=1]     # verdicts of 0.5 to 2 s, one in five a 500
    python tests/long/verdicts.py pictures [KILLS=30] [SEED=1] # the same, with pictures, about open events, too
    python tests/long/verdicts.py dead [SECONDS=60]            # no server for so long, then one; against a run with one

`kill`: bare runs and runs with `-r` at random, a real Redis beside them; at the end every closed event has to be analyzed,
no revision twice, the feed without a gap, and the stream in Redis the same, each row once and in order. `dead`: events have to open and close as if nothing was missing, and to be analyzed afterwards.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from itertools import groupby, pairwise
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]

from tests.support.llm_server import Standin, images  # noqa: E402
from tests.support.pipeline import Nursery, Pipeline, name, rules_and_options  # noqa: E402
from tests.support.redis_server import RedisServer  # noqa: E402

_, BATCH = rules_and_options(1.8, 0.6, 0.4)
CAMERAS = 6
TOLD = """
[redis]
use = "redis"
from = "sqlite"
"""
JUDGED = """
[analyze]
use = "nemotron"
from = "batch"
attempts = 50

[sqlite]
use = "sqlite"
from = ["batch", "analyze"]
"""


class Uploads(threading.Thread):
    """Pictures of six cameras, a walk of a second each and a pause, until it is told to stop."""

    def __init__(self, pipeline, seed):
        super().__init__(daemon=True)
        self.pipeline, self.random, self.stopping, self.count = pipeline, random.Random(seed), threading.Event(), 0

    def run(self):
        while not self.stopping.wait(0.12):
            camera = f"cam {int(time.time() / 2 + self.random.randint(0, 1)) % CAMERAS}"
            self.pipeline.upload(camera, name(time.time(), str(self.count)))
            self.count += 1

    def stop(self):
        self.stopping.set()
        self.join()


def kill(kills, seed, pictures=False):
    rnd, done = random.Random(seed), Counter()
    with (
        Nursery() as nursery,
        tempfile.TemporaryDirectory() as folder,
        Standin(seconds=(0.1, 1.0) if pictures else (0.5, 2.0), failing=0.2, pictures=pictures) as server,
    ):
        redis = RedisServer(Path(folder) / "redis").start()
        urls = {"NEMOTRON_URL": server.url, "REDIS_URL": redis.url}
        options = 'boxes = 1\nkind = "bear"' if pictures else "boxes = 1"  # bears are high at any hour
        batch = "window_seconds = 6\nidle_timeout_seconds = 2\nlateness_seconds = 0.4" if pictures else BATCH
        p = Pipeline(folder, options=options, batch=batch, more=JUDGED + TOLD, nursery=nursery, **urls)
        uploads = Uploads(p, seed)
        uploads.start()
        for _ in range(kills):
            resume = rnd.random() < 0.5
            p.start(resume=resume, snapshot_seconds=1)
            time.sleep(rnd.uniform(0.3, 4.0))
            assert not p.ended(), f"it died by itself:\n{p.said()}"
            p.kill()
            done["with -r" if resume else "bare"] += 1
        uploads.stop()
        p.start().until(lambda: all_judged(p, uploads.count), timeout=180)
        feed = [seq for (seq,) in p.rows("SELECT seq FROM feed ORDER BY seq")]
        p.until(lambda: told(redis)[-1:] == feed[-1:]).stop()
        assert told(redis) == feed, "the stream is not the feed"
        redis.kill()
        events, asked = prove(p, *(("event.opened", "event.raised") if pictures else ())), len(server.questions)
        if pictures:
            shown = sum(bool(images(question)) for question in server.questions)
            sql = "SELECT count(*) FROM event_history WHERE type = 'event.analyzed' AND picture_verdict IS NOT NULL"
            early = sum(
                a != "event.closed" and b == "event.analyzed" for kinds in revisions(p) for a, b in pairwise(kinds)
            )
            print(f"{shown} questions with pictures, {p.rows(sql)[0][0]} such verdicts stored, {early} of open events")
        print(
            f"{sum(done.values())} kills ({dict(done)}), {uploads.count} pictures, {events} events, {asked} questions, most at once {server.most_at_once}"
        )


def told(redis):
    """The numbers of the entries in Redis's stream, in its order."""
    with redis.client() as client:
        return [int(id.split("-")[0]) for id, _ in client.xrange("security_events:stream")]


def all_judged(p, pictures):
    if p.rows("SELECT count(*) FROM frames WHERE state <> 'discovered'") != [(pictures,)]:
        return False
    return p.rows(
        "SELECT count(*) FROM events WHERE status = 'open' OR (status = 'closed' AND analysis_status = 'pending')"
    ) == [(0,)]


def revisions(p):
    """The types of each event's revisions, in order."""
    rows = p.rows("SELECT event_id, type FROM feed WHERE kind = 'event' ORDER BY event_id, revision")
    return [[kind for _, kind in some] for _, some in groupby(rows, key=lambda row: row[0])]


def prove(p, *judged):
    """Every event analyzed, no revision twice, no gap in the feed; how many events."""
    feed = p.rows("SELECT seq, event_id, revision, type FROM feed ORDER BY seq")
    assert [row[0] for row in feed] == list(range(1, len(feed) + 1)), "the feed has a gap"
    feed = [row for row in feed if row[1] is not None]  # without system messages
    revisions = {}
    for _, event, revision, kind in feed:
        revisions.setdefault(event, []).append((revision, kind))
    for event, told in revisions.items():
        assert [revision for revision, _ in told] == list(range(1, len(told) + 1)), (event, told)
        kinds = [kind for _, kind in told]
        if kinds[-1] != "event.merged":
            assert kinds[-1] in ("event.analyzed", *("event.closed" for _ in judged)), (event, kinds)
        assert all(a in ("event.closed", *judged) for a, b in pairwise(kinds) if b == "event.analyzed"), (
            event,
            kinds,
        )
    wrong = p.rows(
        "SELECT id, analysis_status, analyzer FROM events WHERE status = 'closed' AND (analysis_status, analyzer) <> ('done', 'nemotron')"
    )
    assert not wrong, wrong
    return len(revisions)


def dead(seconds):
    delays = {}
    for kind in ("up", "dead"):
        with tempfile.TemporaryDirectory() as folder:
            server = Standin(seconds=(0.5, 2.0))
            if kind == "dead":
                server.server.server_close()
            else:
                server.__enter__()
            p = Pipeline(folder, options="boxes = 1", batch=BATCH, more=JUDGED, NEMOTRON_URL=server.url)
            p.start().until(lambda p=p: p.rows("SELECT 1 FROM heartbeat WHERE chain = 'see'"))
            uploads = Uploads(p, 1)
            uploads.start()
            time.sleep(seconds)
            ((waiting,),) = p.rows(
                "SELECT count(*) FROM events WHERE status <> 'merged' AND analysis_status = 'pending'"
            )
            judged = p.rows("SELECT count(*) FROM events WHERE analyzer = 'nemotron'")[0][0]
            if kind == "dead":
                assert not judged
                server.__init__(seconds=(0.5, 2.0), port=server.port)
                server.__enter__()
                back = time.monotonic()
                server.wait_for(1, 30)
                print(f"the first question came {time.monotonic() - back:.1f} s after the server")
            uploads.stop()
            p.until(lambda p=p, uploads=uploads: all_judged(p, uploads.count), timeout=180).stop()
            prove(p)
            server.__exit__()
            delays[kind] = latencies(p)
            print(
                f"{kind}: {uploads.count} pictures, after {seconds:g} s {waiting} waiting and {judged} judged; {json.dumps(delays[kind])}"
            )
    opened = [delays[kind]["opened p99 ms"] for kind in ("dead", "up")]
    print(f"opened p99 without / with a server: {opened[0] / opened[1]:.2f}")


def latencies(p):
    """Milliseconds from a picture's arrival to its event's first word; from when it was due to its close."""
    opened = sorted(
        p.rows(
            "SELECT (e.opened_at - f.mtime_ns / 1000) / 1000 FROM events e JOIN frames f ON f.id = e.id WHERE f.id > 20"
        )
    )
    closed = sorted(p.rows("SELECT (closed_at - close_at) / 1000 FROM events WHERE id > 20"))
    print(f"the slowest to open: {[round(row[0]) for row in opened[-4:]]} ms")
    return {
        f"{what} p{share} ms": rows[min(len(rows) - 1, len(rows) * share // 100)][0]
        for what, rows in (("opened", opened), ("closed", closed))
        for share in (50, 99)
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["kill", "pictures", "dead"])
    parser.add_argument("amount", type=float, nargs="?")
    parser.add_argument("seed", type=int, nargs="?", default=1)
    a = parser.parse_args()
    dead(a.amount or 60.0) if a.what == "dead" else kill(int(a.amount or 30), a.seed, a.what == "pictures")
