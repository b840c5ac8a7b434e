"""The processes of one house: each can be killed, frozen, stopped and started again, and none may end by itself.

`House` starts them all; `House.amiss` collects what must not happen while they run: an end that nobody ordered, an exit
code that is not the promised one, a traceback in anybody's words.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from copy import copy
from pathlib import Path

import redis

from hearthwatch.record.incidents import Reach
from hearthwatch.record.units import SECOND
from tests.support.pipeline import ROOT, SLOW, Nursery, Pipeline, rules_and_options
from tests.support.ports import free_port
from tests.support.redis_server import binary
from tests.torture.sandbox import Place

HERE = Path(__file__).parent
RULES, BATCH = rules_and_options(1.8, 0.6, 0.4)  # fifty times faster than life, so that many events close
REACH = Reach(SECOND, SECOND // 5)  # so that there are many incidents
FILES = "sweep_seconds = 2\nsettle_seconds = 0.5\nstill_seconds = 8\nnotify = {notify}"
LISTENERS = 6
CELLS = 2  # each on one worker, which are threads of one process
STREAMS = "security_events:stream", "security_events:1:stream"
# a torn file is swept after ten minutes otherwise; 200 messages are said in less time than a picture may be late
TUNE = "hearthwatch.record.retention.sweep.YOUNG_SECONDS=20,hearthwatch.flows.services.RESUMED_MAX=100000"
BACKOFF_SECONDS = 0.5  # a supervisor waits so long before it starts what ended by itself
STOP_SECONDS_MAX = 60.0  # a stop takes five seconds at most; a busy machine more
LOCAL, REMOTE = "tests.torture.pictures:Look", "rtdetr"

MORE = """
[incident]
use = "incident"
from = "batch"
same_camera_seconds = {same}
other_camera_seconds = {other}

[thumbnails]
use = "thumbnails"
from = "detect"

[analyze]
use = "nemotron"
from = "batch"
attempts = 100
timeout_seconds = 10

[sqlite]
use = "sqlite"
from = ["batch", "analyze", "gpu_stats"]

[redis]
use = "redis"
from = "sqlite"

[webhook]
use = "webhook"
from = "sqlite"
url = "{webhook}/hook"
messages = "event"
pause_seconds = 0

[duckdb]
use = "duckdb"
from = "sqlite"
interval_seconds = 10

[retention]
use = "retention"
from = "sqlite"
interval_minutes = 0.2

[gpu_stats]
use = "gpu_stats"
interval_seconds = 5
"""


def paths(data):
    """The record of each cell."""
    return [data / "hearthwatch.db", *(data / f"cells/{n}/hearthwatch.db" for n in range(1, CELLS))]


def each(pipeline, sql, *arguments):
    """The first value that a query gives on each cell; 0 where there is none."""
    found = []
    for path in paths(pipeline.data):
        one = copy(pipeline)
        one.path = path
        rows = one.rows(sql, *arguments)
        found.append(rows[0][0] or 0 if rows else 0)
    return found


def numbers(position):
    """The last message of each cell, as a live client's position says it."""
    found = [*map(int, position.split("-"))]
    return tuple(found + [0] * (CELLS - len(found)))


class Part:
    """A process with a name. `codes`: what SIGTERM may make it exit with."""

    def __init__(self, house, name, command, codes=(-signal.SIGTERM,), **environment):
        self.house, self.name, self.command, self.codes = house, name, [str(word) for word in command], codes
        self.environment, self.log = {**house.environment, **environment}, house.logs / name
        self.process, self.turn, self.ends, self.retired = None, threading.RLock(), False, False

    def start(self):
        with self.log.open("ab") as log:
            everything = {**os.environ, **self.environment}
            self.process = subprocess.Popen(self.command, cwd=self.house.folder, env=everything, stdout=log, stderr=log)
        return self

    @property
    def pid(self):
        return self.process.pid

    def look(self):
        """It has to run, unless it has come to its end (`ends`); one that does not is started again."""
        with self.turn:
            if not self.retired and (code := self.process.poll()) is not None and not (self.ends and code == 0):
                self.house.wrong(f"{self.name} ended by itself with exit code {code}: {self.last_words()}")
                self.start()

    def over(self):
        return self.process.poll() is not None

    def kill(self):
        with self.turn:
            if not self.over():
                self.process.kill()
                self.process.wait()

    def stop(self):
        with self.turn:
            if not self.over():
                self.process.terminate()
                try:
                    code = self.process.wait(STOP_SECONDS_MAX)
                except subprocess.TimeoutExpired:
                    return self.house.wrong(f"{self.name} did not stop within {STOP_SECONDS_MAX:g} s"), self.kill()
                if code not in self.codes and not (self.ends and code == 0):
                    self.house.wrong(f"{self.name} ended with exit code {code} when it was told to stop")
        return None

    def retire(self):
        """Stop it for good."""
        self.retired = True
        self.stop()

    def freeze(self):
        if not self.over():
            self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        if not self.over():
            self.process.send_signal(signal.SIGCONT)

    def last_words(self):
        return self.log.read_text(errors="replace")[-600:]


class House:
    """Everything, in a folder."""

    def __init__(self, folder, seed, seconds, inside):
        self.folder, self.seed, self.seconds = folder, seed, seconds
        self.place = Place(folder / "house" / "world", inside)  # record, lake, thumbnails and Bytewax's store lie there
        self.base, self.logs, self.notes, self.temporary = (folder / n for n in ("uploads", "logs", "notes", "tmp"))
        for each in (self.base, self.logs, self.notes, self.temporary, folder / "redis"):
            each.mkdir()
        self.data = self.place.folder / "data"
        self.ports = {name: free_port() for name in ("redis", "llm", "detector", "api", "webhook")}
        urls = {name: f"http://127.0.0.1:{port}" for name, port in self.ports.items()}
        self.more = MORE.format(
            webhook=urls["webhook"], same=REACH.same_camera / SECOND, other=REACH.other_camera / SECOND
        )
        self.environment = {
            "FOSCAM_BASE_PATH": str(self.base),
            "HEARTHWATCH_DATA_DIR": str(self.data),
            "HEARTHWATCH_API_PORT": str(self.ports["api"]),
            "HEARTHWATCH_TIMEZONE": "UTC",
            "HEARTHWATCH_CELLS": str(CELLS),
            "BYTEWAX_WORKERS_PER_PROCESS": str(CELLS),
            "REDIS_URL": f"redis://127.0.0.1:{self.ports['redis']}/0",
            "NEMOTRON_URL": urls["llm"],
            "RTDETR_URL": urls["detector"],
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT,))),
            "OMP_NUM_THREADS": "1",
        }
        self.amiss, self.lives, self.gave_up, self.began = [], 0, 0, time.time()
        self.pipeline = self.nursery = None
        self.backup = folder / "backup.db"  # of the record, from the middle of the run
        self.put_in = 0  # old pictures beside what the plan says
        self.refusing = self.notes / "refusing"  # while it is there, the webhook's receiver answers 503

    def wrong(self, what):
        self.amiss.append(what)
        print(f"AMISS: {what}", flush=True)

    def __enter__(self):
        python, redis = sys.executable, self.folder / "redis"
        uploads = [self.base, self.notes / "uploads", self.seed, self.began, self.seconds]
        append = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        self.parts = {
            part.name: part
            for part in (
                Part(
                    self,
                    "redis",
                    [binary(), "--port", self.ports["redis"], "--bind", "127.0.0.1", "--dir", redis, *append],
                    (0,),
                ),
                Part(self, "llm", [python, HERE / "stand_ins.py", "llm", self.ports["llm"], self.seed]),
                Part(self, "detector", [python, HERE / "stand_ins.py", "detector", self.ports["detector"], self.seed]),
                Part(self, "webhook", [python, HERE / "stand_ins.py", "webhook", self.ports["webhook"], self.notes]),
                Part(self, "uploader", [python, HERE / "uploader.py", *uploads]),
                Part(self, "api", [python, "-P", "-m", "hearthwatch.api"], (0, -signal.SIGTERM)),
                Part(self, "listeners", [python, HERE / "live_clients.py", self.ports["api"], self.notes, LISTENERS]),
                Part(
                    self,
                    "reviewer",
                    [python, HERE / "reviewer.py", self.ports["api"], self.notes, self.seed],
                ),
                Part(self, "analyst", [python, HERE / "analyst.py", self.data, self.notes / "answers"]),
            )
        }
        self.parts["uploader"].ends = True
        self.nursery = Nursery(preload=self.place.library)
        for part in self.parts.values():
            part.start()
        return self

    def __exit__(self, *_):
        if self.pipeline and self.pipeline.pid:
            self.pipeline.kill()
        for part in self.parts.values():
            part.kill()
        self.nursery.close()

    # -- the pipeline's lives

    def live(self, resume=False, detector=LOCAL, notify=True, folder=None, base=None, **environment):
        """Start a pipeline of this kind; the one before it has ended."""
        files, more = FILES.format(notify=str(notify).lower()), {**self.environment, "TUNE": TUNE, **environment}
        p = Pipeline(folder or self.place.folder.parent, detector=detector, files=files, batch=BATCH, more=self.more,
                     nursery=self.nursery, base=base or self.base, **more)  # fmt: skip
        p.turn, p.life = threading.RLock(), {"resume": resume, "snapshot_seconds": self.lives % 2}
        self.lives += 1
        return p.start(**p.life)

    def put_down(self, how):
        """End the life with this signal, unless it has ended by itself, and keep what it said."""
        p = self.pipeline
        with p.turn:
            if not p.ended():
                self._ended(p, how, p.signal(how).wait(STOP_SECONDS_MAX))
            else:
                self._ended(p, None, p.wait())

    def _ended(self, p, how, code):
        words = p.said()
        (self.logs / f"pipeline {self.lives:04d}").write_text(words)
        last = words.strip().rpartition("\n")[
            2
        ]  # a panic of Bytewax may come before, but the last word is for a person
        if "Traceback" in words or "panicked" in last or "RUST_BACKTRACE" in last:
            self.wrong(f"life {self.lives} of the pipeline has no words for its end: {words[-1500:]}")
        clock_set = code == 1 and "cells would wait" in words  # it ends by itself, also where it was to stop just then
        if how is None:
            self.gave_up += 1
            if not (self.disk_failed() and code in (1, 2)) and not clock_set:
                self.wrong(f"life {self.lives} of the pipeline ended by itself with exit code {code}: {words[-600:]}")
        elif how != signal.SIGKILL and code != 0 and not clock_set:
            self.wrong(
                f"life {self.lives} of the pipeline was told to stop and ended with exit code {code}: {words[-600:]}"
            )

    failed_at = float("-inf")  # when a disk was last full

    def disk_failed(self):
        """Whether the pipeline may give up, with a message: it has met a full disk just now."""
        return time.monotonic() - self.failed_at < SLOW

    def look(self):
        """Nobody may have ended by itself; who has is started again, as a supervisor does it."""
        for part in self.parts.values():
            part.look()
        p = self.pipeline
        with p.turn:
            if p.pid is not None and p.ended():
                self.put_down(None)
                time.sleep(BACKOFF_SECONDS)
                self.start_again()

    def start_again(self):
        """The same life once more."""
        self.lives += 1
        self.pipeline.start(**self.pipeline.life)

    def uploaded(self):
        """How many pictures are on disk, whole."""
        state = self.notes / "uploads"
        return self.put_in + (int(state.read_text()) if state.exists() else 0)

    def in_redis(self):
        """The number of the last message in each cell's stream; none while Redis loads its data."""
        with redis.Redis.from_url(self.environment["REDIS_URL"], decode_responses=True, socket_timeout=10) as client:
            try:
                entries = [client.xrevrange(stream, count=1) for stream in STREAMS]
            except redis.RedisError:
                return ()
        return tuple(int(last[0][0].removesuffix("-0")) if last else 0 for last in entries)

    def heard(self):
        """The number of the last message of each cell that every client has heard."""
        notes = [self.notes / str(client) for client in range(LISTENERS)]
        lasts = [numbers(["0", *file.read_text().split()][-1] if file.exists() else "0") for file in notes]
        return tuple(map(min, zip(*lasts, strict=True)))

    def forget_redis(self):
        """Redis comes back empty the next time."""
        for each in (self.folder / "redis").iterdir():
            shutil.rmtree(each) if each.is_dir() else each.unlink()
