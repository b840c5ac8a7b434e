"""Each fault on its own, and what the other chains of work notice of it.

    scripts/torture --chains [--runs N] [--seconds S] [--fault NAME ...]

Twelve faults × six chains: seeing, judging, thumbnails, keeping (the lake), consumers, API. One pipeline with its services
runs; each fault comes and goes so many times, with a quiet window before each. Of every chain that the fault does not
concern, the median of the windows' p99 with the fault may be 1.2 times the median without it, or 5 ms more, whichever is
greater. The fault has to be named by health and feed within 30 s, and to be gone from both after recovery; no picture may
be lost. Prints one table; exit code 1 where a rule is broken.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import redis
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from hearthwatch.record.thumbnails import path as thumbnail_path
from tests.support.llm_server import Server, completion
from tests.support.mqtt_broker import Broker
from tests.support.pipeline import ROOT, Nursery, Pipeline, name, rules_and_options
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer
from tests.torture.sandbox import Place

CHAINS = ("seeing", "judging", "thumbnails", "keeping", "consumers", "API")
FACTOR_MAX, MORE_MAX = 1.2, 0.005
NAMED_SECONDS_MAX, GONE_SECONDS_MAX = 30.0, 60.0
WARM_SECONDS_MAX = 60.0
CAMERAS, RATE = 8, 4.0  # pictures a second, of all cameras together
FLOOD_RATE = 40.0
POLL_SECONDS = 0.01  # between two readings of the record
ASK_SECONDS = 0.05  # between two requests to the API
_, BATCH = rules_and_options(6, 1.5, 0.5)  # events that close soon, so that there is something to judge
BATCH += "\nstill_objects = []"  # each picture shows the same box
FILES = "sweep_seconds = 2\nsettle_seconds = 0.5\nstill_seconds = 4"
MORE = """
[thumbnails]
use = "thumbnails"
from = "detect"

[analyze]
use = "nemotron"
from = "batch"
attempts = 100
timeout_seconds = 5

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

[mqtt]
use = "mqtt"
from = "sqlite"
url = "{mqtt}"

[duckdb]
use = "duckdb"
from = "sqlite"
interval_seconds = 2

[gpu_stats]
use = "gpu_stats"
interval_seconds = 1

[mortal]
use = "tests.torture.mortal:Mortal"
from = "sqlite"
order = "{order}"
"""


class Fault(NamedTuple):
    """What it is called, does and concerns; the kinds of conditions that name it, any of them; what it `needs`."""

    name: str
    do: Callable[[Any], Any]
    concerns: tuple[str, ...]
    kinds: tuple[str, ...]
    needs: str | None = None


# -- the services

MODELS = b'{"object": "list", "data": [{"id": "nemotron", "object": "model"}]}'


class Receiver:
    """An HTTP service that answers well, slowly, not at all, or is dead. `answer(body)` makes the answer."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self.port, self.answer, self.mode = free_port(), answer, "well"
        self.resumed = threading.Event()
        self.server: Server | None = None

    def start(self) -> Receiver:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *words: Any) -> None:
                pass

            def do_GET(self) -> None:
                self.respond(MODELS)

            def do_POST(self) -> None:
                self.respond(receiver.answer(self.rfile.read(int(self.headers["Content-Length"]))))

            def respond(self, body: bytes) -> None:
                if receiver.mode == "hung":
                    receiver.resumed.wait()
                elif receiver.mode == "slow":
                    receiver.resumed.wait(2.0)
                if receiver.mode == "dead":
                    self.close_connection = True
                    return
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    @contextmanager
    def broken(self, how: str) -> Iterator[None]:
        self.resumed.clear()
        self.mode = how
        if how == "dead" and self.server:
            self.server.shutdown()
            self.server.server_close()
        try:
            yield
        finally:
            self.mode = "well"
            self.resumed.set()
            if how == "dead":
                self.start()

    def close(self) -> None:
        self.resumed.set()
        if self.server:
            self.server.shutdown()
            self.server.server_close()


def detect(body: bytes) -> bytes:
    box = {"x": 1, "y": 1, "width": 4, "height": 4}
    return json.dumps(
        {"detections": [{"class": "person", "confidence": 0.9, "bbox": box}], "image_width": 8, "image_height": 8}
    ).encode()


class World:
    """Everything that runs, and what was measured: chain → (when it began, seconds)."""

    def __init__(self, folder: Path, inside: bool, stack: ExitStack) -> None:
        self.folder, self.place = folder, Place(folder / "house" / "world", inside)
        self.samples: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.outstanding: dict[str, float] = {}
        self.uploaded, self.is_uploading = 0, True
        self.order = folder / "order"
        self.turn, self.ending, self.flooding = threading.Lock(), threading.Event(), threading.Event()
        self.redis = stack.enter_context(RedisServer(folder / "redis"))
        self.broker = stack.enter_context(Broker(folder / "mqtt"))
        self.llm = Receiver(self._judge)
        self.detector, self.webhook = Receiver(detect), Receiver(partial(self._received, "webhook"))
        for each in (self.llm, self.detector, self.webhook):
            stack.callback(each.start().close)
        self.sent_at: dict[int, float] = {}
        self.receipts: dict[str, dict[int, float]] = defaultdict(dict)
        nursery = stack.enter_context(Nursery(preload=self.place.library))
        self.api_port = free_port()
        more = {
            "RTDETR_URL": f"http://127.0.0.1:{self.detector.port}", "NEMOTRON_URL": f"http://127.0.0.1:{self.llm.port}", "REDIS_URL": self.redis.url,
            "HEARTHWATCH_API_PORT": str(self.api_port), "TMPDIR": str(folder), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        flow = MORE.format(webhook=f"http://127.0.0.1:{self.webhook.port}", mqtt=self.broker.url, order=self.order)
        base = folder / "uploads"
        self.pipeline = Pipeline(
            folder / "house", detector="rtdetr", files=FILES, batch=BATCH, more=flow, nursery=nursery, base=base, **more
        )
        stack.callback(self.pipeline.kill)
        self.pipeline.start()
        environment = {**os.environ, **self.pipeline._environment, "PYTHONPATH": str(ROOT)}
        log = stack.enter_context((folder / "api.log").open("wb"))
        api = subprocess.Popen(
            [sys.executable, "-P", "-m", "hearthwatch.api"], cwd=folder, env=environment, stdout=log, stderr=log
        )
        stack.callback(api.wait)
        stack.callback(api.kill)
        self.client = stack.enter_context(
            httpx.Client(base_url=f"http://127.0.0.1:{self.api_port}", timeout=30, trust_env=False)
        )
        self.pipeline.until(lambda: self.pipeline.rows("SELECT 1 FROM heartbeat WHERE pid = ?", self.pipeline.pid), 60)
        stack.callback(self.ending.set)
        self._uploader = threading.Thread(target=self._upload, daemon=True)
        self._uploader.start()
        for work in (self._watch, self._ask, self._hear_redis, self._hear_mqtt):
            threading.Thread(target=work, daemon=True).start()

    # -- load and what it takes

    def _upload(self) -> None:
        for n in itertools.count():
            if not self.is_uploading or self.ending.wait(1 / (FLOOD_RATE if self.flooding.is_set() else RATE)):
                return
            flood = self.flooding.is_set() and n % round(FLOOD_RATE / RATE)
            self.upload("flood" if flood else f"cam{n % CAMERAS}", n, is_measured=not flood)

    def upload(self, camera: str, n: int, is_measured: bool = True) -> None:
        at, file = time.time(), f"{name(time.time(), str(n))}"
        with self.turn:
            self.uploaded += 1
            if is_measured:
                self.outstanding[f"{camera}/{file}"] = at
        self.pipeline.upload(camera, file)

    def _watch(self) -> None:
        """Read the record again and again: what was decided, judged, drawn, exported."""
        drawn: dict[Path, float] = {}
        judged: set[int] = set()
        last, seq, exported = 0, 0, 0.0
        data = self.pipeline.data
        while not self.ending.wait(POLL_SECONDS):
            now = time.time()
            for id, path, captured_at, state in self.pipeline.rows(
                "SELECT id, path, captured_at, state FROM frames WHERE id > ? - 2000", last
            ):
                last = max(last, id)
                if state != "discovered" and (began := self.outstanding.pop(path, None)) is not None:
                    self.samples["seeing"].append((began, now - began))
                    drawn[data / thumbnail_path(id, captured_at)] = now
            for file, began in list(drawn.items()):
                if file.exists():
                    self.samples["thumbnails"].append((began, now - began))
                    del drawn[file]
            sql = "SELECT id, closed_at, analyzed_at FROM events WHERE analysis_status = 'done' AND analyzed_at > ?"
            for id, closed_at, analyzed_at in self.pipeline.rows(sql, round((now - 120) * 1e6)):
                if id not in judged:
                    judged.add(id)
                    self.samples["judging"].append((closed_at / 1e6, (analyzed_at - closed_at) / 1e6))
            for seq_, at in self.pipeline.rows("SELECT seq, at FROM feed WHERE seq > ? AND kind = 'event'", seq):
                seq = max(seq, seq_)
                self.sent_at[seq_] = at / 1e6
            newest = max((file.stat().st_mtime for file in (data / "lake").glob("*/date=*/*.parquet")), default=0.0)
            if newest > exported:
                if exported:
                    self.samples["keeping"].append((exported, newest - exported))
                exported = newest

    def _ask(self) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{self.api_port}", timeout=30, trust_env=False) as client:
            for path in itertools.cycle(("/api/events?limit=50", "/api/status")):
                began = time.time()
                try:
                    client.get(path)
                except httpx.HTTPError:
                    continue
                self.samples["API"].append((began, time.time() - began))
                if self.ending.wait(ASK_SECONDS):
                    return

    def _received(self, consumer: str, body: bytes) -> bytes:
        try:
            seq = json.loads(body).get("seq")
        except (ValueError, AttributeError):
            seq = None
        if seq is not None:
            self.receipts[consumer].setdefault(seq, time.time())
        return b"{}"

    def _hear_redis(self) -> None:
        while not self.ending.is_set():
            try:
                with (
                    closing(redis.Redis.from_url(self.redis.url, socket_timeout=1)) as client,
                    client.pubsub() as heard,
                ):
                    heard.subscribe("security_events")
                    while not self.ending.is_set():
                        if (message := heard.get_message(True, 0.2)) is not None:
                            self._received("redis", message["data"])
            except redis.RedisError:
                self.ending.wait(0.1)

    def _hear_mqtt(self) -> None:
        client = Client(CallbackAPIVersion.VERSION2)
        client.on_connect = lambda client, *_: client.subscribe("#")
        client.on_message = lambda client, data, message: self._received("mqtt", message.payload)
        client.connect_async("127.0.0.1", self.broker.port)
        client.loop_start()
        self.ending.wait()
        client.loop_stop()

    def _judge(self, body: bytes) -> bytes:
        return json.dumps(completion(json.loads(body), "ok")).encode()

    def begin(self) -> float:
        """Wait until each chain has something to do; the time."""
        warm = ("seeing", "judging", "thumbnails", "keeping")
        assert self.wait(lambda: all(self.samples[chain] for chain in warm), WARM_SECONDS_MAX) is not None, self.samples
        return time.time()

    def finish(self) -> None:
        """End the uploads."""
        self.is_uploading = False
        self._uploader.join()

    # -- what is said

    def p99(self, chain: str, began: float, ended: float, without: str | None) -> float | None:
        """Seconds; None: nothing happened in this window."""
        if chain == "consumers":
            taken = [
                self.receipts[consumer][seq] - at
                for seq, at in list(self.sent_at.items()) for consumer in list(self.receipts)
                if began <= at < ended and consumer != without and seq in self.receipts[consumer]
            ]  # fmt: skip
        else:
            taken = [seconds for at, seconds in list(self.samples[chain]) if began <= at < ended]
        return sorted(taken)[min(len(taken) - 1, int(len(taken) * 0.99))] if taken else None

    def standing(self) -> set[str]:
        return {kind for (kind,) in self.pipeline.rows("SELECT kind FROM conditions WHERE state = 'on'")}

    def has_message(self, kinds: tuple[str, ...], state: str, since: float) -> bool:
        """Whether the feed has a message of one of these kinds. `state`: on or off."""
        rows = self.pipeline.rows("SELECT payload FROM feed WHERE kind = 'system' AND at >= ?", round(since * 1e6))
        return any(
            said["kind"] in kinds and said["state"] == state
            for said in map(json.loads, (payload for (payload,) in rows))
        )

    def wrong(self) -> set[str]:
        """What health says is wrong: services and kinds of conditions."""
        try:
            health = self.client.get("/api/system/health").json()
        except httpx.HTTPError:
            return {"no answer"}
        kinds = {condition["kind"] for condition in health.get("conditions", ())}
        return kinds | {
            name for name, service in health["services"].items() if service["status"] in ("unhealthy", "degraded")
        }

    def lost(self) -> int:
        """Pictures that are not decided."""
        return self.uploaded - self.pipeline.rows("SELECT count(*) FROM frames WHERE state <> 'discovered'")[0][0]

    def wait(self, condition: Callable[[], Any], seconds: float) -> float | None:
        """Wait until it holds; after how many seconds, None: it did not."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            if condition():
                return time.monotonic() - began
            time.sleep(0.2)
        return None


# -- the faults


@contextmanager
def process_dead(world: World, service: str) -> Iterator[None]:
    server = getattr(world, service)
    server.kill()
    try:
        yield
    finally:
        server.start()


@contextmanager
def locked(world: World) -> Iterator[None]:
    db = sqlite3.connect(world.pipeline.path, timeout=60, isolation_level=None, check_same_thread=False)
    try:
        db.execute("BEGIN IMMEDIATE")
        yield
    finally:
        db.close()


@contextmanager
def flooding(world: World) -> Iterator[None]:
    world.flooding.set()
    try:
        yield
    finally:
        world.flooding.clear()


@contextmanager
def without_inotify(world: World) -> Iterator[None]:
    with world.place.limited("max_inotify_watches"):
        for n in range(3):
            world.upload(f"new{time.time_ns()}", n, is_measured=False)
        yield


@contextmanager
def thread_dead(world: World) -> Iterator[None]:
    world.order.touch()
    try:
        yield
    finally:
        world.order.unlink(missing_ok=True)


ALL_BUT_API = ("seeing", "judging", "thumbnails", "keeping", "consumers")
SEEN = ("seeing", "thumbnails")  # and what comes of pictures
FAULTS = (
    Fault("detector dead", lambda w: w.detector.broken("dead"), SEEN, ("detector_down",)),
    Fault("detector hung", lambda w: w.detector.broken("hung"), SEEN, ("detector_down", "behind")),
    Fault("detector slow", lambda w: w.detector.broken("slow"), SEEN, ("detector_down", "behind")),
    Fault("vLLM dead", lambda w: w.llm.broken("dead"), ("judging",), ("llm_down",)),
    Fault("Redis dead", lambda w: process_dead(w, "redis"), ("consumers:redis",), ("redis_down",)),
    Fault("MQTT dead", lambda w: process_dead(w, "broker"), ("consumers:mqtt",), ("notifier_down",)),
    Fault("webhook hung", lambda w: w.webhook.broken("hung"), ("consumers:webhook",), ("notifier_down",)),
    Fault("disk slow", lambda w: w.place.slow(0.1), ALL_BUT_API, (), "library"),
    Fault("disk full", lambda w: w.place.full(), ALL_BUT_API, ("disk_low",), "place"),
    Fault("record locked", locked, ALL_BUT_API, ("record_locked",)),
    Fault("lake's disk", lambda w: w.place.read_only(w.pipeline.data / "lake"), ("keeping",), ("lake_down",), "place"),
    Fault("inotify off", without_inotify, (), ("watch_off",), "place"),
    Fault("camera flooding", flooding, (), ()),
    Fault("thread dead", thread_dead, (), ("part_restarted",)),
)


class Result(NamedTuple):
    """One row of the table; p99 in seconds by chain: without and with the fault; None: not measured."""

    fault: Fault
    before: dict[str, float | None]
    during: dict[str, float | None]
    named: float | None
    gone: float | None
    lost: int
    recovered: float | None

    def broken(self) -> list[str]:
        out = [f"{chain} slower" for chain in CHAINS if not self.is_allowed(chain)]
        out += ["not named"] * (self.named is None) + ["not gone"] * (self.gone is None)
        return out + [f"{self.lost} pictures lost"] * bool(self.lost)

    def is_allowed(self, chain: str) -> bool:
        before, during = self.before.get(chain), self.during.get(chain)
        if chain in self.fault.concerns or before is None or during is None:
            return True
        return during <= max(FACTOR_MAX * before, before + MORE_MAX)


def suffer(world: World, fault: Fault, runs: int, seconds: float) -> Result:
    """Bring this fault so many times, with a quiet window before each."""
    windows: dict[bool, list[dict[str, float | None]]] = {False: [], True: []}
    named: list[float | None] = []
    gone: list[float | None] = []
    recovered: list[float | None] = []
    without = next((concern.partition(":")[2] for concern in fault.concerns if ":" in concern), None)

    def window(is_faulty: bool) -> tuple[float, float]:
        began = time.time()
        time.sleep(seconds)
        return began, time.time()

    for _ in range(runs):
        times = {False: window(False)}
        since, usual = time.time(), world.wrong()
        with fault.do(world):
            times[True] = window(True)
            is_named = lambda: named_by(world, fault, since, usual)  # noqa: B023, E731
            took = world.wait(is_named, max(0.1, NAMED_SECONDS_MAX - seconds))
            named.append(None if took is None else time.time() - since if took else seconds)
        recovered.append(world.wait(lambda: world.lost() <= CAMERAS, GONE_SECONDS_MAX))
        gone.append(world.wait(lambda: is_gone(world, fault, usual), GONE_SECONDS_MAX))  # noqa: B023
        for is_faulty, (began, ended) in times.items():
            windows[is_faulty].append({chain: world.p99(chain, began, ended, without) for chain in CHAINS})
    world.wait(lambda: not (world.ending.is_set() or world.lost() > CAMERAS), GONE_SECONDS_MAX)
    before, during = (median(windows[is_faulty]) for is_faulty in (False, True))
    worst = lambda values: None if None in values else max(values)  # noqa: E731
    return Result(
        fault, before, during, worst(named), worst(gone), max(0, world.lost() - 2 * CAMERAS), worst(recovered)
    )


def named_by(world: World, fault: Fault, since: float, usual: set[str]) -> bool:
    """Whether health and feed say so. What keeps the feed from being written is in health and log; without `kinds` nothing is wrong
    until pictures wait for a minute."""
    if not fault.kinds:
        return True
    in_feed = world.has_message(fault.kinds, "on", since) or bool({"record_locked", "disk_low"} & set(fault.kinds))
    return bool(world.wrong() - usual) and in_feed


def is_gone(world: World, fault: Fault, usual: set[str]) -> bool:
    return not (world.standing() & set(fault.kinds)) and not world.wrong() - usual


def median(windows: list[dict[str, float | None]]) -> dict[str, float | None]:
    out: dict[str, float | None] = {}
    for chain in CHAINS:
        known = [window[chain] for window in windows if window[chain] is not None]
        out[chain] = statistics.median(known) if known else None  # type: ignore[type-var]
    return out


def run(folder: Path, inside: bool, chosen: list[str], runs: int, seconds: float) -> int:
    """Run these faults (all, if none is named) and print the table; the exit code."""
    results = []
    with ExitStack() as stack:
        world = World(folder, inside, stack)
        world.wait(
            lambda: world.samples["judging"] and world.samples["thumbnails"] and world.samples["keeping"],
            WARM_SECONDS_MAX,
        )
        for fault in FAULTS:
            possible = {None: True, "place": inside, "library": bool(world.place.library)}[fault.needs]
            if possible and (not chosen or any(word in fault.name for word in chosen)):
                results.append(suffer(world, fault, runs, seconds))
                print(line(results[-1]), flush=True)
        world.finish()
        everything = world.wait(lambda: world.lost() <= 0, GONE_SECONDS_MAX) is not None
        lost = 0 if everything else world.lost()
        world.pipeline.signal(signal.SIGTERM).wait(60)
        shutil.copyfile(world.pipeline.errors, folder / "pipeline.log")
    print(
        f"\np99 in ms without → with each fault, median of {runs} interleaved windows of {seconds:g} s; `!`: more than 1.2 × and 5 ms\n"
    )
    print("".join(f"{word:<17}" for word in ("fault", *CHAINS, "named s", "recovered s", "gone s")))
    for result in results:
        print(line(result))
    print(f"\n{world.uploaded} pictures uploaded, {lost} lost")
    broken = [f"{result.fault.name}: {', '.join(result.broken())}" for result in results if result.broken()]
    print("\n".join(broken))
    return int(bool(broken or lost))


def line(result: Result) -> str:
    def cell(chain: str) -> str:
        before, during = result.before[chain], result.during[chain]
        if chain in result.fault.concerns:
            return "·"
        numbers = "→".join("–" if value is None else f"{value * 1e3:.0f}" for value in (before, during))
        return numbers + "" if result.is_allowed(chain) else numbers + " !"

    ends = ("never" if value is None else f"{value:.1f}" for value in (result.named, result.recovered, result.gone))
    return "".join(f"{word:<17}" for word in (result.fault.name, *map(cell, CHAINS), *ends))


def main(chosen: list[str], runs: int, seconds: float, inside: bool) -> int:
    folder = Path(tempfile.mkdtemp(prefix="chains-"))
    try:
        return run(folder, inside, chosen, runs, seconds)
    finally:
        print(f"logs: {folder}")
