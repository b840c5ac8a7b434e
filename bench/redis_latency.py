"""Time from the close of a file to a Redis subscriber, of event.opened and incident.opened: 8 cameras, live 1080p pictures, thumbnails, null detector.

    scripts/bench redis_latency [--pictures 300] [--rate 5] [--redis up|frozen|down]

Each picture opens an event. Redis is a real one on this machine; frozen or down, it shows whether the pipeline waits for
it. At the end: the cost of thumbnails.
"""

import argparse
import io
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import redis
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from hearthwatch.record.thread_priority import NICENESS  # noqa: E402
from tests.support.pipeline import Pipeline, name  # noqa: E402
from tests.support.redis_server import RedisServer  # noqa: E402

T = 1_700_000_000
CAMERAS = 8
LAST_SECONDS_MAX = 10.0
TICKS = os.sysconf("SC_CLK_TCK")
MORE = """
[thumbnails]
use = "thumbnails"
from = "detect"

[redis]
use = "redis"
from = "batch"
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--rate", type=float, default=5, help="pictures a second")
    parser.add_argument("--redis", choices=("up", "frozen", "down"), default="up")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="redis_latency_") as folder, RedisServer(Path(folder) / "redis") as server:
        p = Pipeline(folder, options="boxes = 2", more=MORE, REDIS_URL=server.url).start()
        try:
            for camera in range(CAMERAS):  # known cameras, watched folders
                p.upload(f"cam{camera}", name(T - 1000, str(camera)), different(camera_picture(), 10**6 + camera))
            p.until(lambda: p.states() == {"settled": CAMERAS})
            subscriber = Subscriber(server)
            {"up": lambda: None, "frozen": server.freeze, "down": server.kill}[given.redis]()
            before = cpu_seconds(p.pid)
            closed = upload(p, given.pictures, given.rate)
            p.until(lambda: p.states() == {"settled": given.pictures + CAMERAS})
            if given.redis == "up":
                subscriber.wait(set(closed))
            spent = [after - start for after, start in zip(cpu_seconds(p.pid), before, strict=True)]
            drawn = len(list((p.data / "thumbnails").rglob("*.jpg"))) - CAMERAS
            p.stop()
            written = p.rows(
                "SELECT e.started_at / 1000000, f.at / 1e6 FROM feed f JOIN events e ON e.id = f.event_id WHERE f.type = 'event.opened'"
            )
        finally:
            p.kill()
    print(
        f"Redis {given.redis}; {given.pictures} pictures at {given.rate:g}/s on {CAMERAS} cameras, {os.cpu_count()} CPUs, "
        f"Python {sys.version.split()[0]}\n\n| from file close, ms          |    p50 |    p99 |    max |\n|---|---|---|---|"
    )
    row("event.opened in the record", closed, dict(written))
    if given.redis == "up":
        for kind, heard in subscriber.heard.items():
            row(f"{kind} to a subscriber", closed, heard)
    total, drawing = spent
    print(
        f"\n{drawn} thumbnails, {1000 * drawing / drawn:.1f} ms of CPU each: {100 * drawing / total:.0f} % of the pipeline's "
        f"{1000 * total / given.pictures:.0f} ms a picture (decode, record, Redis; nothing is detected)"
    )


def row(words, closed, received):
    ms = sorted(1000 * (received[taken] - at) for taken, at in closed.items())
    p99 = ms[min(len(ms) - 1, round(0.99 * len(ms)))]
    print(f"| {words:<28} | {statistics.median(ms):6.1f} | {p99:6.1f} | {ms[-1]:6.1f} |")


def upload(p, pictures, rate):
    """Upload at irregular times; return capture time -> when its file was closed."""
    dice, data, closed = random.Random(1), camera_picture(), {}
    for i in range(pictures):
        due = time.monotonic() + dice.uniform(0.5, 1.5) / rate
        taken = T + 1000 * i
        p.upload(f"cam{i % CAMERAS}", name(taken), different(data, i))
        closed[taken] = time.time()
        time.sleep(max(0.0, due - time.monotonic()))
    return closed


def different(jpeg, number):
    """Return the same picture in other bytes: the number is its comment."""
    return jpeg[:2] + b"\xff\xfe\x00\x06" + number.to_bytes(4, "big") + jpeg[2:]


def camera_picture():
    """Draw a picture of 1080p, 200 to 300 kB, as cameras write it."""
    noise = np.random.default_rng(1).normal(128, 40, (135, 240, 3)).clip(0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize((1920, 1080), Image.Resampling.BICUBIC).save(out, "JPEG", quality=85)
    return out.getvalue()


class Subscriber(threading.Thread):
    """Map, for each kind of message, capture time -> when it was received."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.heard, self.news = {"event.opened": {}, "incident.opened": {}}, threading.Condition()
        self.channel = server.client().pubsub(ignore_subscribe_messages=True)
        self.channel.subscribe("security_events")
        self.start()

    def run(self):
        try:
            for message in self.channel.listen():
                self.hear(json.loads(message["data"]), time.time())
        except redis.ConnectionError:
            pass  # the end: the server is gone

    def hear(self, event, at):
        if event["type"] in self.heard:
            with self.news:
                self.heard[event["type"]][round(datetime.fromisoformat(event["started_at"]).timestamp())] = at
                self.news.notify()

    def wait(self, wanted):
        with self.news:
            assert self.news.wait_for(lambda: all(wanted <= set(h) for h in self.heard.values()), LAST_SECONDS_MAX), (
                "some were never heard"
            )


def cpu_seconds(pid):
    """Return those of all threads, and of those that draw, recognized by their niceness."""
    total = drawing = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        spent = (int(fields[11]) + int(fields[12])) / TICKS
        total += spent
        drawing += spent * (int(fields[16]) == NICENESS)
    return total, drawing


if __name__ == "__main__":
    main()
