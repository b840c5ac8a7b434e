"""What goes wrong, and how long: a table of faults, each of which is done and undone again, and a seeded schedule of them.

A fault is a context manager over a house; `schedule` lives one life of the pipeline after the other, bare and with `-r`,
with a detector in the process and one behind HTTP, with and without notifications, and lets one or two faults happen at a
time in each. Nothing here decides anything by a clock: a fault lasts as long as drawn, what it leads to is awaited.
"""

import json
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from typing import NamedTuple

from tests.torture.pictures import OLD, burst
from tests.torture.processes import LOCAL, REMOTE, each
from tests.torture.sandbox import LIMITS
from tests.torture.uploader import put_in

LIVES = {(False, LOCAL): "bare", (False, REMOTE): "bare, remote detector", (True, LOCAL): "with -r", (True, REMOTE): "with -r, remote detector"}  # fmt: skip
ENDS = {signal.SIGKILL: 6, signal.SIGTERM: 3, signal.SIGINT: 1}
# what dies, stops and freezes
AGAIN = ("redis", "llm", "detector", "uploader", "api", "webhook", "listeners", "reviewer", "analyst")
STEPS = (-7200, -20, 20, 7200)


class Fault(NamedTuple):
    """What it concerns, what happens to it, for how many seconds; one that needs a `place` of our own, or its library."""

    subject: str
    what: str
    seconds: tuple[float, float]
    do: object
    needs: str | None = None

    def possible(self, place):
        return {None: True, "place": place.inside, "library": bool(place.library)}[self.needs]


@contextmanager
def killed(house, name, stop=False, forget=False):
    part = house.parts[name]
    with part.turn:  # whoever looks after it does not see it dead
        part.stop() if stop else part.kill()
        try:
            yield
        finally:
            if forget:
                house.forget_redis()
            if not (part.ends and part.process.returncode == 0):
                part.start()


@contextmanager
def frozen(house, name):
    part = house.parts.get(name)
    part.freeze() if part else house.pipeline.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        part.thaw() if part else house.pipeline.signal(signal.SIGCONT)


@contextmanager
def killed_and_started(house):
    """In the middle of whatever else goes wrong, as a machine that loses its power."""
    house.put_down(signal.SIGKILL)
    try:
        yield
    finally:
        house.start_again()


@contextmanager
def locked(house):
    """Somebody begins to write into the record and goes for a coffee."""
    db = sqlite3.connect(house.data / "hearthwatch.db", timeout=60, isolation_level=None)
    try:
        db.execute("BEGIN IMMEDIATE")
        yield
    finally:
        db.close()


def clock_set(house, seconds):
    return house.place.clock_set(seconds)


@contextmanager
def refusing(house):
    house.refusing.touch()
    try:
        yield
    finally:
        house.refusing.unlink()


@contextmanager
def full(house):
    house.failed_at = float("inf")
    try:
        with house.place.full():
            yield
    finally:
        house.failed_at = time.monotonic()


FAULTS = [
    *(Fault(name, "kill -9", (0, 4), partial(killed, name=name)) for name in AGAIN),
    *(Fault(name, "SIGTERM", (0, 3), partial(killed, name=name, stop=True)) for name in AGAIN),
    *(Fault(name, "SIGSTOP", (0.5, 4), partial(frozen, name=name)) for name in ("pipeline", *AGAIN)),
    *[Fault("pipeline", "kill -9 in the middle, started again", (0, 1), killed_and_started)] * 4,
    Fault("redis", "kill -9, comes back empty", (0, 3), partial(killed, name="redis", forget=True)),
    *[Fault("record", "locked by another program", (0.5, 5), locked)] * 2,
    *[Fault("disk", "full", (0.5, 5), full, "place")] * 2,
    *[Fault("disk", "slow: a sync takes 0.1 s", (1, 6), lambda house: house.place.slow(0.1), "library")] * 2,
    *[Fault("thumbnails", "read-only", (1, 6), lambda house: house.place.read_only(house.data / "thumbnails"), "place")]
    * 2,
    *(Fault("clock", f"set by {n:+} s, and back", (0.5, 5), partial(clock_set, seconds=n), "library") for n in STEPS),
    *[Fault("webhook", "answers 503", (1, 8), refusing)] * 2,
]
OLD_SHARE = 0.3  # of the lives begin with old pictures that were put in before
PAUSE_SECONDS = (0.1, 1.5)
EARLY_SECONDS, EARLY_MAX = 1.5, 2  # ends before it has decided anything; more in a row would set a picture aside
PATIENCE_SECONDS = 120.0
BACKED_UP = 10  # in the second of so many lives
PATIENT = 4  # in every fourth life it is awaited that everything catches up


def schedule(house, seconds, say):
    """So many seconds of lives and faults; how many of each kind, by (subject, what)."""
    rnd, done = random.Random(f"{house.seed} faults"), Counter()
    possible = [fault for fault in FAULTS if fault.possible(house.place)]
    ends, lives, early = time.monotonic() + seconds, 0, 0
    with ThreadPoolExecutor(2) as pool:
        while time.monotonic() < ends:
            lives += 1
            kind = rnd.choice(list(LIVES))
            limit = rnd.choice([*LIMITS]) if house.place.inside and rnd.random() < 0.2 else None
            notify = rnd.random() < 0.8 or limit is not None
            early = early + 1 if early < EARLY_MAX and rnd.random() < 0.2 else 0
            done["pipeline", f"started {LIVES[kind]}"] += 1
            if limit or not notify:
                done["inotify", f"{limit} reached" if limit else "off, as on a network mount"] += 1
            with house.place.limited(limit) if limit else nullcontext():
                house.pipeline = house.live(resume=kind[0], detector=kind[1], notify=notify)
                if early:
                    time.sleep(rnd.uniform(0, EARLY_SECONDS))
                else:
                    count = 10 if lives % 8 == 0 else rnd.randint(1, 3)
                    suffer_all(house, count, lambda: happen(house, possible, rnd, pool, done))
                    if limit or not notify:
                        n = house.uploaded()
                        until(house, lambda n=n: known(house) >= n, "a sweep finds what no watcher reported")
                    if lives % PATIENT == 0:
                        catch_up(house)
                    if lives % BACKED_UP == 2:
                        back_up(house)
                end = signal.SIGKILL if early else rnd.choices(list(ENDS), list(ENDS.values()))[0]
                house.put_down(end)
            if rnd.random() < OLD_SHARE:
                leave_old(house, rnd)
                done["cameras", "old pictures put in while the pipeline was down"] += 1
            done["pipeline", end.name if end != signal.SIGKILL else "kill -9"] += 1
            say(f"{lives} lives, {count_faults(done)} faults")
            time.sleep(rnd.uniform(0, 1))
    return done


def back_up(house):
    """As the documentation says it, while the pipeline runs."""
    path = house.data / "hearthwatch.db"
    with closing(sqlite3.connect(path, timeout=60)) as record, closing(sqlite3.connect(house.backup)) as backup:
        record.backup(backup)


def leave_old(house, rnd):
    """Pictures of hours ago, of one camera, for the next start to find."""
    taken, count = time.time() - rnd.uniform(600, 7200), rnd.randint(*OLD)
    pictures = burst(rnd, 0, taken, f"{house.seed} old {house.put_in}", count)
    put_in(os.fsencode(house.base), os.fsencode(house.base) + b"-old", pictures, taken)
    house.put_in += count


def count_faults(done):
    """A start is none."""
    return sum(n for (_, what), n in done.items() if not what.startswith("started"))


def suffer_all(house, count, fault):
    """So many faults, and then the pipeline works again."""
    before = at_work(house)
    for _ in range(count):
        fault()
    at_work(house)  # it may have given up, and have been started again
    until(house, lambda: gets_on(house, before), "the pipeline decides pictures again")


def happen(house, possible, rnd, pool, done):
    """One fault, or two of different things at a time."""
    chosen = [rnd.choice(possible)]
    if rnd.random() < 0.3:
        chosen += [other for other in rnd.sample(possible, 2) if other.subject != chosen[0].subject][:1]
    for one in chosen:
        done[one.subject, one.what] += 1
    before = decided(house)
    lasting = [pool.submit(suffer, house, one, rnd.uniform(*one.seconds)) for one in chosen]
    pause = rnd.uniform(*PAUSE_SECONDS)
    for ended in lasting:
        ended.result()
    house.look()
    if any(one.do is killed_and_started for one in chosen):
        at_work(house)
        until(house, lambda: gets_on(house, before), "the pipeline decides pictures after a kill in the middle")
    time.sleep(pause)


def suffer(house, fault, seconds):
    with fault.do(house):
        time.sleep(seconds)


def at_work(house):
    """Wait until the pipeline works; how many pictures are decided in each cell."""
    sql = "SELECT 1 FROM heartbeat WHERE chain = 'see' AND pid = ?"
    until(house, lambda: all(each(house.pipeline, sql, house.pipeline.pid)), "the pipeline works")
    return decided(house)


def decided(house):
    return each(house.pipeline, "SELECT sum(n) FROM counters WHERE name IN ('settled', 'quarantined')")


def catch_up(house):
    """No restart is needed: what is there now is judged and told by those that run, whatever they went through."""
    p = house.pipeline
    sql = "SELECT json_group_array(id || ' ' || closed_at) FROM events WHERE status = 'closed' AND analysis_status = 'pending'"
    pending = lambda: {event for found in each(p, sql) for event in json.loads(found or "[]")}  # noqa: E731
    waiting = pending()
    until(house, lambda: waiting.isdisjoint(pending()), "what was closed is judged without a restart")
    last = each(p, "SELECT max(seq) FROM feed")
    until(house, lambda: has_all(house.in_redis(), last), "Redis has it without a restart")
    until(house, lambda: has_all(house.heard(), last), "the live clients have it without a restart")


def has_all(heard, last):
    return len(heard) == len(last) and all(one >= other for one, other in zip(heard, last, strict=True))


def known(house):
    return sum(each(house.pipeline, "SELECT count(*) FROM frames WHERE attempt = 1"))


def gets_on(house, before):
    """No life ends before each cell has decided something: a picture that was in hand at five ends would be set aside."""
    waiting = each(house.pipeline, "SELECT n FROM counters WHERE name = 'discovered'")
    return all(now > then or not n for now, then, n in zip(decided(house), before, waiting, strict=True))


def until(house, condition, what, seconds=PATIENCE_SECONDS):
    """Wait until it holds; who ends by himself meanwhile is started again and told of."""
    deadline = time.monotonic() + seconds
    while not condition():
        house.look()
        if time.monotonic() > deadline:
            return house.wrong(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)
    return None
