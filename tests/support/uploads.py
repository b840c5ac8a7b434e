"""Cameras that upload at their own pace, whatever becomes of it; the built-in graph with a null detector; what /proc says.

`Home(folder, detect)` is a `Pipeline` with every node of `flows/default.toml` but its detector, and the API beside it.
`Uploads(base, rates)` uploads so many pictures a second of each camera, as FTP servers do: written, then renamed.
`vitals(pid)` is what a process holds right now.
"""

import io
import os
import re
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.support.pipeline import ROOT, SLOW, Pipeline
from tests.support.ports import free_port

DETECT = '[detect]\nuse = "tests.support.null_detector:NullDetector"\nfrom = "files"\n{}\n\n'
DECIDED = (
    "SELECT coalesce((SELECT min(id) - 1 FROM frames WHERE state = 'discovered'), (SELECT max(id) FROM frames), 0)"
)
TURN_SECONDS = 0.01  # the uploader looks so often what is due
TICKS = os.sysconf("SC_CLK_TCK")


class Home(Pipeline):
    """The built-in graph with `detect` as the null detector's options; `changes` are lines of that graph and what they become."""

    def __init__(self, folder, detect="", changes=(), **environment):
        super().__init__(folder, HEARTHWATCH_CAPTURE_TIME="mtime", **environment)
        graph = re.sub(
            r"(?s)\[detect\].*?(?=\[batch\])", DETECT.format(detect), Path(ROOT, "flows/default.toml").read_text()
        )
        for before, after in changes:
            assert before in graph, before
            graph = graph.replace(before, after)
        (self.folder / "flow.toml").write_text(graph)
        self.api = self._client = None

    def serve(self):
        """Start the API on a free port, and wait until it answers."""
        port = free_port()
        environment = {**os.environ, **self._environment, "HEARTHWATCH_API_PORT": str(port), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-P", "-m", "hearthwatch.api"]
        self.api = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=subprocess.DEVNULL)
        self.url = f"http://127.0.0.1:{port}"
        self._client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)
        while not self.answers():
            assert self.api.poll() is None, "the API ended"
            time.sleep(0.02)
        return self

    def answers(self):
        try:
            return self.ask("/health") == {"status": "ok"}
        except httpx.TransportError:
            return False

    def ask(self, path, **params):
        return self._client.get(path, params=params).raise_for_status().json()

    def close(self):
        """End both, however they are."""
        self.kill()
        if self.api:
            self._client.close()
            self.api.terminate()
            self.api.wait()
            self.api = None

    def verify(self):
        """`hearthwatch verify`; its exit code."""
        environment = {**os.environ, **self._environment}
        return subprocess.run(
            [sys.executable, "-m", "hearthwatch.cli", "verify"], env=environment, cwd=self.folder
        ).returncode

    def until_decided(self, count, timeout=SLOW):
        return self.until(lambda: self.decided() >= count, timeout)

    def decided(self):
        """How many frames were ever decided, forgotten ones included: ids count from 1 and are decided in order."""
        return (self.rows(DECIDED) or [(0,)])[0][0]

    def lost(self):
        """Paths that are only in the tree or only in the ledger; paths that the ledger has twice."""
        there = {str(file.relative_to(self.base)) for file in self.pictures()}
        known = Counter(path for (path,) in self.rows("SELECT path FROM frames"))
        return there ^ set(known), [path for path, n in known.items() if n > 1]


class Uploads(threading.Thread):
    """Uploads until `stop()`. `sent` counts by camera; `called(camera, n)` says what a file is called."""

    def __init__(self, base, rates, called=lambda camera, n: f"{n:08}.jpg", first=None):
        super().__init__(daemon=True)
        self.base, self.rates, self.called = base, rates, called
        self.first = dict(first or dict.fromkeys(rates, 0))
        self.sent = Counter(self.first)
        self.late = 0.0
        """The most seconds that this thread was behind its own schedule."""
        self._ends = threading.Event()
        for camera in rates:
            (base / camera).mkdir(parents=True, exist_ok=True)

    def run(self):
        began = time.monotonic()
        while not self._ends.wait(TURN_SECONDS):
            for camera, rate in self.rates.items():
                self._catch_up(camera, rate, began)

    def _catch_up(self, camera, rate, began):
        due = self.first[camera] + int((time.monotonic() - began) * rate)
        self.late = max(self.late, (due - self.sent[camera]) / rate - TURN_SECONDS)
        while self.sent[camera] < due and not self._ends.is_set():
            upload(self.base, camera, self.called(camera, self.sent[camera]))
            self.sent[camera] += 1

    def total(self):
        """Files uploaded so far."""
        assert self.is_alive() or self._ends.is_set(), "the uploader died"
        return sum(self.sent.values())

    def stop(self):
        self._ends.set()
        self.join()
        return self


def upload(base, camera, name):
    """One small picture, different from all others, moved in."""
    folder = f"{base}/{camera}"
    data = small_picture(f"{camera}/{name}")
    with open(f"{folder}/.incoming", "wb") as file:
        file.write(data)
    os.rename(f"{folder}/.incoming", f"{folder}/{name}")


def small_picture(words):
    """A JPEG of 64×48 whose bytes depend on `words` (they are its comment)."""
    comment = words.encode()
    plain = _noise()
    return plain[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + plain[2:]


@cache
def _noise():
    from PIL import Image

    buffer = io.BytesIO()
    Image.effect_noise((64, 48), 60).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


class Vitals(NamedTuple):
    """What a process holds."""

    rss_mb: float
    handles: int
    threads: int
    cpu_seconds: float


def vitals(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Vitals(
        pages * resource.getpagesize() / 1e6,
        len(os.listdir(f"/proc/{pid}/fd")),
        int(fields[17]),
        (int(fields[11]) + int(fields[12])) / TICKS,
    )
