"""Make tests/support/stored/0.1.tar.xz with the code of Hearthwatch 0.1: `python tests/long/store_01.py CHECKOUT`.

CHECKOUT is a working tree of commit 981bb5d. Its pipeline runs with a recovery store, a flow file and a plug-in of that version, on
six pictures; it is killed while the sixth is being detected, an event is open and another one is closed.
"""

import os
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from bytewax.recovery import init_db_dir

from tests.support.pipeline import name, picture

STORED = Path(__file__).parents[1] / "support" / "stored" / "0.1.tar.xz"
KEPT = ("flow.toml", "eyes.py", "uploads", "store", "data/hearthwatch.db", "delivered", "written")
T0 = 1_795_000_000
FLOW = """
[files]
use = "files"
base_path = "${FOSCAM_BASE_PATH}"
data_dir = "${HEARTHWATCH_DATA_DIR}"
capture_time = "name"
timezone = "UTC"

[detect]
use = "eyes:Eyes"
from = "files"

[batch]
use = "batch"
from = "detect"
lateness_seconds = 1
window_seconds = 4
idle_timeout_seconds = 2

[pending]
use = "pending"

[analyze]
use = "nemotron"
from = "pending"

[sqlite]
use = "sqlite"
from = "analyze"

[clock]
use = "clock"
interval_seconds = 1

[duckdb]
use = "duckdb"
from = "clock"

[own]
use = "eyes:Remembers"
from = "feed"

[lines]
use = "eyes:Lines"
from = "detect"
"""
PLUGIN = '''"""A detector, a consumer and a sink as plug-ins of 0.1."""
import os
import time
from pathlib import Path

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from schemas import Consumer, Detected, Detection, Frame, Message, Sink, Stage

HERE = Path(__file__).parent


class Eyes(Stage):
    accepts = Frame
    emits = Detected

    def process(self, items):
        while any("slow" in frame.path for frame in items) and "WAIT" in os.environ:
            time.sleep(1)
        return [Detected(frame, 8, 8, (Detection("person", 0.9, (1, 2, 3, 4)),), model="eyes") for frame in items]


class Remembers(Consumer):
    accepts = Message

    def deliver(self, messages):
        with (HERE / "delivered").open("a") as file:
            file.writelines(f"{m.seq} {m.type}\\\\n" for m in messages)


class Lines(Sink):
    accepts = Detected

    def build(self):
        return _Lines()


class _Lines(FixedPartitionedSink):
    def list_parts(self):
        return ["lines"]

    def build_part(self, step_id, for_part, resume_state):
        return _Part()


class _Part(StatefulSinkPartition):
    def write_batch(self, items):
        with (HERE / "written").open("a") as file:
            file.writelines(f"{item.frame.id}\\\\n" for item in items)

    def snapshot(self):
        return None
'''.replace("\\\\n", "\\n")


def main(checkout: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "flow.toml").write_text(FLOW)
        (home / "eyes.py").write_text(PLUGIN)
        for made in ("store", "data", "uploads/front door"):
            (home / made).mkdir(parents=True)
        init_db_dir(home / "store", 1)
        environment = {
            **os.environ, "FOSCAM_BASE_PATH": str(home / "uploads"), "HEARTHWATCH_DATA_DIR": str(home / "data"), "WAIT": "1",
            "HEARTHWATCH_FLOW": str(home / "flow.toml"), "PYTHONPATH": f"{checkout}:{home}", "HEARTHWATCH_TIMEZONE": "UTC",
        }  # fmt: skip
        command = [sys.executable, "-m", "bytewax.run", "flow", "-r", str(home / "store"), "-s", "1", "-b", "0"]
        pipeline = subprocess.Popen(command, cwd=home, env=environment)
        for n, (second, tag) in enumerate([(0, ""), (1, ""), (60, ""), (61, ""), (62, ""), (63, "slow")]):
            upload(home, name(T0 + second, tag))
            states = "SELECT count(*) FROM frames WHERE state = 'settled'"
            until(lambda: rows(home, "SELECT count(*) FROM frames")[0][0] == n + 1)  # noqa: B023
            if not tag:
                until(lambda: rows(home, states)[0][0] == n + 1)  # noqa: B023
            if second == 1:
                until(lambda: rows(home, "SELECT status FROM events") == [("closed",)])
                time.sleep(3)  # snapshots, and the lake
        pipeline.kill()
        pipeline.wait()
        with sqlite3.connect(home / "data/hearthwatch.db") as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with tarfile.open(STORED, "w:xz") as tar:
            for kept in KEPT:
                tar.add(home / kept, kept)
        print(f"{STORED.stat().st_size} bytes")


def upload(home: Path, file: str) -> None:
    part = home / "part"
    part.write_bytes(picture(file))
    os.utime(part, (T0 + 100, T0 + 100))  # whole seconds: an archive holds no others
    part.rename(home / "uploads" / "front door" / file)


def rows(home: Path, sql: str) -> list[tuple]:
    try:
        with sqlite3.connect(home / "data/hearthwatch.db") as db:
            return db.execute(sql).fetchall()
    except sqlite3.OperationalError:
        return [(0,)]


def until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


if __name__ == "__main__":
    main(sys.argv[1])
