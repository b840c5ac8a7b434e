"""How fast the read API answers: pages of events, an event, totals, from a record of this many events.

    scripts/bench api [EVENTS] [SECONDS]

Sixteen connections ask as fast as they are answered, from a process of their own on the same machine; then what counters
save against count(*). Timings of a shared machine are noisy: trust ratios.
"""

import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from record import Record  # noqa: E402
from record.queries import Filter, count_detections, count_levels  # noqa: E402
from schemas.items import risk_level  # noqa: E402

CONNECTIONS = 16
S = 1_000_000
KINDS = ("person", "person", "car", "dog", "cat", "package")


def fill(path: Path, events: int) -> None:
    """Events of five detections in two frames each, over thirty days and eight cameras, by rows as the pipeline writes them."""
    record, chance, now = Record(path), random.Random(7), time.time_ns() // 1000
    cameras = [f"camera_{n}" for n in range(8)]
    record.many("INSERT INTO cameras VALUES (?,?,?,'online',?,?,NULL,NULL)", [(c, c, c, now, now) for c in cameras])
    step = 30 * 86_400 * S // events
    for start in range(0, events, 5000):
        rows = [row(n, now - (events - n) * step, cameras, chance) for n in range(start, min(events, start + 5000))]
        record.transact(lambda rows=rows: write(record, rows))
    record.close()


def row(n: int, at: int, cameras: list[str], chance: random.Random) -> dict:
    kinds = chance.choices(KINDS, k=5)
    score = min(100, int(chance.expovariate(1 / 25)))
    return {
        "id": 2 * n + 1,
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
        "INSERT INTO detections VALUES (?,?,?,?,?,?,?,0.9,1,2,3,4,NULL)",
        [
            ((r["id"] + k % 2) * 512 + k, r["id"] + k % 2, r["id"], r["camera"], "p", r["at"], kind)
            for r in rows
            for k, kind in enumerate(r["kinds"])
        ],
    )
    record.many(
        "INSERT INTO feed(event_id, revision, type, payload, at) VALUES (?,2,'event.closed',?,?)",
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


async def load(port: int, paths: list[str], seconds: float) -> list[float]:
    """Latencies in ms of all answers."""
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
    return took


def serve(folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {
        **os.environ,
        "HEARTHWATCH_DATA_DIR": str(folder),
        "HEARTHWATCH_API_PORT": str(port),
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": "",
    }
    server = subprocess.Popen([sys.executable, "-P", "-m", "api"], env=env, stdout=subprocess.PIPE)
    assert server.stdout and server.stdout.readline()
    while socket.socket().connect_ex(("127.0.0.1", port)):
        time.sleep(0.05)
    return server, port


def best(work, times: int = 5) -> float:
    def once() -> float:
        began = time.perf_counter()
        work()
        return (time.perf_counter() - began) * 1e3

    return min(once() for _ in range(times))


def counting(path: Path) -> None:
    record, week = Record(path), time.time_ns() // 1000 - 7 * 86_400 * S + 12_345
    for what, ours, plain in (
        ("events by level", lambda: count_levels(record, Filter()), "SELECT risk_level, count(*) FROM events WHERE status <> 'merged' GROUP BY 1"),
        ("… of a camera, a week", lambda: count_levels(record, Filter("camera_1", start=week)), f"SELECT risk_level, count(*) FROM events WHERE camera_id = 'camera_1' AND started_at >= {week} AND status <> 'merged' GROUP BY 1"),
        ("detections of a kind", lambda: count_detections(record, Filter(object_type="dog"), 0), "SELECT count(*) FROM detections WHERE object_type = 'dog'"),
    ):  # fmt: skip
        counters, scan = best(ours), best(lambda plain=plain: record.rows(plain))
        print(f"| {what} | {counters:.2f} | {scan:.1f} | {scan / counters:.0f}× |")
    record.close()


def main(events: int = 100_000, seconds: float = 4.0) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.perf_counter()
        fill(folder / "hearthwatch.db", events)
        print(
            f"{events:,} events, {events * 5:,} detections written in {time.perf_counter() - began:.0f} s\n\n| counted | counters, ms | count(*), ms | ratio |\n|---|---|---|---|"
        )
        counting(folder / "hearthwatch.db")
        chance = random.Random(1)
        some = [2 * chance.randrange(events) + 1 for _ in range(500)]
        asked = {
            "newest 50": ["/api/events"],
            "camera + level + reviewed": [
                f"/api/events?camera_id=camera_{n}&risk_level=high,critical&reviewed=false" for n in range(8)
            ],
            "one kind of object": ["/api/events?object_type=cat&limit=50"],
            "deep by cursor": [
                f"/api/events?cursor=n.{time.time_ns() // 1000 - d * 86_400 * S}.1" for d in range(1, 29)
            ],
            "deep by offset": [f"/api/events?offset={events // 2}"],
            "inbox": ["/api/events?sort=inbox"],
            "one event": [f"/api/events/{i}" for i in some],
            "totals": ["/api/events/stats"],
            "heat strip, 24 h": ["/api/timeline"],
            "the page's first line": ["/api/status"],
            "health only": ["/health"],
        }
        server, port = serve(folder)
        try:
            print(f"\n| {CONNECTIONS} clients | answers/s | p50 ms | p99 ms |\n|---|---|---|---|")
            for what, paths in asked.items():
                took = asyncio.run(load(port, paths, seconds))
                print(
                    f"| {what} | {len(took) / seconds:.0f} | {statistics.median(took):.1f} | {statistics.quantiles(took, n=100)[98]:.1f} |",
                    flush=True,
                )
        finally:
            server.terminate()
            server.communicate()


if __name__ == "__main__":
    main(*(kind(value) for kind, value in zip((int, float), sys.argv[1:], strict=False)))
