"""A real pipeline in a folder of its own, for tests that upload, kill, stop, start again and then read the record.

`Pipeline(folder)` runs `python -m bytewax.run flow [-r DIR -s S -b 0]` as a process of its own. With a `Nursery` the
process is forked from one that has imported everything but `flow`, for tests that start hundreds; there `TUNE` sets
bounds (`hearthwatch.sources.intake.TAKE_AT_ONCE=7`), so that a small input makes many transactions.
`content(record)` is what CONTRACT §4 calls equal; `replayed(record)` is the same ledger in one uninterrupted pass.
"""

import importlib
import io
import json
import os
import runpy
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from hearthwatch.record import Record
from hearthwatch.record.batching import Batching, Cut
from hearthwatch.record.content import content as content  # CONTRACT §4: what is equal
from hearthwatch.record.content import table
from hearthwatch.record.incidents import Incidents
from hearthwatch.record.ledger import Ledger
from hearthwatch.record.units import SECOND
from hearthwatch.schemas.items import Tick, from_microseconds
from hearthwatch.stages.rules import RulesJudge
from tests.support.invariants import RULES

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
SHIM = Path(__file__).with_name("shim")
SLOW = 30.0  # how long a test waits for what takes a second: two busy cores are the rule

FLOW = """
[files]
use = "files"
{files}

[detect]
use = "{detector}"
from = "files"
{options}

[batch]
use = "batch"
from = "detect"
{batch}
"""

NOT_LINKED = (
    "SELECT 1 FROM events WHERE incident_id IS NULL AND status <> 'merged' UNION ALL SELECT 1 FROM changed_members "
    "UNION ALL SELECT 1 FROM cell_members WHERE incident_id IS NOT written UNION ALL SELECT 1 FROM incident_queue"
)  # what is still to be linked, in the record of any cell


class Pipeline:
    """An upload tree, a record and the process that works on them. Methods that change something return it."""

    def __init__(self, folder, *, detector="tests.support.null_detector:NullDetector", options="", files="", batch="", more="",
                 nursery=None, base=None, **environment):  # fmt: skip
        self.folder = Path(folder)
        self.world = self.folder / "world"  # what a fault injector may break
        self.base, self.data, self.store = base or self.world / "uploads", self.world / "data", self.world / "store"
        self.errors = self.folder / "stderr"
        self.path = self.data / "hearthwatch.db"
        self.pid = None
        self._nursery, self._process = nursery, None
        for each in (self.world, self.base):
            each.mkdir(parents=True, exist_ok=True)
        flow = self.folder / "flow.toml"
        flow.write_text(FLOW.format(detector=detector, options=options, files=files, batch=batch) + more)
        self._environment = {
            "FOSCAM_BASE_PATH": str(self.base),
            "HEARTHWATCH_DATA_DIR": str(self.data),
            "HEARTHWATCH_FLOW": str(flow),
            "HEARTHWATCH_CAPTURE_TIME": "name",
            "HEARTHWATCH_TIMEZONE": "UTC",
            "PYTHONPATH": os.pathsep.join(map(str, (SHIM, ROOT, self.folder, os.environ.get("PYTHONPATH", ROOT)))),
            **environment,
        }

    # -- uploads

    def upload(self, camera, name, data=None, *, how="move", mtime=None):
        """As FTP servers do it: `move` = written elsewhere and renamed, `write` = written in place and closed."""
        target = self.base / camera / name
        target.parent.mkdir(parents=True, exist_ok=True)
        data = picture(str(target)) if data is None else data
        path = self.folder / "incoming" if how == "move" else target
        path.write_bytes(data)
        if mtime is not None:
            os.utime(path, (mtime, mtime))
        if how == "move":
            path.rename(target)
        return self

    # -- the process

    def start(self, resume=False, snapshot_seconds=1, make_store=True, **environment):
        """Start it; `resume`: with Bytewax's own recovery store, made if there is none."""
        assert self.pid is None, "it runs already"
        arguments = ["flow"]
        if resume:
            if make_store and not self.store.exists():
                from bytewax.recovery import init_db_dir

                self.store.mkdir()
                init_db_dir(self.store, 1)
            arguments += ["-r", str(self.store), "-s", str(snapshot_seconds), "-b", "0"]
        self.errors.write_bytes(b"")
        environment = {**self._environment, **environment}
        if self._nursery:
            self.pid = self._nursery.fork(arguments, environment, str(self.folder), str(self.errors))
        else:
            with self.errors.open("wb") as errors:
                command = [sys.executable, "-m", "bytewax.run", *arguments]
                everything = {**os.environ, **environment}
                self._process = subprocess.Popen(command, cwd=self.folder, env=everything, stderr=errors)
            self.pid = self._process.pid
        return self

    def wait(self, timeout=SLOW):
        """The exit code (negative: the signal that ended it)."""
        ended = os.pidfd_open(self.pid) if self._nursery else None
        try:
            if ended is None:
                code = self._process.wait(timeout)
            elif select.select([ended], [], [], timeout)[0]:
                code = self._nursery.reap(self.pid)
            else:
                raise TimeoutError(f"pid {self.pid} goes on")
        except (subprocess.TimeoutExpired, TimeoutError):
            words = self.said()
            self.kill()
            raise AssertionError(f"the pipeline did not end within {timeout} s; it said:\n{words}") from None
        finally:
            if ended is not None:
                os.close(ended)
        self.pid = self._process = None
        return code

    def ended(self):
        """Whether the process has ended by itself."""
        if self._process:
            return self._process.poll() is not None
        if self.pid is None:
            return True
        ended = os.pidfd_open(self.pid)
        try:
            return bool(select.select([ended], [], [], 0)[0])
        finally:
            os.close(ended)

    def signal(self, number):
        if not self.ended():
            os.kill(self.pid, number)
        return self

    def kill(self):
        """kill -9."""
        if self.pid is not None:
            self.signal(signal.SIGKILL).wait()
        return self

    def stop(self, timeout=SLOW):
        """SIGTERM; it has to end with exit code 0."""
        code = self.signal(signal.SIGTERM).wait(timeout)
        assert code == 0, f"exit code {code}:\n{self.said()}"
        return self

    def run(self, files=None, **options):
        """Start it, wait until everything is decided and every event closed, stop it."""
        return self.start(**options).until_quiet(files).stop()

    def said(self):
        return self.errors.read_text(errors="replace")

    # -- the record, while it runs or after

    def rows(self, sql, *arguments):
        """One query. Read-only, so that looking never repairs or checkpoints what a crash left; [] before there is one."""
        try:
            db = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=SLOW)
        except sqlite3.OperationalError:
            return []
        try:
            return db.execute(sql, arguments).fetchall()
        except sqlite3.OperationalError as error:
            if any(words in str(error) for words in ("no such table", "unable to open", "readonly database")):
                return []  # not yet: it is being made, or the restart has to repair it first
            raise
        finally:
            db.close()

    def states(self):
        """Frames by state."""
        return dict(self.rows("SELECT state, count(*) FROM frames GROUP BY state"))

    def until(self, condition, timeout=SLOW, pause=0.004):
        """Wait until `condition()` holds; fail if the process ends before."""
        deadline = time.monotonic() + timeout
        while not condition():
            if self.pid is None or self.ended():
                raise Ended(f"the pipeline ended before that:\n{self.said()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout} s; {self.states()}; it said:\n{self.said()}")
            time.sleep(pause)
        return self

    def until_quiet(self, files=None, timeout=SLOW):
        """Wait until it works, all files (None: those in the tree now) are decided and no event is open."""
        count = len(self.pictures()) if files is None else files
        return self.until(lambda: self.quiet(count), timeout, pause=0.02)  # each look costs a millisecond of CPU

    def quiet(self, files):
        if self.rows("SELECT pid FROM heartbeat") != [(self.pid,)]:
            return False
        known = self.rows("SELECT count(*), coalesce(sum(state = 'discovered'), 0) FROM frames")
        if not known or known[0][0] < files or known[0][1]:
            return False
        if self.rows("SELECT seq < (SELECT max(seq) FROM feed) FROM cursors WHERE name = 'incident'") == [(1,)]:
            return False
        return self.rows("SELECT count(*) FROM events WHERE status = 'open'") == [(0,)]

    def pictures(self):
        """Every file in the upload tree that is named like a picture."""
        suffixes = (".jpg", ".jpeg", ".png")
        return [p for p in self.base.rglob("*") if p.suffix.lower() in suffixes and p.is_file() and p.name[0] != "."]

    @property
    def record(self):
        """The record, opened as the product does; for when nothing runs any more."""
        return Record(self.path)

    def crashed(self):
        """A copy of the record as a crash left it, opened; the original stays for the restart to repair."""
        copy = self.folder / "crashed"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for part in ("", "-wal"):
            if (file := self.path.with_name(self.path.name + part)).exists():
                shutil.copyfile(file, copy / (self.path.name + part))
        return Record(copy / self.path.name)


def rules_and_options(window, idle, lateness):
    """Other times for `batch`, in seconds: as the record's rules, and as the lines of a flow file."""
    seconds = {"window_seconds": window, "idle_timeout_seconds": idle, "lateness_seconds": lateness}
    rules = Cut(*(round(value * SECOND) for value in seconds.values()))
    return rules, "".join(f"{key} = {value}\n" for key, value in seconds.items())


class Ended(AssertionError):  # noqa: N818  (news, not an error)
    """The pipeline ended by itself while a test waited for something."""


# -- pictures


@cache
def _jpeg():
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (90, 120, 60)).save(buffer, "JPEG")
    return buffer.getvalue()


def picture(words=""):
    """A tiny JPEG whose bytes depend on `words` (they are its comment)."""
    comment = words.encode()
    return b"\xff\xd8\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + _jpeg()[2:]


def name(seconds, tag=""):
    """A file name that tells when the picture was taken (seconds since 1970), to the millisecond."""
    taken = datetime.fromtimestamp(seconds, UTC)
    return f"{taken:%Y%m%d_%H%M%S}_{taken.microsecond // 1000:03d}{tag and f'-{tag}'}.jpg"


LEDGER = (
    "id",
    "uid",
    "camera_id",
    "path",
    "mtime_ns",
    "size",
    "attempt",
    "captured_at",
    "arrived_at",
    "discovered_at",
    "behind",
)


class _Opened(NamedTuple):
    content_hash: str | None


def replayed(record, path, rules=RULES):
    """The same ledger in a new record at `path`: one pass in order of ids, no restarts, what was detected as recorded."""
    again = Record(path)
    for f in table(record, "frames"):
        at_discovery = f["state"] == "quarantined" and f["content_hash"] is None and f["error_stage"] == "files"
        keep = [*LEDGER, *(["state", "error_stage", "error"] if at_discovery else [])]
        again.execute(
            f"INSERT INTO frames({','.join(keep)}) VALUES ({','.join('?' * len(keep))})", *(f[k] for k in keep)
        )
        again.count(**{"quarantined" if at_discovery else "discovered": 1})
    for row in record.rows("SELECT * FROM cameras"):
        again.execute(f"INSERT INTO cameras VALUES ({','.join('?' * len(row))})", *row)
    again.execute("UPDATE cameras SET behind = 0, clock_offset_ms = NULL")
    incidents = Incidents(again)
    batching, old = Batching(again, partial(RulesJudge, zone=ZoneInfo("UTC")), rules), Ledger(record)
    for entry in Ledger(again).todo(0, 10**9):
        (digest,) = record.one("SELECT content_hash FROM frames WHERE id = ?", entry.frame.id)
        batching.write([old.decision(replace(entry.frame, opened=_Opened(digest)))])
    batching.write([Tick(from_microseconds(1 << 52))])
    while incidents.is_behind():
        incidents.update()
    return again


# -- a process that forks pipelines


class Nursery:
    """Forks pipelines from a process that has imported everything. `preload`: a library for LD_PRELOAD."""

    def __init__(self, preload=None):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT,)))}
        if preload:
            environment["LD_PRELOAD"] = str(preload)
        self._process = subprocess.Popen(
            [sys.executable, __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def _ask(self, **question):
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def fork(self, arguments, environment, folder, errors):
        return self._ask(arguments=arguments, environment=environment, folder=folder, errors=errors)

    def reap(self, pid):
        return self._ask(reap=pid)

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _serve():
    for module in (
        "hearthwatch.flows.graph",
        "hearthwatch.flows.build",
        "hearthwatch.sources.files",
        "hearthwatch.stages.batch",
        "tests.support.null_detector",
        "tests.support.own_sink",
    ):
        importlib.import_module(module)  # so that a child need not
    alive = set()
    for line in sys.stdin:
        question = json.loads(line)
        if "reap" in question:
            answer = os.waitstatus_to_exitcode(os.waitpid(question["reap"], 0)[1])
            alive.discard(question["reap"])
        elif answer := os.fork():
            alive.add(answer)
        else:
            _child(**question)
        print(json.dumps(answer), flush=True)
    for pid in alive:  # whoever asked has ended, or has failed: nothing outlives a test
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _child(arguments, environment, folder, errors):
    """What `python -m bytewax.run` does, in a process that is warm."""
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(errors, os.O_WRONLY | os.O_APPEND), 2)
        os.dup2(2, 1)
        os.chdir(folder)
        os.environ.update(environment)
        os.environ.pop("LD_PRELOAD", None)
        sys.path[:0] = [folder]
        sys.argv = ["bytewax.run", *arguments]
        for constant in filter(
            None, environment.get("TUNE", "").split(",")
        ):  # hearthwatch.sources.intake.TAKE_AT_ONCE=7
            where, _, value = constant.partition("=")
            module, _, attribute = where.rpartition(".")
            assert hasattr(importlib.import_module(module), attribute), constant
            setattr(sys.modules[module], attribute, type(getattr(sys.modules[module], attribute))(value))
        if "DIE_AT" in environment:
            sys.path.append(str(SHIM))
            sys.modules.pop("sitecustomize", None)
            import sitecustomize  # noqa: F401
        try:
            runpy.run_module("bytewax.run", run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
