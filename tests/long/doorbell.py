"""`hearthwatch run` on the doorbell example, killed with -9 again and again: `python tests/long/doorbell.py [KILLS]`.

Every other time the pipeline alone, which `run` starts again, else all of its processes at once. Each burst of sound has to be in
the journal and in the file behind it once, in order; the page's journal and health have to say so.
"""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "doorbell"
PORTION, WAIT_SECONDS, PAUSE = 15, 60, timedelta(seconds=2)
START = datetime(2026, 11, 28, 10, tzinfo=UTC)


class Bell:
    """The example in a folder, its processes, and the rows that it was given."""

    def __init__(self, folder):
        self.folder, self.port, self.rows, self.process = Path(folder), free_port(), [], None
        for name in ("doorbell.py", "flow.toml"):
            shutil.copy(EXAMPLE / name, self.folder)
        (self.folder / "levels").mkdir()
        (self.folder / "levels" / "1.csv").write_text("door,at,db\n")

    def ring(self):
        """Append some rows, in one write."""
        new = [
            ("front" if n % 3 else "back", START + timedelta(seconds=n), 40 + n * 7 % 50)
            for n in range(len(self.rows), len(self.rows) + PORTION)
        ]
        self.rows += new
        with (self.folder / "levels" / "1.csv").open("a") as file:
            file.write("".join(f"{door},{at.isoformat()},{db}\n" for door, at, db in new))

    def expected(self):
        """The bursts that have ended, by the definition: loud levels of a door, no two farther apart than the pause."""
        ended, open_ = [], {}
        for door, at, db in self.rows:
            if db < 60:
                continue
            start, last, top = open_.get(door) or (at, at, 0)
            if at - last > PAUSE:
                ended.append((door, start, last, top))
                start, top = at, 0
            open_[door] = start, at, max(top, db)
        return sorted(ended)

    def start(self):
        environment = {
            **os.environ, "PYTHONPATH": f"{self.folder}:{ROOT}", "HEARTHWATCH_FLOW": str(self.folder / "flow.toml"),
            "HEARTHWATCH_DATA_DIR": str(self.folder / "data"), "HEARTHWATCH_API_PORT": str(self.port), "REDIS_URL": "", "NEMOTRON_URL": "",
        }  # fmt: skip
        command = [sys.executable, "-m", "hearthwatch.cli", "run"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)

    def children(self):
        """Pids of what `run` started: the pipeline, the API."""
        pid = self.process.pid
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return {
            int(c): "bytewax.run" in Path(f"/proc/{c}/cmdline").read_text()
            for c in found
            if Path(f"/proc/{c}").exists()
        }

    def kill(self, everything):
        """Kill -9: the pipeline, or all of it while none can start another one."""
        if everything:
            self.process.send_signal(signal.SIGSTOP)
        for pid, is_pipeline in self.children().items():
            if everything or is_pipeline:
                os.kill(pid, signal.SIGKILL)
        if everything:
            self.process.kill()
            self.process.wait()

    def journal(self):
        try:
            with sqlite3.connect(f"file:{self.folder}/data/hearthwatch.db?mode=ro", uri=True, timeout=30) as db:
                return [json.loads(item) for (item,) in db.execute("SELECT payload FROM journal ORDER BY id")]
        except sqlite3.OperationalError:
            return []

    def lines(self):
        path = self.folder / "bursts.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def get(self, route):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{route}", timeout=5) as answer:
            return json.load(answer)

    def until(self, condition):
        deadline = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert time.monotonic() < deadline and self.process.poll() is None, (self.folder / "log").read_text()[
                -3000:
            ]
            time.sleep(0.02)


def burst(payload):
    return (
        payload["door"],
        *(datetime.fromisoformat(payload[at]) for at in ("started_at", "ended_at")),
        payload["db_max"],
    )


def run(folder, kills, seed=7):
    """Kill it so many times; return how many bursts there were, and what the page's health says of the journal."""
    bell, chance = Bell(folder), random.Random(seed)
    bell.start()
    try:
        for n in range(kills):
            bell.ring()
            more = len(bell.journal()) + chance.randrange(1, 5)
            bell.until(lambda: len(bell.journal()) >= more)  # noqa: B023  (called at once)
            bell.kill(everything=n % 2)
            if n % 2:
                bell.start()
        bell.ring()
        bell.until(lambda: len(bell.lines()) >= len(bell.expected()))
        bell.until(lambda: _health(bell).get("items") == len(bell.expected()))
    finally:
        bell.kill(everything=True)
    assert sorted(map(burst, bell.journal())) == bell.expected(), "each burst once in the journal"
    written = bell.lines()
    assert sorted(burst(line["payload"]) for line in written) == bell.expected(), (
        "each burst once in the file behind it"
    )
    assert [line["seq"] for line in written] == sorted({line["seq"] for line in written})
    return len(written)


def _health(bell):
    try:
        return bell.get("/api/system/health")["services"]["journal"]["details"].get("bursts", {})
    except OSError:
        return {}


def main():
    kills, began = int((sys.argv[1:] or ["20"])[0]), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        bursts = run(folder, kills)
    print(f"{kills} kills, {bursts} bursts, each once in the journal and in the file; {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
