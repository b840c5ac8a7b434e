"""Time the read API, alone and beside a pipeline that writes, and messages to 200 live listeners.

    scripts/bench api [--events 1000000] [--cells 4] [--seconds 4] [--keep FOLDER] [--only WORD] [--parts counts,alone,beside,live]

Sixteen connections send requests without pause: `wrk` if installed, else a loader in another process. The pipeline is the
real one with a null detector; 50 small JPEGs a second are moved into its tree. `--keep`: make the record there once. Timings of a shared machine are noisy: trust ratios.
"""

import argparse
import asyncio
import json
import math
import os
import random
import re
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from hearthwatch.record import Record  # noqa: E402
from hearthwatch.record.cells import find_cells, prepare_cell  # noqa: E402
from hearthwatch.record.read.detections import count_detections  # noqa: E402
from hearthwatch.record.read.events import Filter, count_levels  # noqa: E402
from hearthwatch.record.units import CELL_BITS  # noqa: E402
from hearthwatch.schemas.items import risk_level  # noqa: E402
from tests.support.pipeline import Pipeline, picture, rules_and_options  # noqa: E402

CONNECTIONS = 16
LISTENERS = 200
PICTURES_PER_SECOND = 50
S = 1_000_000
KINDS = ("person", "person", "car", "dog", "cat", "package")


def fill(path: Path, events: int, number: int = 8, cells: int = 1) -> None:
    """Insert events of five detections in two frames each, over thirty days and so many cameras and cells, as the pipeline does."""
    chance, now, step = random.Random(7), time.time_ns() // 1000, 30 * 86_400 * S // events
    cameras = [f"camera_{n}" for n in range(number)]
    for cell in find_cells(str(cells), path, path.parent, path.parent):
        prepare_cell(cell)
        record, mine = Record(cell.record_path), cameras[cell.number :: cells]
        record.many(
            "INSERT INTO cameras(id, name, folder_path, status, created_at, last_seen_at) VALUES (?,?,?,'online',?,?)",
            [(c, c, c, now, now) for c in mine],
        )
        all_of_it = range(cell.number, events, cells)
        for start in range(0, len(all_of_it), 5000):
            rows = [
                row(cell.number << CELL_BITS | 2 * n + 1, now - (events - n) * step, mine, chance)
                for n in all_of_it[start : start + 5000]
            ]
            record.transact(lambda record=record, rows=rows: write(record, rows))
        record.close()


def row(id: int, at: int, cameras: list[str], chance: random.Random) -> dict:
    kinds = chance.choices(KINDS, k=5)
    score = min(100, int(chance.expovariate(1 / 25)))
    return {
        "id": id,
        "at": at,
        "camera": chance.choice(cameras),
        "kinds": kinds,
        "score": score,
        "reviewed": chance.random() < 0.7,
    }


def write(record: Record, rows: list[dict]) -> None:
    record.many(
        "INSERT INTO events(id, batch_id, camera_id, started_at, ended_at, frame_count, status, risk_score, risk_level, summary, reasoning, evidence, analyzer, "
        "revision, reviewed, objects, last_at, close_at, opened_at, closed_at) VALUES (?,?,?,?,?,2,'closed',?,?,?,?,?,'rules',2,?,?,?,?,?,?)",
        [
            (
                r["id"], f"batch-{r['id']}", r["camera"], r["at"], r["at"] + S, r["score"], risk_level(r["score"]), f"{r['kinds'][0]} at {r['camera']}", "as seen " * 8,
                json.dumps([r["id"] * 512]), r["reviewed"], json.dumps({k: r["kinds"].count(k) for k in sorted(set(r["kinds"]))}), r["at"], r["at"], r["at"], r["at"],
            )
            for r in rows
        ],
    )  # fmt: skip
    record.many(
        "INSERT INTO frames(id, uid, camera_id, path, mtime_ns, size, captured_at, arrived_at, discovered_at, state, event_id, thumbnail_path, width, height) "
        "VALUES (?,?,?,?,?,1,?,?,?,'settled',?,?,1920,1080)",
        [(r["id"] + k, "u", r["camera"], f"{r['camera']}/{r['id'] + k}.jpg", r["at"], r["at"] + k * S, r["at"], r["at"], r["id"], f"thumbnails/x/{r['id'] + k}_thumb.jpg") for r in rows for k in (0, 1)],
    )  # fmt: skip
    record.many(
        "INSERT INTO detections VALUES (?,?,?,?,?,?,?,0.9,1,2,3,4,NULL,NULL)",
        [
            ((r["id"] + k % 2) * 512 + k, r["id"] + k % 2, r["id"], r["camera"], "p", r["at"], kind)
            for r in rows
            for k, kind in enumerate(r["kinds"])
        ],
    )
    record.many(
        "INSERT INTO feed(subject_id, revision, type, payload, at) VALUES (?,2,'event.closed',?,?)",
        [
            (
                r["id"],
                json.dumps({"event_id": r["id"], "thumbnail": f"/api/media/thumbnails/x/{r['id']}_thumb.jpg"}),
                r["at"],
            )
            for r in rows
        ],
    )
    record.count(settled=2 * len(rows), detections=5 * len(rows), events=len(rows))


# -- clients

LUA = """
local paths, n = {%s}, 0
request = function() n = n + 1; return wrk.format("GET", paths[n %% #paths + 1]) end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format("result %%f %%f %%f %%d\\n", summary.requests / summary.duration * 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, e.status + e.connect + e.read + e.write + e.timeout))
end
"""


def asked_by_wrk(port: int, paths: list[str], seconds: float) -> tuple[float, float, float]:
    """Return responses per second, p50 and p99 in ms."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(LUA % ",".join(json.dumps(path) for path in paths))
        script.flush()
        command = [
            "wrk",
            "--timeout",
            "10s",
            "-t1",
            f"-c{CONNECTIONS}",
            f"-d{math.ceil(seconds)}s",
            "-s",
            script.name,
            f"http://localhost:{port}",
        ]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rate, p50, p99, wrong = re.search(r"^result (\S+) (\S+) (\S+) (\d+)$", output, re.M).groups()
    assert wrong == "0", f"{wrong} answers were not 200:\n{output}"
    return float(rate), float(p50), float(p99)


async def asked_by_us(port: int, paths: list[str], seconds: float) -> tuple[float, float, float]:
    took: list[float] = []
    until = time.perf_counter() + seconds

    async def one(n: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < until:
            began = time.perf_counter()
            writer.write(f"GET {paths[n % len(paths)]} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))
            took.append((time.perf_counter() - began) * 1e3)
            n += CONNECTIONS
        writer.close()

    await asyncio.gather(*(one(n) for n in range(CONNECTIONS)))
    return len(took) / seconds, statistics.median(took), percentile(took, 99)


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[math.ceil(len(values) * share / 100) - 1]


def questions(path: Path, cells: int) -> dict[str, list[str]]:
    """Return the requests by name; deep pages and single events from all over the record."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    first, last, count = db.execute("SELECT min(started_at), max(started_at), count(*) FROM events").fetchone()
    chance = random.Random(1)
    spans = [first + (last - first) * k // 30 for k in range(1, 30)]
    some = [
        2 * n + 1 | n % cells << CELL_BITS for n in (chance.randrange(count * cells * 9 // 10) for _ in range(2000))
    ]
    db.close()
    return {
        "newest 50": ["/api/events"],
        "camera + level + reviewed": [f"/api/events?camera_id=camera_{n}&risk_level=high,critical&reviewed=false" for n in range(8)],
        "one kind of object": ["/api/events?object_type=cat&limit=50"],
        "deep by cursor": [f"/api/events?cursor=n.{at}.1" for at in spans],
        "deep by offset": [f"/api/events?offset={count * cells // 2}"],
        "inbox": ["/api/events?sort=inbox"],
        "one event": [f"/api/events/{i}" for i in some],
        "totals": ["/api/events/stats"],
        "heat strip, 24 h": ["/api/timeline"],
        "the page's first line": ["/api/status"],
        "cameras": ["/api/cameras"],
        "part of a word, all counted": ["/api/events?q=dog"],
        "search, one word": ["/api/search?q=dog"],
        "search, words and filters": ["/api/search?q=dogs+camera_3+yesterday", "/api/search?q=cat+22-06", "/api/search?q=package+last+night"],
        "calendar of a month": ["/api/calendar"],
        "pictures of a camera, a day": [f"/api/frames?camera_id=camera_1&start_date={time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(last / 1e6 - 86400))}"],
        "boxes, sure ones": ["/api/detections?min_confidence=0.8"],
        "metrics": ["/metrics"],
        "health only": ["/health"],
    }  # fmt: skip


# -- API and pipeline


@contextmanager
def serving(folder: Path, cells: int = 1):
    """Run `hearthwatch api` on this record: its process, its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {
        "HEARTHWATCH_DATA_DIR": str(folder),
        "HEARTHWATCH_API_PORT": str(port),
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": "",
        "HEARTHWATCH_CELLS": str(cells),
    }
    server = subprocess.Popen(
        [sys.executable, "-P", "-m", "hearthwatch.api"], env={**os.environ, **settings}, stdout=subprocess.PIPE
    )
    try:
        assert server.stdout and server.stdout.readline()
        while socket.socket().connect_ex(("127.0.0.1", port)):
            time.sleep(0.05)
        yield psutil.Process(server.pid), port
    finally:
        server.terminate()
        server.communicate()


@contextmanager
def writing(folder: Path):
    """Run a pipeline on this record whose cameras send 50 pictures a second; events of two seconds make many messages."""
    with tempfile.TemporaryDirectory(prefix="api_") as name:
        _, options = rules_and_options(2, 1, 0.5)
        p = Pipeline(
            name,
            options="boxes = 2",
            batch=options,
            HEARTHWATCH_DATA_DIR=str(folder),
            HEARTHWATCH_CAPTURE_TIME="mtime",
            DATABASE_URL="",
        )
        p.data, p.path = folder, folder / "hearthwatch.db"
        (before,) = p.rows("SELECT n FROM counters WHERE name = 'settled'")[0]
        stop, sent = threading.Event(), []

        def upload() -> None:
            began = time.monotonic()
            while not stop.wait(max(0.0, began + len(sent) / PICTURES_PER_SECOND - time.monotonic())):
                words = f"{folder} {before + len(sent)} {time.time()}"
                p.upload(f"camera_{len(sent) % 8}", f"{before + len(sent)}.jpg", picture(words))
                sent.append(words)

        uploading = threading.Thread(target=upload)
        p.start()
        uploading.start()
        try:
            p.until(
                lambda: p.rows("SELECT n FROM counters WHERE name = 'settled'")[0][0] > before + PICTURES_PER_SECOND
            )
            began, head = time.monotonic(), len(sent)
            yield p
            waits = p.rows("SELECT n FROM counters WHERE name = 'discovered'")[0][0]
            print(
                f"\n{(len(sent) - head) / (time.monotonic() - began):.0f} pictures/s were written meanwhile; {waits} waited at the end"
            )
        finally:
            stop.set()
            uploading.join()
            p.kill()


# -- measurements


def best(work, times: int = 5) -> float:
    def once() -> float:
        began = time.perf_counter()
        work()
        return (time.perf_counter() - began) * 1e3

    return min(once() for _ in range(times))


def counting(path: Path) -> None:
    record, week = Record(path), time.time_ns() // 1000 - 7 * 86_400 * S + 12_345
    print("\n| counted | counters, ms | count(*), ms | ratio |\n|---|---|---|---|")
    for what, ours, plain in (
        ("events by level", lambda: count_levels(record, Filter()), "SELECT risk_level, count(*) FROM events WHERE status <> 'merged' GROUP BY 1"),
        ("… of a camera, a week", lambda: count_levels(record, Filter("camera_1", start=week)), f"SELECT risk_level, count(*) FROM events WHERE camera_id = 'camera_1' AND started_at >= {week} AND status <> 'merged' GROUP BY 1"),
        ("detections of a kind", lambda: count_detections(record, Filter(object_type="dog"), 0), "SELECT count(*) FROM detections WHERE object_type = 'dog'"),
    ):  # fmt: skip
        counters, scan = best(ours), best(lambda plain=plain: record.rows(plain), 2)
        print(f"| {what} | {counters:.2f} | {scan:.1f} | {scan / counters:.0f}× |")
    record.close()


def asking(folder: Path, given: argparse.Namespace, heading: str) -> None:
    print(
        f"\n| {CONNECTIONS} clients, {heading} | answers/s | p50 ms | p99 ms | CPU ms of the API |\n|---|---|---|---|---|",
        flush=True,
    )
    with serving(folder, given.cells) as (server, port):
        for what, paths in questions(folder / "hearthwatch.db", given.cells).items():
            if re.search(given.only, what):
                asked = asked_by_wrk if shutil.which("wrk") else lambda *how: asyncio.run(asked_by_us(*how))
                used = sum(server.cpu_times()[:2])
                rate, p50, p99 = asked(port, paths, given.seconds)
                each = (sum(server.cpu_times()[:2]) - used) / max(1.0, rate * given.seconds) * 1e3
                print(f"| {what} | {rate:.0f} | {p50:.1f} | {p99:.1f} | {each:.2f} |", flush=True)


def listening(folder: Path, seconds: float) -> None:
    """Time from writing a row of the feed (just before its commit) until a listener has read it."""
    with writing(folder) as p, serving(folder) as (server, port):
        heard = asyncio.run(hear(port, seconds, server))
        at = dict(p.rows("SELECT seq, at FROM feed ORDER BY seq DESC LIMIT 100000"))
    late = [(when - at[seq]) / 1e3 for listener in heard.listeners for seq, when in listener]
    counts = {len(listener) for listener in heard.listeners}
    print(f"\n| {LISTENERS} listeners, {len(late) / LISTENERS / seconds:.0f} messages/s each | |\n|---|---|")
    print(f"| row written → heard, p50 | {statistics.median(late):.0f} ms |")
    print(f"| row written → heard, p99 | {percentile(late, 99):.0f} ms |")
    print(f"| messages per listener, least and most | {min(counts)}, {max(counts)} |")
    print(f"| CPU of the API's process | {heard.cpu:.0f} % of a core |")
    print(f"| its memory, alone and with {LISTENERS} listeners | {heard.alone_mb:.0f} MB, {heard.mb:.0f} MB |")


async def hear(port: int, seconds: float, server: psutil.Process) -> argparse.Namespace:
    listeners: list[list[tuple[int, int]]] = [[] for _ in range(LISTENERS)]
    alone_mb = server.memory_info().rss / 1e6

    async def one(mine: list[tuple[int, int]]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        writer.write(b"GET /api/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while line := await reader.readline():
            if line.startswith(b"id: "):
                mine.append((int(line[4:]), time.time_ns() // 1000))

    tasks = [asyncio.create_task(one(mine)) for mine in listeners]
    await asyncio.sleep(3)
    for mine in listeners:
        mine.clear()
    used, began = sum(server.cpu_times()[:2]), time.monotonic()
    await asyncio.sleep(seconds)
    cpu = 100 * (sum(server.cpu_times()[:2]) - used) / (time.monotonic() - began)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return argparse.Namespace(listeners=listeners, cpu=cpu, alone_mb=alone_mb, mb=server.memory_info().rss / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--cells", type=int, default=1, help="records that the events are divided among")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each line of a table")
    parser.add_argument(
        "--keep", type=Path, help="folder of the record, made if it is empty; without it a temporary one"
    )
    parser.add_argument("--only", default="", help="only questions whose name matches this pattern")
    parser.add_argument("--parts", default="counts,alone,beside,live")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = given.keep or Path(name)
        path = folder / "hearthwatch.db"
        if not path.exists():
            fill(path, given.events, cells=given.cells)
        record = Record(path)
        print(
            f"{given.cells} cell(s); the first: "
            + "{events:,} events, {detections:,} detections, {settled:,} pictures".format(**record.counters()),
            flush=True,
        )
        record.close()
        if "counts" in given.parts:
            counting(path)
        if "alone" in given.parts:
            asking(folder, given, "alone")
        if "beside" in given.parts:
            with writing(folder):
                asking(folder, given, f"{PICTURES_PER_SECOND} pictures/s are written")
        if "live" in given.parts:
            listening(folder, max(10.0, given.seconds))


if __name__ == "__main__":
    main()
