"""Process the same pictures in each way that cells run, killed again and again, and compare each way with one pipeline by content.

    python tests/long/cells.py [WAY ...] [--kills 10] [--rounds 300] [--cells 4] [--seed 1]

Ways: `w1`, `w2`, `w4` are `bytewax.run -w N`; `ia` two processes of `-i/-a`; `p2` is `bytewax.testing -p 2`; `run` is `hearthwatch run`
with two worker processes. A round is a picture of each of twelve cameras; a portion of them comes before each kill. A process of `w`
and `ia` dies before or after a commit that was drawn; one of `p2` and `run`, or `run` itself, when so many pictures more are decided.
Three cameras each are neighbours, and in cells one after the other: so incidents span cells, and are compared like everything else.
"""

import argparse
import fcntl
import json
import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]

from hearthwatch.record import Record  # noqa: E402
from hearthwatch.record.cameras import add_camera, edit_camera  # noqa: E402
from hearthwatch.record.cells import find_cells, prepare_cell  # noqa: E402
from hearthwatch.record.content import Content  # noqa: E402
from hearthwatch.record.paths import camera_id  # noqa: E402
from hearthwatch.sources.inflight import STARTS_MAX  # noqa: E402
from tests.flows.test_cell_incidents import incidents  # noqa: E402
from tests.flows.test_cells import BATCH, Cluster, union, union_of_one  # noqa: E402
from tests.support.pipeline import NOT_LINKED, Nursery, Pipeline, name, picture  # noqa: E402
from tests.support.ports import free_port  # noqa: E402

T, CAMERAS = 1_700_000_000, [f"camera {n}" for n in range(12)]
NEIGHBOURS = 3  # cameras, of as many cells
GROUP = 5  # rounds, and then a pause that ends each event
VISIT = 4  # groups, and then a pause that ends each incident
COMMITS = 60  # a process dies at one of its first so many
TESTING = [sys.executable, "-m", "bytewax.testing", "-p", "2", "flow"]
RUN = [sys.executable, "-P", "-m", "hearthwatch.cli", "run"]
WAIT_SECONDS = 120.0
IN_FLIGHT = "SELECT 1 FROM frames WHERE state = 'discovered' AND starts >= ?"  # one end more and it is quarantined
UNDELIVERED = "SELECT 1 FROM cursors WHERE name IN ('jsonl', 'incident') AND seq < (SELECT max(seq) FROM feed)"


class Way:
    """Cells of one data dir, and processes of Bytewax that work on them and are killed."""

    def __init__(self, folder, nursery, rnd, cells):
        self.rnd, self.files, self.kills = rnd, 0, Counter()
        more = {
            "HEARTHWATCH_WORKERS": "2",
            "HEARTHWATCH_API_PORT": str(free_port()),
            "NEMOTRON_URL": "",
            "REDIS_URL": "",
        }
        self.lines = Path(folder) / "lines"
        sink = f'\n[jsonl]\nuse = "jsonl"\nfrom = "batch"\npath = "{self.lines / "events.jsonl"}"\n'
        self.p = Cluster(folder, batch=BATCH, more=sink, nursery=nursery, HEARTHWATCH_CELLS=str(cells), **more)
        add_cameras(self.p, cells)

    def upload(self, rounds):
        self.files += upload(self.p, rounds)

    def is_quiet(self):
        return self.p.quiet(self.files) and not self.p.rows(UNDELIVERED) and not self.p.rows(NOT_LINKED)

    def check_lines(self):
        """Each cell has one file, with each message of its feed once and in order: one process delivers at a time."""
        for path in self.p.records():
            cell = "" if path == self.p.path else f".{path.parent.name}"
            lines = map(json.loads, (self.lines / f"events{cell}.jsonl").read_text().splitlines())
            with closing(sqlite3.connect(path)) as db:
                feed = [json.loads(payload) for (payload,) in db.execute("SELECT payload FROM feed ORDER BY seq")]
            assert [*lines] == feed, f"cell {cell}: the file is not the feed"

    def close(self):
        """End what an error left running; the nursery ends its own."""

    def wait(self, condition):
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"not within {WAIT_SECONDS:g} s: {self.p.said()[-3000:]}"
            time.sleep(0.005)


class Started(Way):
    """Processes that are started here, by options of `bytewax.run`; one ends itself at a commit."""

    def __init__(self, options, *more):
        super().__init__(*more)
        self.options = options

    def start(self, die_at=None):
        if self.options:
            self.p.start_workers(*self.options, **({"DIE_AT": die_at} if die_at else {}))
            self.p.pids = [self.p.pid]
        else:
            self.p.start_processes(2, self.rnd.randrange(2) if die_at else None, die_at)

    def kill(self):
        later = COMMITS * bool(self.p.rows(IN_FLIGHT, STARTS_MAX - 1))
        self.start(f"{self.rnd.choice(('before', 'after'))}:{self.rnd.randint(1, COMMITS) + later}")
        self.wait(lambda: any(map(has_ended, self.p.pids)) or self.is_quiet())
        self.kills["at a commit" if any(map(has_ended, self.p.pids)) else "at rest"] += 1
        codes = self.p.end_processes(signal.SIGKILL)  # as what supervises them does
        assert {*codes} <= {9, -9, 1}, (codes, self.p.said())  # 1: it saw that the other one had ended

    def finish(self):
        self.start()
        self.wait(lambda: self.is_quiet() or any(map(has_ended, self.p.pids)))
        return self.p.end_processes()


class Supervised(Way):
    """A command that starts the processes; one of them is killed, or the command itself."""

    process = None

    def __init__(self, command, *more):
        super().__init__(*more)
        self.command, self.restarts = command, command is RUN
        self.turn = Path(tempfile.gettempdir(), "bytewax-testing.lock").open("wb")  # noqa: SIM115  (held until `close`)
        fcntl.flock(self.turn, fcntl.LOCK_EX)  # `bytewax.testing` always uses ports 2101 and 2102

    def start(self):
        with self.p.errors.open("ab") as log:
            more = {
                "env": {**os.environ, **self.p._environment},
                "stdout": log,
                "stderr": log,
                "start_new_session": True,
            }
            self.process = subprocess.Popen(self.command, cwd=self.p.folder, **more)

    def children(self):
        """Pids of what it started, and whether each is a worker."""
        found, pid = {}, self.process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with suppress(FileNotFoundError, ProcessLookupError):
                found[int(child)] = b"bytewax.run" in Path(f"/proc/{child}/cmdline").read_bytes()
        return found

    def workers(self):
        return [pid for pid, is_worker in self.children().items() if is_worker]

    def decided(self):
        return sum(n for (n,) in self.p.rows("SELECT count(*) FROM frames WHERE state <> 'discovered'"))

    def kill(self):
        self.start_or_continue()
        goal = self.rnd.randint(self.decided() + 1, self.files)
        self.wait(lambda: self.decided() >= goal and len(self.workers()) == 2)
        is_all, children, workers = (
            self.restarts and sum(self.kills.values()) % 3 == 2,
            [*self.children()],
            self.workers(),
        )
        os.kill(self.process.pid if is_all else self.rnd.choice(workers), signal.SIGKILL)
        self.kills["of `run`" if is_all else "of a worker"] += 1
        if is_all or not self.restarts:  # what it started ends with it: it can be started again
            self.process.wait(WAIT_SECONDS)
            self.wait(lambda: all(map(has_ended, children)))
            self.process = None
        else:  # it ends the other worker, and waits a second at least before it starts both again: not before the next portion is there
            self.wait(lambda: all(map(has_ended, workers)))
            self.process.send_signal(signal.SIGSTOP)

    def start_or_continue(self):
        self.process.send_signal(signal.SIGCONT) if self.process else self.start()

    def finish(self):
        self.start_or_continue()
        self.wait(self.is_quiet)
        for pid in [self.process.pid] if self.restarts else self.workers():
            os.kill(pid, signal.SIGTERM)
        return [self.process.wait(WAIT_SECONDS)]

    def close(self):
        self.turn.close()
        if self.process and self.process.poll() is None:
            children = [*self.children()]
            for pid in (self.process.pid, *children):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()


def has_ended(pid):
    try:
        ended = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([ended], [], [], 0)[0])
    finally:
        os.close(ended)


def add_cameras(p, cells=1):
    """Add the cameras with their neighbours before there are pictures, one after the other to each cell."""
    records = []
    for cell in find_cells(str(cells), p.path, p.data, p.base):
        prepare_cell(cell)
        records.append(Record(cell.record_path))
    for n, folder in enumerate(CAMERAS):
        first, record, id = n // NEIGHBOURS * NEIGHBOURS, records[n % cells], camera_id(folder)
        add_camera(record, id, folder, folder, "online", None)
        edit_camera(record, id, {"neighbours": json.dumps([*map(camera_id, CAMERAS[first : first + NEIGHBOURS])])})
    for record in records:
        record.close()


def upload(p, rounds):
    """Put in these rounds; return how many pictures they are."""
    for n in rounds:
        at = T + n * 4 + n // GROUP * 20 + n // (GROUP * VISIT) * 200
        for camera in CAMERAS:
            file = name(at, camera)
            p.upload(camera, file, picture(file), mtime=at)
    return len(rounds) * len(CAMERAS)


WAYS = {
    "w1": (Started, ("-w", "1")), "w2": (Started, ("-w", "2")), "w4": (Started, ("-w", "4")), "ia": (Started, ()),
    "p2": (Supervised, TESTING), "run": (Supervised, RUN),
}  # fmt: skip


def run(folder, nursery, way, kills, rounds, cells=4, seed=1):
    """Process so many rounds in this way, with so many kills; return it and its content."""
    kind, command = WAYS[way]
    it = kind(command, folder, nursery, random.Random(f"{seed} {way}"), cells)
    groups = rounds // GROUP
    try:
        for n in range(kills + 1):
            first, end = (GROUP * (groups * k // (kills + 1)) for k in (n, n + 1))
            it.upload(range(first, end))
            if n < kills:
                it.kill()
        codes = it.finish()
    finally:
        it.close()
    assert {*codes} == {0}, (codes, it.p.said())
    it.check_lines()
    return it, union(it.p) | {"incidents": incidents(it.p)}


def run_one(p, rounds):
    """Process so many rounds in one pipeline that is not disturbed; return its content."""
    add_cameras(p)
    upload(p, range(rounds // GROUP * GROUP))
    p.start().until(lambda: p.quiet(len(p.pictures())) and not p.rows(NOT_LINKED), WAIT_SECONDS).stop()
    return union_of_one(p) | {"incidents": incidents(p)}


def count_spanning(found, cells):
    """Count the incidents with events of several cells."""
    cell = {camera_id(folder): n % cells for n, folder in enumerate(CAMERAS)}
    return sum(len({cell[camera] for camera in cameras}) > 1 for _, cameras, *_ in found["incidents"].values())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ways", nargs="*", choices=[*WAYS, []], help="all, if none is given")
    parser.add_argument("--kills", type=int, default=10, help="in each way")
    parser.add_argument("--rounds", type=int, default=300, help="of twelve pictures")
    parser.add_argument("--cells", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cells_") as folder, Nursery() as nursery:
        expected = run_one(Pipeline(Path(folder) / "one", batch=BATCH, nursery=nursery), given.rounds)
        counts = ", ".join(f"{len(rows)} {part}" for part, rows in expected.items())
        print(f"{counts} of one pipeline; {count_spanning(expected, given.cells)} incidents span cells", flush=True)
        for way in given.ways or WAYS:
            began = time.monotonic()
            it, found = run(Path(folder) / way, nursery, way, given.kills, given.rounds, given.cells, given.seed)
            differ = differences(found, expected)
            kills = ", ".join(f"{n} {where}" for where, n in sorted(it.kills.items()))
            print(
                f"{way:4} killed {kills}: {len(differ) or 'no'} differences, {time.monotonic() - began:.0f} s",
                flush=True,
            )
            for line in differ[:5]:
                print(line)
            if differ:
                return 1
    return 0


def differences(found, expected):
    """Return what is not the same, a line each."""
    nothing = {part: {} for part in Content._fields}
    return Content(**nothing | found).differences(Content(**nothing | expected))


if __name__ == "__main__":
    sys.exit(main())
