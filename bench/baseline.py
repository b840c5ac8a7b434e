"""Compare with what others would write, in one run: a plain loop, and watcher → Redis list → worker → HTTP detector.

    scripts/bench baseline [--pictures 3000] [--rounds 3] [--live 100] [--rate 5] [--kills 5] [--svg FILE]

All three get the same small JPEGs (latency: also of 1080p) in 8 camera folders, two boxes on each, no model, durable commits, and publish an opened
event on the same Redis. CPU is that of the processes between files and events, without Redis, decoding, detection and the
detector's service. The worker needs SQLAlchemy and aiosqlite: pip install sqlalchemy aiosqlite.
"""

import argparse
import importlib.util
import io
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from functools import cache
from pathlib import Path

import numpy as np
import redis
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from plot import Panel, figure  # noqa: E402
from spine import CAMERAS, Meter, small_jpeg  # noqa: E402

from tests.support.pipeline import Pipeline, name  # noqa: E402
from tests.support.redis_server import RedisServer  # noqa: E402

T = 1_700_000_000
APART = 0.1  # seconds of capture time between two pictures of the backlog
LIVE_APART = 1000  # … and of the live ones: each opens an event
DOWN = 20  # pictures that come while everything is dead
QUIET_SECONDS = (
    20.0  # without new rows for so long, what is missing is lost; at a load of 12, 5 s passed before a start
)
FIRST_SECONDS_MAX = 60.0
NEEDED = ("sqlalchemy", "aiosqlite", "greenlet")
REDIS = '\n[redis]\nuse = "redis"\nfrom = "batch"\n'


# -- the three programs, each in a separate folder


class Way:
    """Processes, their database and the channel that they publish on."""

    paths = "SELECT path FROM pictures"
    channel = "events"

    def __init__(self, folder, server, service):
        self.folder, self.server, self.service = folder, server, service
        self.base, self.processes = folder / "uploads", []
        self.database = folder / "theirs.db"
        self.base.mkdir(parents=True, exist_ok=True)

    def start(self):
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        self.processes = [
            subprocess.Popen([sys.executable, *map(str, command)], env=environment, stdout=subprocess.PIPE, text=True)
            for command in self.commands()
        ]
        return self

    def stop(self):
        """Stop; return the CPU seconds of all its processes without imports, decoding and detection."""
        for process in self.processes:
            process.terminate()
        return sum(json.loads(process.communicate()[0])["around"] for process in self.processes)

    def kill(self):
        for process in self.processes:
            process.kill()
            process.wait()
            process.stdout.close()

    def stored(self):
        """Return every path in its database, as often as it is stored."""
        try:
            with sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30) as db:
                return [path for (path,) in db.execute(self.paths)]
        except sqlite3.OperationalError:
            return []  # not yet
        finally:
            if "db" in locals():
                db.close()

    def count(self):
        return len(self.stored())

    @staticmethod
    def opened(message):
        """Return the picture of a message about an opened event: its name, or when it was taken."""
        return Path(message["path"]).name


class Ours(Way):
    paths = "SELECT path FROM frames WHERE state <> 'discovered'"
    channel = "security_events"

    def __init__(self, folder, server, service):
        super().__init__(folder, server, service)
        self.pipeline = Pipeline(folder, options="boxes = 2", more=REDIS, base=self.base, REDIS_URL=server.url)
        self.database = self.pipeline.path

    def start(self):
        command = [sys.executable, str(ROOT / "bench/spine.py"), "--measured"]
        environment = {**os.environ, **self.pipeline._environment}
        errors = (self.folder / "stderr").open("ab")
        self.processes = [
            subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        ]
        return self

    def stop(self):
        self.processes[0].terminate()
        seconds = json.loads(self.processes[0].communicate()[0])
        return seconds["whole"] - seconds["decode"] - seconds["detect"]

    @staticmethod
    def opened(message):
        taken = message["started_at"][:23].translate(str.maketrans({"-": "", ":": "", "T": "_", ".": "_"}))
        return f"{taken}.jpg" if message["type"] == "event.opened" else None


class Loop(Way):
    def commands(self):
        yield __file__, "--part", "loop", self.base, self.database, "--redis", self.server.url


class Queue(Way):
    def commands(self):
        yield __file__, "--part", "worker", self.database, self.server.url, self.service
        yield __file__, "--part", "watcher", self.base, self.server.url


def part(which, arguments):
    """Run one of the others' programs until SIGTERM, then print its CPU seconds."""
    sys.path.insert(0, str(ROOT / "bench/baselines"))
    program, meter = importlib.import_module(which), Meter(("decode", "detect"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    began = time.process_time()
    try:
        if which == "loop":
            meter.around("decode", program, "decode")
            meter.around("detect", program, "null_detector")
            program.main(arguments, detect=program.null_detector)
        elif which == "worker":
            program.asyncio.run(program.work(*arguments))
        else:
            program.main(*arguments)
    finally:
        print(json.dumps({"around": time.process_time() - began - sum(meter.seconds.values())}), flush=True)
        os._exit(0)  # their threads may still run


# -- three measurements


def backlog(way, pictures):
    """Process a backlog: CPU ms a picture, those of Redis, pictures/s between the first and the last."""
    upload(way, range(pictures), APART)
    redis_before = cpu(way.server.process.pid)
    way.start()
    wait(lambda: way.count() > 0, FIRST_SECONDS_MAX, "the first picture")
    began, head = time.monotonic(), way.count()
    while (done := way.count()) < pictures:
        time.sleep(0.05)
        alive(way)
    wall = time.monotonic() - began
    redis_ms = (cpu(way.server.process.pid) - redis_before) / pictures * 1000
    return way.stop() / pictures * 1000, redis_ms, (done - head) / wall


@cache
def noise_1080p():
    rows = np.random.default_rng(1).normal(128, 18, (270, 480, 3)).clip(0, 255).astype("u1")
    Image.fromarray(rows).resize((1920, 1080)).save(file := io.BytesIO(), "JPEG", quality=85)
    return file.getvalue()


def large_jpeg(number):
    """Return the same picture of 1080p, 400 kB, in other bytes."""
    plain, comment = noise_1080p(), f"{number:09}".encode()
    return plain[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + plain[2:]


def live(way, pictures, rate, jpeg=small_jpeg):
    """Time from a file's close to the message on Redis, ms, sorted."""
    upload(way, range(CAMERAS), APART)
    way.start()
    wait(lambda: way.count() == CAMERAS, FIRST_SECONDS_MAX, "the first pictures")
    subscriber, closed = Subscriber(way), {}
    for i in range(1, pictures + 1):
        due = time.monotonic() + 1 / rate
        file = name(T + LIVE_APART * i)
        (way.base / f"cam{i % CAMERAS}" / file).write_bytes(jpeg(i + 10**6))
        closed[file] = time.monotonic()
        time.sleep(max(0.0, due - time.monotonic()))
    wait(lambda: set(closed) <= set(subscriber.heard), FIRST_SECONDS_MAX, "the last event")
    way.stop()
    return sorted(1000 * (subscriber.heard[file] - at) for file, at in closed.items())


def killed(way, pictures, kills):
    """Kill all its processes with -9 several times while pictures come: how many are lost, how many stored twice."""
    upload(way, range(pictures), APART)
    total = pictures
    for n in range(1, kills + 1):
        way.start()
        goal = way.count() + (total - way.count()) // (kills - n + 2)
        wait(lambda goal=goal: way.count() >= goal, FIRST_SECONDS_MAX, f"{goal} pictures")
        way.kill()
        upload(way, range(total, total + DOWN), APART)
        total += DOWN
    way.start()
    first = last = way.count()
    since = time.monotonic()
    while (count := way.count()) < total:
        if time.monotonic() - since > (FIRST_SECONDS_MAX if last == first else QUIET_SECONDS):  # a start takes long
            break
        if count != last:
            last, since = count, time.monotonic()
        time.sleep(0.05)
    stored = [Path(path).name for path in way.stored()]
    way.kill()
    return total - len(set(stored)), len(stored) - len(set(stored))


class Subscriber(threading.Thread):
    """Map picture -> when its event was received."""

    def __init__(self, way):
        super().__init__(daemon=True)
        self.way, self.heard = way, {}
        self.channel = way.server.client().pubsub(ignore_subscribe_messages=True)
        self.channel.subscribe(way.channel)
        self.channel.get_message(timeout=5)  # the reply to the subscription
        self.start()

    def run(self):
        try:
            for message in self.channel.listen():
                self.heard.setdefault(self.way.opened(json.loads(message["data"])), time.monotonic())
        except (redis.RedisError, ValueError):
            pass  # the end: the server is gone


def upload(way, numbers, apart):
    for i in numbers:
        folder = way.base / f"cam{i % CAMERAS}"
        folder.mkdir(exist_ok=True)
        part = way.folder / "incoming"
        part.write_bytes(small_jpeg(i))
        os.utime(part, (time.time() - 60, time.time() - 60 + i / 1e4))  # complete, in order of arrival
        part.rename(folder / name(T + i * apart))


def wait(condition, seconds, what):
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise SystemExit(f"{what} did not come within {seconds:g} s")
        time.sleep(0.005)


def alive(way):
    if any(process.poll() is not None for process in way.processes):
        raise SystemExit(f"a process of {type(way).__name__} ended early")


def cpu(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# -- the table


def main():
    if sys.argv[1:2] == ["--part"]:
        part(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3, help="the table shows medians")
    parser.add_argument("--live", type=int, default=100, help="pictures that come one by one")
    parser.add_argument("--rate", type=float, default=5, help="… so many a second")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--svg", type=Path, help="where the plot is written")
    given = parser.parse_args()
    ways = {"ours": Ours, "plain loop": Loop, "queue, worker": Queue}
    if missing := [needed for needed in NEEDED if importlib.util.find_spec(needed) is None]:
        print(f"left out, the queue and its worker: pip install {' '.join(missing)}\n")
        del ways["queue, worker"]
    with tempfile.TemporaryDirectory(prefix="baseline_") as folder:
        figures = compare(Path(folder), ways, given)
    report(given, ways, figures)
    if given.svg:
        given.svg.write_text(plot(figures))


def compare(folder, ways, given):
    command = [sys.executable, str(ROOT / "bench/baselines/detector_service.py")]
    service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{service.stdout.readline().strip()}"
    figures = {word: {"cpu": [], "redis": [], "rate": []} for word in ways}

    def fresh(word, what, measure, *arguments):
        with RedisServer(folder / f"redis-{what}") as server:
            return measure(ways[word](folder / what / word.replace(" ", "-"), server, url), *arguments)

    try:
        for n in range(given.rounds):  # alternate, so that a noisy minute affects all
            for word in ways:
                measured = fresh(word, f"backlog{n}", backlog, given.pictures)
                for key, value in zip(("cpu", "redis", "rate"), measured, strict=True):
                    figures[word][key].append(value)
        for word in ways:
            figures[word]["ms"] = fresh(word, "live", live, given.live, given.rate)
            figures[word]["ms 1080p"] = fresh(word, "live1080p", live, given.live, given.rate, large_jpeg)
            figures[word]["lost"] = fresh(word, "kills", killed, given.pictures // 3, given.kills)
    finally:
        service.kill()
        service.communicate()
    return figures


def report(given, ways, figures):
    def line(what, cell):
        print(f"| {what:<47} | " + " | ".join(f"{cell(figures[word]):>13}" for word in ways) + " |")

    print(
        f"{given.pictures} pictures, medians of {given.rounds} rounds (least – most); {given.live} live ones at {given.rate:g}/s; "
        f"{given.kills} kills; {os.cpu_count()} CPUs, Python {sys.version.split()[0]}\n"
    )
    print(f"| {'':<47} | " + " | ".join(f"{word:>13}" for word in ways) + " |")
    print("|---" * (1 + len(ways)) + "|")
    for key, what, form in (
        ("cpu", "CPU ms per picture around decode and model", ".2f"),
        ("redis", "… and of the Redis server", ".2f"),
        ("rate", "pictures/s", ",.0f"),
    ):
        line(
            what,
            lambda f, k=key, form=form: f"{statistics.median(f[k]):{form}} ({min(f[k]):{form}} – {max(f[k]):{form}})",
        )
    for key, words in (("ms", ""), ("ms 1080p", ", 1080p")):
        for p in (50, 99):
            what = f"file close → opened event on Redis{words}, p{p} ms"
            line(what, lambda f, p=p, key=key: f"{percentile(f[key], p):.1f}")
    total = given.pictures // 3 + DOWN * given.kills
    line(f"lost of {total} in {given.kills} kill -9", lambda f: str(f["lost"][0]))
    line("stored twice", lambda f: str(f["lost"][1]))


def plot(figures):
    shown = {
        "CPU ms per picture, model apart": lambda f: statistics.median(f["cpu"]),
        "pictures/s": lambda f: statistics.median(f["rate"]),
        "file close → event on Redis, p99 ms": lambda f: percentile(f["ms"], 99),
    }
    panels = [
        Panel(what, [word.split(",")[0] for word in figures], {"": [of(f) for f in figures.values()]}, True)
        for what, of in shown.items()
    ]
    return figure("The same pictures, three ways", panels)


def percentile(sorted_values, p):
    return sorted_values[min(len(sorted_values) - 1, round(p / 100 * len(sorted_values)))]


if __name__ == "__main__":
    main()
